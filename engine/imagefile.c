/*
 * Looks at image files without QEMU and without touching them. Knows stat(2)
 * and QEMU's byte-range locks.
 */
#include "engine/imagefile.h"

#include "base/point.h"
#include "engine/error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define QEMU_LOCK_BASE 100
#define QEMU_LOCK_BYTES 200

static gint64
to_ns (struct statx_timestamp time)
{
  return time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Two nodes of one block device are two inodes; no file system is device 0. */
static void
identify (EngineImagefile *file, const struct statx *st)
{
  file->device = file->block ? 0 : makedev (st->stx_dev_major, st->stx_dev_minor);
  file->inode = file->block ? makedev (st->stx_rdev_major, st->stx_rdev_minor) : st->stx_ino;
}

static gboolean
look (int fd, const char *path, EngineImagefile *out, GError **error)
{
  int flags = *path == '\0' ? AT_EMPTY_PATH : 0;
  struct statx st;

  if (statx (fd, path, flags, STATX_BASIC_STATS | STATX_BTIME, &st) != 0) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "image '%s': %s", path, g_strerror (errno));
    return FALSE;
  }
  *out = (EngineImagefile){
      .size = (gint64)st.stx_size,
      .allocated = (gint64)st.stx_blocks * 512,
      .mtime_ns = to_ns (st.stx_mtime),
      .ctime_ns = to_ns (st.stx_ctime),
      .born_ns = (st.stx_mask & STATX_BTIME) != 0 ? to_ns (st.stx_btime) : 0,
      .regular = S_ISREG (st.stx_mode),
      .block = S_ISBLK (st.stx_mode),
      .uid = st.stx_uid,
      .gid = st.stx_gid,
      .mode = st.stx_mode & 07777,
  };
  identify (out, &st);
  return TRUE;
}

gboolean
engine_imagefile_stat (const char *path, EngineImagefile *out, GError **error)
{
  if (*path == '\0') {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "an image without a path");
    return FALSE;
  }
  return look (AT_FDCWD, path, out, error);
}

gboolean
engine_imagefile_stat_fd (int fd, EngineImagefile *out, GError **error)
{
  return look (fd, "", out, error);
}

int
engine_imagefile_open (const char *path)
{
  return open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

gboolean
engine_imagefile_is_locked (const char *path)
{
  int fd = engine_imagefile_open (path);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = QEMU_LOCK_BASE, .l_len = QEMU_LOCK_BYTES};
  gboolean locked;

  if (fd < 0)
    return errno != ENOENT;
  locked = fcntl (fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
  close (fd);
  return locked;
}

char *
engine_imagefile_resolve (const char *path, const char *name)
{
  g_autofree char *folder = g_path_get_dirname (path);

  return g_canonicalize_filename (g_str_has_prefix (name, "file:") ? name + strlen ("file:") : name, folder);
}

gboolean
engine_imagefile_names (const char *path, const char *name, const char *target)
{
  g_autofree char *absolute = NULL;
  EngineImagefile named, meant;

  if (name == NULL || target == NULL)
    return name == target;
  absolute = engine_imagefile_resolve (path, name);
  if (engine_imagefile_stat (absolute, &named, NULL) && engine_imagefile_stat (target, &meant, NULL))
    return named.device == meant.device && named.inode == meant.inode;
  return g_str_equal (name, target) || g_str_equal (absolute, target);
}

const char *
engine_imagefile_driver (const char *path)
{
  EngineImagefile file;

  return engine_imagefile_stat (path, &file, NULL) && file.block ? "host_device" : "file";
}

gboolean
engine_imagefile_remove (const char *path, GError **error)
{
  if (!base_point_before ("file", "remove", error))
    return FALSE;
  if (unlink (path) != 0) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "cannot remove '%s': %s", path, g_strerror (errno));
    return FALSE;
  }
  base_point_after ("file", "remove");
  return TRUE;
}
