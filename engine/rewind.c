/*
 * qom-set of a device's `drive`. QEMU aborts where that is the node that the
 * device is on already, and some devices say yes and do nothing: so it is asked
 * where these are behind the way there, and all before the way back. The step that
 * says that they moved is what a death is judged by; what it takes of the pause is
 * kept small.
 */
#include "engine/rewind.h"

#include "base/point.h"
#include "engine/error.h"
#include "engine/graph.h"
#include "engine/nodeoptions.h"

#include <string.h>

/* The step that a rollback's moves are, and the one that takes it back. */
#define MOVE "move"
#define PUT_BACK "put-back"
#define PERIPHERAL "/machine/peripheral/"
/* However long an operation has: a device that was moved has to be moved back. */
#define PUT_BACK_US (5 * G_USEC_PER_SEC)
/* Firmware that finds that it ran before resets once more, as soon as the VM runs. */
#define SECOND_RESET_US (2 * G_USEC_PER_SEC)
#define MAX_RESETS 5

/* A virtio device's `drive` belongs to its backend, which query-block names by its path; others go by their id. */
static char *
qom_path (const char *qdev)
{
  return qdev[0] == '/' ? g_strdup (qdev) : g_strconcat (PERIPHERAL, qdev, NULL);
}

static gboolean
is_on (GHashTable *inserted, const EngineIntentOverlay *overlay, const char *node)
{
  return g_strcmp0 (g_hash_table_lookup (inserted, overlay->qdev), node) == 0;
}

/*
 * Sends each device of @intent to its node, all at once: QEMU takes them in order. @inserted: (nullable): where they
 * are now; those that are there already stay. Returns: (transfer full) (element-type QmpCall): one a device, or %NULL
 */
static GPtrArray *
start_moves (EngineVm *vm, const EngineIntent *intent, gboolean back, GHashTable *inserted, gint64 deadline_us)
{
  GPtrArray *calls = g_ptr_array_new ();

  for (guint i = 0; i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);
    const char *node = back ? overlay->head_node : overlay->node;
    gboolean moves = overlay->qdev != NULL && (inserted == NULL || !is_on (inserted, overlay, node));
    g_autofree char *path = moves ? qom_path (overlay->qdev) : NULL;

    g_ptr_array_add (calls, moves ? qmp_commands_start_qom_set (vm->monitor, deadline_us, path, "drive", node) : NULL);
  }
  return calls;
}

/* All answers are waited for; the first that is none of success is raised. @calls: (transfer full) */
static gboolean
finish_moves (EngineVm *vm, const EngineIntent *intent, GPtrArray *calls, GError **error)
{
  GError *first = NULL;

  for (guint i = 0; i < calls->len; i++) {
    QmpCall *call = g_ptr_array_index (calls, i);
    g_autoptr (GError) failure = NULL;
    g_autoptr (JsonNode) reply = call != NULL ? qmp_call_finish (call, NULL, &failure) : NULL;

    if (failure != NULL && first == NULL)
      g_propagate_prefixed_error (&first, g_steal_pointer (&failure), "VM '%s', disk '%s': ", vm->record->name,
                                  ((const EngineIntentOverlay *)g_ptr_array_index (intent->overlays, i))->disk);
  }
  g_ptr_array_unref (calls);
  if (first != NULL)
    g_propagate_error (error, first);
  return first == NULL;
}

static gboolean
verify (EngineVm *vm, const EngineIntent *intent, GHashTable *inserted, GError **error)
{
  for (guint i = 0; i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);

    if (overlay->qdev == NULL || is_on (inserted, overlay, overlay->node))
      continue;
    engine_error_set (error, ENGINE_ERROR_UNSUPPORTED, "shut the VM down, and roll back then",
                      "VM '%s', disk '%s': its device said that it changed its image, and did not", vm->record->name,
                      overlay->disk);
    return FALSE;
  }
  return TRUE;
}

/* Virtio-blk takes another image, or says why it does not. What other devices say has to be looked at. A disk without a
 * device has nothing that moves. */
static gboolean
all_are_honest (const EngineIntent *intent)
{
  for (guint i = 0; i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);

    if (overlay->qdev != NULL && !engine_graph_is_virtio_blk (overlay->qdev))
      return FALSE;
  }
  return TRUE;
}

/* On nodes that were made a moment ago no device is yet. While QEMU moves them the step is written, which need not
 * wait: nothing is written to either image before it is known whether they were moved. The guest stands still for each
 * question, the longer the deeper its chains are: none is asked whose answer is known. */
static gboolean
move (EngineOp *op, const EngineIntent *intent, gint64 deadline_us, gboolean *written, GError **error)
{
  GPtrArray *calls = start_moves (op->vm, intent, FALSE, NULL, deadline_us);
  QmpCall *question = all_are_honest (intent) ? NULL : qmp_commands_start_query_inserted (op->vm->monitor, deadline_us);
  g_autoptr (GHashTable) inserted = NULL;
  gboolean moved;

  *written = engine_op_step_durable (op, MOVE, NULL, error);
  moved = finish_moves (op->vm, intent, calls, *written ? error : NULL) && *written;
  if (question == NULL)
    return moved;
  inserted = qmp_commands_finish_query_inserted (question, NULL, moved ? error : NULL);
  return moved && inserted != NULL && verify (op->vm, intent, inserted, error);
}

