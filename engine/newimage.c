/*
 * Makes blank images in place: there is no journal for them, so what a death
 * leaves is a file with the name that was asked for, and nothing in it.
 */
#include "engine/newimage.h"

#include "base/point.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/owner.h"
#include "engine/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512

EngineNewimage *
engine_newimage_new (const char *disk, const char *path, const char *format, gint64 virtual_size)
{
  EngineNewimage *image = g_new0 (EngineNewimage, 1);

  image->disk = g_strdup (disk);
  image->path = g_strdup (path);
  image->format = g_strdup (format);
  image->virtual_size = virtual_size;
  image->fd = -1;
  return image;
}

void
engine_newimage_free (EngineNewimage *image)
{
  if (image == NULL)
    return;
  if (image->fd >= 0)
    close (image->fd);
  g_free (image->disk);
  g_free (image->path);
  g_free (image->format);
  g_free (image->backing);
  g_free (image->backing_format);
  g_free (image);
}

static EngineQcow2Blank
blank_of (const EngineNewimage *image)
{
  return (EngineQcow2Blank){
      .backing = image->backing, .backing_format = image->backing_format, .virtual_size = image->virtual_size};
}

static gboolean
is_qcow2 (const EngineNewimage *image)
{
  return g_str_equal (image->format, "qcow2");
}

static gboolean
refuse (const EngineNewimage *image, const char *why, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_USAGE, NULL, "disk '%s': %s", image->disk, why);
  return FALSE;
}

gboolean
engine_newimage_check (const EngineNewimage *image, GError **error)
{
  const EngineQcow2Blank blank = blank_of (image);
  struct stat there;

  if (image->virtual_size <= 0 || image->virtual_size % SECTOR != 0)
    return refuse (image, "its size has to be a multiple of 512 bytes, and not 0", error);
  if (is_qcow2 (image) && engine_qcow2_blank_size (&blank) < 0)
    return refuse (image, "a qcow2 image cannot be as large as that", error);
  if (image->backing != NULL && !is_qcow2 (image))
    return refuse (image, "only a qcow2 image can have a backing image", error);
  if (image->backing != NULL && strlen (image->backing) > engine_qcow2_blank_max_backing (&blank))
    return refuse (image, "the path of its backing image is too long for a qcow2 header", error);
  if (lstat (image->path, &there) != 0)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_EXISTS, "move it away, or name another folder", "disk '%s': there is a '%s'",
                    image->disk, image->path);
  return FALSE;
}

static gboolean
cannot (const EngineNewimage *image, const char *what, GError **error)
{
  engine_error_set (error, errno == EEXIST ? ENGINE_ERROR_EXISTS : ENGINE_ERROR_FAILED, NULL,
                    "disk '%s': cannot %s '%s': %s", image->disk, what, image->path, g_strerror (errno));
  return FALSE;
}

static gboolean
fill (EngineContext *context, const EngineNewimage *image, GError **error)
{
  const EngineOwnerFile file = {image->disk, image->path, image->fd};
  const EngineQcow2Blank blank = blank_of (image);

  if (image->backing != NULL && !engine_owner_take (context, &file, image->backing, error))
    return FALSE;
  if (!(is_qcow2 (image) ? engine_qcow2_write_blank (image->fd, &blank)
                         : ftruncate (image->fd, (off_t)image->virtual_size) == 0))
    return cannot (image, "write", error);
  return TRUE;
}

gboolean
engine_newimage_make (EngineContext *context, EngineNewimage *image, GError **error)
{
  if (!base_point_before ("file", "create", error))
    return FALSE;
  image->fd = open (image->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (image->fd < 0)
    return cannot (image, "make", error);
  base_point_after ("file", "create");
  if (fill (context, image, error))
    return TRUE;
  engine_newimage_remove (image);
  return FALSE;
}

void
engine_newimage_remove (EngineNewimage *image)
{
  EngineImagefile ours, there;

  if (image->fd < 0)
    return;
  if (engine_imagefile_stat_fd (image->fd, &ours, NULL) && engine_imagefile_stat (image->path, &there, NULL) &&
      ours.device == there.device && ours.inode == there.inode)
    unlink (image->path);
  close (image->fd);
  image->fd = -1;
}

gboolean
engine_newimage_sync (const EngineNewimage *image, GError **error)
{
  return base_point_is_mutant ("received-not-synced") || fsync (image->fd) == 0 || cannot (image, "sync", error);
}

gint64
engine_newimage_allocated (const EngineNewimage *image)
{
  EngineImagefile file;

  return image->fd >= 0 && engine_imagefile_stat_fd (image->fd, &file, NULL) ? file.allocated : 0;
}
