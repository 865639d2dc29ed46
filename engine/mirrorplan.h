/*
 * What a mirror is about to do: which disks are copied, where to, what becomes of
 * them; and why it cannot be.
 */
#pragma once

#include "engine/target.h"

/** How a copy keeps up with the guest; `auto` begins in the background, and turns to blocking where that never ends. */
typedef enum { ENGINE_MIRROR_AUTO, ENGINE_MIRROR_BACKGROUND, ENGINE_MIRROR_WRITE_BLOCKING } EngineMirrorMode;

/**
 * EngineMirrorPlanRequest:
 * @disks: (nullable) (array zero-terminated=1): else all that the guest may write to and that are not ignored
 * @target: where to; whether there are several is found out
 * @speed: bytes a second, 0: no limit
 */
typedef struct {
  const char *const *disks;
  EngineTargetRequest target;
  EngineMirrorGoal goal;
  EngineMirrorSync sync;
  EngineMirrorMode mode;
  gint64 speed;
} EngineMirrorPlanRequest;

/**
 * EngineMirrorPlan:
 * @intent: for the journal
 * @targets: what is made and opened for it
 * @credentials: (nullable): the arguments of object-add
 */
typedef struct {
  EngineMirrorIntent *intent;
  EngineTargets targets;
  JsonObject *credentials;
} EngineMirrorPlan;

/**
 * engine_mirrorplan_new:
 * Makes nothing. Raises %ENGINE_ERROR_REFUSED for what would do harm, or has no room; what engine_target_plan() raises;
 * %ENGINE_ERROR_NO_SUCH_DISK; %ENGINE_ERROR_USAGE where nothing is to be copied. Returns: (transfer full)
 */
EngineMirrorPlan *engine_mirrorplan_new (EngineOp *op, const EngineGraph *graph, const EngineMirrorPlanRequest *request,
                                         GError **error) G_GNUC_WARN_UNUSED_RESULT;
void engine_mirrorplan_free (EngineMirrorPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineMirrorPlan, engine_mirrorplan_free)
