/*
 * Starts and ends the stand-in. It inherits the VM's lock, which is free only
 * once the images are. What is done with it is the verbs' affair.
 */
#include "engine/standin.h"

#include "engine/daemon.h"
#include "engine/error.h"

#define NAME "standin"

struct _EngineStandin {
  EngineDaemon *daemon;
  GPtrArray *names; /* of the disks; disk N is node standin-N */
};

static EngineStandin *
standin_new (const GPtrArray *disks)
{
  EngineStandin *standin = g_new0 (EngineStandin, 1);

  standin->names = g_ptr_array_new_with_free_func (g_free);
  for (guint i = 0; i < disks->len; i++)
    g_ptr_array_add (standin->names, g_strdup (((const EngineStandinDisk *)g_ptr_array_index (disks, i))->name));
  return standin;
}

static gboolean
spawn (EngineStandin *standin, EngineVm *vm, const GPtrArray *disks, GError **error)
{
  int lock = vm->lock != NULL ? engine_lock_get_fd (vm->lock) : -1;
  const EngineDaemonOrder order = {
      .name = NAME,
      .disks = disks,
      .read_only = vm->context->dry_run,
      .fds = &lock,
      .n_fds = lock >= 0 ? 1 : 0,
      .patience_us = vm->context->timeout_us,
  };
  g_autoptr (GError) failure = NULL;

  standin->daemon = engine_daemon_spawn (&order, &vm->monitor, &failure);
  if (standin->daemon != NULL)
    return TRUE;
  if (!g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_UNSUPPORTED)) {
    g_propagate_prefixed_error (error, g_steal_pointer (&failure), "VM '%s': ", vm->record->name);
    return FALSE;
  }
  engine_error_set (
      error, ENGINE_ERROR_UNSUPPORTED, "install it (Debian: qemu-system-common or qemu-utils), or start the VM",
      "VM '%s' is shut off, and what would open its images is not there: %s", vm->record->name, failure->message);
  return FALSE;
}

static gboolean
shake_hands (EngineStandin *standin, EngineVm *vm, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autofree char *hint = NULL;

  if (engine_daemon_greet (standin->daemon, vm->monitor, vm->cancellable, &vm->major_version, &failure))
    return TRUE;
  g_clear_pointer (&vm->monitor, qmp_client_free);
  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  /* One that is only about to be registered cannot be checked. */
  hint = vm->record->id != 0 ? g_strdup_printf ("see `chainctl check %s`", vm->record->name) : NULL;
  engine_error_set (error, ENGINE_ERROR_FAILED, hint, "VM '%s' is shut off, and its images cannot be opened: %s",
                    vm->record->name, failure->message);
  return FALSE;
}

static gboolean
start (EngineVm *vm, const GPtrArray *disks, GError **error)
{
  g_autoptr (EngineStandin) standin = standin_new (disks);

  if (!spawn (standin, vm, disks, error))
    return FALSE;
  if (vm->lock != NULL)
    engine_lock_note_helper (vm->lock, engine_daemon_get_pid (standin->daemon));
  if (!shake_hands (standin, vm, error))
    return FALSE;
  vm->daemon = TRUE;
  vm->qemu = engine_daemon_get_pid (standin->daemon);
  vm->standin = g_steal_pointer (&standin);
  return TRUE;
}

gboolean
engine_standin_start (EngineVm *vm, const GPtrArray *disks, GError **error)
{
  g_autoptr (GPtrArray) registered = disks == NULL ? engine_standindisk_list_registered (vm, error) : NULL;

  g_assert (vm->monitor == NULL && vm->state == ENGINE_VM_SHUT_OFF);
  if (disks == NULL && registered == NULL)
    return FALSE;
  return start (vm, disks != NULL ? disks : registered, error);
}

void
engine_standin_stop (EngineStandin *standin)
{
  if (standin == NULL)
    return;
  engine_daemon_free (standin->daemon);
  g_ptr_array_unref (standin->names);
  g_free (standin);
}

const char *
engine_standin_name_of (const EngineStandin *standin, const char *node)
{
  for (guint i = 0; i < standin->names->len; i++) {
    g_autofree char *name = g_strdup_printf (NAME "-%u", i);

    if (g_str_equal (name, node))
      return g_ptr_array_index (standin->names, i);
  }
  return NULL;
}
