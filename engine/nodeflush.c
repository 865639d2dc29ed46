/*
 * QMP has no flush. But to open a node anew flushes it, and a `preallocate` node
 * passes a flush on to the one below: so one is put above, with nothing to lose by
 * being opened anew, and taken away. It asks for no permission of its own.
 */
#include "engine/nodeflush.h"

#include "qmp/error.h"

static JsonObject *
describe (const char *node, const char *name)
{
  JsonObject *options = json_object_new ();

  json_object_set_string_member (options, "driver", "preallocate");
  json_object_set_string_member (options, "node-name", name);
  json_object_set_string_member (options, "file", node);
  return options;
}

gboolean
engine_nodeflush_run (EngineVm *vm, const char *node, const char *name, GError **error)
{
  g_autoptr (JsonObject) options = describe (node, name);
  gboolean flushed;

  if (!qmp_commands_blockdev_add (vm->monitor, engine_vm_wait (vm), options, error))
    return FALSE;
  flushed = qmp_commands_blockdev_reopen (vm->monitor, engine_vm_wait (vm), options, error);
  return engine_nodeflush_end (vm, name, flushed ? error : NULL) && flushed;
}

gboolean
engine_nodeflush_end (EngineVm *vm, const char *name, GError **error)
{
  GError *failure = NULL;

  return qmp_commands_blockdev_del (vm->monitor, engine_vm_wait (vm), name, &failure) ||
         qmp_error_forgive_refusal (failure, error);
}
