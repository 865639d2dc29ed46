/*
 * What a merge changes in the database, and what is cleared up behind it. Each
 * may be run again after a death.
 */
#pragma once

#include "engine/mergeintent.h"

/**
 * engine_mergeend_destroy:
 * One commit, on the disk before this returns: the step "merge" is begun, and the snapshots whose point in time the
 * merge overwrites are forgotten. No job may be started before.
 */
gboolean engine_mergeend_destroy (EngineOp *op, const EngineMergeIntent *intent, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Nothing was overwritten after all: they are put back, and the operation is undone. @why: (nullable) */
gboolean engine_mergeend_restore (EngineVm *vm, const char *op, EngineMergeIntent *intent, const char *why,
                                  GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether @part's receiver is as it was before: then nothing was written to it. */
gboolean engine_mergeend_is_untouched (const EngineMergePart *part);

/**
 * engine_mergeend_record:
 * @merged: (element-type EngineMergePart): those whose job has done its work
 * Seals, and in one commit: images, snapshots and disks as they are now; what is remembered of the receivers of all
 * parts is renewed.
 */
gboolean engine_mergeend_record (EngineVm *vm, const EngineMergeIntent *intent, GPtrArray *merged, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Whether that was committed for @part. */
gboolean engine_mergeend_is_recorded (EngineVm *vm, const EngineMergeIntent *intent, const EngineMergePart *part,
                                      gboolean *recorded, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_mergeend_clear_up:
 * @removed: (nullable) (element-type utf8): files that were removed are added here
 * @freed: (nullable): and to this the bytes that they had allocated
 * Of a part that is recorded: nodes that nothing needs any more are closed, files of ours that nothing needs removed.
 */
gboolean engine_mergeend_clear_up (EngineVm *vm, const EngineMergeIntent *intent, const EngineMergePart *part,
                                   GPtrArray *removed, gint64 *freed, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The notes of the snapshots that were overwritten go where their overlays stay, on disks that are not merged: from
 * them the snapshots would come back with a lost database. A note that stays is a warning. */
void engine_mergeend_forget_notes (EngineVm *vm, const EngineMergeIntent *intent);
