/*
 * Makes an overlay's file: without a name first where the file system can, then
 * with its name, which never replaces another's, then on the disk.
 */
#include "engine/overlayfile.h"

#include "base/point.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/owner.h"
#include "engine/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void
engine_overlayfile_close (EngineOverlay *overlay)
{
  if (overlay->fd >= 0)
    close (overlay->fd);
  overlay->fd = -1;
}

static gboolean
take_owner (EngineVm *vm, const EngineOverlay *overlay, GError **error)
{
  const EngineOwnerFile file = {overlay->disk->name, overlay->intent->path, overlay->fd};

  return engine_owner_take (vm->context, &file, engine_graph_head (overlay->disk)->path, error);
}

static gboolean
cannot_make (const EngineOverlay *overlay, GError **error)
{
  engine_error_set (error, errno == EEXIST ? ENGINE_ERROR_EXISTS : ENGINE_ERROR_FAILED, NULL,
                    "disk '%s': cannot make '%s': %s", overlay->disk->name, overlay->intent->path, g_strerror (errno));
  return FALSE;
}

static gboolean
has_no_unnamed_files (int error_number)
{
  return error_number == EOPNOTSUPP || error_number == EISDIR || error_number == EINVAL;
}

static gboolean
note_identity (EngineOverlay *overlay, GError **error)
{
  EngineImagefile file;

  if (!engine_imagefile_stat_fd (overlay->fd, &file, error))
    return FALSE;
  overlay->intent->device = file.device;
  overlay->intent->inode = file.inode;
  overlay->intent->born_ns = file.born_ns;
  return TRUE;
}

/* It begins its way to the disk at once: what else is to be done takes about as long. */
static gboolean
fill (EngineOverlay *overlay, GError **error)
{
  const EngineQcow2Blank blank = engine_overlay_blank (overlay);
  gboolean qcow2 = g_str_equal (overlay->intent->format, "qcow2");

  if (!(qcow2 ? engine_qcow2_write_blank (overlay->fd, &blank)
              : ftruncate (overlay->fd, (off_t)blank.virtual_size) == 0)) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "disk '%s': cannot write '%s': %s", overlay->disk->name,
                      overlay->intent->path, g_strerror (errno));
    return FALSE;
  }
  sync_file_range (overlay->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
  g_free (overlay->intent->stamp);
  overlay->intent->stamp = qcow2 ? engine_qcow2_read_stamp (overlay->fd) : NULL;
  return TRUE;
}

static gboolean
reserve (EngineVm *vm, EngineOverlay *overlay, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (overlay->intent->path);

  overlay->fd = open (folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (overlay->fd < 0)
    return has_no_unnamed_files (errno) || cannot_make (overlay, error);
  return take_owner (vm, overlay, error) && note_identity (overlay, error) && fill (overlay, error);
}

gboolean
engine_overlayfile_reserve (EngineVm *vm, const GPtrArray *overlays, GError **error)
{
  for (guint i = 0; i < overlays->len; i++) {
    EngineOverlay *overlay = g_ptr_array_index (overlays, i);

    if (!overlay->intent->reused && !reserve (vm, overlay, error))
      return FALSE;
  }
  return TRUE;
}

/* linkat(2) never replaces a file, and neither does O_EXCL. */
static gboolean
name_file (EngineVm *vm, EngineOverlay *overlay, GError **error)
{
  const char *path = overlay->intent->path;
  g_autofree char *unnamed = NULL;

  if (overlay->fd >= 0) {
    unnamed = g_strdup_printf ("/proc/self/fd/%d", overlay->fd);
    return linkat (AT_FDCWD, unnamed, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 || cannot_make (overlay, error);
  }
  overlay->fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (overlay->fd < 0)
    return cannot_make (overlay, error);
  return note_identity (overlay, error) && take_owner (vm, overlay, error) && fill (overlay, error);
}

gboolean
engine_overlayfile_make (EngineVm *vm, EngineOverlay *overlay, GError **error)
{
  if (!base_point_before ("file", "create", error) || !name_file (vm, overlay, error))
    return FALSE;
  base_point_after ("file", "create");
  return TRUE;
}

gboolean
engine_overlayfile_sync_folder (const char *folder, GError **error)
{
  int fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  gboolean synced = fd >= 0 && (base_point_is_mutant ("folder-not-synced") || fsync (fd) == 0);

  if (!synced)
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "cannot sync the folder '%s': %s", folder, g_strerror (errno));
  if (fd >= 0)
    close (fd);
  return synced;
}

static gboolean
sync_file (EngineOverlay *overlay, GError **error)
{
  const char *path = overlay->intent->path;

  if (!base_point_before ("file", "sync", error))
    return FALSE;
  if (!base_point_is_mutant ("file-not-synced") && fsync (overlay->fd) != 0) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "cannot sync '%s': %s", path, g_strerror (errno));
    return FALSE;
  }
  engine_overlayfile_close (overlay);
  base_point_after ("file", "sync");
  return TRUE;
}

/* A folder that several lie in is synced once. */
gboolean
engine_overlayfile_sync (const GPtrArray *overlays, GError **error)
{
  g_autoptr (GHashTable) folders = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  GHashTableIter iter;
  gpointer folder;

  for (guint i = 0; i < overlays->len; i++) {
    const EngineOverlay *overlay = g_ptr_array_index (overlays, i);

    if (overlay->intent->reused)
      continue;
    g_hash_table_add (folders, g_path_get_dirname (overlay->intent->path));
  }
  for (guint i = 0; i < overlays->len; i++) {
    EngineOverlay *overlay = g_ptr_array_index (overlays, i);

    if (!overlay->intent->reused && !sync_file (overlay, error))
      return FALSE;
  }
  g_hash_table_iter_init (&iter, folders);
  while (g_hash_table_iter_next (&iter, &folder, NULL))
    if (!engine_overlayfile_sync_folder (folder, error))
      return FALSE;
  return TRUE;
}
