/*
 * Asks the kernel what a file system is and can do. The file that it makes to
 * find out never has a name, and is gone when it is closed.
 */
#include "engine/filesystem.h"

#include "engine/imagefile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Not in every linux/magic.h */
#define CIFS 0xff534d42
#define SMB2 0xfe534d42

const EngineFilesystemType *
engine_filesystem_type_of (guint32 magic)
{
  static const EngineFilesystemType types[] = {
      {"tmpfs", TMPFS_MAGIC, ENGINE_FILESYSTEM_MEMORY},
      {"ramfs", RAMFS_MAGIC, ENGINE_FILESYSTEM_MEMORY},
      {"nfs", NFS_SUPER_MAGIC, ENGINE_FILESYSTEM_NETWORK},
      {"cifs", CIFS, ENGINE_FILESYSTEM_NETWORK},
      {"cifs", SMB2, ENGINE_FILESYSTEM_NETWORK},
      {"smb", SMB_SUPER_MAGIC, ENGINE_FILESYSTEM_NETWORK},
      {"9p", V9FS_MAGIC, ENGINE_FILESYSTEM_NETWORK},
      {"fuse", FUSE_SUPER_MAGIC, ENGINE_FILESYSTEM_NETWORK},
      {"ceph", CEPH_SUPER_MAGIC, ENGINE_FILESYSTEM_NETWORK},
      {"afs", AFS_SUPER_MAGIC, ENGINE_FILESYSTEM_NETWORK},
      {"coda", CODA_SUPER_MAGIC, ENGINE_FILESYSTEM_NETWORK},
      {"", 0, ENGINE_FILESYSTEM_LOCAL},
  };
  const EngineFilesystemType *type = types;

  while (type->magic != 0 && type->magic != magic)
    type++;
  return type;
}

const EngineFilesystemType *
engine_filesystem_type (const char *path)
{
  struct statfs st;

  /* f_type is signed, and some numbers have the highest of 32 bits. */
  return engine_filesystem_type_of (statfs (path, &st) == 0 ? (guint32)st.f_type : 0);
}

static gboolean
makes_unnamed_files (const char *folder)
{
  int fd = open (folder, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);

  if (fd < 0)
    return errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL;
  close (fd);
  return TRUE;
}

gboolean
engine_filesystem_get_room (const char *folder, gint64 *available, gint64 *inodes)
{
  struct statvfs st;

  if (statvfs (folder, &st) != 0)
    return FALSE;
  *available = (gint64)MIN ((guint64)st.f_bavail * st.f_frsize, (guint64)G_MAXINT64);
  *inodes = st.f_files != 0 ? (gint64)MIN ((guint64)st.f_favail, (guint64)G_MAXINT64) : G_MAXINT64;
  return TRUE;
}

gboolean
engine_filesystem_look (const char *folder, EngineFilesystem *out)
{
  EngineImagefile file;
  gint64 available, inodes;

  if (!engine_imagefile_stat (folder, &file, NULL) || !engine_filesystem_get_room (folder, &available, &inodes))
    return FALSE;
  *out = (EngineFilesystem){
      .type = engine_filesystem_type (folder),
      .device = file.device,
      .unnamed_files = makes_unnamed_files (folder),
      .birth_times = file.born_ns != 0,
      .available = available,
      .inodes = inodes,
  };
  return TRUE;
}
