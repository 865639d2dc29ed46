/*
 * The tables, as numbered migrations from version 1 on (user_version). A new
 * database runs them all; an old one those that it lacks.
 */
#pragma once

#include "chains/db.h"

/**
 * ChainsSchema:
 * @migrations: SQL; the first makes version 1 of an empty database, each further one the next version. They run with
 *   foreign keys off, so that tables can be rebuilt, and must leave none broken.
 */
struct _ChainsSchema {
  int n_migrations;
  const char *const *migrations;
};

/** What this program works with. */
const ChainsSchema *chains_schema_get_current (void);

/** The version (user_version) that @db has. */
gboolean chains_schema_get_version (ChainsDb *db, int *version, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Whether @version is one that @schema knows. Raises %CHAINS_ERROR_NEWER. */
gboolean chains_schema_check_version (ChainsDb *db, const ChainsSchema *schema, int version, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * chains_schema_upgrade:
 * @keep_copies: whether to keep the file as it was before each migration, as `<path>.v<N>`
 *
 * Runs the migrations that @db lacks, each in a transaction of its own. Other processes may do the same meanwhile.
 */
gboolean chains_schema_upgrade (ChainsDb *db, const ChainsSchema *schema, gboolean keep_copies, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
