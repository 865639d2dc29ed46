/*
 * Plans a rollback, disk by disk. Refuses what a device could not take, or would
 * lose by it, while nothing is begun.
 */
#include "engine/rewindplan.h"

#include "chains/images.h"
#include "chains/snapshots.h"
#include "engine/automatic.h"
#include "engine/error.h"
#include "engine/inspect.h"
#include "engine/preflight.h"
#include "engine/seal.h"
#include "engine/tree.h"

#include <string.h>

#define SHUT_DOWN "shut the VM down, and roll back then"

/* One disk while it is planned. Borrowed. */
typedef struct {
  EngineOp *op;
  EngineRewindPlan *plan;
  ChainsDisk *record;
  const EngineGraphDisk *disk;
  ChainsImage *target;
  char **arguments;
  gboolean discard;
} Part;

void
engine_rewindplan_free (EngineRewindPlan *plan)
{
  if (plan == NULL)
    return;
  g_clear_pointer (&plan->to, chains_snapshot_free);
  g_clear_pointer (&plan->intent, engine_intent_free);
  g_clear_pointer (&plan->overlays, g_ptr_array_unref);
  g_clear_pointer (&plan->branches, g_ptr_array_unref);
  g_clear_pointer (&plan->holders, g_ptr_array_unref);
  g_clear_pointer (&plan->disks, g_ptr_array_unref);
  g_free (plan);
}

/* ---- what cannot be ---- */

static gboolean
refuse (const Part *part, const char *hint, const char *why, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_REFUSED, hint, "VM '%s', disk '%s' cannot be rolled back: %s",
                    part->op->vm->record->name, part->record->name, why);
  return FALSE;
}

/* QOM types that say yes to another image and do nothing, or do not learn its size. */
static gboolean
check_type (const Part *part, GError **error)
{
  EngineVm *vm = part->op->vm;
  g_autofree char *path = part->disk->device != NULL ? engine_graph_qom_path (part->disk->device) : NULL;
  QmpCall *call = path != NULL
                      ? qmp_commands_start_qom_get (vm->monitor, engine_context_deadline (vm->context), path, "type")
                      : NULL;
  g_autoptr (JsonNode) reply = call != NULL ? qmp_call_finish (call, vm->cancellable, error) : NULL;
  const char *type = reply != NULL && JSON_NODE_HOLDS_VALUE (reply) ? json_node_get_string (reply) : NULL;

  if (call != NULL && reply == NULL)
    return FALSE;
  if (type != NULL && g_str_has_prefix (type, "usb-"))
    return refuse (part, SHUT_DOWN, "a USB stick does not take another image while it is plugged in", error);
  return TRUE;
}

static gboolean
check_device (const Part *part, GError **error)
{
  const EngineGraphDisk *disk = part->disk;

  if (part->op->vm->standin != NULL)
    return TRUE;
  if (disk->device == NULL)
    return refuse (part, SHUT_DOWN, "QEMU does not say which device it is", error);
  if (disk->filters->len > 0)
    return refuse (part, SHUT_DOWN, "the filter above its image (throttle, for one) would be lost", error);
  if (engine_graph_head (disk)->node->virtual_size != part->target->virtual_size)
    return refuse (part, SHUT_DOWN, "it was resized since, and its device would keep the size that it has", error);
  return check_type (part, error);
}

static gboolean
check_images (const Part *part, GError **error)
{
  EngineVm *vm = part->op->vm;

  if (part->record->active == part->target->id)
    return refuse (part, NULL, "its active image is the snapshot's own", error);
  return engine_preflight_check_disk (vm, part->disk, vm->context->config->overlay_dir != NULL, error) &&
         engine_inspect_from (vm, part->record, part->target->id, ENGINE_INSPECT_HEADERS, error) &&
         engine_inspect_chain (vm, part->record, ENGINE_INSPECT_FILES, error);
}

/* ---- what becomes of the old head ---- */

static gboolean
is_target_or_below (const EngineTree *tree, gint64 target, const EngineTreeImage *image)
{
  const EngineTreeImage *at = engine_tree_find (tree, target);

  while (at != NULL && at != image)
    at = at->parent;
  return at != NULL;
}

/* From the head down, as long as nobody else needs what comes: no snapshot, no other branch, no base, not the target.
 */
static gboolean
plan_discards (const Part *part, GError **error)
{
  EngineVm *vm = part->op->vm;
  g_autoptr (GPtrArray) snapshots = chains_snapshots_list (vm->context->db, vm->record->id, error);
  g_autoptr (EngineTree) tree =
      snapshots != NULL ? engine_tree_read_disk (vm->context, chains_disk_copy (part->record), snapshots, error) : NULL;
  EngineTreeImage *image = tree != NULL ? engine_tree_active (tree) : NULL;
  guint children = 0;

  while (image != NULL && image->image->owned && image->image->id != part->record->base && image->snapshots->len == 0 &&
         image->children->len <= children && !is_target_or_below (tree, part->target->id, image)) {
    EngineImagefile file;
    gboolean made = image->image->created_by != NULL && engine_imagefile_stat (image->image->path, &file, NULL) &&
                    file.inode == image->image->inode && file.device == image->image->device;

    engine_intent_add_discard (part->plan->intent, image->image->id, image->image->path, made ? &file : NULL);
    image = image->parent;
    children = 1;
  }
  return tree != NULL;
}

