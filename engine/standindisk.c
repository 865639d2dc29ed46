/*
 * Finds out which images a disk of a shut-off VM consists of: as they are
 * registered, or as the headers tell. Only looks, and believes no header that
 * leaves something to guess.
 */
#include "engine/standindisk.h"

#include "chains/images.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/inspect.h"
#include "engine/qcow2.h"

#include <string.h>

#define MAX_DEPTH 1000

static void
image_free (EngineStandinImage *image)
{
  g_free (image->path);
  g_free (image->format);
  g_free (image->options);
  g_free (image);
}

EngineStandinDisk *
engine_standindisk_new (const char *name)
{
  EngineStandinDisk *disk = g_new0 (EngineStandinDisk, 1);

  disk->name = g_strdup (name);
  disk->images = g_ptr_array_new_with_free_func ((GDestroyNotify)image_free);
  return disk;
}

void
engine_standindisk_free (EngineStandinDisk *disk)
{
  g_free (disk->name);
  g_ptr_array_unref (disk->images);
  g_free (disk);
}

void
engine_standindisk_add (EngineStandinDisk *disk, const char *path, const char *format, const char *options)
{
  EngineStandinImage *image = g_new0 (EngineStandinImage, 1);

  image->path = g_strdup (path);
  image->format = g_strdup (format);
  image->options = g_strdup (options);
  g_ptr_array_add (disk->images, image);
}

/* A name that says otherwise than the first bytes: a guest's doing, a lost header, or a format that is none of ours. */
static gboolean
check_kind (const char *disk, const char *path, gboolean qcow2, GError **error)
{
  static const char *const formats[] = {".qcow2", ".qcow", ".qed", ".vmdk", ".vdi", ".vhd", ".vhdx", ".vpc", NULL};
  const char *name = strrchr (path, '.');

  if (qcow2 && g_str_has_suffix (path, ".raw")) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "rename it, if it is one",
                      "disk '%s': '%s' is called raw and begins like a qcow2 image: its guest may have written that",
                      disk, path);
    return FALSE;
  }
  if (qcow2 || name == NULL || !g_strv_contains (formats, name))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "convert it with `qemu-img convert`, or rename it if it is raw",
                    "disk '%s': '%s' does not begin like a qcow2 image, and its name says that it is not raw", disk,
                    path);
  return FALSE;
}

static gboolean
refuse_backing (const char *disk, const char *path, const EngineQcow2 *header, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_REFUSED,
                    "say it in the header: `qemu-img rebase -u -b BACKING -F FORMAT IMAGE`",
                    "disk '%s': the header of '%s' names '%s' as its backing image, %s", disk, path, header->backing,
                    header->backing_format == NULL ? "and not its format" : "which is no local file");
  return FALSE;
}

/* A name with a protocol in front, as QEMU reads it; "file:" is none. */
static gboolean
has_protocol (const char *name)
{
  return !g_str_has_prefix (name, "file:") && name[strcspn (name, ":/")] == ':';
}

/* What the header at @path says lies below; %NULL in @below where that is nothing. */
static gboolean
read_below (const EngineStandinDisk *disk, const char *path, char **below, char **format, GError **error)
{
  g_autoptr (EngineQcow2) header = engine_qcow2_read (path, error);

  if (header == NULL)
    return FALSE;
  if (header->backing == NULL)
    return TRUE;
  if (header->backing_format == NULL || has_protocol (header->backing))
    return refuse_backing (disk->name, path, header, error);
  *below = engine_imagefile_resolve (path, header->backing);
  *format = g_strdup (header->backing_format);
  return TRUE;
}

static gboolean
refuse_circle (const EngineStandinDisk *disk, const char *path, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_REFUSED, NULL, "disk '%s': '%s' lies below itself, or too deep", disk->name,
                    path);
  return FALSE;
}

static gboolean
refuse_name (const EngineStandinDisk *disk, const char *path, GError **error)
{
  g_autofree char *shown = g_filename_display_name (path);

  engine_error_set (error, ENGINE_ERROR_REFUSED, "rename it", "disk '%s': '%s' is not UTF-8, and QEMU takes no other",
                    disk->name, shown);
  return FALSE;
}

static gboolean
check_is_image (const EngineStandinDisk *disk, const char *path, GError **error)
{
  EngineImagefile file;

  if (!engine_imagefile_stat (path, &file, error))
    return FALSE;
  if (!file.regular && !file.block)
    engine_error_set (error, ENGINE_ERROR_REFUSED, NULL, "disk '%s': '%s' is neither a file nor a block device",
                      disk->name, path);
  return file.regular || file.block;
}

gboolean
engine_standindisk_read (EngineStandinDisk *disk, const char *path, GError **error)
{
  g_autofree char *at = g_canonicalize_filename (path, NULL);
  g_autofree char *format = NULL;
  gboolean qcow2;

  if (!engine_qcow2_is (at, &qcow2, error) || !check_kind (disk->name, at, qcow2, error))
    return FALSE;
  format = g_strdup (qcow2 ? "qcow2" : "raw");
  while (at != NULL) {
    char *below = NULL, *below_format = NULL;

    if (disk->images->len == MAX_DEPTH)
      return refuse_circle (disk, path, error);
    if (!g_utf8_validate (at, -1, NULL))
      return refuse_name (disk, at, error);
    if (!check_is_image (disk, at, error))
      return FALSE;
    engine_standindisk_add (disk, at, format, NULL);
    if (g_str_equal (format, "qcow2") && !read_below (disk, at, &below, &below_format, error))
      return FALSE;
    g_free (at);
    g_free (format);
    at = below;
    format = below_format;
  }
  return TRUE;
}

static gboolean
add_registered (EngineVm *vm, const ChainsDisk *record, GPtrArray *disks, GError **error)
{
  EngineStandinDisk *disk = engine_standindisk_new (record->name);
  g_autoptr (GPtrArray) chain = NULL;

  g_ptr_array_add (disks, disk);
  if (!engine_inspect_chain (vm, record, ENGINE_INSPECT_HEADERS, error))
    return FALSE;
  chain = chains_images_get_chain (vm->context->db, record->active, error);
  for (guint i = 0; chain != NULL && i < chain->len; i++) {
    const ChainsImage *image = g_ptr_array_index (chain, i);

    engine_standindisk_add (disk, image->path, image->format, image->options);
  }
  return chain != NULL;
}

GPtrArray *
engine_standindisk_list_registered (EngineVm *vm, GError **error)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_standindisk_free);

  for (guint i = 0; i < vm->disks->len; i++) {
    const ChainsDisk *record = g_ptr_array_index (vm->disks, i);

    if (!record->ignored && !add_registered (vm, record, disks, error))
      return NULL;
  }
  return g_steal_pointer (&disks);
}
