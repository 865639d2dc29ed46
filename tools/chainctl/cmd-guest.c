/*
 * chainctl guest: the agent by hand. What it says is the guest's word, and shown as
 * such: nothing in it is believed to have a type or to be printable.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/exit.h"

#include "engine/agent.h"

/* A string member of what the agent said, who may have said anything. */
static char *
text_of (JsonObject *said, const char *member)
{
  JsonNode *node = said != NULL ? json_object_get_member (said, member) : NULL;

  if (node == NULL || !JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_STRING)
    return g_strdup ("?");
  return chainctl_output_printable (json_node_get_string (node));
}

static gboolean
is_disabled (JsonObject *command)
{
  JsonNode *node = json_object_get_member (command, "enabled");

  return node != NULL && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_BOOLEAN &&
         !json_node_get_boolean (node);
}

/* GuestAgentInfo: the version, and what its configuration does not allow. */
static void
say_info (ChainctlOutput *output, const char *vm, JsonObject *said)
{
  JsonNode *node = json_object_get_member (said, "supported_commands");
  JsonArray *commands = node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  g_autofree char *version = text_of (said, "version");
  g_autoptr (GString) disabled = g_string_new (NULL);

  for (guint i = 0; commands != NULL && i < json_array_get_length (commands); i++) {
    JsonNode *element = json_array_get_element (commands, i);
    JsonObject *command = JSON_NODE_HOLDS_OBJECT (element) ? json_node_get_object (element) : NULL;

    if (command != NULL && is_disabled (command)) {
      g_autofree char *name = text_of (command, "name");

      g_string_append_printf (disabled, " %s", name);
    }
  }
  chainctl_output_line (output, "%s: agent version %s", vm, version);
  if (disabled->len > 0)
    chainctl_output_prose (output, "  not allowed:%s", disabled->str);
}

static void
say (ChainctlOutput *output, const char *action, const char *vm, JsonObject *said)
{
  g_autofree char *status = text_of (said, "status");

  if (g_str_equal (action, "ping"))
    chainctl_output_line (output, "%s: the agent answers", vm);
  else if (g_str_equal (action, "info"))
    say_info (output, vm, said);
  else
    chainctl_output_line (output, "%s: %s", vm, status);
}

gboolean
chainctl_cmd_guest (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  JsonObject *said;
  const char *action;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  action = invocation->arguments[0];
  if (!g_strv_contains (engine_agent_actions (), action)) {
    g_autofree char *actions = g_strjoinv (", ", (char **)engine_agent_actions ());

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