/* The live nodes above the one that both branches stand on: closed, the head first, so that its image is free. */
static void
plan_retirement (const Part *part, const EngineBranch *branch)
{
  const EngineGraphDisk *disk = part->disk;

  for (guint i = 0; i < disk->layers->len && g_ptr_array_index (disk->layers, i) != branch->shared; i++) {
    const EngineLayer *layer = g_ptr_array_index (disk->layers, i);

    engine_intent_retire (part->plan->intent, layer->node);
    engine_intent_retire (part->plan->intent, layer->file);
  }
}

/* A node that QEMU's own options made vanishes once no device holds it: this one holds it, for a way back. */
static void
plan_holder (const Part *part, guint index)
{
  JsonObject *holder = json_object_new ();
  char *name = engine_op_name (part->op, index, "h");

  json_object_set_string_member (holder, "driver", "raw");
  json_object_set_string_member (holder, "node-name", name);
  json_object_set_boolean_member (holder, "read-only", TRUE);
  json_object_set_string_member (holder, "file", engine_graph_head (part->disk)->node->name);
  g_ptr_array_add (part->plan->holders, holder);
  g_ptr_array_add (part->plan->intent->opened, g_strdup (name));
  g_ptr_array_add (part->plan->intent->retired, name);
}

/* ---- one disk ---- */

static gboolean
plan_overlay (Part *part, const EngineBranch *branch, EngineNodeOptions *options, GError **error)
{
  EngineVm *vm = part->op->vm;
  g_autoptr (ChainsImage) base = chains_images_get (vm->context->db, part->record->base, error);
  EngineOverlayPlace place = {.directory = vm->context->config->overlay_dir,
                              .stem_of = base != NULL ? base->path : NULL,
                              .name = part->plan->to->name,
                              .on = part->target,
                              .on_node = branch->top};
  EngineOverlay *overlay;

  if (base == NULL) {
    engine_nodeoptions_free (options);
    return FALSE;
  }
  overlay = engine_overlay_plan (part->op, part->plan->intent, part->disk, options, &place, error);
  if (overlay == NULL)
    return FALSE;
  g_ptr_array_add (part->plan->overlays, overlay);
  if (vm->standin == NULL) {
    overlay->intent->head_node = g_strdup (engine_graph_head (part->disk)->node->name);
    overlay->intent->qdev = g_strdup (part->disk->device);
  }
  return TRUE;
}

static gboolean
plan_part (Part *part, guint index, GError **error)
{
  EngineVm *vm = part->op->vm;
  EngineRewindPlan *plan = part->plan;
  g_autoptr (ChainsImage) active = chains_images_get (vm->context->db, part->record->active, error);
  EngineNodeOptions *options;
  EngineBranch *branch;

  if (active == NULL || !check_device (part, error) || !check_images (part, error))
    return FALSE;
  options = engine_nodeoptions_find (part->disk, part->arguments, active->options);
  branch = engine_branch_plan (part->op, plan->intent, index, part->disk, part->target->id, options, error);
  if (branch == NULL) {
    engine_nodeoptions_free (options);
    return FALSE;
  }
  g_ptr_array_add (plan->branches, branch);
  g_ptr_array_add (plan->disks, (gpointer)part->disk);
  if (!plan_overlay (part, branch, options, error))
    return FALSE;
  if (vm->standin == NULL) {
    plan_holder (part, index);
    plan_retirement (part, branch);
  }
  if (part->discard)
    return plan_discards (part, error);
  ((EngineOverlay *)g_ptr_array_index (plan->overlays, index))->intent->head_mode =
      engine_seal_plan (vm->context, active);
  return TRUE;
}

static gboolean
is_chosen (const char *const *names, const char *name)
{
  return names == NULL || g_strv_contains (names, name);
}

/* The disk of @row, as it is registered and as it is live. */
static gboolean
find_disk (Part *part, const EngineGraph *graph, const ChainsSnapshotDisk *row, GError **error)
{
  EngineVm *vm = part->op->vm;

  part->record = engine_vm_find_disk (vm, row->disk_name, error);
  if (part->record == NULL)
    return FALSE;
  part->disk = engine_graph_find (graph, row->disk_name);
  if (part->disk == NULL || part->disk->skipped != NULL) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_DISK, "roll back the others, with --disk",
                      "VM '%s': disk '%s' has no medium now, or is gone", vm->record->name, row->disk_name);
    return FALSE;
  }
  return TRUE;
}

