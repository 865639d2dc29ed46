/*
 * The chains: images as a tree per disk.
 */
#pragma once

#include "chains/db.h"
#include "chains/model.h"

/** Adds @image and gives it its row id. An owned path that is owned already, or a path that the disk has already,
 * raises %CHAINS_ERROR_EXISTS, naming by whom. */
gboolean chains_images_add (ChainsDb *db, ChainsImage *image, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Writes @image's members (all but id and disk). Raises %CHAINS_ERROR_NOT_FOUND and those of adding, and
 * %CHAINS_ERROR_INVALID where it would be its own ancestor. */
gboolean chains_images_update (ChainsDb *db, const ChainsImage *image, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Forgets @image; the file is not touched. Raises %CHAINS_ERROR_INVALID, with what still needs it: another image, a
 * disk's base or active, a snapshot. */
gboolean chains_images_remove (ChainsDb *db, gint64 image, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full). Raises %CHAINS_ERROR_NOT_FOUND. */
ChainsImage *chains_images_get (ChainsDb *db, gint64 image, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** The image and all that lie below it, from it down; none where @id is 0. Returns: (transfer full) (element-type
 * ChainsImage) */
GPtrArray *chains_images_get_chain (ChainsDb *db, gint64 id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) (element-type ChainsImage): the disk's tree, parents before children, oldest child first */
GPtrArray *chains_images_list (ChainsDb *db, gint64 disk, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) (element-type ChainsImage): every registered image at @path, or remembered with @inode
 * (0: none is), of whichever VM */
GPtrArray *chains_images_find_same (ChainsDb *db, const char *path, guint64 inode, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) (element-type ChainsImage): every registered image at @path, of whichever VM */
GPtrArray *chains_images_find (ChainsDb *db, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
