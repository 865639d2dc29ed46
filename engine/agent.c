/*
 * Asks a VM's agent one thing and tells what it said, as it said it. Needs neither
 * monitor nor lock: it is for the moment in which something else hangs. A monitor
 * that does answer must be this VM's.
 */
#include "engine/agent.h"

#include "engine/drift.h"
#include "engine/error.h"
#include "qmp/error.h"

/* How long the monitor may take to say whose it is: it may well be somebody else's at this moment. */
#define PATIENCE_US (1 * G_USEC_PER_SEC)

const char *const *
engine_agent_actions (void)
{
  static const char *const actions[] = {"ping", "info", "status", "thaw", NULL};

  return actions;
}

static void
set_agent_error (const EngineVm *vm, const GError *failure, GError **error)
{
  gboolean silent =
      g_error_matches (failure, QMP_ERROR, QMP_ERROR_TIMEOUT) || g_error_matches (failure, QMP_ERROR, QMP_ERROR_BUSY);

  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_propagate_error (error, g_error_copy (failure));
    return;
  }
  engine_error_set (error, silent ? ENGINE_ERROR_AGENT_TIMEOUT : ENGINE_ERROR_AGENT,
                    silent ? "is qemu-ga running in the guest, the VM not paused, and nobody else on the socket?"
                           : NULL,
                    "VM '%s': agent '%s': %s", vm->record->name, vm->record->agent, failure->message);
}

static JsonObject *
ask (EngineVm *vm, const char *command, GError **error)
{
  QmpWait wait = engine_vm_wait (vm);
  g_autoptr (JsonNode) reply = qmp_qga_execute (vm->agent, command, NULL, wait.deadline_us, wait.cancellable, error);

  if (reply == NULL)
    return NULL;
  return JSON_NODE_HOLDS_OBJECT (reply) ? json_node_dup_object (reply) : json_object_new ();
}

static JsonObject *
status (EngineVm *vm, GError **error)
{
  QmpWait wait = engine_vm_wait (vm);
  QmpQgaFreezeState state;
  JsonObject *said;

  if (!qmp_qga_fsfreeze_status (vm->agent, wait.deadline_us, wait.cancellable, &state, error))
    return NULL;
  said = json_object_new ();
  json_object_set_string_member (said, "status", state == QMP_QGA_FROZEN ? "frozen" : "thawed");
  return said;
}

/* Thaws, and tells what is true after it. */
static JsonObject *
thaw (EngineVm *vm, GError **error)
{
  QmpWait wait = engine_vm_wait (vm);
  gint64 count = 0;
  JsonObject *said;

  if (vm->context->dry_run) {
    engine_context_plan (vm->context, "agent", "guest-fsfreeze-thaw", NULL);
    return status (vm, error);
  }
  if (!qmp_qga_fsfreeze_thaw (vm->agent, wait.deadline_us, wait.cancellable, &count, error))
    return NULL;
  said = status (vm, error);
  if (said != NULL)
    json_object_set_int_member (said, "thawed", count);
  return said;
}

static JsonObject *
act (EngineVm *vm, const char *action, GError **error)
{
  if (g_str_equal (action, "status"))
    return status (vm, error);
  if (g_str_equal (action, "thaw"))
    return thaw (vm, error);
  return ask (vm, g_str_equal (action, "ping") ? "guest-ping" : "guest-info", error);
}

/* Where another VM runs in its place, the agent is that one's. A monitor that does not say so is no obstacle. */
static gboolean
check_identity (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (EngineContext) brief = engine_context_new_like (context);
  g_autoptr (EngineVm) vm = NULL;
  gboolean same;

  brief->timeout_us = MIN (context->timeout_us, PATIENCE_US);
  brief->db = context->db;
  vm = engine_vm_open (brief, name, NULL, error);
  same = vm != NULL &&
         (vm->record->uuid == NULL || !engine_vm_connect (vm, NULL) || engine_drift_refuse_another (vm, error));
  brief->db = NULL;
  return same;
}

JsonObject *
engine_agent_run (EngineContext *context, const char *name, const char *action, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, NULL, error);
  g_autoptr (GError) failure = NULL;
  JsonObject *said = NULL;

  if (vm == NULL)
    return NULL;
  if (vm->record->agent == NULL) {
    g_autofree char *hint = g_strdup_printf ("give its channel a socket, then `chainctl vm set %s --agent ADDR`", name);

    engine_error_set (error, ENGINE_ERROR_AGENT, hint, "VM '%s' has no agent registered", name);
    return NULL;
  }
  if (!check_identity (context, name, error))
    return NULL;
  engine_vm_start_agent (vm);
  if (engine_vm_finish_agent (vm))
    said = act (vm, action, &failure);
  if (said == NULL)
    set_agent_error (vm, failure != NULL ? failure : vm->agent_failure, error);
  return said;
}
