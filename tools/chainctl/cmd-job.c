/*
 * chainctl job wait, pause, resume, cancel, complete, speed: one job, or an
 * operation's, steered. The work is engine/jobs'.
 */
#include "engine/jobs.h"
#include "tools/chainctl/commands.h"
#include "tools/chainctl/jobview.h"
#include "tools/chainctl/mergeview.h"
#include "tools/chainctl/mirrorview.h"
#include "tools/chainctl/quiescing.h"

typedef struct {
  ChainctlQuiescing quiescing;
} Options;

static void
options_clear (Options *options)
{
  chainctl_quiescing_clear (&options->quiescing);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

/* Of a mirror nothing is left to be shown. */
static void
say_given_up (ChainctlInvocation *invocation)
{
  json_object_set_array_member (invocation->output->document, "jobs", json_array_new ());
  chainctl_output_note (invocation->output,
                        "%s: the mirror is cancelled. The files that were made for its copies are removed; the guest "
                        "goes on as before",
                        invocation->vm);
}

static void
plan (ChainctlInvocation *invocation, const EngineJobsRequest *request)
{
  static const char *const becomes[] = {
      [ENGINE_JOBS_WAIT] = "is waited for, and ended as is due then",
      [ENGINE_JOBS_CANCEL] = "is cancelled",
      [ENGINE_JOBS_COMPLETE] = "is completed",
      [ENGINE_JOBS_PAUSE] = "stands still",
      [ENGINE_JOBS_RESUME] = "goes on",
      [ENGINE_JOBS_SPEED] = "gets another limit",
  };

  chainctl_output_plan (invocation->output, "%s: job %s %s", request->vm, request->job, becomes[request->action]);
}

static gboolean
act (ChainctlInvocation *invocation, EngineJobsAction action, const Options *options, GError **error)
{
  EngineJobsRequest request = {.vm = invocation->vm, .job = invocation->arguments[0], .action = action};
  g_auto (EngineJobsResult) result = {0};
  ChainsQuiesce mode;
  gboolean done;

  if ((action == ENGINE_JOBS_SPEED &&
       !chainctl_command_speed ("SPEED", invocation->arguments[1], &request.speed, error)) ||
      !chainctl_quiescing_read (&options->quiescing, &mode, &request.quiesce, &request.freeze_timeout_us, error))
    return FALSE;
  plan (invocation, &request);
  /* What is given up is not on its way to 100 %. */
  if (action == ENGINE_JOBS_CANCEL && !invocation->output->json_messages)
    invocation->context->progress = NULL;
  done = engine_jobs_act (invocation->context, &request, &result, error);
  if (result.merge != NULL)
    chainctl_mergeview_say (invocation->output, result.merge, invocation->vm, done ? NULL : *error);
  if (result.mirror != NULL)
    chainctl_mirrorview_say (invocation->output, result.mirror, invocation->vm, done ? NULL : *error);
  if (done && action == ENGINE_JOBS_CANCEL && result.merge == NULL && result.mirror == NULL && result.views == NULL)
    say_given_up (invocation);
  if (result.views != NULL && !json_object_has_member (invocation->output->document, "jobs"))
    chainctl_jobview_note (invocation->output, result.views);
  return done;
}

static gboolean
run (ChainctlInvocation *invocation, EngineJobsAction action, GError **error)
{
  g_auto (Options) options = {.quiescing = CHAINCTL_QUIESCING_INIT};
  const GOptionEntry guarded[] = {
      CHAINCTL_QUIESCING_ENTRIES (options.quiescing),
      {NULL},
  };
  static const GOptionEntry none[] = {{NULL}};
  gboolean pivots = action == ENGINE_JOBS_WAIT || action == ENGINE_JOBS_COMPLETE;

  return chainctl_command_parse (invocation, pivots ? guarded : none, error) &&
         act (invocation, action, &options, error);
}

gboolean
chainctl_cmd_job_wait (ChainctlInvocation *invocation, GError **error)
{
  return run (invocation, ENGINE_JOBS_WAIT, error);
}

gboolean
chainctl_cmd_job_pause (ChainctlInvocation *invocation, GError **error)
{
  return run (invocation, ENGINE_JOBS_PAUSE, error);
}

gboolean
chainctl_cmd_job_resume (ChainctlInvocation *invocation, GError **error)
{
  return run (invocation, ENGINE_JOBS_RESUME, error);
}

gboolean
chainctl_cmd_job_cancel (ChainctlInvocation *invocation, GError **error)
{
  return run (invocation, ENGINE_JOBS_CANCEL, error);
}

gboolean
chainctl_cmd_job_complete (ChainctlInvocation *invocation, GError **error)
{
  return run (invocation, ENGINE_JOBS_COMPLETE, error);
}

gboolean
chainctl_cmd_job_speed (ChainctlInvocation *invocation, GError **error)
{
  return run (invocation, ENGINE_JOBS_SPEED, error);
}
