/*
 * The moment at which the graph changes: a guest is moved from the images on top to
 * the one that has received their data; or lets go of those that were pulled up.
 * All disks of an operation, the VM paused.
 */
#pragma once

#include "engine/guard.h"
#include "engine/job.h"
#include "engine/mergeintent.h"

/**
 * engine_pivot_run:
 * @jobs: all of them ready, or pending
 * @merged: (element-type EngineMergePart): those that the guest was moved on for are added here
 * Freezes where that was decided, pauses, journals that it pivots, completes all jobs, sees where the devices are, and
 * records that on the disk before the guest runs again. Where it is not certain what the guest is on it stays paused.
 * The pause flushes what QEMU holds back: a header that no longer names an image must not be on the disk before what
 * was pulled out of that. QAPI: stop, job-complete, job-finalize, query-block, cont. Raises QMP_ERROR's and
 * CHAINS_ERROR's.
 */
gboolean engine_pivot_run (EngineOp *op, EngineMergeIntent *intent, GPtrArray *jobs, EngineGuard *guard,
                           GPtrArray *merged, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_pivot_find:
 * @merged: (element-type EngineMergePart): those of @intent's whose images the live graph has no more are added here
 */
gboolean engine_pivot_find (EngineVm *vm, const EngineMergeIntent *intent, GPtrArray *merged, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** What the step before the pause says, for recovery: whether it is we who freeze and pause. @detail: (nullable) */
void engine_pivot_read_step (JsonObject *detail, gboolean *pauses, gboolean *freezes);

/** Says the last word to those of @jobs that wait for it, which may have been said already, and waits for their end. */
gboolean engine_pivot_complete (EngineVm *vm, const char *op, GPtrArray *jobs, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_pivot_settle:
 * @jobs: of the operation @op
 * In the place of a process that died, or hangs, with the VM paused: a pivot that was begun is ended, and what the
 * guest is on is found out and recorded. May be run again.
 */
gboolean engine_pivot_settle (EngineVm *vm, const char *op, const EngineMergeIntent *intent, GPtrArray *jobs,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
