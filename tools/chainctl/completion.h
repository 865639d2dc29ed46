/*
 * Completion in a shell. Two hidden forms of the program:
 *
 *   chainctl --completion bash|zsh     the script that the shell is given
 *   chainctl --complete WORD…          what the last word may become, for that script
 */
#pragma once

#include <glib.h>

/** Whether @argv is one of the hidden forms. */
gboolean chainctl_completion_is_asked (char **argv);

/**
 * chainctl_completion_main:
 * @argv: as main() was given it
 * Prints the script; or lines of the form `KIND TAB TEXT TAB MEANING`, where KIND is
 *   `word`: TEXT is the whole word;
 *   `part`: TEXT is its beginning;
 *   `file`, `folder`, `program`: the name of one may follow TEXT.
 * Names are read from the database; where that cannot be, there are none.
 * Returns: the exit status
 */
int chainctl_completion_main (char **argv);
