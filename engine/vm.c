/*
 * Opens a VM for one run, and closes all that it opened. Decides what "shut
 * off" means: nobody at the monitor and nobody's locks on the images.
 */
#include "engine/vm.h"

#include "base/fiber.h"
#include "chains/images.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/standin.h"
#include "qmp/error.h"
#include "qmp/features.h"
#include "qmp/transport.h"

#include <string.h>

/* How long a QEMU that has closed its monitor may take to let go of its images. */
#define VANISHING_US (3 * G_USEC_PER_SEC)
#define VANISHING_STEP_US (20 * 1000)
#define NIL_UUID "00000000-0000-0000-0000-000000000000"

const char *
engine_vm_state_to_string (EngineVmState state)
{
  static const char *const words[] = {"running", "paused", "shut-off", "unreachable"};

  return words[state];
}

EngineVm *
engine_vm_new (EngineContext *context, ChainsVm *record)
{
  EngineVm *vm = g_new0 (EngineVm, 1);

  vm->context = context;
  vm->cancellable = context->cancellable;
  vm->record = record;
  vm->state = ENGINE_VM_UNREACHABLE;
  vm->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)chains_disk_free);
  return vm;
}

char *
engine_vm_default_name (EngineContext *context, GError **error)
{
  g_autoptr (GPtrArray) vms = chains_registry_list_vms (context->db, error);

  if (vms == NULL)
    return NULL;
  if (vms->len == 1)
    return g_strdup (((const ChainsVm *)g_ptr_array_index (vms, 0))->name);
  if (vms->len == 0)
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_VM, "register one: `chainctl vm add NAME --qmp SOCKET`",
                      "no VM is registered in '%s'", context->state);
  else
    engine_error_set (error, ENGINE_ERROR_USAGE, "`chainctl vm list` shows them; or set CHAINCTL_VM",
                      "which VM? There are %u: '%s', '%s'%s", vms->len,
                      ((const ChainsVm *)g_ptr_array_index (vms, 0))->name,
                      ((const ChainsVm *)g_ptr_array_index (vms, 1))->name, vms->len > 2 ? " …" : "");
  return NULL;
}

/* What was read before the lock or the monitor was ours may be old: another operation ended meanwhile. */
static gboolean
read_again (EngineVm *vm, GError **error)
{
  g_autoptr (ChainsVm) record = chains_registry_get_vm (vm->context->db, vm->record->name, error);
  g_autoptr (GPtrArray) disks = record != NULL ? chains_registry_list_disks (vm->context->db, record->id, error) : NULL;

  if (disks == NULL)
    return FALSE;
  chains_vm_free (vm->record);
  vm->record = g_steal_pointer (&record);
  g_ptr_array_unref (vm->disks);
  vm->disks = g_steal_pointer (&disks);
  return TRUE;
}

EngineVm *
engine_vm_open (EngineContext *context, const char *name, const char *verb, GError **error)
{
  g_autoptr (ChainsVm) record = chains_registry_get_vm (context->db, name, error);
  g_autoptr (EngineVm) vm = NULL;

  if (record == NULL)
    return NULL;
  vm = engine_vm_new (context, g_steal_pointer (&record));
  if (verb != NULL) {
    vm->lock = engine_lock_take (context, name, verb, error);
    if (vm->lock == NULL)
      return NULL;
  }
  return read_again (vm, error) ? g_steal_pointer (&vm) : NULL;
}

void
engine_vm_free (EngineVm *vm)
{
  if (vm == NULL)
    return;
  g_clear_pointer (&vm->agent_sync, qmp_call_abandon);
  g_clear_pointer (&vm->agent, qmp_qga_free);
  g_clear_pointer (&vm->monitor, qmp_client_free);
  g_clear_pointer (&vm->standin, engine_standin_stop);
  g_clear_pointer (&vm->lock, engine_lock_release);
  g_clear_pointer (&vm->disks, g_ptr_array_unref);
  g_clear_pointer (&vm->record, chains_vm_free);
  g_clear_error (&vm->agent_failure);
  g_free (vm->status);
  g_free (vm->uuid);
  g_free (vm);
}

QmpNodes *
engine_vm_ask_for_nodes (EngineVm *vm, GError **error)
{
  QmpNodesQuery *query = qmp_nodes_start (vm->monitor, QMP_NODES_ALONE, engine_context_deadline (vm->context));

  return qmp_nodes_finish (query, vm->cancellable, error);
}

QmpWait
engine_vm_wait (const EngineVm *vm)
{
  return (QmpWait){engine_context_deadline (vm->context), vm->cancellable};
}

/* %TRUE in @locked where any active image is held by a process. */
static gboolean
images_locked (EngineVm *vm, gboolean *locked, GError **error)
{
  *locked = FALSE;
  for (guint i = 0; i < vm->disks->len && !*locked; i++) {
    const ChainsDisk *disk = g_ptr_array_index (vm->disks, i);
    g_autoptr (ChainsImage) image = chains_images_get (vm->context->db, disk->active, error);

    if (image == NULL)
      return FALSE;
    *locked = engine_imagefile_is_locked (image->path);
  }
  return TRUE;
}

