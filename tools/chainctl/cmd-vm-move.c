/*
 * chainctl vm export | import: one VM from host to host. The document is
 * engine/transfer's.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/render.h"

#include "engine/transfer.h"

gboolean
chainctl_cmd_vm_move_export (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (JsonObject) document = NULL;
  g_autoptr (JsonNode) root = NULL;
  g_autofree char *text = NULL;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  document = engine_transfer_export (invocation->context, invocation->vm, error);
  if (document == NULL)
    return FALSE;
  json_object_set_object_member (invocation->output->document, "export", json_object_ref (document));
  root = json_node_init_object (json_node_alloc (), document);
  text = json_to_string (root, TRUE);
  chainctl_output_line (invocation->output, "%s", text);
  return TRUE;
}

gboolean
chainctl_cmd_vm_move_import (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (EngineVmView) view = NULL;
  g_autofree char *name = NULL;
  JsonObject *vm;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  name = engine_transfer_import (invocation->context, invocation->arguments[0], error);
  view = name != NULL ? engine_vmview_show (invocation->context, name, error) : NULL;
  if (view == NULL)
    return FALSE;
  vm = chainctl_render_vm (view, TRUE);
  json_object_set_object_member (invocation->output->document, "vm", vm);
  chainctl_output_line (invocation->output, "%s: %s, quiesce %s", view->record->name,
                        engine_vm_state_to_string (view->state), chains_quiesce_to_string (view->record->quiesce));
  chainctl_output_table (invocation->output, json_object_get_array_member (vm, "disks"), chainctl_render_disk_columns);
  return TRUE;
}
