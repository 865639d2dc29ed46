/*
 * The chains: images as a tree per disk, and snapshots over several disks.
 */
#pragma once

#include "chains/db.h"
#include "chains/model.h"

/** Adds @image and gives it its row id. An owned path that is owned already, or a path that the disk has already,
 * raises %CHAINS_ERROR_EXISTS, naming by whom. */
gboolean chains_store_add_image (ChainsDb *db, ChainsImage *image, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Writes @image's members (all but id and disk). Raises %CHAINS_ERROR_NOT_FOUND and those of adding, and
 * %CHAINS_ERROR_INVALID where it would be its own ancestor. */
gboolean chains_store_update_image (ChainsDb *db, const ChainsImage *image, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Forgets @image; the file is not touched. Raises %CHAINS_ERROR_INVALID, with what still needs it: another image, a
 * disk's base or active, a snapshot. */
gboolean chains_store_remove_image (ChainsDb *db, gint64 image, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full). Raises %CHAINS_ERROR_NOT_FOUND. */
ChainsImage *chains_store_get_image (ChainsDb *db, gint64 image, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) (element-type ChainsImage): the disk's tree, parents before children, oldest child first */
GPtrArray *chains_store_list_images (ChainsDb *db, gint64 disk, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) (element-type ChainsImage): every registered image at @path, of whichever VM */
GPtrArray *chains_store_find_images (ChainsDb *db, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Adds @snapshot with its disks and tags and gives it its sequence. Raises %CHAINS_ERROR_EXISTS,
 * %CHAINS_ERROR_INVALID. */
gboolean chains_store_add_snapshot (ChainsDb *db, ChainsSnapshot *snapshot, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Writes @snapshot's members, disks and tags (all but sequence, VM, id and created): its protection, or where its data
 * lies after a merge. Raises %CHAINS_ERROR_NOT_FOUND and those of adding. */
gboolean chains_store_update_snapshot (ChainsDb *db, const ChainsSnapshot *snapshot, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** Forgets the snapshot with exactly this @id. Raises %CHAINS_ERROR_NOT_FOUND. */
gboolean chains_store_remove_snapshot (ChainsDb *db, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) (element-type ChainsSnapshot) oldest first, by sequence; a few statements in all, not some
 * per row */
GPtrArray *chains_store_list_snapshots (ChainsDb *db, gint64 vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/**
 * chains_store_find_snapshot:
 * @reference: a name, else `latest`, else a unique prefix (4 or more) of an id
 * Returns: (transfer full). Raises %CHAINS_ERROR_NOT_FOUND (with the nearest name), %CHAINS_ERROR_AMBIGUOUS.
 */
ChainsSnapshot *chains_store_find_snapshot (ChainsDb *db, gint64 vm, const char *reference, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** Whether @vm has a snapshot called exactly @name. */
gboolean chains_store_has_snapshot (ChainsDb *db, gint64 vm, const char *name, gboolean *has, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
