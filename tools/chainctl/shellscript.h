/*
 * Completion's side in the shell.
 */
#pragma once

#include <glib.h>

/** The completion script of @shell (nullable): "bash" or "zsh". Returns: (nullable): %NULL for others */
const char *chainctl_shellscript_find (const char *shell);
