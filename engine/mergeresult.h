/*
 * What a merge came to, disk by disk, and the jobs that go on: facts for a tool to
 * show.
 */
#pragma once

#include "engine/jobview.h"
#include "engine/mergeintent.h"
#include "engine/switched.h"

/**
 * EngineMerged: what became of one disk
 * @job: QEMU's id of the job
 * @top, @base: paths: the uppermost image whose data moved, and the image that took it; of a stream @top is the one
 *     that took it, and @base what lies below it now, "" where nothing does
 * @bytes: that the job has copied
 * @merged: its job has done its work
 * @pivoted: the guest writes to @base now
 * @removed: (element-type utf8): files that were removed
 * @freed: bytes that these had allocated
 */
typedef struct {
  char *disk;
  char *job;
  char *top;
  char *base;
  gint64 bytes;
  gboolean merged;
  gboolean pivoted;
  GPtrArray *removed;
  gint64 freed;
} EngineMerged;

/**
 * EngineMergeResult:
 * @moves: the active image is merged downwards, so that the guest has to be moved
 * @merges: (element-type EngineMerged)
 * @snapshots_removed: (element-type utf8): names
 * @active: (element-type EngineSwitchedDisk): where the guest's disks were switched
 * @frozen_us, @paused_us: -1 where it was not
 * @detached: the operation goes on in QEMU without us
 * @jobs: (element-type EngineJobView): then
 */
typedef struct {
  char *op;
  EngineMergeKind kind;
  gboolean moves;
  GPtrArray *merges;
  GPtrArray *snapshots_removed;
  GPtrArray *active;
  gint64 frozen_us;
  gint64 paused_us;
  gboolean detached;
  GPtrArray *jobs;
} EngineMergeResult;

void engine_mergeresult_free (EngineMergeResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineMergeResult, engine_mergeresult_free)

/** Of an operation that is about to begin: nothing is merged yet. Returns: (transfer full) */
EngineMergeResult *engine_mergeresult_new (const EngineOp *op, const EngineMergeIntent *intent);

/** It goes on in QEMU without us, with these @jobs (element-type EngineJob). */
void engine_mergeresult_detach (EngineMergeResult *result, const EngineOp *op, const EngineMergeIntent *intent,
                                const GPtrArray *jobs);

/** @merged (element-type EngineMergePart) are, and where the active image is merged the guest was moved on with them.
 * @jobs: (nullable): for their bytes */
void engine_mergeresult_describe (EngineMergeResult *result, const EngineMergeIntent *intent, GPtrArray *merged,
                                  const GPtrArray *jobs);
