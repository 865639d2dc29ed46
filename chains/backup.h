/*
 * A copy of the database in a file of its own: made while the database is in
 * use, proved sound, and put back.
 */
#pragma once

#include "chains/db.h"

/** A copy that was read and is sound: held in memory. */
typedef struct _ChainsBackup ChainsBackup;

/**
 * chains_backup_make:
 * The committed state of @db in a new file @target: mode 0600, synced, and proved sound before it has that name. Raises
 * %CHAINS_ERROR_EXISTS where something is there, %CHAINS_ERROR_NOT_FOUND where @db is no file, %CHAINS_ERROR_CORRUPT.
 */
gboolean chains_backup_make (ChainsDb *db, const char *target, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * chains_backup_load:
 * Reads @file, and changes nothing beside it unless it has a log. Raises %CHAINS_ERROR_NOT_FOUND,
 * %CHAINS_ERROR_CORRUPT, %CHAINS_ERROR_FOREIGN, %CHAINS_ERROR_NEWER. Returns: (transfer full)
 */
ChainsBackup *chains_backup_load (const char *file, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void chains_backup_free (ChainsBackup *backup);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsBackup, chains_backup_free)

/** The names of its VMs. Returns: (transfer full) (element-type utf8) */
GPtrArray *chains_backup_list_vms (ChainsBackup *backup);
/** What it says is under way: "VERB of VM". Returns: (transfer full) (element-type utf8) */
GPtrArray *chains_backup_list_unfinished (ChainsBackup *backup);
guint chains_backup_count_snapshots (ChainsBackup *backup);

/** Keeps @db as it is in @path.before-restore, with -2 … where taken. @kept: (out) (transfer full): that path */
gboolean chains_backup_keep (ChainsDb *db, char **kept, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * chains_backup_restore:
 * Replaces all that @db holds, in one transaction of its own: whoever reads meanwhile sees what was there to the end of
 * his, and a death at any instant leaves the one or the other. @db is to be closed then, since its version may be
 * another one.
 */
gboolean chains_backup_restore (ChainsBackup *backup, ChainsDb *db, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * chains_backup_replace:
 * The same for a database at @path that is damaged, and cannot be opened: moved aside with its log, as
 * chains_backup_keep() names it, and a new file in its place.
 */
gboolean chains_backup_replace (ChainsBackup *backup, const char *path, char **kept, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
