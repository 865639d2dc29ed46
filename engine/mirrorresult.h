/*
 * What a mirror came to, disk by disk, and the jobs that go on: facts for a tool to
 * show.
 */
#pragma once

#include "chains/model.h"
#include "engine/jobview.h"
#include "engine/mirrorintent.h"
#include "engine/switched.h"

/** What became of one disk. @job: QEMU's id; @target: path or URI; @bytes: that were copied */
typedef struct {
  char *disk;
  char *job;
  char *target;
  gint64 bytes;
} EngineMirrored;

/**
 * EngineMirrorResult:
 * @mirrors: (element-type EngineMirrored)
 * @detached: the operation goes on in QEMU without us; @ready: all is copied, and kept in step
 * @consistency, @reason: of the copies, or of what the guest left; as EngineGuard has them
 * @automatic: (nullable): name of the snapshot that keeps what the guest left
 * @active: (element-type EngineSwitchedDisk)
 * @frozen_us, @paused_us: -1 where it was not
 * @jobs: (element-type EngineJobView): where it goes on
 */
typedef struct {
  char *op;
  EngineMirrorGoal goal;
  GPtrArray *mirrors;
  gboolean detached;
  gboolean ready;
  ChainsConsistency consistency;
  char *reason;
  char *automatic;
  GPtrArray *active;
  gint64 frozen_us;
  gint64 paused_us;
  GPtrArray *jobs;
} EngineMirrorResult;

/** Of an operation that is about to begin. Returns: (transfer full) */
EngineMirrorResult *engine_mirrorresult_new (const EngineOp *op, const EngineMirrorIntent *intent);
void engine_mirrorresult_free (EngineMirrorResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineMirrorResult, engine_mirrorresult_free)

/** It goes on in QEMU without us, with these @jobs (element-type EngineJob). */
void engine_mirrorresult_detach (EngineMirrorResult *result, const EngineOp *op, gint64 speed, const GPtrArray *jobs);

/** How much @jobs (element-type EngineJob) have copied; those of the copies, in their order. */
void engine_mirrorresult_count (EngineMirrorResult *result, const GPtrArray *jobs);

/** The guest is on the copies of @moved now. */
void engine_mirrorresult_switch (EngineMirrorResult *result, const EngineIntent *moved);
