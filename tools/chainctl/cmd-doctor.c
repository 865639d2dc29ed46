/*
 * chainctl doctor: the findings of `check`, and advice; exit 7 where one of them is an
 * error. What is looked for is the engine's.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/problems.h"

#include "engine/doctor.h"

gboolean
chainctl_cmd_doctor (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (GPtrArray) problems = NULL;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  problems = engine_doctor_run (invocation->context, invocation->vm, error);
  return problems != NULL && chainctl_problems_show (invocation, problems, error);
}
