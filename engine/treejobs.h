/*
 * What is at work on the images of a tree: operations that go on in QEMU.
 */
#pragma once

#include "engine/tree.h"

/**
 * engine_treejobs_mark:
 * @trees: (element-type EngineTree): of @vm
 * Marks the images that receive data, as the journal has it; how far that is QEMU is asked, where there is one to mark.
 * One that does not answer at once (its monitor serves one client at a time) is not waited for.
 */
gboolean engine_treejobs_mark (EngineContext *context, const ChainsVm *vm, GPtrArray *trees, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
