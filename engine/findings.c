/*
 * Looks for everything about a VM that is not as it should be, and says what
 * to do about each: operations, the live graph, every image, files left over.
 */
#include "engine/findings.h"

#include "chains/images.h"
#include "chains/journal.h"
#include "engine/drift.h"
#include "engine/ending.h"
#include "engine/imagefile.h"
#include "engine/inspect.h"
#include "engine/notebook.h"

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

/* A file that an operation made, that is still there, and that no image needs. */
static gboolean
check_left_over_file (EngineVm *vm, const ChainsOp *op, const EngineIntentOverlay *overlay, GPtrArray *problems,
                      GError **error)
{
  EngineImagefile file;
  g_autoptr (GPtrArray) users = NULL;

  if (overlay->inode == 0 || !engine_imagefile_stat (overlay->path, &file, NULL) ||
      !engine_ending_is_ours (overlay, &file))
    return TRUE;
  users = chains_images_find (vm->context->db, overlay->path, error);
  if (users != NULL && users->len == 0)
    engine_problem_add (problems, "file-left-over", FALSE, overlay->disk, overlay->path,
                        "remove it, once you are sure that nothing uses it",
                        "operation %s made '%s', and nothing uses it", op->id, overlay->path);
  return users != NULL;
}

static gboolean
check_left_over_files (EngineVm *vm, GPtrArray *problems, GError **error)
{
  g_autoptr (GPtrArray) ops = chains_journal_list (vm->context->db, vm->record->name, error);

  for (guint i = 0; ops != NULL && i < ops->len; i++) {
    const ChainsOp *op = g_ptr_array_index (ops, i);
    g_autoptr (EngineIntent) intent = op->state == CHAINS_OP_UNDONE ? engine_intent_from_json (op->intent, NULL) : NULL;

    for (guint j = 0; intent != NULL && j < intent->overlays->len; j++)
      if (!check_left_over_file (vm, op, g_ptr_array_index (intent->overlays, j), problems, error))
        return FALSE;
  }
  return ops != NULL;
}

gboolean
engine_findings_add (EngineVm *vm, const EngineGraph *graph, GPtrArray *problems, GError **error)
{
  return (graph == NULL || engine_drift_find (vm, graph, problems, error)) && check_operations (vm, problems, error) &&
         check_images (vm, problems, error) && check_left_over_files (vm, problems, error) &&
         engine_notebook_check (vm, problems, error);
}
