/*
 * The verbs `state backup` and `state restore`: the database as a whole.
 */
#pragma once

#include "engine/context.h"

/**
 * EngineStateCopy:
 * @path: the database
 * @kept: (nullable): where the database lies that was there before
 * @vms, @snapshots: how many are in the copy
 */
typedef struct {
  char *path;
  char *kept;
  guint vms;
  guint snapshots;
} EngineStateCopy;

void engine_state_copy_free (EngineStateCopy *copy);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineStateCopy, engine_state_copy_free)

/**
 * engine_state_backup:
 * A consistent copy of the open database in the new file @target, while others use it. Raises %ENGINE_ERROR_EXISTS,
 * CHAINS_ERROR's. Returns: (transfer full)
 */
EngineStateCopy *engine_state_backup (EngineContext *context, const char *target, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_state_restore:
 * The copy @file in the place of the database, which may be missing or damaged; @context has none open. Takes the lock
 * of every VM of either. Operations that were under way when the copy was made are a warning, and `recover`'s to
 * decide. Raises %ENGINE_ERROR_HELD where an operation runs, %ENGINE_ERROR_USAGE where @file is the database,
 * CHAINS_ERROR's. Returns: (transfer full)
 */
EngineStateCopy *engine_state_restore (EngineContext *context, const char *file, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
