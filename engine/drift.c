/*
 * Finds where a running QEMU and the database differ. Compares images by what
 * they are (inode and device), not by how their paths are written; a device
 * number that a reboot changed is forgiven where the path is the same.
 */
#include "engine/drift.h"

#include "chains/images.h"
#include "chains/snapshots.h"
#include "engine/error.h"
#include "engine/op.h"
#include "engine/tree.h"

#include <string.h>

#define START_RIGHT "start QEMU on the active images: `chainctl path VM DISK` names them"

static gboolean
same_image (const EngineLayer *layer, const ChainsImage *image)
{
  if (layer->inode != 0 && image->inode != 0)
    return layer->inode == image->inode && (layer->device == image->device || g_str_equal (layer->path, image->path));
  return g_str_equal (layer->path, image->path);
}

static void
compare_uuid (const EngineVm *vm, GPtrArray *problems)
{
  if (g_strcmp0 (vm->record->uuid, vm->uuid) != 0 && vm->record->uuid != NULL && vm->standin == NULL)
    engine_problem_add (problems, "another-vm", TRUE, NULL, NULL, START_RIGHT,
                        "the QEMU at '%s' has UUID %s; '%s' was registered with %s", vm->record->qmp,
                        vm->uuid != NULL ? vm->uuid : "none (a storage daemon)", vm->record->name, vm->record->uuid);
}

static EngineTreeImage *
find_image (const EngineTree *tree, const EngineLayer *layer)
{
  for (guint i = 0; i < tree->images->len; i++) {
    EngineTreeImage *image = g_ptr_array_index (tree->images, i);

    if (same_image (layer, image->image))
      return image;
  }
  return NULL;
}

static gboolean
is_above (const EngineTreeImage *image, const EngineTreeImage *below)
{
  while (image != NULL && image != below)
    image = image->parent;
  return image != NULL;
}

/* The snapshots whose data changes when @written is written to: its own, and those of every image above it. */
static char *
spoiled_by (const EngineTree *tree, const EngineTreeImage *written)
{
  g_autoptr (GString) names = g_string_new (NULL);

  for (guint i = 0; i < tree->images->len; i++) {
    const EngineTreeImage *image = g_ptr_array_index (tree->images, i);

    for (guint j = 0; is_above (image, written) && j < image->snapshots->len; j++)
      g_string_append_printf (names, "%s'%s'", names->len > 0 ? ", " : "",
                              (const char *)g_ptr_array_index (image->snapshots, j));
  }
  return names->len > 0 ? g_string_free (g_steal_pointer (&names), FALSE) : NULL;
}

/* QEMU runs on another image than the active one. The trap of the trade is that it is an older one of the same disk. */
static gboolean
add_wrong_active (EngineVm *vm, const ChainsDisk *record, const EngineLayer *layer, const ChainsImage *active,
                  GPtrArray *problems, GError **error)
{
  g_autoptr (GPtrArray) snapshots = chains_snapshots_list (vm->context->db, vm->record->id, error);
  g_autoptr (EngineTree) tree =
      snapshots != NULL ? engine_tree_read_disk (vm->context, chains_disk_copy (record), snapshots, error) : NULL;
  const EngineTreeImage *written;
  g_autofree char *spoiled = NULL;

  if (tree == NULL)
    return FALSE;
  written = find_image (tree, layer);
  spoiled = written != NULL ? spoiled_by (tree, written) : NULL;
  engine_problem_add (
      problems, "wrong-active-image", TRUE, record->name, layer->path, START_RIGHT,
      "disk '%s' runs on '%s', and its active image is '%s'%s%s", record->name, layer->path, active->path,
      spoiled != NULL ? ": QEMU was started again on an old image, and what the guest writes there spoils " : "",
      spoiled != NULL ? spoiled : "");
  return TRUE;
}

