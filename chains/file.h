/*
 * The database as a file: what can be known of it before SQL is spoken to it,
 * how it comes into being, and copies of it. For the files of this folder.
 */
#pragma once

#include "chains/db.h"

/** Whether there is something at @path. Raises %CHAINS_ERROR_IO where that cannot be known. */
gboolean chains_file_exists (const char *path, gboolean *exists, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** The size in bytes of the write-ahead log of the database at @path, 0 where it has none. */
gint64 chains_file_get_wal_size (const char *path);
/** Whether we may make files beside @path, as SQLite must to read a log. */
gboolean chains_file_is_in_writable_folder (const char *path);

/**
 * chains_file_inspect:
 * Looks at @db's header and size alone: takes no part in its locking protocol for longer than that, runs no SQL and
 * changes nothing. Raises %CHAINS_ERROR_CORRUPT, %CHAINS_ERROR_FOREIGN.
 */
gboolean chains_file_inspect (ChainsDb *db, int *version, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Makes @folder (0700) where it is missing, and sees to it that files can be made in it. */
gboolean chains_file_prepare_folder (const char *folder, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Makes an empty file (0600) beside @path to build a database in. Returns: (transfer full): its path */
char *chains_file_make_draft (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Gives the synced @draft the name @path, unless something has that name already: then that is kept. */
gboolean chains_file_publish (const char *draft, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** As chains_file_publish(), but something that has that name already is an error. */
gboolean chains_file_publish_new (const char *draft, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Puts the synced @draft in the place of @path. */
gboolean chains_file_replace (const char *draft, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Gives the file @path the name @other too; else errno says why. */
gboolean chains_file_link (const char *path, const char *other) G_GNUC_WARN_UNUSED_RESULT;

/** Copies the committed state of @db's file into the empty file @draft. */
gboolean chains_file_copy_pages (ChainsDb *db, const char *draft, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Copies @db into the empty database @memory. */
gboolean chains_file_copy_to_memory (ChainsDb *db, sqlite3 *memory, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Copies the committed state of @db to a new file @target, synced; an existing one is kept, and @made is %FALSE. */
gboolean chains_file_copy (ChainsDb *db, const char *target, gboolean *made, GError **error) G_GNUC_WARN_UNUSED_RESULT;
