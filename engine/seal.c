/*
 * Changes the mode of image files, and nothing else of them; never that of a
 * foreign image, a block device, or a file that is not ours to change: that is
 * said, and no failure. When it is right to do so is the caller's to know.
 */
#include "engine/seal.h"

#include "base/point.h"
#include "engine/imagefile.h"

#include <errno.h>
#include <sys/stat.h>

#define WRITABLE (S_IWUSR | S_IWGRP | S_IWOTH)

guint
engine_seal_plan (const EngineContext *context, const ChainsImage *image)
{
  EngineImagefile file;

  if (!context->config->seal || !image->owned || !g_path_is_absolute (image->path) ||
      !engine_imagefile_stat (image->path, &file, NULL) || !file.regular)
    return 0;
  return (file.mode & WRITABLE) != 0 ? file.mode : 0;
}

static gboolean
set_mode (EngineContext *context, const char *disk, const char *path, guint mode, const char *name, GError **error)
{
  gboolean sealing = g_str_equal (name, "seal");

  if (!base_point_before ("file", name, error))
    return FALSE;
  if (chmod (path, mode) != 0)
    engine_context_warn (context, sealing ? "not-sealed" : "not-unsealed", "disk '%s': '%s' could not be made %s: %s",
                         disk, path, sealing ? "read-only" : "writable again", g_strerror (errno));
  base_point_after ("file", name);
  return TRUE;
}

gboolean
engine_seal_close (EngineContext *context, const char *disk, const char *path, guint mode, GError **error)
{
  EngineImagefile file;

  if (mode == 0 || !engine_imagefile_stat (path, &file, NULL) || !file.regular || (file.mode & WRITABLE) == 0)
    return TRUE;
  return set_mode (context, disk, path, file.mode & ~(guint)WRITABLE, "seal", error);
}

gboolean
engine_seal_open (EngineContext *context, const char *disk, const char *path, guint mode, GError **error)
{
  EngineImagefile file;

  if ((mode & WRITABLE) == 0 || !engine_imagefile_stat (path, &file, NULL) || !file.regular ||
      file.mode != (mode & ~(guint)WRITABLE))
    return TRUE;
  return set_mode (context, disk, path, mode, "unseal", error);
}
