/*
 * Mirrors: what is asked for becomes a plan, which engine/mirrorlife carries out.
 * Nothing here changes anything.
 */
#include "engine/mirror.h"

#include "engine/mirrorlife.h"
#include "engine/opening.h"

#define VERB "mirror"

gboolean
engine_mirror_run (EngineContext *context, const EngineMirrorRequest *request, EngineMirrorResult **result,
                   GError **error)
{
  EngineInflightManner manner = {.guard = {.freeze_timeout_us = request->freeze_timeout_us}, .detach = request->detach};
  g_autoptr (EngineVm) vm = engine_vm_open (context, request->vm, VERB, error);
  g_autoptr (EngineGraph) graph = vm != NULL ? engine_opening_run (vm, error) : NULL;
  g_autoptr (EngineOp) op = NULL;
  g_autoptr (EngineMirrorPlan) plan = NULL;

  if (graph == NULL ||
      !engine_inflight_check_outlives (vm, request->detach || request->plan.goal == ENGINE_MIRROR_FOLLOW, "copying",
                                       "without --detach, and with --finish or --pivot", error))
    return FALSE;
  op = engine_op_new (vm);
  plan = engine_mirrorplan_new (op, graph, &request->plan, error);
  if (plan == NULL)
    return FALSE;
  manner.guard.quiesce = request->quiesce != NULL ? *request->quiesce : vm->record->quiesce;
  return context->dry_run ? engine_mirrorlife_pretend (op, plan, &manner, result, error)
                          : engine_mirrorlife_run (op, plan, &manner, result, error);
}
