/*
 * chainctl commit: options to a request, the result to a document. The work is
 * engine/commit's.
 */
#include "engine/commit.h"
#include "tools/chainctl/ask.h"
#include "tools/chainctl/commands.h"
#include "tools/chainctl/mergeview.h"
#include "tools/chainctl/quiescing.h"

typedef struct {
  char **disks;
  char *top;
  char *base;
  gboolean pivot;
  gboolean detach;
  gboolean keep_images;
  char *speed;
  ChainctlQuiescing quiescing;
} Options;

static void
options_clear (Options *options)
{
  g_strfreev (options->disks);
  g_free (options->top);
  g_free (options->base);
  g_free (options->speed);
  chainctl_quiescing_clear (&options->quiescing);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

static gboolean
confirm (const char *const *names, gpointer data)
{
  const char *several = names[1] != NULL ? "s" : "";
  g_autofree char *list = g_strjoinv ("', '", (char **)names);
  g_autofree char *question = g_strdup_printf ("Snapshot%s '%s' will cease to exist. Merge?", several, list);

  return chainctl_ask (data, question);
}

static gboolean
commit (ChainctlInvocation *invocation, const Options *options, GError **error)
{
  EngineCommitRequest request = {.vm = invocation->vm,
                                 .disks = (const char *const *)options->disks,
                                 .top = options->top,
                                 .base = options->base,
                                 .pivot = options->pivot,
                                 .detach = options->detach,
                                 .keep_images = options->keep_images};
  g_autoptr (EngineMergeResult) result = NULL;
  ChainsQuiesce mode;
  gboolean done;

  if (!chainctl_command_speed ("--speed", options->speed, &request.speed, error) ||
      !chainctl_quiescing_read (&options->quiescing, &mode, &request.quiesce, &request.freeze_timeout_us, error))
    return FALSE;
  request.confirm = chainctl_ask_may (invocation) ? confirm : NULL;
  request.confirm_data = invocation;
  done = engine_commit_run (invocation->context, &request, &result, error);
  if (result != NULL)
    chainctl_mergeview_say (invocation->output, result, invocation->vm, done ? NULL : *error);
  return done;
}

gboolean
chainctl_cmd_commit (ChainctlInvocation *invocation, GError **error)
{
  g_auto (Options) options = {.quiescing = CHAINCTL_QUIESCING_INIT};
  const GOptionEntry entries[] = {
      {"disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.disks, "only this disk (may be repeated)", "DISK"},
      {"top", 0, 0, G_OPTION_ARG_STRING, &options.top, "merge from this snapshot down", "SNAPSHOT"},
      {"base", 0, 0, G_OPTION_ARG_STRING, &options.base, "this one stays, and all below it", "SNAPSHOT|base"},
      {"pivot", 0, 0, G_OPTION_ARG_NONE, &options.pivot, "move the guest to what received the data", NULL},
      {"speed", 0, 0, G_OPTION_ARG_STRING, &options.speed, "at most so many bytes a second", "SPEED"},
      {"detach", 0, 0, G_OPTION_ARG_NONE, &options.detach, "do not wait", NULL},
      {"keep-images", 0, 0, G_OPTION_ARG_NONE, &options.keep_images, "remove no file", NULL},
      CHAINCTL_QUIESCING_ENTRIES (options.quiescing),
      {NULL},
  };

  return chainctl_command_parse (invocation, entries, error) && commit (invocation, &options, error);
}