static gboolean
no_monitor (EngineVm *vm, GError *why, GError **error)
{
  gboolean locked = FALSE;

  if (vm->disks->len == 0 || !g_error_matches (why, QMP_ERROR, QMP_ERROR_CONNECT)) {
    g_propagate_error (error, why);
    return FALSE;
  }
  if (!images_locked (vm, &locked, error)) {
    g_error_free (why);
    return FALSE;
  }
  if (locked)
    engine_error_set (error, ENGINE_ERROR_UNREACHABLE, "was QEMU started with another monitor socket?",
                      "VM '%s' is unreachable: nobody answers at '%s', but its images are in use (%s)",
                      vm->record->name, vm->record->qmp, why->message);
  else
    vm->state = ENGINE_VM_SHUT_OFF;
  g_error_free (why);
  return !locked;
}

gboolean
engine_vm_is_uuid (const char *uuid)
{
  return uuid != NULL && !g_str_equal (uuid, NIL_UUID);
}

/* What a storage daemon has not, since it has no machine: no state to be in, and no UUID. */
static gboolean
is_daemons_answer (GError *failure)
{
  return g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND);
}

static gboolean
learn_state (EngineVm *vm, GError **error)
{
  QmpWait wait = engine_vm_wait (vm);
  QmpCall *asked_status = qmp_commands_start_query_status (vm->monitor, wait.deadline_us);
  g_autoptr (QmpCall) asked_uuid = qmp_commands_start_query_uuid (vm->monitor, wait.deadline_us);
  GError *failure = NULL;
  g_autofree char *status = qmp_commands_finish_query_status (asked_status, wait.cancellable, &failure);
  g_autofree char *uuid = NULL;

  vm->daemon = is_daemons_answer (failure);
  if (vm->daemon) {
    g_error_free (failure);
    vm->state = ENGINE_VM_RUNNING;
    return TRUE;
  }
  if (status == NULL) {
    g_propagate_error (error, failure);
    return FALSE;
  }
  uuid = qmp_commands_finish_query_uuid (g_steal_pointer (&asked_uuid), wait.cancellable, error);
  if (uuid == NULL)
    return FALSE;
  vm->state = g_str_equal (status, "running") ? ENGINE_VM_RUNNING : ENGINE_VM_PAUSED;
  vm->status = g_steal_pointer (&status);
  vm->uuid = engine_vm_is_uuid (uuid) ? g_steal_pointer (&uuid) : NULL;
  return TRUE;
}

gboolean
engine_vm_refresh_state (EngineVm *vm, GError **error)
{
  QmpWait wait = engine_vm_wait (vm);
  char *status;

  if (vm->daemon || vm->standin != NULL)
    return TRUE;
  status = qmp_commands_finish_query_status (qmp_commands_start_query_status (vm->monitor, wait.deadline_us),
                                             wait.cancellable, error);
  if (status == NULL)
    return FALSE;
  g_free (vm->status);
  vm->status = status;
  vm->state = g_str_equal (status, "running") ? ENGINE_VM_RUNNING : ENGINE_VM_PAUSED;
  return TRUE;
}

static gboolean
is_qemu (pid_t pid)
{
  g_autofree char *link = g_strdup_printf ("/proc/%ld/exe", (long)pid);
  g_autofree char *program = pid != 0 ? g_file_read_link (link, NULL) : NULL;
  g_autofree char *name = program != NULL ? g_path_get_basename (program) : NULL;

  return name != NULL && (strstr (name, "qemu") != NULL || strstr (name, "kvm") != NULL);
}

/* The kernel names whoever began to listen at the socket: QEMU itself, or a manager that handed the socket down. */
static pid_t
qemu_behind (GIOStream *io)
{
  pid_t pid = qmp_transport_get_peer_pid (io);

  return pid != 0 && is_qemu (pid) ? pid : 0;
}

/* Its program is given back before its files are. */
gboolean
engine_vm_has_died (pid_t process)
{
  return process != 0 && !is_qemu (process);
}

gboolean
engine_vm_connect (EngineVm *vm, GError **error)
{
  gint64 deadline_us = engine_context_deadline (vm->context);
  g_autoptr (JsonNode) greeting = NULL;
  GError *failure = NULL;
  GIOStream *io = qmp_transport_connect (vm->record->qmp, deadline_us, vm->cancellable, &failure);

  if (io == NULL)
    return no_monitor (vm, failure, error);
  vm->qemu = qemu_behind (io);
  vm->monitor = qmp_client_new (io);
  greeting = qmp_call_finish (qmp_client_start_handshake (vm->monitor, deadline_us), vm->cancellable, &failure);
  if (greeting == NULL) {
    g_clear_pointer (&vm->monitor, qmp_client_free);
    g_prefix_error (&failure, "VM '%s': monitor '%s': ", vm->record->name, vm->record->qmp);
    g_propagate_error (error, failure);
    return FALSE;
  }
  vm->major_version = qmp_features_major_version (greeting);
  if (vm->lock == NULL && !read_again (vm, error))
    return FALSE;
  return learn_state (vm, error);
}

