/*
 * What a rollback is about to do: which images the disks go back to, what has to
 * be opened for that, what the old heads become; and why it cannot be.
 */
#pragma once

#include "engine/branch.h"
#include "engine/mounts.h"
#include "engine/overlay.h"

/**
 * EngineRewindPlan:
 * @to: the snapshot
 * @intent: for the journal; its snapshot is the automatic one, or none
 * @overlays: (element-type EngineOverlay)
 * @branches: (element-type EngineBranch): one for each of them
 * @holders: (element-type JsonObject): BlockdevOptions that keep the old heads open once no device holds them
 * @disks: (element-type EngineGraphDisk): borrowed from the graph
 */
typedef struct {
  ChainsSnapshot *to;
  EngineIntent *intent;
  GPtrArray *overlays;
  GPtrArray *branches;
  GPtrArray *holders;
  GPtrArray *disks;
} EngineRewindPlan;

/**
 * engine_rewindplan_new:
 * @disks: (nullable) (array zero-terminated=1): else all of the snapshot's
 * @discard: the old heads are not kept
 * Makes nothing. Raises CHAINS_ERROR's for the snapshot, %ENGINE_ERROR_NO_SUCH_DISK, %ENGINE_ERROR_REFUSED for what
 * would change the guest's hardware, %ENGINE_ERROR_DRIFT for images that are not as they are remembered. Returns:
 * (transfer full)
 */
EngineRewindPlan *engine_rewindplan_new (EngineOp *op, const EngineGraph *graph, const char *snapshot,
                                         const char *const *disks, gboolean discard, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
void engine_rewindplan_free (EngineRewindPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineRewindPlan, engine_rewindplan_free)

/** Whether the guest has file systems of these disks mounted. */
EngineMounts engine_rewindplan_mounts (const EngineRewindPlan *plan, EngineVm *vm);

/** Opens branches and holders; what a failure leaves is engine_ending_undo()'s to close. */
gboolean engine_rewindplan_open (const EngineRewindPlan *plan, EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** In a dry run: what would be made and opened; what would be sent while the VM stands still. */
void engine_rewindplan_plan (const EngineRewindPlan *plan, EngineVm *vm);
void engine_rewindplan_plan_switch (const EngineRewindPlan *plan, EngineVm *vm);
