/*
 * Merges: what `commit` and `stream` are made of. A merge moves the data of a
 * run of images of one disk into one of them; an operation does so on one or
 * several disks, and changes their graphs at one moment.
 *
 *   commit   [A] <- [B] <- [C] <- [D]   B..C into A:   [A'] <- [D]
 *   stream   [A] <- [B] <- [C] <- [D]   B..C into D:   [A] <- [D']
 */
#pragma once

#include "engine/guard.h"
#include "engine/switched.h"

/**
 * EngineMerged: what became of one disk
 * @job: QEMU's id of the job
 * @top, @base: paths: the uppermost image whose data moved, and the image that took it; for a stream @base is the
 *     image that lies below it now, "" where none does
 * @bytes: that the job has copied
 * @pivoted: the guest writes to @base now
 * @removed: (element-type utf8): files that were removed
 */
typedef struct {
  char *disk;
  char *job;
  char *top;
  char *base;
  gint64 bytes;
  gboolean pivoted;
  GPtrArray *removed;
} EngineMerged;

/** A block job as a person sees it. @disk, @op: (nullable) */
typedef struct {
  char *vm;
  char *disk;
  char *job;
  char *op;
  char *type;
  char *status;
  gint64 current;
  gint64 total;
  gint64 speed;
  gboolean ours;
} EngineJobView;

/**
 * EngineMergeResult:
 * @merges: (element-type EngineMerged)
 * @snapshots_removed: (element-type utf8): names
 * @active: (element-type EngineSwitchedDisk): where the guest's disks were switched
 * @frozen_us, @paused_us: -1 where it was not
 * @detached_op: (nullable): the operation goes on in QEMU without us; then @jobs are its jobs
 * @jobs: (element-type EngineJobView)
 */
typedef struct {
  GPtrArray *merges;
  GPtrArray *snapshots_removed;
  GPtrArray *active;
  gint64 frozen_us;
  gint64 paused_us;
  char *detached_op;
  GPtrArray *jobs;
} EngineMergeResult;

void engine_merge_result_free (EngineMergeResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineMergeResult, engine_merge_result_free)
