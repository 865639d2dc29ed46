/*
 * Snapshots: named points in time over several disks.
 */
#pragma once

#include "chains/db.h"
#include "chains/model.h"

/** Whether @snapshot could be added: its name is allowed and free, its texts are what the database takes. Raises
 * %CHAINS_ERROR_EXISTS, %CHAINS_ERROR_INVALID. */
gboolean chains_snapshots_check (ChainsDb *db, const ChainsSnapshot *snapshot, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** Adds @snapshot with its disks and tags and gives it its sequence, unless it has one that is free. Raises
 * %CHAINS_ERROR_EXISTS, %CHAINS_ERROR_INVALID. */
gboolean chains_snapshots_add (ChainsDb *db, ChainsSnapshot *snapshot, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Writes @snapshot's members, disks and tags (all but sequence, VM, id and created): its protection, for one. Raises
 * %CHAINS_ERROR_NOT_FOUND and those of adding. */
gboolean chains_snapshots_update (ChainsDb *db, const ChainsSnapshot *snapshot, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** The parts that froze the image @from have their data in @image from now on; those whose overlay it was have
 * @overlay, or 0 where there is none. */
gboolean chains_snapshots_move_parts (ChainsDb *db, gint64 from, gint64 image, gint64 overlay, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** Forgets the snapshot with exactly this @id. Raises %CHAINS_ERROR_NOT_FOUND. */
gboolean chains_snapshots_remove (ChainsDb *db, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) (element-type ChainsSnapshot) oldest first, by sequence; a few statements in all, not some
 * per row */
GPtrArray *chains_snapshots_list (ChainsDb *db, gint64 vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/**
 * chains_snapshots_find:
 * @reference: a name, else `latest`, else a unique prefix (4 or more) of an id
 * Returns: (transfer full). Raises %CHAINS_ERROR_NOT_FOUND (with the nearest name), %CHAINS_ERROR_AMBIGUOUS.
 */
ChainsSnapshot *chains_snapshots_find (ChainsDb *db, gint64 vm, const char *reference, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** Whether @vm has a snapshot called exactly @name. */
gboolean chains_snapshots_has (ChainsDb *db, gint64 vm, const char *name, gboolean *has, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
