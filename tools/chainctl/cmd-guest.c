/*
 * chainctl guest: the agent by hand.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/exit.h"

#include "engine/agent.h"

static void
say (ChainctlOutput *output, const char *action, const char *vm, JsonObject *said)
{
  if (json_object_get_size (said) == 0) {
    chainctl_output_line (output, "%s: the agent answers", vm);
  } else if (json_object_has_member (said, "status")) {
    chainctl_output_line (output, "%s: %s", vm, json_object_get_string_member (said, "status"));
  } else {
    g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), said);
    g_autofree char *text = json_to_string (node, TRUE);

    chainctl_output_line (output, "%s", text);
  }
}

gboolean
chainctl_cmd_guest (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = { { NULL } };
  JsonObject *said;
  const char *action;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  action = invocation->arguments[0];
  if (!g_strv_contains (engine_agent_actions (), action)) {
    g_autofree char *actions = g_strjoinv (", ", (char **) engine_agent_actions ());

    g_set_error (error, CHAINCTL_EXIT_ERROR, CHAINCTL_EXIT_ERROR_USAGE, "guest: '%s' is none of %s", action, actions);
    return FALSE;
  }
  said = engine_agent_run (invocation->context, invocation->vm, action, error);
  if (said == NULL)
    return FALSE;
  say (invocation->output, action, invocation->vm, said);
  json_object_set_object_member (invocation->output->document, "guest", said);
  return TRUE;
}
