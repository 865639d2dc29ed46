/*
 * Finds images in chains by device and inode, since QEMU may know them by other
 * paths than we do.
 */
#include "engine/mergelive.h"

#include "base/point.h"
#include "engine/graph.h"
#include "engine/mergeend.h"
#include "engine/pivot.h"

static gboolean
is_layer (const EngineLayer *layer, const EngineMergeImage *image)
{
  if (layer->inode != 0 && image->inode != 0)
    return layer->inode == image->inode && layer->device == image->device;
  return g_str_equal (layer->path, image->path);
}

static gboolean
is_in_chain (const EngineGraphDisk *disk, const EngineMergeImage *image)
{
  for (guint i = 0; i < disk->layers->len; i++)
    if (is_layer (g_ptr_array_index (disk->layers, i), image))
      return TRUE;
  return FALSE;
}

static gboolean
has_merged (const EngineGraphDisk *disk, const EngineMergePart *part)
{
  if (disk == NULL || !is_in_chain (disk, part->receiver))
    return FALSE;
  for (guint i = 0; i < part->images->len; i++)
    if (is_in_chain (disk, g_ptr_array_index (part->images, i)))
      return FALSE;
  return TRUE;
}

gboolean
engine_mergelive_find (EngineVm *vm, const EngineMergeIntent *intent, GPtrArray *merged, GError **error)
{
  g_autoptr (EngineGraph) graph = engine_graph_read (vm, error);

  for (guint i = 0; graph != NULL && i < intent->parts->len; i++) {
    EngineMergePart *part = g_ptr_array_index (intent->parts, i);

    if (has_merged (engine_graph_find (graph, part->disk), part))
      g_ptr_array_add (merged, part);
  }
  return graph != NULL;
}

gboolean
engine_mergelive_settle (EngineVm *vm, const char *op, const EngineMergeIntent *intent, GError **error)
{
  g_autoptr (GPtrArray) jobs = engine_mergeintent_jobs (intent), merged = g_ptr_array_new ();
  gboolean pivoting;

  return base_point_is_mutant ("rescue-records-nothing") ||
         (engine_pivot_settle_jobs (vm, op, jobs, &pivoting, error) &&
          engine_mergelive_find (vm, intent, merged, error) && engine_mergeend_record (vm, intent, merged, error));
}
