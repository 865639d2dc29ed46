/*
 * Commits: what is asked for becomes a plan, which engine/merge carries out. Asks a
 * person before points in time cease to exist.
 */
#include "engine/commit.h"

#include "engine/error.h"
#include "engine/opening.h"

#define VERB "commit"

/* A person is asked before points in time cease to exist that somebody gave names to. */
static gboolean
confirm (const EngineCommitRequest *request, const EngineMergeIntent *intent, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();

  for (guint i = 0; i < intent->destroyed->len; i++)
    g_ptr_array_add (names, ((const ChainsSnapshot *)g_ptr_array_index (intent->destroyed, i))->name);
  g_ptr_array_add (names, NULL);
  if (intent->destroyed->len == 0 || request->confirm == NULL ||
      request->confirm ((const char *const *)names->pdata, request->confirm_data))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "VM '%s': nothing was merged, as was answered", request->vm);
  return FALSE;
}

gboolean
engine_commit_run (EngineContext *context, const EngineCommitRequest *request, EngineMergeResult **result,
                   GError **error)
{
  const EngineMergePlanRequest asked = {ENGINE_MERGE_COMMIT, request->disks, request->top, request->base};
  EngineInflightManner manner = {.guard = {.freeze_timeout_us = request->freeze_timeout_us, .stops = TRUE},
                                 .detach = request->detach};
  g_autoptr (EngineVm) vm = engine_vm_open (context, request->vm, VERB, error);
  g_autoptr (EngineGraph) graph = NULL;
  g_autoptr (EngineOp) op = NULL;
  g_autoptr (EngineMergeIntent) intent = NULL;

  graph = vm != NULL ? engine_opening_run (vm, error) : NULL;
  if (graph == NULL ||
      !engine_inflight_check_outlives (vm, request->detach || (!request->pivot && request->top == NULL), "merge",
                                       "without --detach, and with --pivot where the active image is merged", error))
    return FALSE;
  op = engine_op_new (vm);
  intent = engine_mergeplan_new (op, graph, &asked, error);
  if (intent == NULL)
    return FALSE;
  intent->pivot = request->pivot;
  intent->keep_images = request->keep_images;
  intent->speed = request->speed;
  manner.guard.quiesce = request->quiesce != NULL ? *request->quiesce : vm->record->quiesce;
  if (context->dry_run)
    return engine_merge_pretend (op, intent, &manner, result, error);
  return confirm (request, intent, error) && engine_merge_run (op, intent, &manner, result, error);
}
