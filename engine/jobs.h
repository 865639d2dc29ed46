/*
 * The verbs `jobs` and `job …`: block jobs, those of an earlier process and of others too.
 */
#pragma once

#include "engine/merge.h"
#include "engine/mirrorlife.h"

/** Returns: (transfer full) (element-type EngineJobView): of @vm, or (%NULL) of all VMs that run. QAPI: query-jobs,
 * query-block-jobs */
GPtrArray *engine_jobs_list (EngineContext *context, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef enum {
  ENGINE_JOBS_WAIT,
  ENGINE_JOBS_PAUSE,
  ENGINE_JOBS_RESUME,
  ENGINE_JOBS_CANCEL,
  ENGINE_JOBS_COMPLETE,
  ENGINE_JOBS_SPEED,
} EngineJobsAction;

/**
 * EngineJobsRequest:
 * @job: a job's id, or an operation's id or a unique prefix of it. Where it is a member of an operation of ours, the
 *     operation as a whole is waited for, cancelled or completed, under its guard; pause, resume and speed are of the
 *     jobs named.
 * @speed: bytes a second, for %ENGINE_JOBS_SPEED alone
 */
typedef struct {
  const char *vm;
  const char *job;
  EngineJobsAction action;
  gint64 speed;
  const ChainsQuiesce *quiesce;
  gint64 freeze_timeout_us;
} EngineJobsRequest;

/**
 * EngineJobsResult:
 * @views: (nullable) (element-type EngineJobView): the jobs that were meant, as they are now
 * @merge, @mirror: (nullable): what came of the operation, of whichever kind it was
 */
typedef struct {
  GPtrArray *views;
  EngineMergeResult *merge;
  EngineMirrorResult *mirror;
} EngineJobsResult;

void engine_jobs_result_clear (EngineJobsResult *result);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (EngineJobsResult, engine_jobs_result_clear)

/** Fills @result, where it fails too. Raises %ENGINE_ERROR_NO_SUCH_JOB; else what the verb raises whose operation it
 * is. */
gboolean engine_jobs_act (EngineContext *context, const EngineJobsRequest *request, EngineJobsResult *result,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;
