/*
 * chainctl: finds the command that was typed, runs it, prints what it says. SIGINT,
 * SIGTERM and SIGHUP cancel; the engine decides what may be cut short.
 */
#include "engine/recover.h"
#include "engine/watchdog.h"
#include "tools/chainctl/completion.h"
#include "tools/chainctl/exit.h"
#include "tools/chainctl/journal.h"
#include "tools/chainctl/options.h"
#include "tools/chainctl/overtaken.h"
#include "tools/chainctl/table.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* %TRUE where @word stands before `--`: then errors are said in JSON even if the rest cannot be understood. */
static gboolean
has_word (char **words, const char *word)
{
  for (gsize i = 0; words[i] != NULL && !g_str_equal (words[i], "--"); i++)
    if (g_str_equal (words[i], word))
      return TRUE;
  return FALSE;
}

static void
general_help (ChainctlOutput *output)
{
  g_autofree char *commands = chainctl_table_describe (NULL);
  g_autofree char *global = chainctl_options_describe_global ();

  chainctl_output_line (output,
                        "Usage: chainctl [GLOBAL] COMMAND [VM] [ARGS]\n\n"
                        "Snapshots of running QEMU VMs: atomic over all disks, quiesced, remembered.\n\n%s\n"
                        "GLOBAL, before COMMAND or anywhere behind it:\n%s\n"
                        "chainctl COMMAND --help says more; man chainctl says most.",
                        commands, global);
  json_object_set_string_member (output->document, "help", output->text->str);
}

/* "chainctl vm", with or without --help. */
static gboolean
group_help (ChainctlOutput *output, const char *group, char **words, const char *commands, GError **error)
{
  if (!has_word (words, "--help") && !has_word (words, "-h")) {
    g_set_error (error, CHAINCTL_EXIT_ERROR, CHAINCTL_EXIT_ERROR_USAGE,
                 "'%s' alone is no command; see `chainctl %s --help`", group, group);
    return FALSE;
  }
  chainctl_output_line (output, "Usage: chainctl %s COMMAND\n\n%s", group, commands);
  json_object_set_string_member (output->document, "help", output->text->str);
  return TRUE;
}

/* What is said without a command: help, version, or that there is none. */
static gboolean
run_without_command (ChainctlOutput *output, char **words, GError **error)
{
  if (has_word (words, "--version")) {
    chainctl_output_line (output, "chainctl %s", CHAINCTL_VERSION);
    json_object_set_string_member (output->document, "version", CHAINCTL_VERSION);
    return TRUE;
  }
  if (has_word (words, "--help") || has_word (words, "-h")) {
    general_help (output);
    return TRUE;
  }
  if (!chainctl_options_check_global (words, g_strv_length (words), error))
    return FALSE;
  g_set_error_literal (error, CHAINCTL_EXIT_ERROR, CHAINCTL_EXIT_ERROR_USAGE,
                       "no command given; see `chainctl --help`");
  return FALSE;
}

/* The words without the command's own @count at @at. */
static char **
without_command (char **words, gsize at, guint count)
{
  g_autoptr (GPtrArray) rest = g_ptr_array_new ();

  for (gsize i = 0; words[i] != NULL; i++)
    if (i < at || i >= at + count)
      g_ptr_array_add (rest, g_strdup (words[i]));
  g_ptr_array_add (rest, NULL);
  return (char **)g_ptr_array_steal (rest, NULL);
}

/* Names of files would be taken for others, below the root. */
static gboolean
check_working_folder (GError **error)
{
  g_autofree char *folder = getcwd (NULL, 0);

  if (folder == NULL)
    g_set_error (error, CHAINCTL_EXIT_ERROR, CHAINCTL_EXIT_ERROR_USAGE,
                 "the working folder is gone (%s); go to another", g_strerror (errno));
  return folder != NULL;
}

static gboolean
run_command (ChainctlInvocation *invocation, char **words, GError **error)
{
  gsize at = chainctl_options_find_command (words);
  const char *next = words[at] != NULL ? words[at + 1] : NULL;
  g_autofree char *group = NULL;
  guint count = 0;

  if (words[at] == NULL || has_word (words, "--version"))
    return run_without_command (invocation->output, words, error);
  group = next == NULL || *next == '-' ? chainctl_table_describe (words[at]) : NULL;
  if (group != NULL)
    return group_help (invocation->output, words[at], words, group, error);
  invocation->command = chainctl_table_find (words[at], next, &count, NULL);
  if (invocation->command == NULL) /* what stands behind a mistyped option may be its value */
    return chainctl_options_check_global (words, at, error) &&
           chainctl_table_find (words[at], next, &count, error) != NULL;
  if (!check_working_folder (error))
    return FALSE;
  invocation->output->command = g_strdup (invocation->command->name);
  invocation->words = without_command (words, at, count);
  return invocation->command->run (invocation, error);
}

/* The first Ctrl-C: a person is told what the next one would do. */
static void
say_interrupted (gpointer data)
{
  const ChainctlInvocation *invocation = data;

  chainctl_progress_say_interrupted (invocation->progress);
}

int
main (int argc, char **argv)
{
  g_auto (GStrv) words = NULL;
  g_autoptr (GError) error = NULL;
  ChainctlInvocation invocation = {0};
  ChainctlSignalsTargets targets;
  int status;

  if (argc > 1 && g_str_equal (argv[1], ENGINE_WATCHDOG_ARGUMENT))
    return engine_watchdog_main (argv + 2, engine_recover_rescue);
  if (chainctl_completion_is_asked (argv))
    return chainctl_completion_main (argv);
  setlocale (LC_CTYPE, "");
  words = g_strdupv (argv + 1);
  invocation.output = chainctl_output_new (has_word (words, "--json"));
  invocation.output->json_messages = has_word (words, "--progress=json");
  invocation.context = engine_context_new ("/");
  targets = (ChainctlSignalsTargets){invocation.context->cancellable, invocation.context->again, say_interrupted,
                                     &invocation};
  chainctl_signals_take (&invocation.signals, &targets);
  run_command (&invocation, words, &error);
  chainctl_overtaken_settle (&invocation, &error);
  invocation.output->changes = chainctl_command_changes (&invocation);
  status = chainctl_output_finish (invocation.output, invocation.context, error);
  chainctl_journal_record (&invocation, error);
  engine_context_free (invocation.context);
  chainctl_progress_free (invocation.progress);
  /* The document of a long list is the kernel's to take back: to free it piece by piece takes as long as to make it. */
  g_strfreev (invocation.words);
  g_strfreev (invocation.arguments);
  g_strfreev (invocation.vms);
  g_free (invocation.vm);
  return status;
}
