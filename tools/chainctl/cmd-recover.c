/*
 * chainctl recover: what was interrupted, and what became of it. The work is
 * engine/recover's.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/render.h"

#include "engine/recover.h"

static JsonObject *
render (const EngineRecovered *recovered)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "op", recovered->op);
  json_object_set_string_member (object, "verb", recovered->verb);
  json_object_set_string_member (object, "vm", recovered->vm);
  json_object_set_string_member (object, "outcome", recovered->finished ? "finished" : "undone");
  chainctl_render_string (object, "message", recovered->message);
  return object;
}

static void
say (ChainctlOutput *output, const GPtrArray *recovered)
{
  JsonArray *rows = json_array_new ();

  for (guint i = 0; i < recovered->len; i++) {
    const EngineRecovered *entry = g_ptr_array_index (recovered, i);

    json_array_add_object_element (rows, render (entry));
    chainctl_output_line (output, "%s: %s %s: %s", entry->vm, entry->verb, entry->finished ? "finished" : "undone",
                          entry->message);
  }
  json_object_set_array_member (output->document, "recovered", rows);
  if (recovered->len > 0)
    chainctl_output_plan (output, "what was interrupted is brought to an end:");
  if (recovered->len == 0)
    chainctl_output_note (output, "Nothing was interrupted.");
}

static gboolean
recover (ChainctlInvocation *invocation, gconstpointer options, GError **error)
{
  g_autoptr (GPtrArray) recovered = engine_recover_list_new ();
  const char *vm = invocation->vm != NULL ? invocation->vm : invocation->arguments[0];
  gboolean done = vm != NULL ? engine_recover_vm (invocation->context, vm, recovered, error)
                             : engine_recover_all (invocation->context, recovered, error);

  /* What was settled is said also where something else could not be. */
  invocation->output->in_part = recovered->len > 0;
  if (done || recovered->len > 0)
    say (invocation->output, recovered);
  return done;
}

gboolean
chainctl_cmd_recover (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};

  return chainctl_command_run (invocation, entries, recover, NULL, error);
}
