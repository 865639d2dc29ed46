/*
 * Mirrors from their journal row to their end, or until they go on without us; and
 * from there on again.
 */
#pragma once

#include "engine/inflight.h"
#include "engine/mirrorplan.h"
#include "engine/mirrorresult.h"

/**
 * engine_mirrorlife_run:
 * @plan: (transfer none): nothing is begun
 * @result: (out) (nullable) (transfer full): set where anything came of it
 * Raises %ENGINE_ERROR_INTERRUPTED where Ctrl-C let it go on in QEMU, %ENGINE_ERROR_PARTLY where the guest was moved on
 * some disks alone; what fails before that is taken back, and raised. QAPI: blockdev-add, blockdev-mirror,
 * block-job-cancel, job-complete, blockdev-del, object-add, object-del.
 */
gboolean engine_mirrorlife_run (EngineOp *op, EngineMirrorPlan *plan, const EngineInflightManner *manner,
                                EngineMirrorResult **result, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** In a dry run: what it would make and send, and what would be then. */
gboolean engine_mirrorlife_pretend (EngineOp *op, EngineMirrorPlan *plan, const EngineInflightManner *manner,
                                    EngineMirrorResult **result, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Goes on with the operation @row of @vm, which is detached; @vm is connected, and its lock ours. */
gboolean engine_mirrorlife_continue (EngineVm *vm, const ChainsOp *row, EngineInflightAim aim,
                                     const EngineInflightManner *manner, EngineMirrorResult **result, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
