/*
 * chainctl stream: options to a request, the result to a document. The work is
 * engine/stream's.
 */
#include "engine/stream.h"
#include "tools/chainctl/commands.h"
#include "tools/chainctl/mergeview.h"

typedef struct {
  char **disks;
  char *top;
  char *base;
  gboolean detach;
  char *speed;
} Options;

static void
options_clear (Options *options)
{
  g_strfreev (options->disks);
  g_free (options->top);
  g_free (options->base);
  g_free (options->speed);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

static gboolean
stream (ChainctlInvocation *invocation, const Options *options, GError **error)
{
  EngineStreamRequest request = {.vm = invocation->vm,
                                 .disks = (const char *const *)options->disks,
                                 .top = options->top,
                                 .base = options->base,
                                 .detach = options->detach};
  g_autoptr (EngineMergeResult) result = NULL;
  gboolean done;

  if (!chainctl_command_speed ("--speed", options->speed, &request.speed, error))
    return FALSE;
  done = engine_stream_run (invocation->context, &request, &result, error);
  if (result != NULL)
    chainctl_mergeview_say (invocation->output, result, invocation->vm, done ? NULL : *error);
  return done;
}

gboolean
chainctl_cmd_stream (ChainctlInvocation *invocation, GError **error)
{
  g_auto (Options) options = {0};
  const GOptionEntry entries[] = {
      {"disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.disks, "only this disk (may be repeated)", "DISK"},
      {"base", 0, 0, G_OPTION_ARG_STRING, &options.base, "what stays below (all that is owned)", "SNAPSHOT|base|none"},
      {"top", 0, 0, G_OPTION_ARG_STRING, &options.top, "pull into this snapshot's image", "SNAPSHOT"},
      {"speed", 0, 0, G_OPTION_ARG_STRING, &options.speed, "at most so many bytes a second", "SPEED"},
      {"detach", 0, 0, G_OPTION_ARG_NONE, &options.detach, "do not wait", NULL},
      {NULL},
  };

  return chainctl_command_parse (invocation, entries, error) && stream (invocation, &options, error);
}
