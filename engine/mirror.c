/*
 * Mirrors: what is asked for becomes a plan, which engine/mirrorlife carries out.
 * Nothing here changes anything.
 */
#include "engine/mirror.h"

#include "engine/error.h"
#include "engine/mirrorlife.h"
#include "engine/opening.h"

#define VERB "mirror"

/* What a shut-off VM's stand-in begins ends with us. */
static gboolean
check_manner (const EngineVm *vm, const EngineMirrorRequest *request, GError **error)
{
  if (vm->standin == NULL || (!request->detach && request->plan.goal != ENGINE_MIRROR_FOLLOW))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_USAGE, "without --detach, and with --finish or --pivot",
                    "VM '%s' is shut off: there is no QEMU in which the copying could go on", request->vm);
  return FALSE;
}

gboolean
engine_mirror_run (EngineContext *context, const EngineMirrorRequest *request, EngineMirrorResult **result,
                   GError **error)
{
  EngineInflightManner manner = {.guard = {.freeze_timeout_us = request->freeze_timeout_us}, .detach = request->detach};
  g_autoptr (EngineVm) vm = engine_vm_open (context, request->vm, VERB, error);
  g_autoptr (EngineGraph) graph = vm != NULL ? engine_opening_run (vm, error) : NULL;
  g_autoptr (EngineOp) op = NULL;
  g_autoptr (EngineMirrorPlan) plan = NULL;

  if (graph == NULL || !check_manner (vm, request, error))
    return FALSE;
  op = engine_op_new (vm);
  plan = engine_mirrorplan_new (op, graph, &request->plan, error);
  if (plan == NULL)
    return FALSE;
  manner.guard.quiesce = request->quiesce != NULL ? *request->quiesce : vm->record->quiesce;
  manner.guard.stops = request->plan.goal == ENGINE_MIRROR_PIVOT || plan->intent->copies->overlays->len > 1;
  return context->dry_run ? engine_mirrorlife_pretend (op, plan, &manner, result, error)
                          : engine_mirrorlife_run (op, plan, &manner, result, error);
}
