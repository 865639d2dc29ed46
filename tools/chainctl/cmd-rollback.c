/*
 * chainctl rollback: options to a request, the result to a document. The work is
 * engine/rollback's.
 */
#include "engine/error.h"
#include "engine/rollback.h"
#include "tools/chainctl/ask.h"
#include "tools/chainctl/commands.h"
#include "tools/chainctl/exit.h"
#include "tools/chainctl/quiescing.h"
#include "tools/chainctl/render.h"

typedef struct {
  char **disks;
  gboolean discard;
  char *reset;
  ChainctlQuiescing quiescing;
} Options;

static void
options_clear (Options *options)
{
  g_strfreev (options->disks);
  g_free (options->reset);
  chainctl_quiescing_clear (&options->quiescing);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

static gboolean
parse_reset (const char *word, EngineRollbackReset *out, GError **error)
{
  static const char *const words[] = {"auto", "always", "never", NULL};
  guint index;

  if (!chainctl_command_word ("reset", word, words, &index, error))
    return FALSE;
  *out = (EngineRollbackReset)index;
  return TRUE;
}

/* The same of what is still to be done, and of what was. */
static void
say_disks (ChainctlOutput *output, const EngineRollbackResult *result)
{
  for (guint i = 0; i < result->active->len; i++) {
    const EngineSwitchedDisk *disk = g_ptr_array_index (result->active, i);
    g_autofree char *path = chainctl_output_printable (disk->after);

    chainctl_output_note (output, "  %s now writes to %s", disk->disk, path);
    chainctl_output_plan (output, "%s writes to %s from then on", disk->disk, path);
  }
  for (guint i = 0; i < result->removed->len; i++) {
    g_autofree char *path = chainctl_output_printable (g_ptr_array_index (result->removed, i));

    chainctl_output_note (output, "  removed %s", path);
    chainctl_output_plan (output, "what was written to %s is lost, and the file removed", path);
  }
}

static void
say (ChainctlOutput *output, const EngineRollbackResult *result, const char *vm)
{
  JsonObject *object = json_object_new ();
  g_autofree char *paused = chainctl_output_duration (result->paused_us);

  json_object_set_string_member (object, "to", result->to);
  chainctl_render_string (object, "automatic_snapshot", result->automatic);
  json_object_set_boolean_member (object, "reset", result->reset);
  json_object_set_object_member (output->document, "rollback", object);
  json_object_set_array_member (output->document, "active", chainctl_render_active (result->active));
  chainctl_render_duration (output->document, "frozen_us", result->frozen_us);
  chainctl_render_duration (output->document, "paused_us", result->paused_us);
  json_object_set_array_member (output->document, "removed", chainctl_render_paths (result->removed));
  chainctl_output_note (output, "%s is back at '%s'%s%s%s", vm, result->to,
                        result->paused_us >= 0 ? ", paused for " : "", result->paused_us >= 0 ? paused : "",
                        result->reset ? "; its guest was reset" : "");
  chainctl_output_plan (output, "%s goes back to '%s'%s", vm, result->to,
                        result->reset ? ", and its guest is reset" : "");
  say_disks (output, result);
  if (result->automatic == NULL)
    return;
  chainctl_output_plan (output, "what is active now is kept as snapshot '%s'", result->automatic);
  chainctl_output_note (output, "What was active is kept as '%s': `chainctl rollback %s %s` goes there again.",
                        result->automatic, vm, result->automatic);
}

/* What is discarded does not come back. */
static gboolean
confirm (const ChainctlInvocation *invocation, const Options *options, GError **error)
{
  g_autofree char *question =
      g_strdup_printf ("What %s has written since its last snapshot will be lost. Go back?", invocation->vm);

  if (!options->discard || invocation->context->dry_run || !chainctl_ask_may (invocation) ||
      chainctl_ask (invocation, question))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "VM '%s': nothing was changed, as was answered", invocation->vm);
  return FALSE;
}

static gboolean
roll_back (ChainctlInvocation *invocation, const Options *options, GError **error)
{
  EngineRollbackRequest request = {.vm = invocation->vm,
                                   .snapshot = invocation->arguments[0],
                                   .disks = (const char *const *)options->disks,
                                   .discard = options->discard};
  g_autoptr (EngineRollbackResult) result = NULL;
  ChainsQuiesce mode;
  gboolean done;

  if (!parse_reset (options->reset, &request.reset, error) ||
      !chainctl_quiescing_read (&options->quiescing, &mode, &request.quiesce, &request.freeze_timeout_us, error))
    return FALSE;
  if (!confirm (invocation, options, error))
    return FALSE;
  done = engine_rollback_run (invocation->context, &request, &result, error);
  if (result != NULL)
    say (invocation->output, result, invocation->vm);
  return done;
}

gboolean
chainctl_cmd_rollback (ChainctlInvocation *invocation, GError **error)
{
  g_auto (Options) options = {.quiescing = CHAINCTL_QUIESCING_INIT};
  const GOptionEntry entries[] = {
      {"disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.disks, "only this disk (may be repeated)", "DISK"},
      {"discard", 0, 0, G_OPTION_ARG_NONE, &options.discard, "do not keep what is active now", NULL},
      {"reset", 0, 0, G_OPTION_ARG_STRING, &options.reset, "reset the guest (auto)", "auto|always|never"},
      CHAINCTL_QUIESCING_ENTRIES (options.quiescing),
      {NULL},
  };

  return chainctl_command_parse (invocation, entries, error) && roll_back (invocation, &options, error);
}
