/*
 * Looks for everything about a VM that is not as it should be, and says what
 * to do about each: operations, the live graph, left-over nodes, every image.
 */
#include "engine/check.h"

#include "chains/journal.h"
#include "engine/drift.h"
#include "engine/inspect.h"
#include "engine/op.h"

static gboolean
check_images (EngineVm *vm, GPtrArray *problems, GError **error)
{
  g_autoptr (GPtrArray) trees = engine_tree_read (vm->context, vm->record, error);

  for (guint i = 0; trees != NULL && i < trees->len; i++) {
    const EngineTree *tree = g_ptr_array_index (trees, i);

    for (guint j = 0; j < tree->images->len; j++)
      engine_inspect_image (g_ptr_array_index (tree->images, j), tree->disk->name, ENGINE_INSPECT_HEADERS, problems);
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
