/*
 * chainctl jobs: block jobs, of one VM or of all, whoever began them. The work is
 * engine/jobs'.
 */
#include "engine/jobs.h"
#include "tools/chainctl/commands.h"
#include "tools/chainctl/jobview.h"

gboolean
chainctl_cmd_jobs (ChainctlInvocation *invocation, GError **error)
{
  static const GOptionEntry entries[] = {{NULL}};
  g_autoptr (GPtrArray) views = NULL;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  views = engine_jobs_list (invocation->context, invocation->arguments[0], error);
  if (views == NULL)
    return FALSE;
  chainctl_jobview_say (invocation->output, views);
  if (views->len == 0)
    chainctl_output_note (invocation->output, "No job is at work.");
  return TRUE;
}
