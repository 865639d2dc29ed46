/*
 * Holds a description of an image against its file: is it there, does its
 * header name the right backing image, is it the very file or a copy of it.
 * Never changes a file; knows no database.
 */
#include "engine/claim.h"

#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/qcow2.h"

static gboolean
refuse (const ChainsImage *image, const char *why, GError **error)
{
  g_autofree char *shown = g_filename_display_name (image->path);

  engine_error_set (error, ENGINE_ERROR_REFUSED, "bring the right file there, or its own header back to what it was",
                    "'%s' cannot be the image that it should be: %s", shown, why);
  return FALSE;
}

static gboolean
check_header (ChainsImage *image, const char *backing, gboolean *changed, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (EngineQcow2) header = engine_qcow2_read (image->path, &failure);
  g_autofree char *why = NULL;

  if (header == NULL)
    return refuse (image, failure->message, error);
  if (!engine_imagefile_names (image->path, header->backing, backing)) {
    why = g_strdup_printf ("its header names '%s' as its backing image, and that should be '%s'",
                           header->backing != NULL ? header->backing : "none", backing != NULL ? backing : "none");
    return refuse (image, why, error);
  }
  if (header->virtual_size <= 0)
    return refuse (image, "its header gives it no size", error);
  image->virtual_size = header->virtual_size;
  *changed = image->frozen_header != NULL && !g_str_equal (image->frozen_header, header->digest);
  return TRUE;
}

void
engine_claim_learn_birth (ChainsImage *image)
{
  EngineImagefile file;

  image->born_ns = 0;
  if (g_path_is_absolute (image->path) && engine_imagefile_stat (image->path, &file, NULL) &&
      file.inode == image->inode && file.device == image->device)
    image->born_ns = file.born_ns;
}

/* An inode's number is used again, for a copy in the place of a lost file; a device's is another after a reboot. */
static gboolean
is_same (const ChainsImage *image, const EngineImagefile *file)
{
  if (image->inode != file->inode)
    return FALSE;
  return image->born_ns != 0 && file->born_ns != 0 ? image->born_ns == file->born_ns : image->device == file->device;
}

/* The times of the very file that was frozen tell whether it was written to since; those of a copy tell nothing. */
static void
take_identity (ChainsImage *image, const EngineImagefile *file)
{
  gboolean same = is_same (image, file);

  image->device = file->device;
  image->inode = file->inode;
  if (!same)
    g_clear_pointer (&image->created_by, g_free);
  if (image->frozen_size == 0)
    return;
  image->frozen_ctime_ns = file->ctime_ns;
  if (same)
    return;
  image->frozen_size = file->size;
  image->frozen_mtime_ns = file->mtime_ns;
}

/* A disk's bytes may begin like a qcow2 image where its guest wrote that: which of the two it is cannot be decided. */
static gboolean
check_raw (const ChainsImage *image, GError **error)
{
  gboolean qcow2;

  if (!g_str_equal (image->format, "raw"))
    return TRUE;
  if (!engine_qcow2_is (image->path, &qcow2, error))
    return FALSE;
  return !qcow2 || refuse (image, "it is described as raw, and begins like a qcow2 image", error);
}

gboolean
engine_claim_image (ChainsImage *image, const char *backing, gboolean *changed, GError **error)
{
  EngineImagefile file;

  *changed = FALSE;
  /* What is no local file can only be believed. */
  if (!g_path_is_absolute (image->path)) {
    image->device = image->inode = 0;
    return TRUE;
  }
  if (!engine_imagefile_stat (image->path, &file, error))
    return FALSE;
  if (!file.regular && !file.block)
    return refuse (image, "it is neither a file nor a block device", error);
  if (!check_raw (image, error))
    return FALSE;
  take_identity (image, &file);
  return !image->owned || !g_str_equal (image->format, "qcow2") || check_header (image, backing, changed, error);
}
