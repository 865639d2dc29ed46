/*
 * Plans a mirror, disk by disk. Refuses what could not end well while nothing is
 * begun.
 */
#include "engine/mirrorplan.h"

#include "chains/images.h"
#include "engine/automatic.h"
#include "engine/copyroom.h"
#include "engine/error.h"
#include "engine/preflight.h"
#include "engine/seal.h"

/* One disk while it is planned. Borrowed. */
typedef struct {
  EngineOp *op;
  EngineMirrorPlan *plan;
  const EngineMirrorPlanRequest *request;
  const EngineTargetRequest *target;
  ChainsDisk *record;
  const EngineGraphDisk *disk;
  char **arguments;
} Part;

void
engine_mirrorplan_free (EngineMirrorPlan *plan)
{
  if (plan == NULL)
    return;
  engine_target_list_clear (&plan->targets);
  g_clear_pointer (&plan->intent, engine_mirrorintent_free);
  g_clear_pointer (&plan->credentials, json_object_unref);
  g_free (plan);
}

static gboolean
refuse (const Part *part, const char *hint, const char *why, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_REFUSED, hint, "VM '%s', disk '%s' cannot be copied: %s",
                    part->op->vm->record->name, part->record->name, why);
  return FALSE;
}

/* ---- what the guest would leave ---- */

/* All of the old chain, the head first; of a copy that stands on what the head stood on, the head alone. */
static void
plan_retirement (const Part *part)
{
  guint count = part->request->sync == ENGINE_MIRROR_TOP ? 1 : part->disk->layers->len;

  for (guint i = 0; i < count && part->op->vm->standin == NULL; i++) {
    const EngineLayer *layer = g_ptr_array_index (part->disk->layers, i);

    engine_intent_retire (part->plan->intent->copies, layer->node);
    engine_intent_retire (part->plan->intent->copies, layer->file);
  }
}

static gboolean
plan_pivot (const Part *part, GError **error)
{
  EngineIntent *copies = part->plan->intent->copies;
  EngineIntentOverlay *copy = g_ptr_array_index (copies->overlays, copies->overlays->len - 1);
  EngineVm *vm = part->op->vm;
  g_autoptr (ChainsImage) active = chains_images_get (vm->context->db, part->record->active, error);

  if (active == NULL)
    return FALSE;
  copy->head_mode = engine_seal_plan (vm->context, active);
  /* QEMU would put the copy in the place of the filters, too: of a throttle, for one. */
  if (part->disk->filters->len > 0)
    copy->head_node = g_strdup (engine_graph_head (part->disk)->node->name);
  plan_retirement (part);
  return TRUE;
}

/* ---- one disk ---- */

static gboolean
check_disk (const Part *part, GError **error)
{
  if (part->disk == NULL || part->disk->skipped != NULL || part->disk->layers->len == 0)
    return refuse (part, "copy the others, with --disk", "it has no medium now, or is gone", error);
  if (engine_graph_head (part->disk)->node->encrypted)
    return refuse (part, NULL, "it is encrypted, and the copy would not be", error);
  return TRUE;
}

static gboolean
plan_part (const Part *part, GError **error)
{
  EngineVm *vm = part->op->vm;
  EngineMirrorIntent *intent = part->plan->intent;
  g_autoptr (ChainsImage) active = chains_images_get (vm->context->db, part->record->active, error);
  EngineNodeOptions *options;

  if (active == NULL || !check_disk (part, error))
    return FALSE;
  options = engine_nodeoptions_find (part->disk, part->arguments, active->options);
  if (!engine_target_plan (part->op, intent, part->disk, options, part->target, &part->plan->targets, error))
    return FALSE;
  g_ptr_array_add (intent->roots, g_strdup (engine_graph_root (part->disk)));
  return intent->goal != ENGINE_MIRROR_PIVOT || plan_pivot (part, error);
}

static gboolean
is_chosen (const EngineVm *vm, const EngineMirrorPlanRequest *request, const ChainsDisk *record,
           const EngineGraphDisk *disk)
{
  if (request->disks != NULL)
    return g_strv_contains (request->disks, record->name);
  return !record->ignored && disk != NULL && disk->skipped == NULL && disk->layers->len > 0 &&
         !engine_graph_is_read_only (vm, disk);
}

