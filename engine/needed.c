/*
 * Looks in the database and in QEMU for others that have an image. A file is known by
 * device and inode, so that another name for it hides nobody.
 */
#include "engine/needed.h"

#include "chains/images.h"
#include "engine/blockdevice.h"
#include "engine/imagefile.h"

/* Whose the disk of row @id is, in words. Returns: (transfer full) (nullable): %NULL with @error */
static char *
describe_disk (EngineContext *context, gint64 id, GError **error)
{
  g_autoptr (GPtrArray) vms = chains_registry_list_vms (context->db, error);

  for (guint i = 0; vms != NULL && i < vms->len; i++) {
    const ChainsVm *vm = g_ptr_array_index (vms, i);
    g_autoptr (GPtrArray) disks = chains_registry_list_disks (context->db, vm->id, error);

    for (guint j = 0; disks != NULL && j < disks->len; j++)
      if (((const ChainsDisk *)g_ptr_array_index (disks, j))->id == id)
        return g_strdup_printf ("disk '%s' of VM '%s'", ((const ChainsDisk *)g_ptr_array_index (disks, j))->name,
                                vm->name);
    if (disks == NULL)
      return NULL;
  }
  return vms != NULL ? g_strdup ("another disk") : NULL;
}

/* What the row remembers of the file may be of another time: the file itself is asked. */
static gboolean
is_same (const ChainsImage *row, const char *path, const EngineImagefile *file)
{
  EngineImagefile other;

  if (g_str_equal (row->path, path))
    return TRUE;
  return engine_imagefile_stat (row->path, &other, NULL) && other.device == file->device && other.inode == file->inode;
}

gboolean
engine_needed_by_disk (EngineContext *context, gint64 disk, const char *path, char **who, GError **error)
{
  EngineImagefile file = {0};
  gboolean seen = g_path_is_absolute (path) && engine_imagefile_stat (path, &file, NULL);
  g_autoptr (GPtrArray) rows = chains_images_find_same (context->db, path, seen ? file.inode : 0, error);

  *who = NULL;
  for (guint i = 0; rows != NULL && i < rows->len; i++) {
    const ChainsImage *row = g_ptr_array_index (rows, i);

    if (row->disk == disk || !is_same (row, path, &file))
      continue;
    *who = describe_disk (context, row->disk, error);
    return *who != NULL;
  }
  return rows != NULL;
}

/* Two files were told apart by their inodes already. */
static gboolean
overlaps (const ChainsImage *row, const char *path, gboolean block)
{
  EngineImagefile other;

  return g_path_is_absolute (row->path) && engine_imagefile_stat (row->path, &other, NULL) && (block || other.block) &&
         engine_blockdevice_overlap (path, row->path);
}

/* @who: set where an image of @disk is on what @path is on */
static gboolean
look_at_disk (EngineContext *context, const ChainsDisk *disk, const char *path, gboolean block, char **who,
              GError **error)
{
  g_autoptr (GPtrArray) images = chains_images_list (context->db, disk->id, error);

  for (guint i = 0; images != NULL && i < images->len; i++) {
    if (!overlaps (g_ptr_array_index (images, i), path, block))
      continue;
    *who = describe_disk (context, disk->id, error);
    return *who != NULL;
  }
  return images != NULL;
}

gboolean
engine_needed_below (EngineContext *context, const char *path, char **who, GError **error)
{
  g_autoptr (GPtrArray) vms = chains_registry_list_vms (context->db, error);
  EngineImagefile file;
  gboolean block = engine_imagefile_stat (path, &file, NULL) && file.block;

  *who = NULL;
  for (guint i = 0; vms != NULL && i < vms->len; i++) {
    const ChainsVm *vm = g_ptr_array_index (vms, i);
    g_autoptr (GPtrArray) disks = chains_registry_list_disks (context->db, vm->id, error);

    if (disks == NULL)
      return FALSE;
    for (guint j = 0; j < disks->len && *who == NULL; j++)
      if (!look_at_disk (context, g_ptr_array_index (disks, j), path, block, who, error))
        return FALSE;
  }
  return vms != NULL;
}

static gboolean
is_of_layer (const EngineLayer *layer, const char *node)
{
  return g_str_equal (layer->node->name, node) || (layer->file != NULL && g_str_equal (layer->file->name, node)) ||
         (layer->between != NULL && g_str_equal (layer->between->name, node));
}

const char *
engine_needed_by_export (const EngineVm *vm, const GPtrArray *exports, const EngineGraphDisk *disk, guint index)
{
  if (index == 0 && (vm->daemon || vm->standin != NULL))
    return NULL;
  for (guint i = 0; i < exports->len; i++) {
    const QmpExport *one = g_ptr_array_index (exports, i);

    if (is_of_layer (g_ptr_array_index (disk->layers, index), one->node))
      return one->id;
  }
  return NULL;
}
