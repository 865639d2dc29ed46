/*
 * Parses one command line: the command's options together with the global
 * ones, in any order; then opens what the command needs.
 */
#include "tools/chainctl/command.h"

#include "engine/error.h"
#include "engine/vm.h"
#include "tools/chainctl/exit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
  char *state;
  char *progress;
  double timeout;
  char *wait;
  gboolean waits;
  gboolean json;
  gboolean dry_run;
  gboolean yes;
  gboolean quiet;
  gboolean verbose;
  gboolean help;
} Globals;

static void
globals_clear (Globals *globals)
{
  g_free (globals->state);
  g_free (globals->progress);
  g_free (globals->wait);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Globals, globals_clear)

static gboolean usage_error (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

static gboolean
usage_error (GError **error, const char *format, ...)
{
  va_list arguments;

  va_start (arguments, format);
  *error = g_error_new_valist (CHAINCTL_EXIT_ERROR, CHAINCTL_EXIT_ERROR_USAGE, format, arguments);
  va_end (arguments);
  return FALSE;
}

/* --wait, or --wait=SECONDS */
static gboolean
parse_wait (const char *name, const char *value, gpointer data, GError **error)
{
  Globals *globals = data;

  globals->waits = TRUE;
  g_free (globals->wait);
  globals->wait = g_strdup (value);
  return TRUE;
}

/* They are the parser's main group only because GLib's help text has that one last. */
static void
add_global_options (GOptionContext *parser, Globals *globals)
{
  const GOptionEntry entries[] = {
    { "state", 0, 0, G_OPTION_ARG_FILENAME, &globals->state, "where the database lives", "DIR" },
    { "json", 0, 0, G_OPTION_ARG_NONE, &globals->json, "one JSON document on stdout", NULL },
    { "progress", 0, 0, G_OPTION_ARG_STRING, &globals->progress, "progress of jobs, on stderr", "auto|bar|json|none" },
    { "dry-run", 0, 0, G_OPTION_ARG_NONE, &globals->dry_run, "check all, say what would be done",
      NULL },
    { "timeout", 0, 0, G_OPTION_ARG_DOUBLE, &globals->timeout, "how long to wait for a silent peer (10)", "SECONDS" },
    { "wait", 0, G_OPTION_FLAG_OPTIONAL_ARG, G_OPTION_ARG_CALLBACK, (gpointer) parse_wait,
      "wait for another operation on this VM", "SECONDS" },
    { "yes", 0, 0, G_OPTION_ARG_NONE, &globals->yes, "ask nothing", NULL },
    { "quiet", 'q', 0, G_OPTION_ARG_NONE, &globals->quiet, "say only what was asked for", NULL },
    { "verbose", 'v', 0, G_OPTION_ARG_NONE, &globals->verbose, "say more", NULL },
    { "help", 'h', 0, G_OPTION_ARG_NONE, &globals->help, "show this", NULL },
    { NULL },
  };
  GOptionGroup *group = g_option_group_new (NULL, NULL, NULL, globals, NULL);

  g_option_group_add_entries (group, entries);
  g_option_context_set_main_group (parser, group);
}

/* ---- what the global options mean ---- */

static char *
state_folder (const Globals *globals)
{
  const char *variable = g_getenv ("CHAINCTL_STATE");

  if (globals->state != NULL)
    return g_canonicalize_filename (globals->state, NULL);
  if (variable != NULL && *variable != '\0')
    return g_canonicalize_filename (variable, NULL);
  if (geteuid () == 0)
    return g_strdup ("/var/lib/chainctl");
  return g_build_filename (g_get_user_state_dir (), "chainctl", NULL);
}

static gboolean
seconds_to_us (const char *text, gint64 *us, GError **error)
{
  char *end = NULL;
  double seconds = g_ascii_strtod (text, &end);

  if (end == text || *end != '\0' || !(seconds >= 0) || seconds > 1e9)
    return usage_error (error, "--wait=%s: not a number of seconds", text);
  *us = (gint64) (seconds * G_USEC_PER_SEC);
  return TRUE;
}

static gboolean
check_progress (const char *word, GError **error)
{
  static const char *const words[] = { "auto", "bar", "json", "none", NULL };

  if (word == NULL || g_strv_contains (words, word))
    return TRUE;
  return usage_error (error, "--progress=%s: one of auto, bar, json, none", word);
}

static gboolean
apply (ChainctlInvocation *invocation, const Globals *globals, GError **error)
{
  g_autofree char *state = state_folder (globals);
  EngineContext *context = engine_context_new (state);

  context->cancellable = g_object_ref (invocation->context->cancellable);
  engine_context_free (invocation->context);
  invocation->context = context;
  invocation->output->json = globals->json;
  invocation->output->quiet = globals->quiet;
  context->dry_run = globals->dry_run;
  if (!(globals->timeout > 0) || globals->timeout > 1e6)
    return usage_error (error, "--timeout: a number of seconds above 0");
  context->timeout_us = (gint64) (globals->timeout * G_USEC_PER_SEC);
  context->lock_wait_us = globals->waits ? -1 : 0;
  if (globals->wait != NULL && !seconds_to_us (globals->wait, &context->lock_wait_us, error))
    return FALSE;
  return check_progress (globals->progress, error);
}

/* ---- which VM is meant ---- */

static gboolean
default_vm (ChainctlInvocation *invocation, GError **error)
{
  const char *variable = g_getenv ("CHAINCTL_VM");

  if (variable == NULL || *variable == '\0')
    invocation->vm = engine_vm_default_name (invocation->context, error);
  else
    invocation->vm = g_strdup (variable);
  return invocation->vm != NULL;
}

static gboolean
check_count (ChainctlInvocation *invocation, guint count, GError **error)
{
  const ChainctlCommand *command = invocation->command;

  if (count >= command->least && count <= command->most)
    return TRUE;
  return usage_error (error, "usage: chainctl %s %s", command->name, command->arguments);
}

static gboolean
split_arguments (ChainctlInvocation *invocation, char **words, GError **error)
{
  guint count = g_strv_length (words);
  gboolean named = invocation->command->takes_vm && count > 0;

  invocation->vm = named ? g_strdup (words[0]) : NULL;
  invocation->arguments = g_strdupv (words + (named ? 1 : 0));
  return check_count (invocation, count - (named ? 1 : 0), error);
}

/* ---- help ---- */

static void
show_help (ChainctlInvocation *invocation, GOptionContext *options)
{
  g_autofree char *help = g_option_context_get_help (options, FALSE, NULL);
  g_autoptr (GString) text = g_string_new (help);

  g_string_replace (text, "Application Options:", "Global options:", 1);
  g_string_append (invocation->output->text, text->str);
  json_object_set_string_member (invocation->output->document, "help", text->str);
  invocation->help = TRUE;
}

static GOptionContext *
new_parser (const ChainctlCommand *command, const GOptionEntry *entries, Globals *globals)
{
  g_autofree char *usage = g_strdup_printf ("%s — %s", command->arguments, command->summary);
  GOptionContext *parser = g_option_context_new (usage);
  GOptionGroup *group = g_option_group_new ("command", "Options:", "Show the options", NULL, NULL);

  g_option_context_set_help_enabled (parser, FALSE);
  g_option_context_set_summary (parser, command->detail);
  g_option_group_add_entries (group, entries);
  g_option_context_add_group (parser, group);
  add_global_options (parser, globals);
  return parser;
}

gboolean
chainctl_command_parse (ChainctlInvocation *invocation, const GOptionEntry *entries, GError **error)
{
  g_auto (Globals) globals = { .timeout = 10 };
  g_autoptr (GOptionContext) parser = new_parser (invocation->command, entries, &globals);
  g_autofree char *program = g_strdup_printf ("chainctl %s", invocation->command->name);
  g_auto (GStrv) words = g_new0 (char *, g_strv_length (invocation->words) + 2);

  /* The help text is made of the program's name: "chainctl snapshot". */
  g_set_prgname (program);
  words[0] = g_strdup (program);
  for (guint i = 0; invocation->words[i] != NULL; i++)
    words[i + 1] = g_strdup (invocation->words[i]);
  if (!g_option_context_parse_strv (parser, &words, error))
    return FALSE;
  if (globals.help) {
    show_help (invocation, parser);
    return FALSE;
  }
  if (!apply (invocation, &globals, error) || !split_arguments (invocation, words + 1, error) ||
      !engine_context_open (invocation->context, invocation->command->mode, error))
    return FALSE;
  return !invocation->command->takes_vm || invocation->vm != NULL || default_vm (invocation, error);
}

gboolean
chainctl_command_quiesce (const char *word, ChainsQuiesce *out, GError **error)
{
  if (word == NULL || chains_quiesce_from_string (word, out))
    return TRUE;
  return usage_error (error, "--quiesce %s: one of auto, require, off", word);
}

gboolean
chainctl_command_hooks (const char *word, GError **error)
{
  static const char *const words[] = { "auto", "require", "off", NULL };

  if (word != NULL && !g_strv_contains (words, word))
    return usage_error (error, "--hooks %s: one of auto, require, off", word);
  if (g_strcmp0 (word, "require") != 0)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_NOT_QUIESCED, "without --hooks the guest's own fsfreeze hooks still run",
                    "application hooks cannot be vouched for, so nothing was done");
  return FALSE;
}

gboolean
chainctl_command_freeze_timeout (double seconds, gint64 *out_us, GError **error)
{
  if (!(seconds > 0) || seconds > 3600)
    return usage_error (error, "--freeze-timeout: a number of seconds between 0 and 3600");
  *out_us = (gint64) (seconds * G_USEC_PER_SEC);
  return TRUE;
}
