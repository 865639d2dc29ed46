/*
 * The moment at which the graph changes: a guest is moved from the images on top to
 * those that have received their data; or lets go of those that were pulled up.
 * All disks of an operation, the VM paused.
 */
#pragma once

#include "engine/guard.h"
#include "engine/job.h"
#include "engine/op.h"

/** Sees where the devices are, and writes it to the database, durably: the guest runs again behind it. */
typedef gboolean (*EnginePivotRecord) (gpointer data, GError **error);

/**
 * EnginePivot: one such moment. All members are borrowed.
 * @jobs: all of them ready, or pending
 * @word: the command that ends each of them: "job-complete", "job-finalize"
 */
typedef struct {
  EngineOp *op;
  GPtrArray *jobs;
  EngineGuard *guard;
  const char *word;
  EnginePivotRecord record;
  gpointer data;
} EnginePivot;

/**
 * engine_pivot_run:
 * Freezes where that was decided, pauses, journals that it pivots, completes all jobs, and has it recorded what the
 * guest is on before that runs again. Where it is not certain what the guest is on it stays paused.
 * The pause flushes what QEMU holds back: a header that no longer names an image must not be on the disk before what
 * was pulled out of that. QAPI: stop, job-complete, job-finalize, cont. Raises QMP_ERROR's and CHAINS_ERROR's.
 */
gboolean engine_pivot_run (const EnginePivot *pivot, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Journals, durably, that from here on a guest that stands still does so by us; for whatever @guard is run for. */
gboolean engine_pivot_announce (EngineOp *op, const EngineGuard *guard, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** What that step says, for recovery: whether it is we who freeze and pause. @detail: (nullable) */
void engine_pivot_read_step (JsonObject *detail, gboolean *pauses, gboolean *freezes);

/**
 * engine_pivot_settle_jobs:
 * @pivoting: (out): the pivot had been begun
 * In the place of a process that died, or hangs: where the pivot was begun, says the last word to those of @jobs that
 * wait for it, which may have been said already, and waits for their end. May be run again.
 */
gboolean engine_pivot_settle_jobs (EngineVm *vm, const char *op, GPtrArray *jobs, gboolean *pivoting, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
