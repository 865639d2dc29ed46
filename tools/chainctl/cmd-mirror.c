/*
 * chainctl mirror: options to a request, the result to a document. The work is
 * engine/mirror's.
 */
#include "engine/error.h"
#include "engine/mirror.h"
#include "tools/chainctl/commands.h"
#include "tools/chainctl/mirrorview.h"
#include "tools/chainctl/quiescing.h"

typedef struct {
  char **disks;
  char *to;
  char *nbd;
  char *sync;
  gboolean pivot;
  gboolean finish;
  gboolean follow;
  gboolean existing;
  char *format;
  char *speed;
  char *copy_mode;
  char *credentials;
  gboolean detach;
  ChainctlQuiescing quiescing;
} Options;

static void
options_clear (Options *options)
{
  g_strfreev (options->disks);
  g_free (options->to);
  g_free (options->nbd);
  g_free (options->sync);
  g_free (options->format);
  g_free (options->speed);
  g_free (options->copy_mode);
  g_free (options->credentials);
  chainctl_quiescing_clear (&options->quiescing);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

static gboolean
refuse (const char *message, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_USAGE, "see `chainctl mirror --help`", "%s", message);
  return FALSE;
}

static gboolean
check (const Options *options, GError **error)
{
  if ((options->to != NULL) == (options->nbd != NULL))
    return refuse ("one of --to and --nbd has to say where the copies go", error);
  if (options->pivot + options->finish + options->follow > 1)
    return refuse ("only one of --finish, --pivot and --follow can be", error);
  if (options->nbd != NULL && (options->existing || options->format != NULL))
    return refuse ("--existing and --format are for --to: what an NBD server exports is there, and raw", error);
  if (options->to != NULL && options->credentials != NULL)
    return refuse ("--tls-creds is for --nbd", error);
  return TRUE;
}

static gboolean
parse (const Options *options, EngineMirrorPlanRequest *plan, GError **error)
{
  static const char *const syncs[] = {"full", "top", "none", NULL};
  static const char *const modes[] = {"auto", "background", "write-blocking", NULL};
  guint sync, mode;

  if (!check (options, error) || !chainctl_command_word ("sync", options->sync, syncs, &sync, error) ||
      !chainctl_command_word ("copy-mode", options->copy_mode, modes, &mode, error) ||
      !chainctl_command_speed ("--speed", options->speed, &plan->speed, error))
    return FALSE;
  plan->disks = (const char *const *)options->disks;
  plan->target.to = options->to;
  plan->target.credentials = options->credentials;
  plan->target.format = options->format;
  plan->target.existing = options->existing;
  plan->goal = options->pivot ? ENGINE_MIRROR_PIVOT : options->follow ? ENGINE_MIRROR_FOLLOW : ENGINE_MIRROR_FINISH;
  plan->sync = (EngineMirrorSync)sync;
  plan->mode = (EngineMirrorMode)mode;
  return TRUE;
}

static gboolean
check_tls (const Options *options, const EngineNbdAddress *nbd, GError **error)
{
  if (!nbd->tls || options->credentials != NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_USAGE, "name a folder with certificates: --tls-creds DIR",
                    "'%s' says TLS, and there are no credentials to speak it with", options->nbd);
  return FALSE;
}

static gboolean
mirror (ChainctlInvocation *invocation, const Options *options, GError **error)
{
  EngineMirrorRequest request = {.vm = invocation->vm, .detach = options->detach};
  g_autoptr (EngineNbdAddress) nbd = NULL;
  g_autoptr (EngineMirrorResult) result = NULL;
  ChainsQuiesce mode;
  gboolean done;

  if (!parse (options, &request.plan, error) ||
      !chainctl_quiescing_read (&options->quiescing, &mode, &request.quiesce, &request.freeze_timeout_us, error))
    return FALSE;
  nbd = options->nbd != NULL ? engine_nbdaddress_parse (options->nbd, error) : NULL;
  if (options->nbd != NULL && (nbd == NULL || !check_tls (options, nbd, error)))
    return FALSE;
  request.plan.target.nbd = nbd;
  done = engine_mirror_run (invocation->context, &request, &result, error);
  if (result != NULL)
    chainctl_mirrorview_say (invocation->output, result, invocation->vm, done ? NULL : *error);
  return done;
}

gboolean
chainctl_cmd_mirror (ChainctlInvocation *invocation, GError **error)
{
  g_auto (Options) options = {.quiescing = CHAINCTL_QUIESCING_INIT};
  const GOptionEntry entries[] = {
      {"to", 0, 0, G_OPTION_ARG_FILENAME, &options.to, "a file, or a folder", "PATH"},
      {"nbd", 0, 0, G_OPTION_ARG_STRING, &options.nbd, "an NBD export; %d is the disk", "SERVER"},
      {"disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.disks, "only this disk (repeatable)", "DISK"},
      {"sync", 0, 0, G_OPTION_ARG_STRING, &options.sync, "what is copied (full)", "full|top|none"},
      {"finish", 0, 0, G_OPTION_ARG_NONE, &options.finish, "copies of one instant (default)", NULL},
      {"pivot", 0, 0, G_OPTION_ARG_NONE, &options.pivot, "move the guest to the copies", NULL},
      {"follow", 0, 0, G_OPTION_ARG_NONE, &options.follow, "kept in step until told", NULL},
      {"existing", 0, 0, G_OPTION_ARG_NONE, &options.existing, "overwrite what is there", NULL},
      {"format", 0, 0, G_OPTION_ARG_STRING, &options.format, "of the copies (qcow2)", "qcow2|raw"},
      {"speed", 0, 0, G_OPTION_ARG_STRING, &options.speed, "at most so many bytes a second", "SPEED"},
      {"copy-mode", 0, 0, G_OPTION_ARG_STRING, &options.copy_mode, "auto, background or write-blocking (auto)", "MODE"},
      {"tls-creds", 0, 0, G_OPTION_ARG_FILENAME, &options.credentials, "X.509, as QEMU lays it out", "DIR"},
      {"detach", 0, 0, G_OPTION_ARG_NONE, &options.detach, "do not wait", NULL},
      CHAINCTL_QUIESCING_ENTRIES (options.quiescing),
      {NULL},
  };

  return chainctl_command_parse (invocation, entries, error) && mirror (invocation, &options, error);
}