gboolean
engine_vm_attach (EngineVm *vm, GIOStream *io, GError **error)
{
  vm->qemu = qemu_behind (io);
  vm->monitor = qmp_client_new_attached (io);
  return learn_state (vm, error);
}

static void
disconnect (EngineVm *vm)
{
  g_clear_pointer (&vm->agent_sync, qmp_call_abandon);
  g_clear_pointer (&vm->agent, qmp_qga_free);
  g_clear_pointer (&vm->monitor, qmp_client_free);
  g_clear_pointer (&vm->status, g_free);
  g_clear_pointer (&vm->uuid, g_free);
  vm->state = ENGINE_VM_UNREACHABLE;
}

static gboolean
is_vanishing (const GError *failure)
{
  return g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_UNREACHABLE) ||
         g_error_matches (failure, QMP_ERROR, QMP_ERROR_CLOSED);
}

gboolean
engine_vm_reconnect (EngineVm *vm, GError **error)
{
  gint64 until_us = g_get_monotonic_time () + MIN (vm->context->timeout_us, VANISHING_US);

  if (vm->standin != NULL && vm->monitor != NULL && qmp_client_get_error (vm->monitor) != NULL) {
    g_clear_pointer (&vm->monitor, qmp_client_free);
    g_clear_pointer (&vm->standin, engine_standin_stop);
  }
  if (vm->state == ENGINE_VM_SHUT_OFF || (vm->monitor != NULL && qmp_client_get_error (vm->monitor) == NULL))
    return TRUE;
  for (;;) {
    g_autoptr (GError) failure = NULL;

    disconnect (vm);
    if (engine_vm_connect (vm, &failure))
      return TRUE;
    if (!is_vanishing (failure) || g_get_monotonic_time () > until_us) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    base_fiber_sleep (VANISHING_STEP_US);
  }
}

static void
start_agent (EngineVm *vm, gint64 deadline_us)
{
  GIOStream *io;

  g_clear_error (&vm->agent_failure);
  io = qmp_transport_connect (vm->record->agent, deadline_us, vm->cancellable, &vm->agent_failure);
  if (io == NULL)
    return;
  vm->agent = qmp_qga_new (io);
  vm->agent_sync = qmp_qga_start_sync (vm->agent, deadline_us);
}

void
engine_vm_start_agent (EngineVm *vm)
{
  if (vm->record->agent != NULL && vm->agent == NULL)
    start_agent (vm, engine_context_deadline (vm->context));
}

gboolean
engine_vm_reopen_agent (EngineVm *vm, gint64 deadline_us)
{
  g_clear_pointer (&vm->agent, qmp_qga_free);
  start_agent (vm, deadline_us);
  return engine_vm_finish_agent (vm);
}

gboolean
engine_vm_is_gone (EngineVm *vm)
{
  /* The end of the connection is learnt by reading. */
  while (g_main_context_iteration (g_main_context_get_thread_default (), FALSE))
    continue;
  return vm->monitor == NULL || qmp_client_get_error (vm->monitor) != NULL;
}

gboolean
engine_vm_finish_agent (EngineVm *vm)
{
  g_autoptr (JsonNode) answer = NULL;

  if (vm->agent_sync == NULL)
    return vm->agent != NULL;
  answer = qmp_call_finish (g_steal_pointer (&vm->agent_sync), vm->cancellable, &vm->agent_failure);
  if (answer == NULL)
    g_clear_pointer (&vm->agent, qmp_qga_free);
  return answer != NULL;
}

void
engine_vm_try_agent (EngineVm *vm)
{
  if (vm->record->agent == NULL || vm->state != ENGINE_VM_RUNNING)
    return;
  engine_vm_start_agent (vm);
  if (!engine_vm_finish_agent (vm))
    engine_context_warn (vm->context, "agent-silent", "VM '%s': no agent answers at '%s': %s", vm->record->name,
                         vm->record->agent, vm->agent_failure->message);
}

ChainsDisk *
engine_vm_find_disk (const EngineVm *vm, const char *name, GError **error)
{
  g_autoptr (GString) hint = g_string_new ("its disks: ");

  for (guint i = 0; i < vm->disks->len; i++) {
    ChainsDisk *disk = g_ptr_array_index (vm->disks, i);

    if (g_str_equal (disk->name, name))
      return disk;
    g_string_append_printf (hint, "%s'%s'", i > 0 ? ", " : "", disk->name);
  }
  engine_error_set (error, ENGINE_ERROR_NO_SUCH_DISK, vm->disks->len > 0 ? hint->str : NULL, "VM '%s' has no disk '%s'",
                    vm->record->name, name);
  return NULL;
}

gboolean
engine_vm_check_disks (const EngineVm *vm, const char *const *names, GError **error)
{
  for (gsize i = 0; names != NULL && names[i] != NULL; i++)
    if (engine_vm_find_disk (vm, names[i], error) == NULL)
      return FALSE;
  return TRUE;
}
