/*
 * qom-set of a device's `drive`. QEMU aborts where that is the node that the
 * device is on already, and some devices say yes and do nothing: so it is asked
 * before and after.
 */
#include "engine/rewind.h"

#include "base/point.h"
#include "engine/ending.h"
#include "engine/error.h"
#include "engine/nodeoptions.h"

#include <string.h>

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

/* Every device that is not yet on @to's node for it goes there. */
static gboolean
move (EngineVm *vm, const EngineIntent *intent, gboolean back, QmpWait wait, GError **error)
{
  g_autoptr (GHashTable) inserted = qmp_commands_query_inserted (vm->monitor, wait, error);

  for (guint i = 0; inserted != NULL && i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);
    const char *node = back ? overlay->head_node : overlay->node;
    g_autofree char *path = overlay->qdev != NULL ? qom_path (overlay->qdev) : NULL;

    if (path == NULL || is_on (inserted, overlay, node))
      continue;
    if (!qmp_commands_qom_set (vm->monitor, wait, path, "drive", node, error)) {
      g_prefix_error (error, "VM '%s', disk '%s': ", vm->record->name, overlay->disk);
      return FALSE;
    }
  }
  return inserted != NULL;
}

static gboolean
verify (EngineVm *vm, const EngineIntent *intent, QmpWait wait, GError **error)
{
  g_autoptr (GHashTable) inserted = qmp_commands_query_inserted (vm->monitor, wait, error);

  for (guint i = 0; inserted != NULL && i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);

    if (overlay->qdev == NULL || is_on (inserted, overlay, overlay->node))
      continue;
    engine_error_set (error, ENGINE_ERROR_UNSUPPORTED, "shut the VM down, and roll back then",
                      "VM '%s', disk '%s': its device said that it changed its image, and did not", vm->record->name,
                      overlay->disk);
    return FALSE;
  }
  return inserted != NULL;
}

gboolean
engine_rewind_switch (EngineVm *vm, const EngineIntent *intent, gint64 deadline_us, gboolean *stuck, GError **error)
{
  const QmpWait wait = {deadline_us, NULL};
  g_autoptr (GError) failure = NULL;

  *stuck = FALSE;
  if (move (vm, intent, FALSE, wait, error) && verify (vm, intent, wait, error))
    return TRUE;
  *stuck = !engine_rewind_put_back (vm, intent, &failure) && !engine_vm_is_gone (vm);
  if (*stuck)
    g_prefix_error (error, "VM '%s' stays paused, since it could not be put back (%s): ", vm->record->name,
                    failure->message);
  return FALSE;
}

gboolean
engine_rewind_put_back (EngineVm *vm, const EngineIntent *intent, GError **error)
{
  const QmpWait wait = {g_get_monotonic_time () + PUT_BACK_US, NULL};

  if (base_point_is_mutant ("rollback-not-put-back"))
    return TRUE;
  return move (vm, intent, TRUE, wait, error);
}

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
engine_rewind_settle (EngineVm *vm, const EngineIntent *intent, gboolean *was_reset, GError **error)
{
  gboolean recorded;

  if (!engine_ending_is_recorded (vm, intent, &recorded, error))
    return FALSE;
  if (!recorded)
    return engine_rewind_put_back (vm, intent, error);
  *was_reset = intent->resets;
  return !intent->resets || engine_rewind_reset (vm, error);
}
