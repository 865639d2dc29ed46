/*
 * Why the memory could not be read or written. One GError domain for the
 * folder; each message names the database and leaves it as it was found.
 */
#pragma once

#include <glib.h>

#define CHAINS_ERROR (chains_error_quark ())

/**
 * ChainsError:
 * @CHAINS_ERROR_NOT_FOUND: no such VM, disk, snapshot, image or operation
 * @CHAINS_ERROR_EXISTS: a name or an owned path is taken, or a VM has an unfinished operation
 * @CHAINS_ERROR_AMBIGUOUS: a prefix of an id that fits several snapshots
 * @CHAINS_ERROR_INVALID: a name, word or value that the contract does not allow
 * @CHAINS_ERROR_LOCKED: another process kept the database locked past the wait
 * @CHAINS_ERROR_READ_ONLY: the database or its folder cannot be written
 * @CHAINS_ERROR_CORRUPT: truncated, damaged, or no SQLite database
 * @CHAINS_ERROR_FOREIGN: a sound SQLite database that is not ours
 * @CHAINS_ERROR_NEWER: made by a newer version
 * @CHAINS_ERROR_FULL: no space left
 * @CHAINS_ERROR_CONFIG: the configuration file cannot be read, or says what is not understood
 * @CHAINS_ERROR_IO: any other failure of SQLite or the file system
 */
typedef enum {
  CHAINS_ERROR_NOT_FOUND,
  CHAINS_ERROR_EXISTS,
  CHAINS_ERROR_AMBIGUOUS,
  CHAINS_ERROR_INVALID,
  CHAINS_ERROR_LOCKED,
  CHAINS_ERROR_READ_ONLY,
  CHAINS_ERROR_CORRUPT,
  CHAINS_ERROR_FOREIGN,
  CHAINS_ERROR_NEWER,
  CHAINS_ERROR_FULL,
  CHAINS_ERROR_CONFIG,
  CHAINS_ERROR_IO,
} ChainsError;

GQuark chains_error_quark (void);

/** The code for a system call that failed with @saved_errno. */
ChainsError chains_error_from_errno (int saved_errno);
