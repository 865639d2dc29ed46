/*
 * The database file: opening it safely, and its pragmas. Several processes may use it at once (WAL). A file that is
 * damaged, not ours or newer is refused and left as it is, byte for byte.
 */
#pragma once

#include <gio/gio.h>
#include <sqlite3.h>

typedef struct _ChainsDb ChainsDb;
typedef struct _ChainsSchema ChainsSchema;

/**
 * ChainsDbMode:
 * @CHAINS_DB_READ: for verbs that only look: a missing file is an empty memory, an older one is migrated in memory,
 *   and nothing is made
 * @CHAINS_DB_WRITE: made where missing (folder 0700, file 0600) and migrated
 * @CHAINS_DB_UPDATE: for verbs that change what is there: as WRITE, but a missing file is an empty memory
 * @CHAINS_DB_PRETEND: a copy in memory, which may be written to and is forgotten
 */
typedef enum { CHAINS_DB_READ, CHAINS_DB_WRITE, CHAINS_DB_UPDATE, CHAINS_DB_PRETEND } ChainsDbMode;

#define CHAINS_DB_APPLICATION_ID 0x63686e63 /* "chnc" */

/**
 * chains_db_open:
 * @folder: the state directory
 * @busy_ms: how long to wait for another process's lock
 *
 * Opens `chainctl.db` in @folder with WAL, synchronous=FULL, foreign_keys=ON. An older version is migrated
 * (a copy kept before each step as chainctl.db.v<N>); a migration that fails leaves the file as it was.
 * A file comes into being whole or not at all, so an empty one is a truncated one.
 *
 * Returns: (transfer full). Raises %CHAINS_ERROR_CORRUPT, %CHAINS_ERROR_FOREIGN, %CHAINS_ERROR_NEWER,
 * %CHAINS_ERROR_READ_ONLY, %CHAINS_ERROR_LOCKED, %CHAINS_ERROR_FULL, %CHAINS_ERROR_IO.
 */
ChainsDb *chains_db_open (const char *folder, ChainsDbMode mode, int busy_ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** As chains_db_open(), up to the last version of @schema. */
ChainsDb *chains_db_open_schema (const char *folder, ChainsDbMode mode, int busy_ms, const ChainsSchema *schema,
                                 GError **error) G_GNUC_WARN_UNUSED_RESULT;
void chains_db_free (ChainsDb *db);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsDb, chains_db_free)

/**
 * chains_db_find_damage:
 * Reads the whole file. Source: SQLite, "PRAGMA quick_check", "PRAGMA foreign_key_check".
 * Returns: (transfer full) (nullable): %NULL where it is whole, else what is wrong first, mostly in SQLite's words
 */
char *chains_db_find_damage (ChainsDb *db) G_GNUC_WARN_UNUSED_RESULT;

/** The file, for messages. Borrowed. */
const char *chains_db_get_path (ChainsDb *db);

/* For the files of this folder. */

/**
 * Whether a commit waits for the disk, as it does unless told otherwise. One that does not outlives every process, and
 * not the machine's own death. Not inside a transaction.
 */
void chains_db_set_synced (ChainsDb *db, gboolean synced);
/** SQLite's own handle; stays the database's. */
sqlite3 *chains_db_get_handle (ChainsDb *db);
/** What chains/transaction keeps of an open database: @depth of transactions in one another; @group: (nullable) */
typedef struct _ChainsTransactionGroup ChainsTransactionGroup;
typedef struct {
  guint depth;
  ChainsTransactionGroup *group;
} ChainsTransactions;
ChainsTransactions *chains_db_get_transactions (ChainsDb *db);
/** @sql prepared: one that was given back, or a new one. Returns: (transfer full) (nullable): %NULL where it fails */
sqlite3_stmt *chains_db_take_statement (ChainsDb *db, const char *sql);
/** Gives a statement back for the next who wants the same. @statement: (transfer full) */
void chains_db_give_statement (ChainsDb *db, sqlite3_stmt *statement);
/** Runs statements without parameters or rows. @doing: as in "cannot DOING" */
gboolean chains_db_execute (ChainsDb *db, const char *doing, const char *sql, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Sets @error from SQLite's last error on @db, with what was being done. */
void chains_db_set_error (ChainsDb *db, const char *doing, GError **error);