static GHashTable *
ask (EngineVm *vm, GError **error)
{
  gint64 deadline_us = g_get_monotonic_time () + PUT_BACK_US;

  return qmp_commands_finish_query_inserted (qmp_commands_start_query_inserted (vm->monitor, deadline_us), NULL, error);
}

gboolean
engine_rewind_is_written (EngineVm *vm, const char *op, gboolean *written, GError **error)
{
  gboolean moved, back;

  if (!engine_op_find_step (vm->context, op, MOVE, &moved, NULL, error) ||
      !engine_op_find_step (vm->context, op, PUT_BACK, &back, NULL, error))
    return FALSE;
  *written = moved && !back;
  return TRUE;
}

/*
 * @written: the step is, and is taken back first: whoever comes after a death in between finds devices that are to go
 * back
 */
static gboolean
put_back (EngineOp *op, const EngineIntent *intent, GHashTable *inserted, gboolean written, GError **error)
{
  gint64 deadline_us = g_get_monotonic_time () + PUT_BACK_US;

  if (base_point_is_mutant ("rollback-not-put-back"))
    return TRUE;
  return (!written || engine_op_step_durable (op, PUT_BACK, NULL, error)) &&
         finish_moves (op->vm, intent, start_moves (op->vm, intent, TRUE, inserted, deadline_us), error);
}

gboolean
engine_rewind_switch (EngineOp *op, const EngineIntent *intent, gint64 deadline_us, gboolean *stuck, GError **error)
{
  g_autoptr (GHashTable) inserted = NULL;
  g_autoptr (GError) failure = NULL;
  gboolean written;

  *stuck = FALSE;
  if (move (op, intent, deadline_us, &written, error))
    return TRUE;
  inserted = ask (op->vm, &failure);
  *stuck = (inserted == NULL || !put_back (op, intent, inserted, written, &failure)) && !engine_vm_is_gone (op->vm);
  if (*stuck)
    g_prefix_error (error, "VM '%s' stays paused, since it could not be put back (%s): ", op->vm->record->name,
                    failure->message);
  return FALSE;
}

gboolean
engine_rewind_put_back (EngineOp *op, const EngineIntent *intent, GError **error)
{
  g_autoptr (GHashTable) inserted = ask (op->vm, error);
  gboolean written;

  return inserted != NULL && engine_rewind_is_written (op->vm, op->id, &written, error) &&
         put_back (op, intent, inserted, written, error);
}

/* ---- the guest's reset ---- */

/* Whether a reboot ends this QEMU: by -no-reboot, or by -action. */
static gboolean
ends_at_reboot (const EngineVm *vm)
{
  g_auto (GStrv) arguments = engine_nodeoptions_read_arguments (vm->qemu);
  g_autoptr (GPtrArray) actions = engine_nodeoptions_list (arguments, "-action");
  gboolean ends = FALSE;

  for (gsize i = 0; arguments != NULL && arguments[i] != NULL; i++)
    ends = ends || g_str_equal (arguments[i], "-no-reboot") || g_str_equal (arguments[i], "--no-reboot");
  for (guint i = 0; i < actions->len; i++) {
    const char *word = g_hash_table_lookup (g_ptr_array_index (actions, i), "reboot");

    ends = word != NULL ? g_str_equal (word, "shutdown") : ends;
  }
  return ends;
}

gboolean
engine_rewind_reset (EngineVm *vm, GError **error)
{
  const QmpWait wait = {g_get_monotonic_time () + vm->context->timeout_us, NULL};

  return (!ends_at_reboot (vm) || qmp_commands_set_reboot_action (vm->monitor, wait, "reset", error)) &&
         qmp_commands_system_reset (vm->monitor, wait, error);
}

/* Until no reset has come for a while: after the last of them a reboot is the guest's own. */
static void
wait_out_resets (EngineVm *vm)
{
  gboolean again = TRUE;

  for (int i = 0; i < MAX_RESETS && again; i++) {
    const QmpWait wait = {g_get_monotonic_time () + SECOND_RESET_US, NULL};

    again = qmp_commands_wait_reset (vm->monitor, wait, NULL);
  }
}

void
engine_rewind_end_reset (EngineVm *vm)
{
  g_autoptr (GError) failure = NULL;
  QmpWait last;

  if (vm->monitor == NULL || !ends_at_reboot (vm))
    return;
  if (vm->state != ENGINE_VM_PAUSED)
    wait_out_resets (vm);
  last = (QmpWait){g_get_monotonic_time () + PUT_BACK_US, NULL};
  if (!qmp_commands_set_reboot_action (vm->monitor, last, "shutdown", &failure))
    engine_context_warn (vm->context, "reboot-goes-on", "VM '%s': a reboot does not end QEMU any more (%s)",
                         vm->record->name, failure->message);
}

gboolean
engine_rewind_settle (EngineOp *op, const EngineIntent *intent, gboolean *was_reset, GError **error)
{
  g_autoptr (GHashTable) inserted = ask (op->vm, error);
  gboolean written;

  if (inserted == NULL || !engine_rewind_is_written (op->vm, op->id, &written, error))
    return FALSE;
  if (!written || !verify (op->vm, intent, inserted, NULL))
    return put_back (op, intent, inserted, written, error);
  *was_reset = intent->resets;
  return !intent->resets || engine_rewind_reset (op->vm, error);
}
