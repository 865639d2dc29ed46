/*
 * From errors to what scripts see: one table of exit statuses and code words.
 */
#pragma once

#include <glib.h>

enum {
  CHAINCTL_EXIT_DONE = 0,
  CHAINCTL_EXIT_FAILED = 1,
  CHAINCTL_EXIT_USAGE = 2,
  CHAINCTL_EXIT_NOT_FOUND = 3,
  CHAINCTL_EXIT_UNREACHABLE = 4,
  CHAINCTL_EXIT_NOT_QUIESCED = 5,
  CHAINCTL_EXIT_HELD = 6,
  CHAINCTL_EXIT_PROBLEMS = 7,
  CHAINCTL_EXIT_INTERRUPTED = 8,
  CHAINCTL_EXIT_REFUSED = 9,
  CHAINCTL_EXIT_PARTLY = 10,
};

#define CHAINCTL_EXIT_ERROR (chainctl_exit_error_quark ())

/**
 * ChainctlExitError: what the command line itself has to say
 * @CHAINCTL_EXIT_ERROR_USAGE: the command line is wrong
 * @CHAINCTL_EXIT_ERROR_PROBLEMS: `check` or `doctor` found a problem of severity error
 * @CHAINCTL_EXIT_ERROR_OUTPUT: stdout could not be written
 */
typedef enum {
  CHAINCTL_EXIT_ERROR_USAGE,
  CHAINCTL_EXIT_ERROR_PROBLEMS,
  CHAINCTL_EXIT_ERROR_OUTPUT,
} ChainctlExitError;

GQuark chainctl_exit_error_quark (void);

/** Sets a %CHAINCTL_EXIT_ERROR_USAGE. Returns: %FALSE, for the caller to return */
gboolean chainctl_exit_set_usage (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

/** The exit status of @error; 0 for %NULL. */
int chainctl_exit_status (const GError *error);

/** The word of @error for scripts, such as "agent-timeout". */
const char *chainctl_exit_code (const GError *error);
