/*
 * All commands, in the order of the help text.
 */
#pragma once

#include "tools/chainctl/command.h"

/** Ended by a row without a name. */
extern const ChainctlCommand chainctl_table[];

/** The commands that begin with the word @group, as lines of a help text. Returns: (transfer full) (nullable) */
char *chainctl_table_describe (const char *group);

/**
 * chainctl_table_find:
 * @first, @second: (nullable): the words that may name a command
 * Raises %CHAINCTL_EXIT_ERROR_USAGE, with the nearest name. @count: how many words it took.
 */
const ChainctlCommand *chainctl_table_find (const char *first, const char *second, guint *count, GError **error);
