/*
 * chainctl check: the findings, and exit 7 where one of them is an error. What is
 * looked for is the engine's.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/problems.h"

#include "engine/check.h"

static gboolean
check (ChainctlInvocation *invocation, gconstpointer options, GError **error)
{
  g_autoptr (GPtrArray) problems = engine_check_run (invocation->context, invocation->vm, error);

  return problems != NULL && chainctl_problems_show (invocation, problems, error);
}

gboolean
chainctl_cmd_check (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};

  return chainctl_command_run (invocation, entries, check, NULL, error);
}
