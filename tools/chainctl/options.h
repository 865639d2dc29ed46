/*
 * The global options, and the parser that takes them together with a
 * command's own, in any order.
 */
#pragma once

#include "tools/chainctl/command.h"

/**
 * ChainctlOptions:
 * @wait: (nullable): seconds; @waits: --wait was given, with or without them
 */
typedef struct {
  char *state;
  char *config;
  char *progress;
  double timeout;
  char *wait;
  gboolean waits;
  gboolean json;
  gboolean dry_run;
  gboolean yes;
  gboolean quiet;
  gboolean verbose;
  gboolean help;
} ChainctlOptions;

void chainctl_options_clear (ChainctlOptions *options);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (ChainctlOptions, chainctl_options_clear)

/** The global options, ended by a NULL name; what is parsed goes into @options. Returns: (transfer full) */
GOptionEntry *chainctl_options_global (ChainctlOptions *options);

/** The same as lines of a help text, and --version. Returns: (transfer full) */
char *chainctl_options_describe_global (void);

/** Returns: the index of the first of @words that is neither an option nor the value of a global one, or of the end */
gsize chainctl_options_find_command (char **words);

/** Returns: %FALSE where the first @count of @words have an option that is not global */
gboolean chainctl_options_check_global (char **words, gsize count, GError **error);

/**
 * chainctl_options_parse:
 * @entries: @command's own, ended by a NULL name
 * @words: (inout): the words behind the command; what is left of them are its arguments
 * @help: (out) (nullable) (transfer full): the help text, where it was asked for
 */
gboolean chainctl_options_parse (ChainctlOptions *options, const ChainctlCommand *command, const GOptionEntry *entries,
                                 char ***words, char **help, GError **error) G_GNUC_WARN_UNUSED_RESULT;
