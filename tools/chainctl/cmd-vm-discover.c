/*
 * chainctl vm discover: the QEMUs of this host, and for each that is not
 * registered the command that would register it.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/render.h"

#include "engine/discover.h"

#include <string.h>

static const ChainctlOutputColumn columns[] = {
    {"NAME", "name", CHAINCTL_OUTPUT_TEXT},
    {"STATE", "state", CHAINCTL_OUTPUT_TEXT},
    {"REGISTERED", "registered", CHAINCTL_OUTPUT_TEXT},
    {"QMP", "qmp", CHAINCTL_OUTPUT_TEXT},
    {NULL},
};

static JsonObject *
render (const EngineDiscovered *discovered)
{
  JsonObject *vm = chainctl_render_vm (discovered->view, FALSE);

  chainctl_render_string (vm, "registered", discovered->registered);
  json_object_set_boolean_member (vm, "libvirt", discovered->libvirt);
  return vm;
}

/* As a shell takes it for one word. */
static char *
quoted (const char *word)
{
  const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:+@%";

  return strspn (word, plain) == strlen (word) ? g_strdup (word) : g_shell_quote (word);
}

/* What a terminal cannot show cannot be pasted either. */
static gboolean
is_printable (const char *text)
{
  g_autofree char *printable = chainctl_output_printable (text);

  return g_str_equal (printable, text);
}

/* Several that are called alike are told apart as they would be registered. */
static const char *
shown_name (const GPtrArray *found, const EngineDiscovered *discovered)
{
  const char *name = discovered->view->record->name;
  guint alike = 0;

  for (guint i = 0; i < found->len; i++)
    alike += g_str_equal (((const EngineDiscovered *)g_ptr_array_index (found, i))->view->record->name, name);
  return alike > 1 && discovered->registered == NULL ? discovered->suggestion : name;
}

static void
say_table (ChainctlOutput *output, const GPtrArray *found)
{
  g_autoptr (JsonArray) rows = json_array_new ();

  for (guint i = 0; i < found->len; i++) {
    const EngineDiscovered *discovered = g_ptr_array_index (found, i);
    JsonObject *row = render (discovered);

    chainctl_render_string (row, "name", shown_name (found, discovered));
    json_array_add_object_element (rows, row);
  }
  chainctl_output_table (output, rows, columns);
}

static void
say_how_to_add (ChainctlOutput *output, const EngineDiscovered *discovered)
{
  const ChainsVm *record = discovered->view->record;
  g_autofree char *address = g_strconcat ("unix:", record->qmp, NULL);
  g_autofree char *qmp = quoted (address);
  g_autofree char *agent = record->agent != NULL ? quoted (record->agent) : NULL;
  g_autofree char *name = chainctl_output_printable (record->name);

  if (discovered->registered != NULL || output->quiet)
    return;
  if (discovered->libvirt)
    chainctl_output_line (output, "# %s is managed by libvirt; see chainctl-vm(1)", name);
  else if (!is_printable (qmp) || (agent != NULL && !is_printable (agent)))
    chainctl_output_line (output, "# %s: a socket of it has a name that no terminal shows; --json has it", name);
  else
    chainctl_output_line (output, "chainctl vm add %s --qmp %s%s%s", discovered->suggestion, qmp,
                          agent != NULL ? " --agent " : "", agent != NULL ? agent : "");
}

static gboolean
is_any_new (const GPtrArray *found)
{
  for (guint i = 0; i < found->len; i++)
    if (((const EngineDiscovered *)g_ptr_array_index (found, i))->registered == NULL)
      return TRUE;
  return FALSE;
}

gboolean
chainctl_cmd_vm_discover (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (GPtrArray) found = NULL;
  JsonArray *vms;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  found = engine_discover_run (invocation->context, (const char *const *)invocation->arguments, error);
  if (found == NULL)
    return FALSE;
  vms = json_array_new ();
  for (guint i = 0; i < found->len; i++)
    json_array_add_object_element (vms, render (g_ptr_array_index (found, i)));
  json_object_set_array_member (invocation->output->document, "vms", vms);
  if (found->len == 0)
    chainctl_output_line (invocation->output, "No QEMU with a QMP socket was found.");
  else
    say_table (invocation->output, found);
  if (is_any_new (found) && !invocation->output->quiet)
    chainctl_output_line (invocation->output, "%s", "");
  for (guint i = 0; i < found->len; i++)
    say_how_to_add (invocation->output, g_ptr_array_index (found, i));
  return TRUE;
}
