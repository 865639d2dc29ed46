/*
 * Automatic snapshots: what a guest leaves that is moved elsewhere is kept under a
 * name of ours, so that there is a way back.
 */
#pragma once

#include "engine/vm.h"

/**
 * engine_automatic_describe:
 * @verb: what moves it
 * @description: (transfer none)
 * Gives @snapshot an id, the first of before-VERB-TIME, -2 … that @vm has no snapshot of yet, and the description.
 */
gboolean engine_automatic_describe (EngineVm *vm, ChainsSnapshot *snapshot, const char *verb, const char *description,
                                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
