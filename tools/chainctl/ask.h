/*
 * Questions to a person at a terminal.
 */
#pragma once

#include "tools/chainctl/command.h"

/** Whether there is one to ask: a terminal at both ends, no --json, no --yes. */
gboolean chainctl_ask_may (const ChainctlInvocation *invocation);

/** "QUESTION [y/N] " on stderr; %TRUE for an answer that begins with a y. */
gboolean chainctl_ask (const char *question);