static gboolean
check_names (const EngineRewindPlan *plan, const char *const *names, GError **error)
{
  for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
    gboolean found = FALSE;

    for (guint j = 0; j < plan->to->disks->len; j++)
      found =
          found || g_str_equal (((ChainsSnapshotDisk *)g_ptr_array_index (plan->to->disks, j))->disk_name, names[i]);
    if (!found) {
      engine_error_set (error, ENGINE_ERROR_NO_SUCH_DISK, "see `chainctl show VM SNAPSHOT`",
                        "snapshot '%s' has no disk '%s'", plan->to->name, names[i]);
      return FALSE;
    }
  }
  return TRUE;
}

/* ---- all of it ---- */

static gboolean
describe_automatic (EngineRewindPlan *plan, EngineVm *vm, gboolean discard, GError **error)
{
  g_autofree char *description = g_strdup_printf ("what was active before it was rolled back to '%s'", plan->to->name);

  if (!discard)
    return engine_automatic_describe (vm, plan->intent->snapshot, "rollback", description, error);
  g_clear_pointer (&plan->intent->snapshot, chains_snapshot_free);
  return TRUE;
}

static EngineRewindPlan *
plan_new (void)
{
  EngineRewindPlan *plan = g_new0 (EngineRewindPlan, 1);

  plan->intent = engine_intent_new ();
  plan->overlays = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_overlay_free);
  plan->branches = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_branch_free);
  plan->holders = g_ptr_array_new_with_free_func ((GDestroyNotify)json_object_unref);
  plan->disks = g_ptr_array_new ();
  return plan;
}

EngineRewindPlan *
engine_rewindplan_new (EngineOp *op, const EngineGraph *graph, const char *snapshot, const char *const *disks,
                       gboolean discard, GError **error)
{
  EngineVm *vm = op->vm;
  g_autoptr (EngineRewindPlan) plan = plan_new ();
  g_auto (GStrv) arguments = engine_nodeoptions_read_arguments (vm->qemu);

  plan->to = chains_snapshots_find (vm->context->db, vm->record->id, snapshot, error);
  if (plan->to == NULL || !check_names (plan, disks, error) || !describe_automatic (plan, vm, discard, error))
    return NULL;
  for (guint i = 0; i < plan->to->disks->len; i++) {
    const ChainsSnapshotDisk *row = g_ptr_array_index (plan->to->disks, i);
    g_autoptr (ChainsImage) target = chains_images_get (vm->context->db, row->image, error);
    Part part = {op, plan, NULL, NULL, target, arguments, discard};

    if (target == NULL)
      return NULL;
    if (!is_chosen (disks, row->disk_name))
      continue;
    if (!find_disk (&part, graph, row, error) || !plan_part (&part, plan->overlays->len, error))
      return NULL;
  }
  return g_steal_pointer (&plan);
}

EngineMounts
engine_rewindplan_mounts (const EngineRewindPlan *plan, EngineVm *vm)
{
  return engine_mounts_ask (vm, plan->disks);
}

gboolean
engine_rewindplan_open (const EngineRewindPlan *plan, EngineVm *vm, GError **error)
{
  for (guint i = 0; i < plan->branches->len; i++)
    if (!engine_branch_open (vm, g_ptr_array_index (plan->branches, i), error))
      return FALSE;
  for (guint i = 0; i < plan->holders->len; i++)
    if (!qmp_commands_blockdev_add (vm->monitor, engine_vm_wait (vm), g_ptr_array_index (plan->holders, i), error))
      return FALSE;
  return TRUE;
}

void
engine_rewindplan_plan (const EngineRewindPlan *plan, EngineVm *vm)
{
  for (guint i = 0; i < plan->branches->len; i++)
    engine_branch_plan_open (vm, g_ptr_array_index (plan->branches, i));
  for (guint i = 0; i < plan->holders->len; i++)
    engine_context_plan (vm->context, "qemu", "blockdev-add", g_ptr_array_index (plan->holders, i));
  engine_overlay_plan_prepare (vm, plan->overlays);
}

void
engine_rewindplan_plan_switch (const EngineRewindPlan *plan, EngineVm *vm)
{
  for (guint i = 0; i < plan->intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (plan->intent->overlays, i);
    g_autoptr (JsonObject) arguments = json_object_new ();

    if (overlay->qdev == NULL)
      continue;
    json_object_set_string_member (arguments, "path", overlay->qdev);
    json_object_set_string_member (arguments, "property", "drive");
    json_object_set_string_member (arguments, "value", overlay->node);
    engine_context_plan (vm->context, "qemu", "qom-set", arguments);
  }
  if (plan->intent->resets)
    engine_context_plan (vm->context, "qemu", "system_reset", NULL);
}
