/*
 * The end of a command that stood still while it had a guest paused, and was
 * overtaken by the process that stands by.
 */
#pragma once

#include "tools/chainctl/command.h"

/**
 * chainctl_overtaken_settle:
 * @error: (inout): why the command failed, where it did
 * Where its operation was overtaken: brings that to an end, forgets what the command had to say, and says in @error
 * what is true now: nothing changed, or it is done, or recovery is still due.
 */
void chainctl_overtaken_settle (ChainctlInvocation *invocation, GError **error);
