/*
 * Checks what is asked of a receiver: names that are file names and exports too,
 * sizes, backing images, room, certificates. Changes nothing.
 */
#include "engine/receiveplan.h"

#include "engine/error.h"
#include "engine/filesystem.h"
#include "engine/imagefile.h"
#include "engine/qcow2.h"
#include "engine/standindisk.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LONGEST_NAME 128

static gboolean
check_name (const char *name, GError **error)
{
  gboolean plain = *name != '\0' && *name != '.' && *name != '-' && strlen (name) <= LONGEST_NAME &&
                   g_utf8_validate (name, -1, NULL);

  for (const char *at = name; plain && *at != '\0'; at = g_utf8_next_char (at))
    plain = *at != '/' && !g_unichar_iscntrl (g_utf8_get_char (at));
  if (!plain)
    engine_error_set (error, ENGINE_ERROR_USAGE, NULL,
                      "'%s' cannot name a disk that is received: it names a file and an export", name);
  return plain;
}

static gboolean
check_format (const EngineReceiveDisk *disk, GError **error)
{
  if (g_str_equal (disk->format, "qcow2") || g_str_equal (disk->format, "raw"))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_USAGE, NULL, "disk '%s': its format '%s' is neither qcow2 nor raw", disk->name,
                    disk->format);
  return FALSE;
}

/* A backing image that grew in its overlays is smaller than the disk, and that is right; else it is a slip. */
static gboolean
read_backing_size (const EngineNewimage *image, gint64 *size, GError **error)
{
  EngineImagefile file;

  if (g_str_equal (image->backing_format, "qcow2"))
    return engine_qcow2_read_size (image->backing, size, error);
  if (!engine_imagefile_stat (image->backing, &file, error))
    return FALSE;
  *size = file.block ? image->virtual_size : file.size;
  return TRUE;
}

/* Its chain as its header tells it, or an error: what QEMU would have to guess is refused. */
static gboolean
put_below (EngineContext *context, EngineNewimage *image, const char *backing, GError **error)
{
  g_autoptr (EngineStandinDisk) chain = engine_standindisk_new (image->disk);
  const EngineStandinImage *top;
  gint64 size;

  if (!engine_standindisk_read (chain, backing, error))
    return FALSE;
  top = g_ptr_array_index (chain->images, 0);
  image->backing = g_strdup (top->path);
  image->backing_format = g_strdup (top->format);
  if (!read_backing_size (image, &size, error))
    return FALSE;
  if (size != image->virtual_size)
    engine_context_warn (context, "backing-size",
                         "disk '%s' is to have %" G_GINT64_FORMAT
                         " bytes, and its backing image '%s' has %" G_GINT64_FORMAT
                         ": right only where the disk was resized since",
                         image->disk, image->virtual_size, image->backing, size);
  return TRUE;
}

static EngineNewimage *
plan_image (EngineContext *context, const char *folder, const EngineReceiveDisk *disk, GError **error)
{
  g_autofree char *name = g_strconcat (disk->name, ".", disk->format, NULL);
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autoptr (EngineNewimage) image = engine_newimage_new (disk->name, path, disk->format, disk->size);

  if (!check_name (disk->name, error) || !check_format (disk, error) ||
      (disk->backing != NULL && !put_below (context, image, disk->backing, error)) ||
      !engine_newimage_check (image, error))
    return NULL;
  return g_steal_pointer (&image);
}

static gboolean
check_twice (const GPtrArray *images, const EngineNewimage *image, GError **error)
{
  for (guint i = 0; i < images->len; i++) {
    const EngineNewimage *other = g_ptr_array_index (images, i);

    if (!g_str_equal (other->disk, image->disk))
      continue;
    engine_error_set (error, ENGINE_ERROR_USAGE, NULL, "disk '%s' is named twice", image->disk);
    return FALSE;
  }
  return TRUE;
}

/* Holes and zeroes take none, so that it may well fit. */
static void
look_for_room (EngineContext *context, const char *folder, const GPtrArray *images)
{
  gint64 sum = 0, available, inodes;

  for (guint i = 0; i < images->len; i++)
    sum += MIN (((const EngineNewimage *)g_ptr_array_index (images, i))->virtual_size, G_MAXINT64 - sum);
  if (engine_filesystem_get_room (folder, &available, &inodes) && available < sum)
    engine_context_warn (context, "little-room",
                         "in '%s' there is room for %" G_GINT64_FORMAT
                         " bytes, and full disks would take %" G_GINT64_FORMAT,
                         folder, available, sum);
}

static gboolean
check_text (const char *path, GError **error)
{
  g_autofree char *shown = g_filename_display_name (path);

  if (g_utf8_validate (path, -1, NULL))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "rename it", "'%s' is not UTF-8, and QEMU takes no other", shown);
  return FALSE;
}

static gboolean
check_folder (const char *folder, GError **error)
{
  if (!check_text (folder, error))
    return FALSE;
  if (g_file_test (folder, G_FILE_TEST_IS_DIR) && access (folder, W_OK | X_OK) == 0)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_FAILED, g_file_test (folder, G_FILE_TEST_EXISTS) ? NULL : "make it first",
                    "no images can be made in '%s': %s", folder,
                    g_file_test (folder, G_FILE_TEST_EXISTS) && !g_file_test (folder, G_FILE_TEST_IS_DIR)
                        ? "it is no folder"
                        : g_strerror (errno));
  return FALSE;
}

static gboolean
check_certificates (const char *folder, GError **error)
{
  static const char *const names[] = {"ca-cert.pem", "server-cert.pem", "server-key.pem"};

  if (!check_text (folder, error))
    return FALSE;
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *path = g_build_filename (folder, names[i], NULL);

    if (access (path, R_OK) == 0)
      continue;
    engine_error_set (error, ENGINE_ERROR_FAILED, "QEMU's documentation, \"Setting up x.509\", tells how to make them",
                      "nothing can be served with TLS: '%s': %s", path, g_strerror (errno));
    return FALSE;
  }
  return TRUE;
}

GPtrArray *
engine_receiveplan_make (EngineContext *context, const EngineReceiveRequest *request, GError **error)
{
  g_autoptr (GPtrArray) images = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_newimage_free);
  g_autofree char *folder = g_canonicalize_filename (request->folder, NULL);

  if (!check_folder (folder, error) || (request->tls_creds != NULL && !check_certificates (request->tls_creds, error)))
    return NULL;
  for (guint i = 0; i < request->disks->len; i++) {
    EngineNewimage *image = plan_image (context, folder, g_ptr_array_index (request->disks, i), error);
    gboolean once = image != NULL && check_twice (images, image, error);

    if (image != NULL)
      g_ptr_array_add (images, image);
    if (!once)
      return NULL;
  }
  look_for_room (context, folder, images);
  return g_steal_pointer (&images);
}
