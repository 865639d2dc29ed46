/*
 * From a parsed command line to a command that can run: what the global options
 * mean, which VM is meant, the database open.
 */
#include "tools/chainctl/command.h"

#include "engine/error.h"
#include "engine/recover.h"
#include "engine/vm.h"
#include "tools/chainctl/exit.h"
#include "tools/chainctl/options.h"
#include "tools/chainctl/several.h"

#include <string.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/chainctl/chainctl.conf"

/* ---- what the global options mean ---- */

char *
chainctl_command_state_folder (const char *option)
{
  const char *variable = g_getenv ("CHAINCTL_STATE");

  if (option != NULL)
    return g_canonicalize_filename (option, NULL);
  if (variable != NULL && *variable != '\0')
    return g_canonicalize_filename (variable, NULL);
  if (geteuid () == 0)
    return g_strdup ("/var/lib/chainctl");
  return g_build_filename (g_get_user_state_dir (), "chainctl", NULL);
}

/* A file that was named has to be there; the one that is there by default need not. */
static gboolean
configure (EngineContext *context, const ChainctlOptions *options, GError **error)
{
  const char *variable = g_getenv ("CHAINCTL_CONFIG");

  if (options->config != NULL)
    return engine_context_configure (context, options->config, error);
  if (variable != NULL && *variable != '\0')
    return engine_context_configure (context, variable, error);
  return !g_file_test (DEFAULT_CONFIG, G_FILE_TEST_EXISTS) || engine_context_configure (context, DEFAULT_CONFIG, error);
}

static gboolean
seconds_to_us (const char *text, gint64 *us, GError **error)
{
  char *end = NULL;
  double seconds = g_ascii_strtod (text, &end);

  if (end == text || *end != '\0' || !(seconds >= 0) || seconds > 1e9)
    return chainctl_exit_set_usage (error, "--wait=%s: not a number of seconds", text);
  *us = (gint64)(seconds * G_USEC_PER_SEC);
  return TRUE;
}

static gboolean
check_progress (const char *word, GError **error)
{
  static const char *const words[] = {"auto", "bar", "json", "none", NULL};

  if (word == NULL || g_strv_contains (words, word))
    return TRUE;
  return chainctl_exit_set_usage (error, "--progress=%s: one of auto, bar, json, none", word);
}

static gboolean
apply (ChainctlInvocation *invocation, const ChainctlOptions *options, GError **error)
{
  g_autofree char *state = chainctl_command_state_folder (options->state);
  EngineContext *context = engine_context_new (state);

  g_set_object (&context->cancellable, invocation->context->cancellable);
  g_set_object (&context->again, invocation->context->again);
  engine_context_free (invocation->context);
  invocation->context = context;
  invocation->output->json = options->json;
  invocation->output->quiet = options->quiet;
  invocation->output->dry_run = options->dry_run;
  invocation->output->json_messages = g_strcmp0 (options->progress, "json") == 0;
  context->dry_run = options->dry_run;
  invocation->yes = options->yes;
  if (!(options->timeout > 0) || options->timeout > 1e6)
    return chainctl_exit_set_usage (error, "--timeout: a number of seconds above 0");
  context->timeout_us = (gint64)(options->timeout * G_USEC_PER_SEC);
  context->lock_wait_us = options->waits ? -1 : 0;
  if (options->wait != NULL && !seconds_to_us (options->wait, &context->lock_wait_us, error))
    return FALSE;
  if (!check_progress (options->progress, error) || !configure (context, options, error))
    return FALSE;
  invocation->progress = chainctl_progress_new (options->progress, options->verbose, options->quiet);
  context->progress = invocation->progress != NULL ? chainctl_progress_report : NULL;
  context->progress_data = invocation->progress;
  return TRUE;
}

/* ---- which VM is meant ---- */

char *
chainctl_command_default_vm (EngineContext *context, GError **error)
{
  const char *variable = g_getenv ("CHAINCTL_VM");

  return variable == NULL || *variable == '\0' ? engine_vm_default_name (context, error) : g_strdup (variable);
}

static gboolean
check_count (ChainctlInvocation *invocation, guint count, GError **error)
{
  const ChainctlCommand *command = invocation->command;

  if (count >= command->least && count <= command->most)
    return TRUE;
  return chainctl_exit_set_usage (error, "usage: chainctl %s %s", command->name, command->arguments);
}

