/*
 * The verb `snapshot`: one atomic point over all chosen disks of a running VM.
 *
 *   [base] <- [active]    becomes    [base] <- [frozen] <- [overlay, active]
 */
#pragma once

#include "engine/guard.h"
#include "engine/switched.h"

/**
 * EngineSnapshotRequest:
 * @name: (nullable): else the time of taking
 * @disks, @excludes: (nullable) (array zero-terminated=1): names; no @disks: all that are writable and not ignored
 * @tags: (nullable) (array zero-terminated=1)
 * @directory: (nullable): where the overlays go; else beside the active images
 * @reuse: (nullable): disk name -> path of an overlay that the user made
 */
typedef struct {
  const char *vm;
  const char *name;
  const char *description;
  const char *const *disks;
  const char *const *excludes;
  const char *const *tags;
  gboolean protected;
  const char *directory;
  GHashTable *reuse;
  const ChainsQuiesce *quiesce;
  gint64 freeze_timeout_us;
} EngineSnapshotRequest;

/**
 * EngineSnapshotResult:
 * @snapshot: as recorded
 * @active: (element-type EngineSwitchedDisk)
 */
typedef struct {
  ChainsSnapshot *snapshot;
  GPtrArray *active;
} EngineSnapshotResult;

void engine_snapshot_result_free (EngineSnapshotResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineSnapshotResult, engine_snapshot_result_free)

/**
 * engine_snapshot_take:
 * Takes it, or fails whole. In a dry run everything is checked, the context's plan is filled, and the
 * result is what would be.
 * @result: (out) (nullable) (transfer full): set where the snapshot exists, which may be so beside
 *     %ENGINE_ERROR_NOT_THAWED
 *
 * QAPI: transaction of blockdev-snapshot. Raises %ENGINE_ERROR_HELD, _DRIFT, _EXISTS, _NOT_QUIESCED, _REFUSED,
 * _INTERRUPTED (the journal has it; what happened is not known yet), QMP_ERROR's and CHAINS_ERROR's.
 */
gboolean engine_snapshot_take (EngineContext *context, const EngineSnapshotRequest *request,
                               EngineSnapshotResult **result, GError **error) G_GNUC_WARN_UNUSED_RESULT;
