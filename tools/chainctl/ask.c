/*
 * Asks on stderr, reads from stdin, and takes anything but a yes for a no. Where
 * there is nobody to ask, nothing is asked.
 */
#include "tools/chainctl/ask.h"

#include <stdio.h>
#include <unistd.h>

gboolean
chainctl_ask_may (const ChainctlInvocation *invocation)
{
  return !invocation->output->json && !invocation->yes && isatty (STDIN_FILENO) == 1 && isatty (STDERR_FILENO) == 1;
}

gboolean
chainctl_ask (const char *question)
{
  char answer[16] = "";

  fprintf (stderr, "%s [y/N] ", question);
  fflush (stderr);
  return fgets (answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}
