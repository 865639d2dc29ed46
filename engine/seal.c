/*
 * Changes the mode of image files, and nothing else of them; never that of a
 * foreign image, a block device, or a file that is not ours to change: that is
 * said, and no failure. When it is right to do so is the caller's to know.
 */
#include "engine/seal.h"

#include "base/point.h"
#include "engine/imagefile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITABLE (S_IWUSR | S_IWGRP | S_IWOTH)

G_DEFINE_AUTO_CLEANUP_FREE_FUNC (int, close, -1)

guint
engine_seal_plan (const EngineContext *context, const ChainsImage *image)
{
  EngineImagefile file;

  if (!context->config->seal || !image->owned || !g_path_is_absolute (image->path) ||
      !engine_imagefile_stat (image->path, &file, NULL) || !file.regular)
    return 0;
  return (file.mode & WRITABLE) != 0 ? file.mode : 0;
}

/*
 * The very file that is remembered, and nothing that somebody who may write to its folder has put in its place: -1 for
 * anything else. A device's number may be another one after a reboot; then the name has to be the file's own.
 */
static int
open_image (const EngineSealFile *sealed, EngineImagefile *file)
{
  int flags = O_PATH | O_CLOEXEC;
  int fd = open (sealed->path, flags);
  gboolean seen = fd >= 0 && engine_imagefile_stat_fd (fd, file, NULL);

  if (seen && file->inode == sealed->inode && file->device != sealed->device) {
    close (fd);
    fd = open (sealed->path, flags | O_NOFOLLOW);
    seen = fd >= 0 && engine_imagefile_stat_fd (fd, file, NULL);
  }
  if (seen && file->regular && file->inode == sealed->inode)
    return fd;
  if (fd >= 0)
    close (fd);
  return -1;
}

static gboolean
set_mode (EngineContext *context, const EngineSealFile *sealed, int fd, guint mode, const char *name, GError **error)
{
  gboolean sealing = g_str_equal (name, "seal");
  g_autofree char *opened = g_strdup_printf ("/proc/self/fd/%d", fd);

  if (!base_point_before ("file", name, error))
    return FALSE;
  if (chmod (opened, mode) != 0)
    engine_context_warn (context, sealing ? "not-sealed" : "not-unsealed", "disk '%s': '%s' could not be made %s: %s",
                         sealed->disk, sealed->path, sealing ? "read-only" : "writable again", g_strerror (errno));
  base_point_after ("file", name);
  return TRUE;
}

gboolean
engine_seal_close (EngineContext *context, const EngineSealFile *sealed, guint mode, GError **error)
{
  EngineImagefile file;
  g_auto (int) fd = mode != 0 ? open_image (sealed, &file) : -1;

  return fd < 0 || (file.mode & WRITABLE) == 0 ||
         set_mode (context, sealed, fd, file.mode & ~(guint)WRITABLE, "seal", error);
}

gboolean
engine_seal_open (EngineContext *context, const EngineSealFile *sealed, guint mode, GError **error)
{
  EngineImagefile file;
  g_auto (int) fd = (mode & WRITABLE) != 0 ? open_image (sealed, &file) : -1;

  return fd < 0 || file.mode != (mode & ~(guint)WRITABLE) || set_mode (context, sealed, fd, mode, "unseal", error);
}