/* Walks both chains downwards side by side: live layers and remembered images. */
static gboolean
compare_chain (EngineVm *vm, const ChainsDisk *record, const EngineGraphDisk *disk, GPtrArray *problems, GError **error)
{
  gint64 row = record->active;

  for (guint i = 0; i < disk->layers->len && row != 0; i++) {
    const EngineLayer *layer = g_ptr_array_index (disk->layers, i);
    g_autoptr (ChainsImage) image = chains_images_get (vm->context->db, row, error);

    if (image == NULL)
      return FALSE;
    if (!same_image (layer, image)) {
      if (i == 0)
        return add_wrong_active (vm, record, layer, image, problems, error);
      engine_problem_add (problems, "wrong-chain", TRUE, record->name, layer->path, START_RIGHT,
                          "disk '%s' has '%s' in its chain where '%s' belongs", record->name, layer->path, image->path);
      return TRUE;
    }
    if (i == 0 && layer->node->virtual_size != image->virtual_size)
      engine_problem_add (problems, "resized", FALSE, record->name, layer->path, START_RIGHT,
                          "disk '%s' was resized from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT " bytes", record->name,
                          image->virtual_size, layer->node->virtual_size);
    row = image->parent;
  }
  return TRUE;
}

static const ChainsDisk *
find_record (const EngineVm *vm, const char *name)
{
  for (guint i = 0; i < vm->disks->len; i++) {
    const ChainsDisk *record = g_ptr_array_index (vm->disks, i);

    if (g_str_equal (record->name, name))
      return record;
  }
  return NULL;
}

static void
find_added (const EngineVm *vm, const EngineGraph *graph, GPtrArray *problems)
{
  for (guint i = 0; i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);

    if (disk->skipped == NULL && find_record (vm, disk->name) == NULL)
      engine_problem_add (problems, "disk-added", FALSE, disk->name, engine_graph_head (disk)->path, START_RIGHT,
                          "disk '%s' is not registered: it is left out", disk->name);
  }
}

static gboolean
is_in_a_chain (const EngineGraph *graph, const char *node)
{
  for (guint i = 0; i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);

    for (guint j = 0; j < disk->layers->len; j++) {
      const EngineLayer *layer = g_ptr_array_index (disk->layers, j);

      if (g_str_equal (layer->node->name, node) || (layer->file != NULL && g_str_equal (layer->file->name, node)))
        return TRUE;
    }
  }
  return FALSE;
}

/* A node with a name of ours that no disk uses: recovery has been here, so another database knows it, or none does. */
static void
find_strays (const EngineGraph *graph, GPtrArray *problems)
{
  const GPtrArray *nodes = qmp_nodes_get_all (graph->nodes);

  for (guint i = 0; i < nodes->len; i++) {
    const QmpNode *node = g_ptr_array_index (nodes, i);

    if (engine_op_is_ours (node->name) && !is_in_a_chain (graph, node->name))
      engine_problem_add (problems, "node-left-over", TRUE, NULL, node->filename,
                          "is another chainctl at work on this VM, with another --state? else stop and start QEMU",
                          "QEMU has the node '%s' open, which no disk uses", node->name);
  }
}

gboolean
engine_drift_find (EngineVm *vm, const EngineGraph *graph, GPtrArray *problems, GError **error)
{
  compare_uuid (vm, problems);
  for (guint i = 0; i < vm->disks->len; i++) {
    const ChainsDisk *record = g_ptr_array_index (vm->disks, i);
    const EngineGraphDisk *disk = engine_graph_find (graph, record->name);

    if (record->ignored)
      continue;
    if (disk == NULL || disk->skipped != NULL)
      engine_problem_add (problems, "disk-gone", TRUE, record->name, NULL, START_RIGHT,
                          "disk '%s' is registered, and QEMU has no such disk", record->name);
    else if (!compare_chain (vm, record, disk, problems, error))
      return FALSE;
  }
  find_added (vm, graph, problems);
  find_strays (graph, problems);
  return TRUE;
}

gboolean
engine_drift_refuse (EngineVm *vm, const EngineGraph *graph, GError **error)
{
  g_autoptr (GPtrArray) problems = engine_problem_list_new ();
  const EngineProblem *wrong;

  if (!engine_drift_find (vm, graph, problems, error))
    return FALSE;
  for (guint i = 0; i < problems->len; i++) {
    const EngineProblem *problem = g_ptr_array_index (problems, i);

    if (!problem->is_error)
      engine_context_warn (vm->context, problem->code, "VM '%s': %s", vm->record->name, problem->message);
  }
  wrong = engine_problem_first_error (problems);
  if (wrong == NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_DRIFT, wrong->repair, "VM '%s': %s", vm->record->name, wrong->message);
  return FALSE;
}
