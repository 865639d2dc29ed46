/*
 * Block jobs: typed wrappers for the commands that start, steer and list them.
 * What their events mean is the engine's affair. Errors are QMP_ERROR's.
 * Source: QEMU qapi/{job,block-core}.json, by the command names given at each.
 */
#pragma once

#include "qmp/commands.h"

/**
 * QmpJobsCommit: BlockCommit
 * @id: at most 31 bytes
 * @device: a root node: the uppermost one below the device
 * @top, @base: nodes: what lies from @top down to above @base goes into @base
 * @backing_file: (nullable): what the header of the image above @top is to name; %NULL where @top is the active one
 * @filter: name of the node that QEMU puts above @top meanwhile
 */
typedef struct {
  const char *id;
  const char *device;
  const char *top;
  const char *base;
  const char *backing_file;
  const char *filter;
  gint64 speed;
} QmpJobsCommit;

/**
 * QmpJobsStream: BlockStream
 * @node: receives
 * @base: (nullable): the node that stays below it
 * @backing_file: (nullable): what the header of @node's image is to name then
 */
typedef struct {
  const char *id;
  const char *node;
  const char *base;
  const char *backing_file;
  const char *filter;
  gint64 speed;
} QmpJobsStream;

/**
 * QmpJobsMirror: BlockdevMirror
 * @node: the uppermost one below the device; @target: a node
 * @replaces: (nullable): the node in whose place @target comes, where filters between it and the device are to stay
 * @sync: MirrorSyncMode's words
 * @blocking: each write goes to both before it is done
 */
typedef struct {
  const char *id;
  const char *node;
  const char *target;
  const char *replaces;
  const char *filter;
  const char *sync;
  gboolean blocking;
  gint64 speed;
} QmpJobsMirror;

/** The arguments of block-commit: it waits for room where there is none, below the active image to be finalized too,
 * and stays listed when it is over. Returns: (transfer full) */
JsonObject *qmp_jobs_commit_arguments (const QmpJobsCommit *commit);
/** The arguments of block-stream: it waits to be finalized, and is gone then: QEMU 7.2 dies of a question for its nodes
 * while one that has concluded is left. Returns: (transfer full) */
JsonObject *qmp_jobs_stream_arguments (const QmpJobsStream *stream);

/** The arguments of blockdev-mirror: it waits for room where there is none, and stays listed when it is over. Returns:
 * (transfer full) */
JsonObject *qmp_jobs_mirror_arguments (const QmpJobsMirror *mirror);

/** Whether a job of that JobStatus (QAPI) was told to stand still, or does so for an error. */
gboolean qmp_jobs_stands_still (const char *status);

/** The arguments by which @command names job @id. Returns: (transfer full) */
JsonObject *qmp_jobs_name (const char *command, const char *id);

/** Any @command that takes a job's id alone: job-complete, job-cancel, job-pause, job-resume, job-finalize,
 * job-dismiss; block-job-cancel, which ends one that is ready in step with its source. Give it to qmp_call_finish(). */
QmpCall *qmp_jobs_start (QmpClient *client, const char *command, const char *id, gint64 deadline_us);
gboolean qmp_jobs_execute (QmpClient *client, QmpWait wait, const char *command, const char *id, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** block-job-cancel, by force: also of one that is ready, or waits for a person. */
gboolean qmp_jobs_cancel (QmpClient *client, QmpWait wait, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** block-job-change: the guest's writes wait for the copy of a mirror. Raises %QMP_ERROR_COMMAND_NOT_FOUND before QEMU
 * 8.2. */
gboolean qmp_jobs_block_writes (QmpClient *client, QmpWait wait, const char *id, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** block-job-set-speed. @speed: bytes a second, 0: no limit */
gboolean qmp_jobs_set_speed (QmpClient *client, QmpWait wait, const char *id, gint64 speed, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/**
 * QmpBlockJob: what query-block-jobs alone tells
 * @speed: limit in bytes a second, 0: none
 * @no_room: it stands still, since there was no room for what it was to write
 * @io_failed: it stands still after another I/O error
 */
typedef struct {
  gint64 speed;
  gboolean no_room;
  gboolean io_failed;
} QmpBlockJob;

/** query-block-jobs. Returns: (transfer full) (element-type utf8 QmpBlockJob): by job id */
GHashTable *qmp_jobs_query (QmpClient *client, QmpWait wait, GError **error) G_GNUC_WARN_UNUSED_RESULT;
