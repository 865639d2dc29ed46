/*
 * The block jobs of one operation: waited for together, told about, ended. What
 * they are for is the verbs' affair.
 */
#pragma once

#include "engine/vm.h"
#include "qmp/jobs.h"

/**
 * EngineJob: one of them, as it was when it was last asked for
 * @disk: whose
 * @folder: (nullable): where it needs room
 * @status: JobStatus (QAPI), or "null" for one that QEMU does not list (any more)
 * @error: (nullable): QEMU's words, once it has failed
 * @cancelled: it was ended by somebody
 * @refused: QEMU did not do what it was last told
 * @turns: where it never ends, the guest's writes are to wait for it
 * @endless: that has come, and this QEMU cannot change a job that runs: it has to be begun anew
 * @least_left, @least_left_us, @least_left_current: the least that was left of it, since when, and how much it had
 *     copied then
 * @stalled: it waits for room
 * @switching: the graph is about to be changed by its end
 */
typedef struct {
  char *disk;
  char *id;
  char *folder;
  char *status;
  char *error;
  gboolean cancelled;
  gboolean refused;
  gint64 current;
  gint64 total;
  gint64 rate;
  gint64 asked_us;
  gint64 least_left;
  gint64 least_left_us;
  gint64 least_left_current;
  gboolean stalled;
  gboolean turns;
  gboolean endless;
  gboolean switching;
} EngineJob;

/** An empty list. Returns: (transfer full) (element-type EngineJob) */
GPtrArray *engine_job_list_new (void);
/** @folder: (nullable) */
EngineJob *engine_job_list_add (GPtrArray *jobs, const char *disk, const char *id, const char *folder);

/** What is waited for: "ready", "pending", "concluded" or gone. */
typedef enum { ENGINE_JOB_READY, ENGINE_JOB_PENDING, ENGINE_JOB_OVER } EngineJobGoal;

/** Asks for all of @jobs; where @vm has no QEMU any more they are gone with it. QAPI: query-jobs */
gboolean engine_job_refresh (EngineVm *vm, GPtrArray *jobs, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether QEMU has it, as far as was asked. */
gboolean engine_job_is_listed (const EngineJob *job);

/** Whether it has concluded, or is not there any more. */
gboolean engine_job_is_over (const EngineJob *job);

/** Whether it has failed, or was cancelled; whether it is over, and has not. */
gboolean engine_job_has_failed (const EngineJob *job);
gboolean engine_job_has_succeeded (const EngineJob *job);

/** Begins one on @disk with @command, which its error names. QAPI: block-commit, block-stream, blockdev-mirror */
gboolean engine_job_begin (EngineVm *vm, const char *disk, const char *command, JsonObject *arguments, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_job_wait:
 * @op: for the reports
 * Until each of @jobs has reached @goal, or is over; woken by QEMU's events. One that stands still for want of room is
 * resumed once there is some. One that does not converge loses its limit, and then that is a warning; or it turns,
 * which ends the wait where QEMU cannot do it. Raises
 * %G_IO_ERROR_CANCELLED, and QMP_ERROR's at once where QEMU vanishes; that a job failed is in @jobs.
 */
gboolean engine_job_wait (EngineVm *vm, const char *op, GPtrArray *jobs, EngineJobGoal goal, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The same, but not past @deadline_us (%QMP_ERROR_TIMEOUT), and Ctrl-C does not cut it short. */
gboolean engine_job_wait_until (EngineVm *vm, const char *op, GPtrArray *jobs, EngineJobGoal goal, gint64 deadline_us,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Reports that @jobs, which have reached their goal, are about to be ended, and the graph changed. */
void engine_job_tell_switch (EngineVm *vm, const char *op, GPtrArray *jobs);

/** Says @command to those of @jobs that are not over, all at once. The first that QEMU refuses raises QMP_ERROR's. */
gboolean engine_job_tell_all (EngineVm *vm, const GPtrArray *jobs, const char *command, gint64 deadline_us,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** In a dry run: @command would be said to each of @jobs. */
void engine_job_plan_all (EngineVm *vm, const GPtrArray *jobs, const char *command);

/** Cancels those that are not over, by force, and waits for their end. */
gboolean engine_job_cancel (EngineVm *vm, const char *op, GPtrArray *jobs, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Dismisses those that have concluded. */
gboolean engine_job_dismiss (EngineVm *vm, GPtrArray *jobs, GError **error) G_GNUC_WARN_UNUSED_RESULT;
