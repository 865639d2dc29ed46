/*
 * The verb `mirror`: disks of a running VM are copied elsewhere and kept in step,
 * until all are one point in time that is kept; or the guest goes on on the copies.
 */
#pragma once

#include "engine/mirrorplan.h"
#include "engine/mirrorresult.h"

/**
 * EngineMirrorRequest:
 * @quiesce: (nullable): else the VM's
 * @detach: return once the jobs run
 */
typedef struct {
  const char *vm;
  EngineMirrorPlanRequest plan;
  const ChainsQuiesce *quiesce;
  gint64 freeze_timeout_us;
  gboolean detach;
} EngineMirrorRequest;

/**
 * engine_mirror_run:
 * @result: (out) (nullable) (transfer full): set where anything came of it
 * Raises %ENGINE_ERROR_INTERRUPTED where Ctrl-C let it go on in QEMU, %ENGINE_ERROR_PARTLY where some disks of a pivot
 * alone were moved; what fails before that is taken back. QAPI: blockdev-mirror, block-job-cancel, job-complete.
 */
gboolean engine_mirror_run (EngineContext *context, const EngineMirrorRequest *request, EngineMirrorResult **result,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
