/*
 * The state folder for a group: its members may use the database, and may not
 * put other files beside it.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/**
 * chains_sharing_apply:
 * @folder: the state folder, with a database in it
 * Gives the folder (0750) and the database with its log and index (0660) to @group; for the files' owner alone to do,
 * else nothing is done. Raises %CHAINS_ERROR_READ_ONLY, %CHAINS_ERROR_IO.
 */
gboolean chains_sharing_apply (const char *folder, gid_t group, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Gives the one file or folder at @path, where it is there and ours, to @group, with that mode at least. */
gboolean chains_sharing_give (const char *path, gid_t group, mode_t mode, GError **error) G_GNUC_WARN_UNUSED_RESULT;
