/*
 * Looks for everything about a VM that is not as it should be, and says what
 * to do about each. Files and headers are looked at without QEMU.
 */
#include "engine/check.h"

#include "chains/error.h"
#include "chains/journal.h"
#include "engine/drift.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/op.h"
#include "engine/tree.h"

#define RESTORE "bring the file back, or restore it from a backup"

static void
check_header (const EngineTreeImage *image, const char *disk, GPtrArray *problems)
{
  const ChainsImage *row = image->image;
  g_autoptr (GError) failure = NULL;
  g_autoptr (EngineQcow2) header = engine_imagefile_read_qcow2 (row->path, &failure);
  const char *backing = image->parent != NULL ? image->parent->image->path : NULL;

  if (header == NULL) {
    engine_problem_add (problems, "bad-header", TRUE, disk, row->path, RESTORE, "%s", failure->message);
    return;
  }
  if (image->parent != NULL && g_strcmp0 (header->backing, backing) != 0 && row->created_by != NULL)
    engine_problem_add (problems, "wrong-backing-name", TRUE, disk, row->path,
                        "`qemu-img rebase -u` with the right name, while nothing uses it",
                        "'%s' names '%s' as its backing image, and that is '%s'", row->path,
                        header->backing != NULL ? header->backing : "none", backing);
  if (row->frozen_header != NULL && !g_str_equal (row->frozen_header, header->digest))
    engine_problem_add (problems, "image-changed", TRUE, disk, row->path, RESTORE,
                        "the header of '%s' was changed since it was frozen: the snapshots on it may be spoiled",
                        row->path);
}

static void
check_frozen (const EngineTreeImage *image, const char *disk, GPtrArray *problems)
{
  const ChainsImage *row = image->image;
  EngineImagefile file;

  if (row->frozen_mtime_ns == 0 || !engine_imagefile_stat (row->path, &file, NULL) || file.block)
    return;
  if (file.size != row->frozen_size || file.mtime_ns != row->frozen_mtime_ns)
    engine_problem_add (problems, "image-changed", TRUE, disk, row->path, RESTORE,
                        "'%s' was written to since it was frozen: the snapshots on it and above it may be spoiled",
                        row->path);
}

static void
check_image (const EngineTreeImage *image, const char *disk, GPtrArray *problems)
{
  if (image->state == ENGINE_TREE_MISSING) {
    engine_problem_add (problems, "image-missing", TRUE, disk, image->image->path, RESTORE, "image '%s' is missing",
                        image->image->path);
    return;
  }
  if (image->image->owned)
    check_frozen (image, disk, problems);
  if (image->image->owned && g_str_equal (image->image->format, "qcow2"))
    check_header (image, disk, problems);
}

static gboolean
check_images (EngineVm *vm, GPtrArray *problems, GError **error)
{
  g_autoptr (GPtrArray) trees = engine_tree_read (vm->context, vm->record, error);

  for (guint i = 0; trees != NULL && i < trees->len; i++) {
    const EngineTree *tree = g_ptr_array_index (trees, i);

    for (guint j = 0; j < tree->images->len; j++)
      check_image (g_ptr_array_index (tree->images, j), tree->disk->name, problems);
  }
  return trees != NULL;
}

static gboolean
check_operations (EngineVm *vm, GPtrArray *problems, GError **error)
{
  g_autoptr (GPtrArray) unfinished = chains_journal_list_unfinished (vm->context->db, vm->record->id, error);

  for (guint i = 0; unfinished != NULL && i < unfinished->len; i++) {
    const ChainsOp *op = g_ptr_array_index (unfinished, i);

    if (op->state == CHAINS_OP_OPEN)
      engine_problem_add (problems, "operation-unfinished", TRUE, NULL, NULL, "`chainctl recover`",
                          "operation %s (%s) has not ended", op->id, op->verb);
  }
  return unfinished != NULL;
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

static void
check_left_over_nodes (const EngineGraph *graph, GPtrArray *problems)
{
  const GPtrArray *nodes = qmp_nodes_get_all (graph->nodes);

  for (guint i = 0; i < nodes->len; i++) {
    const QmpNode *node = g_ptr_array_index (nodes, i);

    if (engine_op_is_ours (node->name) && !is_in_a_chain (graph, node->name))
      engine_problem_add (problems, "node-left-over", TRUE, NULL, node->filename, "`chainctl recover`",
                          "QEMU has the node '%s' open, which no disk uses", node->name);
  }
}

static gboolean
check_live (EngineVm *vm, GPtrArray *problems, GError **error)
{
  g_autoptr (EngineGraph) graph = NULL;

  if (!engine_vm_connect (vm, error))
    return FALSE;
  if (vm->monitor == NULL)
    return TRUE;
  graph = engine_graph_read (vm, error);
  if (graph == NULL || !engine_drift_find (vm, graph, problems, error))
    return FALSE;
  check_left_over_nodes (graph, problems);
  return TRUE;
}

GPtrArray *
engine_check_run (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, NULL, error);
  g_autoptr (GPtrArray) problems = engine_problem_list_new ();

  if (vm == NULL || !check_live (vm, problems, error) || !check_operations (vm, problems, error) ||
      !check_images (vm, problems, error))
    return NULL;
  return g_steal_pointer (&problems);
}