static gboolean
split_arguments (ChainctlInvocation *invocation, char **words, GError **error)
{
  guint count = g_strv_length (words);
  gboolean named = invocation->command->takes_vm && invocation->vms == NULL && count > 0;

  if (invocation->vms != NULL && !invocation->command->takes_vm && count > 0)
    return chainctl_exit_set_usage (error, "VM '%s', and --all, --match or --vm: one of them", words[0]);

  invocation->vm = named ? g_strdup (words[0]) : NULL;
  invocation->arguments = g_strdupv (words + (named ? 1 : 0));
  return check_count (invocation, count - (named ? 1 : 0), error);
}

static void
tell (GArray *told, const GOptionEntry *entries)
{
  for (const GOptionEntry *entry = entries; entry->long_name != NULL; entry++)
    g_array_append_vals (told, entry, 1);
}

/* Who may write: this command itself, or the one who does it for several, or a connection of its own. */
static EngineContext *
open_writer (ChainctlInvocation *invocation, GError **error)
{
  EngineContext *context = invocation->context;
  g_autoptr (EngineContext) writer = NULL;

  if (invocation->command->mode != CHAINS_DB_READ)
    return engine_context_new_sharing (context);
  if (invocation->writer != NULL)
    return engine_context_new_sharing (invocation->writer);
  writer = engine_context_new_like (context);
  return engine_context_open (writer, CHAINS_DB_UPDATE, error) ? g_steal_pointer (&writer) : NULL;
}

static gboolean
recover_apart (ChainctlInvocation *invocation, GError **error)
{
  g_autoptr (EngineContext) writer = open_writer (invocation, error);

  return writer != NULL && engine_recover_first (writer, invocation->vm, error) &&
         engine_context_take_warnings (invocation->context, writer);
}

gboolean
chainctl_command_recover_first (ChainctlInvocation *invocation, GError **error)
{
  ChainctlRecovery recovery = invocation->command->recovery;
  g_autoptr (GError) failure = NULL;

  if (recovery == CHAINCTL_RECOVERY_NONE || !engine_recover_is_due (invocation->context, invocation->vm) ||
      recover_apart (invocation, &failure))
    return TRUE;
  if (recovery == CHAINCTL_RECOVERY_NEEDED) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  engine_context_warn (invocation->context, "not-recovered", "%s", failure->message);
  return TRUE;
}

/* The command's own options, and those that name several VMs where it takes them. Returns: (transfer full) */
static GArray *
all_entries (const ChainctlCommand *command, const GOptionEntry *entries, ChainctlSeveralOptions *several)
{
  GArray *all = g_array_new (TRUE, TRUE, sizeof (GOptionEntry));
  g_autofree GOptionEntry *more = command->several ? chainctl_several_entries (several) : NULL;

  tell (all, entries);
  if (more != NULL)
    tell (all, more);
  return all;
}

static gboolean
choose_vms (ChainctlInvocation *invocation, const ChainctlSeveralOptions *options, gboolean several, GError **error)
{
  invocation->parallel = (guint)options->parallel;
  if (several) {
    g_strfreev (invocation->vms);
    invocation->vms = chainctl_several_choose (invocation->context, options, error);
    return invocation->vms != NULL;
  }
  if (invocation->command->takes_vm && invocation->vm == NULL)
    invocation->vm = chainctl_command_default_vm (invocation->context, error);
  if (invocation->command->takes_vm && invocation->vm == NULL)
    return FALSE;
  return invocation->vm == NULL || chainctl_command_recover_first (invocation, error);
}

static gboolean
parse (ChainctlInvocation *invocation, const GOptionEntry *entries, gboolean opens, GError **error)
{
  g_auto (ChainctlOptions) options = {0};
  g_auto (ChainctlSeveralOptions) several_options = {.parallel = CHAINCTL_SEVERAL_AT_ONCE};
  g_autoptr (GArray) all = all_entries (invocation->command, entries, &several_options);
  g_autofree char *help = NULL;
  gboolean several = FALSE;

  if (invocation->entries != NULL) {
    tell (invocation->entries, (const GOptionEntry *)all->data);
    return FALSE;
  }
  if (!chainctl_options_parse (&options, invocation->command, (const GOptionEntry *)all->data, &invocation->words,
                               &help, error))
    return FALSE;
  if (help != NULL) {
    g_string_append (invocation->output->text, help);
    json_object_set_string_member (invocation->output->document, "help", help);
    return FALSE;
  }
  if (!apply (invocation, &options, error) || !chainctl_several_check (&several_options, &several, error))
    return FALSE;
  invocation->vms = several ? g_new0 (char *, 1) : NULL;
  if (!split_arguments (invocation, invocation->words, error))
    return FALSE;
  return !opens || (engine_context_open (invocation->context, invocation->command->mode, error) &&
                    choose_vms (invocation, &several_options, several, error));
}

