/*
 * An operation whose jobs go on in QEMU: waited for, and what Ctrl-C makes of it.
 * The first lets it go on without us, a second one soon after cancels it.
 */
#pragma once

#include "engine/guard.h"
#include "engine/job.h"
#include "engine/op.h"

/** How it is to be done. @detach: return once the jobs run */
typedef struct {
  EngineGuardPolicy guard;
  gboolean detach;
} EngineInflightManner;

/** What is to become of one that goes on in QEMU. */
typedef enum { ENGINE_INFLIGHT_WAIT, ENGINE_INFLIGHT_COMPLETE, ENGINE_INFLIGHT_CANCEL } EngineInflightAim;

/**
 * EngineInflight: how waiting ended
 * @ENGINE_INFLIGHT_REACHED: the jobs are where they were to be, or one of them has failed
 * @ENGINE_INFLIGHT_LEFT: it goes on without us, as far as we know: the connection to QEMU may be lost
 * @ENGINE_INFLIGHT_CANCELLED: its jobs were cancelled, and are over
 * @ENGINE_INFLIGHT_LOST: the operation is recovery's
 */
typedef enum {
  ENGINE_INFLIGHT_REACHED,
  ENGINE_INFLIGHT_LEFT,
  ENGINE_INFLIGHT_CANCELLED,
  ENGINE_INFLIGHT_LOST,
} EngineInflight;

/**
 * engine_inflight_check_outlives:
 * @goes_on: it is to go on once we have ended, which what a shut-off VM's stand-in has begun cannot
 * @what: in words; @hint: how to ask for it then
 * Raises %ENGINE_ERROR_USAGE.
 */
gboolean engine_inflight_check_outlives (const EngineVm *vm, gboolean goes_on, const char *what, const char *hint,
                                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Waits as engine_job_wait() does. Raises %ENGINE_ERROR_INTERRUPTED where it was left or lost, and only then. */
EngineInflight engine_inflight_wait (EngineOp *op, GPtrArray *jobs, EngineJobGoal goal, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The operation goes on in QEMU without us: asks how far its @jobs are, and commits that. */
gboolean engine_inflight_detach (EngineOp *op, GPtrArray *jobs, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether what @vm is connected to can be @qemu, the process that an operation began in; 0: unknown. In another one
 * there is another guest. */
gboolean engine_inflight_is_same_qemu (const EngineVm *vm, gint64 qemu);

/** Whether a detached operation that began in process @qemu does not go on any more: that, or all of @jobs, are gone.
 */
gboolean engine_inflight_is_over (EngineVm *vm, gint64 qemu, GPtrArray *jobs, gboolean *over, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The operation @row of another process, which is detached, is ours from now on. Returns: (transfer full) */
EngineOp *engine_inflight_take_over (EngineVm *vm, const ChainsOp *row, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_inflight_foresee_guard:
 * @guard: (out): %NULL where it is made when its moment has come
 * Before anything is begun. Where nothing is to be frozen the guard stands by from the start: then nothing has to be
 * waited for at the moment. Where the guest has to be frozen it is seen now whether that can be; raises what
 * engine_guard_new() raises.
 */
gboolean engine_inflight_foresee_guard (EngineVm *vm, const EngineGuardPolicy *policy, EngineGuard **guard,
                                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The moment has come: makes @guard, or sees whether what it knows of the VM still holds. */
gboolean engine_inflight_prepare_guard (EngineVm *vm, const EngineGuardPolicy *policy, EngineGuard **guard,
                                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** In a dry run: what ending @jobs with @command would say, under @guard. */
void engine_inflight_plan_ending (EngineGuard *guard, const GPtrArray *jobs, const char *command);

/** @refused: engine_guard_is_refusal(). Raises it again: nothing was switched, and the operation @stays (in words).
 * Returns: %FALSE */
gboolean engine_inflight_set_refused (const EngineOp *op, const GError *refused, const char *stays, GError **error);

/** @why: (transfer full). Raises %ENGINE_ERROR_INTERRUPTED: it is journalled, and recovery's. Returns: %FALSE */
gboolean engine_inflight_lose (const EngineOp *op, GError *why, GError **error);
