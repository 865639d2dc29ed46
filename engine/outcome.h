/*
 * Did the switch of an interrupted operation happen? Answered from the live
 * graph while QEMU runs, else from the overlays' own headers, never by a guess.
 */
#pragma once

#include "engine/graph.h"
#include "engine/intent.h"

/**
 * engine_outcome_find:
 * @switch_begun: the journal says that the switch was about to be sent
 * @happened: (out): the overlays are, or were, what the guest writes to
 *
 * @vm must be connected, or shut off. A transaction switches all disks or none, so an answer that differs from disk to
 * disk raises %ENGINE_ERROR_REFUSED, and so does a QEMU that was started again on the old images after the overlays
 * were written to.
 */
gboolean engine_outcome_find (EngineVm *vm, const EngineIntent *intent, gboolean switch_begun, gboolean *happened,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