gboolean
chainctl_command_changes (const ChainctlInvocation *invocation)
{
  const ChainctlCommand *command = invocation->command;

  return command != NULL && (command->mode == CHAINS_DB_WRITE || command->mode == CHAINS_DB_UPDATE) &&
         !invocation->context->dry_run && !json_object_has_member (invocation->output->document, "help");
}

gboolean
chainctl_command_parse (ChainctlInvocation *invocation, const GOptionEntry *entries, GError **error)
{
  return parse (invocation, entries, TRUE, error);
}

gboolean
chainctl_command_parse_apart (ChainctlInvocation *invocation, const GOptionEntry *entries, GError **error)
{
  return parse (invocation, entries, FALSE, error);
}

gboolean
chainctl_command_run (ChainctlInvocation *invocation, const GOptionEntry *entries, ChainctlAct act,
                      gconstpointer options, GError **error)
{
  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  if (invocation->vms != NULL)
    return chainctl_several_run (invocation, act, options, error);
  return act (invocation, options, error);
}

char *
chainctl_command_split_pair (const char *option, const char *pair, const char **value, GError **error)
{
  const char *equals = strchr (pair, '=');

  if (equals == NULL || equals == pair || equals[1] == '\0') {
    chainctl_exit_set_usage (error, "--%s %s: not of the form DISK=PATH", option, pair);
    return NULL;
  }
  *value = equals + 1;
  return g_strndup (pair, (gsize)(equals - pair));
}

/* A number, and one of @units behind it or none, each 1024 times the one before. -1 for what is none. */
static double
parse_bytes (const char *text, const char *units)
{
  gsize digits = strspn (text, "0123456789.");
  const char *unit = text[digits] != '\0' ? strchr (units, g_ascii_toupper (text[digits])) : NULL;
  char *end;
  double number = g_ascii_strtod (text, &end);

  for (const char *at = units; unit != NULL && at <= unit; at++)
    number *= 1024;
  if (digits == 0 || end != text + digits || (*end != '\0' && (unit == NULL || end[1] != '\0')) || number >= 1e18)
    return -1;
  return number;
}

gboolean
chainctl_command_speed (const char *option, const char *text, gint64 *out, GError **error)
{
  double number = text != NULL ? parse_bytes (text, "KMG") : 0;

  if (text == NULL)
    return TRUE;
  /* Less than a byte a second would become 0: no limit at all. */
  if (number < 0 || (number > 0 && number < 1))
    return chainctl_exit_set_usage (error, "%s %s: a number of bytes a second, as in 500K, 10M, 1G", option, text);
  *out = (gint64)number;
  return TRUE;
}

gboolean
chainctl_command_size (const char *option, const char *text, gint64 *out, GError **error)
{
  double number = parse_bytes (text, "KMGT");

  if (number < 0)
    return chainctl_exit_set_usage (error, "%s: '%s' is no number of bytes, as in 10737418240, 500M, 10G", option,
                                    text);
  *out = (gint64)number;
  return TRUE;
}

gboolean
chainctl_command_word (const char *option, const char *word, const char *const *words, guint *index, GError **error)
{
  g_autofree char *all = g_strjoinv (", ", (char **)words);

  *index = 0;
  for (guint i = 0; word != NULL && words[i] != NULL; i++)
    if (g_str_equal (words[i], word)) {
      *index = i;
      return TRUE;
    }
  return word == NULL || chainctl_exit_set_usage (error, "--%s=%s: one of %s", option, word, all);
}

gboolean
chainctl_command_quiesce (const char *word, ChainsQuiesce *out, GError **error)
{
  if (word == NULL || chains_quiesce_from_string (word, out))
    return TRUE;
  return chainctl_exit_set_usage (error, "--quiesce %s: one of auto, require, off", word);
}

gboolean
chainctl_command_hooks (const char *word, GError **error)
{
  static const char *const words[] = {"auto", "require", "off", NULL};

  if (word != NULL && !g_strv_contains (words, word))
    return chainctl_exit_set_usage (error, "--hooks %s: one of auto, require, off", word);
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
    return chainctl_exit_set_usage (error, "--freeze-timeout: a number of seconds between 0 and 3600");
  *out_us = (gint64)(seconds * G_USEC_PER_SEC);
  return TRUE;
}
