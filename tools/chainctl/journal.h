/*
 * One record in the host's journal for each run of a command that changes
 * something: for a timer's runs, which nobody watches.
 */
#pragma once

#include "tools/chainctl/command.h"

/**
 * chainctl_journal_record:
 * @error: (nullable): what went wrong
 * Sends one record, for a run on several VMs one for each, unless stderr is a terminal, the command only looks, or
 * nothing was meant to be done (a dry run,
 * --help), or a recovery found nothing to do. Where there is no journal, or none that takes it at once, nothing
 * happens.
 */
void chainctl_journal_record (const ChainctlInvocation *invocation, const GError *error);
