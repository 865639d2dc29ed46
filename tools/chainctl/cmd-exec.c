/*
 * chainctl exec: checks, replaces {DISK}, and becomes the command behind `--`. Says
 * nothing on stdout where that works: the process is the command's then.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/exit.h"
#include "tools/chainctl/render.h"

#include "engine/exec.h"

/* Takes `--` and all behind it from @words. Returns: (transfer full) (nullable) */
static char **
take_command (char **words)
{
  char **command;
  gsize at = 0;

  while (words != NULL && words[at] != NULL && !g_str_equal (words[at], "--"))
    at++;
  if (words == NULL || words[at] == NULL)
    return NULL;
  command = g_strdupv (words + at + 1);
  for (gsize i = at; words[i] != NULL; i++)
    g_clear_pointer (&words[i], g_free);
  return command;
}

/* Help and completion go without a command. */
static gboolean
check_command (const ChainctlInvocation *invocation, char **command, GError **error)
{
  const char *const *words = (const char *const *)invocation->words;

  if (words == NULL || g_strv_contains (words, "--help") || g_strv_contains (words, "-h"))
    return TRUE;
  if (command == NULL)
    return chainctl_exit_set_usage (error, "the command to start stands behind `--`: chainctl exec VM -- CMD...");
  if (command[0] == NULL || *command[0] == '\0')
    return chainctl_exit_set_usage (error, "there is no command behind `--`");
  return TRUE;
}

/* Says what would be started, so that a shell could start it. */
static void
pretend (ChainctlInvocation *invocation, const EngineExec *exec)
{
  g_autoptr (JsonObject) what = json_object_new ();
  g_autoptr (GString) line = g_string_new (NULL);
  JsonArray *argv = json_array_new ();

  for (gsize i = 0; exec->argv[i] != NULL; i++) {
    g_autofree char *quoted = g_shell_quote (exec->argv[i]);
    g_autofree char *safe = chainctl_output_printable (exec->argv[i]);

    g_string_append_printf (line, "%s%s", i > 0 ? " " : "", quoted);
    json_array_add_string_element (argv, safe);
  }
  chainctl_render_string (what, "command", line->str);
  json_object_set_array_member (what, "argv", argv);
  if (invocation->output->json)
    engine_context_plan (invocation->context, "host", "exec", what);
  else
    chainctl_output_line (invocation->output, "%s", line->str);
}

static gboolean
start (ChainctlInvocation *invocation, EngineExec *exec, GError **error)
{
  chainctl_output_warn_now (invocation->output, invocation->context);
  /* They are said; should the start fail, only the document has them again. */
  if (!invocation->output->json)
    g_ptr_array_set_size (invocation->context->warnings, 0);
  chainctl_signals_give_back (&invocation->signals);
  engine_exec_start (exec, error);
  return FALSE;
}

gboolean
chainctl_cmd_exec (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_auto (GStrv) command = take_command (invocation->words);
  g_autoptr (EngineExec) exec = NULL;

  if (!check_command (invocation, command, error) || !chainctl_command_parse (invocation, entries, error))
    return FALSE;
  exec = engine_exec_prepare (invocation->context, invocation->vm, (const char *const *)command, error);
  if (exec == NULL)
    return FALSE;
  if (!invocation->context->dry_run)
    return start (invocation, exec, error);
  pretend (invocation, exec);
  return TRUE;
}