/* ---- all of them ---- */

static gboolean
plan_automatic (EngineVm *vm, EngineMirrorIntent *intent, GError **error)
{
  if (intent->goal == ENGINE_MIRROR_PIVOT)
    return engine_automatic_describe (vm, intent->copies->snapshot, "mirror",
                                      "what was active before the guest was moved to a copy", error);
  g_clear_pointer (&intent->copies->snapshot, chains_snapshot_free);
  return TRUE;
}

static guint
count_chosen (EngineVm *vm, const EngineGraph *graph, const EngineMirrorPlanRequest *request)
{
  guint count = 0;

  for (guint i = 0; i < vm->disks->len; i++) {
    const ChainsDisk *record = g_ptr_array_index (vm->disks, i);

    count += is_chosen (vm, request, record, engine_graph_find (graph, record->name)) ? 1 : 0;
  }
  return count;
}

static gboolean
plan_disks (EngineOp *op, EngineMirrorPlan *plan, const EngineGraph *graph, const EngineMirrorPlanRequest *request,
            GError **error)
{
  EngineVm *vm = op->vm;
  guint count = count_chosen (vm, graph, request);
  EngineTargetRequest target = request->target;
  g_auto (GStrv) arguments = engine_nodeoptions_read_arguments (vm->qemu);

  target.several = count > 1;
  for (guint i = 0; i < vm->disks->len; i++) {
    ChainsDisk *record = g_ptr_array_index (vm->disks, i);
    const EngineGraphDisk *disk = engine_graph_find (graph, record->name);
    const Part part = {op, plan, request, &target, record, disk, arguments};

    if (is_chosen (vm, request, record, disk) && !plan_part (&part, error))
      return FALSE;
  }
  if (count > 0)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_USAGE, "name one with --disk", "VM '%s': there is no disk to copy",
                    vm->record->name);
  return FALSE;
}

static gboolean
check_request (const EngineVm *vm, const EngineMirrorPlanRequest *request, GError **error)
{
  if (request->goal == ENGINE_MIRROR_PIVOT && request->sync == ENGINE_MIRROR_NONE) {
    engine_error_set (error, ENGINE_ERROR_USAGE, "use --sync full, or top",
                      "VM '%s': a copy of what is written from now on is none that the guest could go on on",
                      vm->record->name);
    return FALSE;
  }
  if (request->goal == ENGINE_MIRROR_PIVOT && request->target.nbd != NULL) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "see \"Moving a VM\" in chainctl-mirror(1), or copy to a file",
                      "VM '%s' cannot be left on an NBD server: nothing could be said of the image behind it, nor the "
                      "VM be started on it again",
                      vm->record->name);
    return FALSE;
  }
  return TRUE;
}

EngineMirrorPlan *
engine_mirrorplan_new (EngineOp *op, const EngineGraph *graph, const EngineMirrorPlanRequest *request, GError **error)
{
  EngineVm *vm = op->vm;
  g_autoptr (EngineMirrorPlan) plan = g_new0 (EngineMirrorPlan, 1);

  plan->intent = engine_mirrorintent_new (request->goal, request->sync);
  plan->intent->speed = request->speed;
  plan->intent->blocking = request->mode == ENGINE_MIRROR_WRITE_BLOCKING;
  plan->intent->turns = request->mode == ENGINE_MIRROR_AUTO;
  engine_target_list_init (&plan->targets);
  if (request->target.credentials != NULL) {
    plan->intent->credentials = engine_op_name (op, 0, "t");
    plan->credentials = engine_target_credentials (plan->intent, request->target.credentials);
  }
  if (!check_request (vm, request, error) || !engine_vm_check_disks (vm, request->disks, error) ||
      !plan_automatic (vm, plan->intent, error) || !plan_disks (op, plan, graph, request, error) ||
      !engine_copyroom_check (vm, plan->intent, plan->targets.files, error) ||
      !engine_preflight_check_overlays (vm, plan->targets.files, "--to", error))
    return NULL;
  return g_steal_pointer (&plan);
}
