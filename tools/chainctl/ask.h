/*
 * Questions to a person at a terminal.
 */
#pragma once

#include "tools/chainctl/command.h"

/** Whether there is one to ask: a terminal at both ends, no --json, no --yes, and stderr not for a script. */
gboolean chainctl_ask_may (const ChainctlInvocation *invocation);

/** "QUESTION [y/N] " on stderr; %TRUE for "y" or "yes". Ctrl-C, and the end of the input, are a no. */
gboolean chainctl_ask (const ChainctlInvocation *invocation, const char *question);
