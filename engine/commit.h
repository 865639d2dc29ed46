/*
 * The verb `commit`: merges downwards.
 */
#pragma once

#include "engine/merge.h"

/** Asks a person whether the snapshots called @names (%NULL-terminated) may cease to exist. %FALSE: no. */
typedef gboolean (*EngineCommitConfirm) (const char *const *names, gpointer data);

/**
 * EngineCommitRequest:
 * @disks: (nullable) (array zero-terminated=1): else all that have something to merge
 * @top: (nullable): a snapshot; else the active images
 * @base: (nullable): a snapshot, which stays as it is: the data goes into the first image above it; "base" or %NULL:
 *     into the base
 * @pivot: the image that receives becomes active; without it an active commit stays ready, detached
 * @speed: bytes a second, 0: no limit
 * @detach: return once the jobs run
 * @keep_images: images that nothing needs any more stay as files
 * @confirm: (nullable): asked before the operation begins where named snapshots would cease to exist
 */
typedef struct {
  const char *vm;
  const char *const *disks;
  const char *top;
  const char *base;
  gboolean pivot;
  gint64 speed;
  gboolean detach;
  gboolean keep_images;
  const ChainsQuiesce *quiesce;
  gint64 freeze_timeout_us;
  EngineCommitConfirm confirm;
  gpointer confirm_data;
} EngineCommitRequest;

/**
 * engine_commit_run:
 * Snapshots whose point in time is overwritten are forgotten before `block-commit` is sent, and never come back.
 * @result: (out) (nullable) (transfer full): set where there is anything to tell, which may be so beside an error
 * QAPI: block-commit, job-complete. Raises %ENGINE_ERROR_REFUSED (another branch, a protected snapshot, a foreign
 * image, space), _INTERRUPTED (detached by Ctrl-C), _PARTLY (one disk of two), QMP_ERROR's and CHAINS_ERROR's.
 */
gboolean engine_commit_run (EngineContext *context, const EngineCommitRequest *request, EngineMergeResult **result,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
