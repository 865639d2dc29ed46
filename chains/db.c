/*
 * Opens the database and owns its connection: what is checked in which order,
 * pragmas, and SQLite's failures turned into ChainsErrors. Promises that a refused
 * file is unchanged. What a file looks like is left to file, versions to schema,
 * statements to query, transactions to transaction.
 */
#include "chains/db.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/fiber.h"
#include "base/point.h"
#include "chains/error.h"
#include "chains/file.h"
#include "chains/schema.h"

#define LONGEST_PATH 500
/* All of the log is read again whenever the database is opened: a megabyte takes half a millisecond. */
#define LONGEST_LOG (1 << 20)
#define LEAST_ROOM (256 << 10)

struct _ChainsDb {
  sqlite3 *handle;
  char *path;
  int busy_ms;
  gboolean writes; /* accepted, and open for writing */
  ChainsTransactions transactions;
  GHashTable *statements; /* SQL -> sqlite3_stmt that nobody uses now */
};

static void
finalize (gpointer statement)
{
  sqlite3_finalize (statement);
}

static ChainsDb *
db_new (const char *path, int busy_ms)
{
  ChainsDb *db = g_new0 (ChainsDb, 1);

  db->path = g_strdup (path);
  db->busy_ms = busy_ms;
  db->statements = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, finalize);
  return db;
}

static void
disconnect (ChainsDb *db)
{
  g_hash_table_remove_all (db->statements);
  sqlite3_close (db->handle);
  db->handle = NULL;
}

/* A log that has become long goes into the file, unless somebody is at work: then the next run does it. */
static void
shorten_log (ChainsDb *db)
{
  if (db->handle == NULL || !db->writes || chains_file_get_wal_size (db->path) < LONGEST_LOG)
    return;
  sqlite3_busy_timeout (db->handle, 0);
  sqlite3_wal_checkpoint_v2 (db->handle, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

void
chains_db_free (ChainsDb *db)
{
  if (db == NULL)
    return;
  shorten_log (db);
  disconnect (db);
  g_hash_table_unref (db->statements);
  g_free (db->path);
  g_free (db);
}

/* Keeps the first row's first column; later rows tell more of the same. */
static int
keep_first (gpointer first, int columns, char **values, char **names)
{
  char **kept = first;

  if (*kept == NULL)
    *kept = g_strdup (columns > 0 && values[0] != NULL ? values[0] : "");
  return SQLITE_OK;
}

static char *
first_answer (ChainsDb *db, const char *sql)
{
  char *answer = NULL;

  return sqlite3_exec (db->handle, sql, keep_first, &answer, NULL) == SQLITE_OK || answer != NULL
             ? answer
             : g_strdup (sqlite3_errmsg (db->handle));
}

char *
chains_db_find_damage (ChainsDb *db)
{
  char *answer = first_answer (db, "PRAGMA quick_check (1)");
  g_autofree char *orphan = NULL;

  if (g_strcmp0 (answer, "ok") != 0)
    return answer;
  g_free (answer);
  orphan = first_answer (db, "PRAGMA foreign_key_check");
  return orphan != NULL ? g_strdup_printf ("a row of '%s' names one that is not there", orphan) : NULL;
}

const char *
chains_db_get_path (ChainsDb *db)
{
  return db->path;
}

sqlite3 *
chains_db_get_handle (ChainsDb *db)
{
  return db->handle;
}

ChainsTransactions *
chains_db_get_transactions (ChainsDb *db)
{
  return &db->transactions;
}

static ChainsError
code_of_result (sqlite3 *handle)
{
  switch (sqlite3_errcode (handle) & 0xff) {
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
    return CHAINS_ERROR_LOCKED;
  case SQLITE_READONLY:
  case SQLITE_PERM:
    return CHAINS_ERROR_READ_ONLY;
  case SQLITE_CORRUPT:
  case SQLITE_NOTADB:
    return CHAINS_ERROR_CORRUPT;
  case SQLITE_FULL:
    return CHAINS_ERROR_FULL;
  case SQLITE_CONSTRAINT:
  case SQLITE_MISMATCH:
  case SQLITE_TOOBIG:
    return CHAINS_ERROR_INVALID;
  case SQLITE_IOERR:
  case SQLITE_CANTOPEN:
    return chains_error_from_errno (sqlite3_system_errno (handle));
  default:
    return CHAINS_ERROR_IO;
  }
}

/* SQLite's words, and the system's where that is at fault: "unable to open database file" alone helps nobody. */
static char *
describe (sqlite3 *handle)
{
  int primary = sqlite3_errcode (handle) & 0xff;
  int saved_errno = sqlite3_system_errno (handle);

  if ((primary != SQLITE_CANTOPEN && primary != SQLITE_IOERR) || saved_errno == 0)
    return g_strdup (sqlite3_errmsg (handle));
  return g_strdup_printf ("%s (%s)", sqlite3_errmsg (handle), g_strerror (saved_errno));
}

void
chains_db_set_error (ChainsDb *db, const char *doing, GError **error)
{
  g_autofree char *shown = g_filename_display_name (db->path);
  g_autofree char *words = describe (db->handle);
  ChainsError code = code_of_result (db->handle);

  if (code == CHAINS_ERROR_LOCKED)
    g_set_error (error, CHAINS_ERROR, code,
                 "cannot %s: another chainctl is writing to database '%s' and was not done after %d ms; try again",
                 doing, shown, db->busy_ms);
  else
    g_set_error (error, CHAINS_ERROR, code, "cannot %s: database '%s': %s", doing, shown, words);
}

gboolean
chains_db_execute (ChainsDb *db, const char *doing, const char *sql, GError **error)
{
  if (sqlite3_exec (db->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
    return TRUE;
  chains_db_set_error (db, doing, error);
  return FALSE;
}

sqlite3_stmt *
chains_db_take_statement (ChainsDb *db, const char *sql)
{
  sqlite3_stmt *statement = NULL;
  gpointer key = NULL, kept = NULL;

  if (g_hash_table_steal_extended (db->statements, sql, &key, &kept)) {
    g_free (key);
    return kept;
  }
  return sqlite3_prepare_v2 (db->handle, sql, -1, &statement, NULL) == SQLITE_OK ? statement : NULL;
}

void
chains_db_give_statement (ChainsDb *db, sqlite3_stmt *statement)
{
  sqlite3_reset (statement);
  sqlite3_clear_bindings (statement);
  g_hash_table_replace (db->statements, g_strdup (sqlite3_sql (statement)), statement);
}

/* Sets what needs no look at the file, which may not be ours yet. */
static void
harden (sqlite3 *handle, int busy_ms)
{
  sqlite3_busy_timeout (handle, busy_ms);
  sqlite3_db_config (handle, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
  sqlite3_db_config (handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  sqlite3_db_config (handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  sqlite3_db_config (handle, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
  sqlite3_db_config (handle, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
}

/*
 * The log and its index stay when the last connection closes, and what is in the log: a run that ends is spared a
 * checkpoint's two syncs, and who may write to the files but not to the folder finds them there.
 */
static void
keep_log (sqlite3 *handle)
{
  int on = 1;

  sqlite3_db_config (handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  sqlite3_file_control (handle, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
  sqlite3_wal_autocheckpoint (handle, 0);
}

/*
 * The log's index is a file that is mapped into memory: where the disk is full, to write into a page of it that has no
 * block yet is the end of the process (SIGBUS). Then the index lies in memory, and one process at a time has the
 * database.
 */
static const char *
choose_vfs (ChainsDb *db)
{
  g_autofree char *folder = g_path_get_dirname (db->path);
  struct statvfs st;

  if (statvfs (folder, &st) == 0 && (guint64)st.f_bavail * st.f_frsize < LEAST_ROOM)
    return "unix-excl";
  return NULL;
}

static gboolean
connect_to (ChainsDb *db, const char *name, int flags, GError **error)
{
  disconnect (db);
  if (sqlite3_open_v2 (name, &db->handle, flags | SQLITE_OPEN_EXRESCODE, choose_vfs (db)) != SQLITE_OK) {
    chains_db_set_error (db, "open", error);
    return FALSE;
  }
  harden (db->handle, db->busy_ms);
  keep_log (db->handle);
  return TRUE;
}

static gboolean
inspect (ChainsDb *db, const ChainsSchema *schema, GError **error)
{
  int version = 0;

  return chains_file_inspect (db, &version, error) && chains_schema_check_version (db, schema, version, error);
}

static gboolean
use_wal (ChainsDb *db, GError **error)
{
  return chains_db_execute (db, "set up",
                            base_point_is_mutant ("database-not-synced")
                                ? "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
                                : "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
                            error);
}

void
chains_db_set_synced (ChainsDb *db, gboolean synced)
{
  /* In a group one may not decide for the others. */
  if (!base_point_is_mutant ("database-not-synced") && !base_fiber_is_inside ())
    sqlite3_exec (db->handle, synced ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
}

/* A draft's log goes into the draft, and away. */
static void
drop_log (sqlite3 *handle)
{
  int off = 0;

  sqlite3_db_config (handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
  sqlite3_file_control (handle, "main", SQLITE_FCNTL_PERSIST_WAL, &off);
}

static gboolean
connect_to_draft (ChainsDb *db, GError **error)
{
  if (!connect_to (db, db->path, SQLITE_OPEN_READWRITE, error))
    return FALSE;
  drop_log (db->handle);
  return TRUE;
}

/* Builds the database in @draft, and closes it, so that all of it is in the one file. Publishing syncs it, once. */
static gboolean
build (const char *draft, const ChainsSchema *schema, GError **error)
{
  g_autoptr (ChainsDb) db = db_new (draft, 0);
  g_autofree char *set_id = g_strdup_printf ("PRAGMA application_id = %d", CHAINS_DB_APPLICATION_ID);

  return connect_to_draft (db, error) &&
         chains_db_execute (db, "set up", "PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL", error) &&
         chains_db_execute (db, "mark as ours", set_id, error) && chains_schema_upgrade (db, schema, FALSE, error);
}

static gboolean
create (const char *path, const ChainsSchema *schema, GError **error)
{
  g_autofree char *draft = chains_file_make_draft (path, error);
  gboolean created = draft != NULL && build (draft, schema, error) && chains_file_publish (draft, path, error);

  if (draft != NULL)
    g_unlink (draft);
  return created;
}

static gboolean
check_writable (ChainsDb *db, GError **error)
{
  if (!sqlite3_db_readonly (db->handle, "main"))
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_READ_ONLY, "database '%s' cannot be written", db->path);
  return FALSE;
}

static gboolean
open_for_writing (ChainsDb *db, const ChainsSchema *schema, GError **error)
{
  int version = 0; /* what the header says may be behind what the log says */

  if (!connect_to (db, db->path, SQLITE_OPEN_READWRITE, error) || !inspect (db, schema, error) ||
      !check_writable (db, error))
    return FALSE;
  if (!chains_schema_get_version (db, &version, error) || !chains_schema_check_version (db, schema, version, error))
    return FALSE;
  db->writes = use_wal (db, error) && chains_schema_upgrade (db, schema, TRUE, error);
  return db->writes;
}

static gboolean
forbid_writing (ChainsDb *db, GError **error)
{
  return chains_db_execute (db, "set up", "PRAGMA query_only = ON", error);
}

static gboolean
use_memory (ChainsDb *db, const ChainsSchema *schema, GError **error)
{
  return connect_to (db, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY, error) &&
         chains_schema_upgrade (db, schema, FALSE, error);
}

/* An older version, as it would be after its migrations: those are for a verb that writes. */
static gboolean
move_to_memory (ChainsDb *db, const ChainsSchema *schema, GError **error)
{
  g_autoptr (ChainsDb) old = db_new (db->path, db->busy_ms);

  old->handle = g_steal_pointer (&db->handle);
  return connect_to (db, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY, error) &&
         chains_file_copy_to_memory (old, db->handle, error) && chains_schema_upgrade (db, schema, FALSE, error);
}

/* Where neither folder nor file can be written SQLite has no place for its index; without a log it needs none. */
static gboolean
connect_immutable (ChainsDb *db, GError **error)
{
  g_autofree char *escaped = g_uri_escape_string (db->path, "/", FALSE);
  g_autofree char *uri = g_strdup_printf ("file:%s?immutable=1", escaped);

  return connect_to (db, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, error);
}

static gboolean
check_has_no_log (ChainsDb *db, GError **error)
{
  if (chains_file_get_wal_size (db->path) == 0)
    return TRUE;
  g_set_error (
      error, CHAINS_ERROR, CHAINS_ERROR_READ_ONLY,
      "database '%s' has a log left over, and it cannot be read without writing beside it: run chainctl once as "
      "its owner",
      db->path);
  return FALSE;
}

static gboolean
get_version_somehow (ChainsDb *db, int *version, GError **error)
{
  g_autoptr (GError) local = NULL;

  if (chains_schema_get_version (db, version, &local))
    return TRUE;
  /* A reader makes files beside the database: it cannot where it may not, nor where there is no space left. */
  if (chains_file_is_in_writable_folder (db->path) && !g_error_matches (local, CHAINS_ERROR, CHAINS_ERROR_FULL) &&
      !g_error_matches (local, CHAINS_ERROR, CHAINS_ERROR_IO)) {
    g_propagate_error (error, g_steal_pointer (&local));
    return FALSE;
  }
  return check_has_no_log (db, error) && connect_immutable (db, error) &&
         chains_schema_get_version (db, version, error);
}

static gboolean
open_for_reading (ChainsDb *db, const ChainsSchema *schema, GError **error)
{
  int version = 0;

  /* Not SQLITE_OPEN_READONLY: such a connection makes no index, and reads no log without one. */
  if (!connect_to (db, db->path, SQLITE_OPEN_READWRITE, error) || !inspect (db, schema, error))
    return FALSE;
  if (!get_version_somehow (db, &version, error) || !chains_schema_check_version (db, schema, version, error))
    return FALSE;
  if (version < schema->n_migrations)
    return move_to_memory (db, schema, error) && forbid_writing (db, error);
  return forbid_writing (db, error);
}

/* SQLite opens no longer path, and its log beside it is a little longer; told before any folder is made. */
static gboolean
check_length (const char *path, GError **error)
{
  if (strlen (path) <= LONGEST_PATH)
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_INVALID,
               "the path of the database is longer than the %d bytes that SQLite takes: '%s'", LONGEST_PATH, path);
  return FALSE;
}

static gboolean
open_as (ChainsDb *db, ChainsDbMode mode, gboolean exists, const ChainsSchema *schema, GError **error)
{
  if (!exists && mode == CHAINS_DB_PRETEND)
    return use_memory (db, schema, error);
  if (!exists && mode != CHAINS_DB_WRITE)
    return use_memory (db, schema, error) && forbid_writing (db, error);
  if (mode == CHAINS_DB_READ)
    return open_for_reading (db, schema, error);
  if (mode == CHAINS_DB_PRETEND)
    return open_for_reading (db, schema, error) && move_to_memory (db, schema, error);
  return (exists || create (db->path, schema, error)) && open_for_writing (db, schema, error);
}

ChainsDb *
chains_db_open_schema (const char *folder, ChainsDbMode mode, int busy_ms, const ChainsSchema *schema, GError **error)
{
  g_autofree char *path = g_build_filename (folder, "chainctl.db", NULL);
  g_autoptr (ChainsDb) db = db_new (path, busy_ms);
  gboolean exists = FALSE;

  if (!check_length (path, error))
    return NULL;
  if (!chains_file_exists (path, &exists, error))
    return NULL;
  /* Where there is a database the folder need not be ours to write to. */
  if (!exists && mode == CHAINS_DB_WRITE && !chains_file_prepare_folder (folder, error))
    return NULL;
  return open_as (db, mode, exists, schema, error) ? g_steal_pointer (&db) : NULL;
}

ChainsDb *
chains_db_open (const char *folder, ChainsDbMode mode, int busy_ms, GError **error)
{
  return chains_db_open_schema (folder, mode, busy_ms, chains_schema_get_current (), error);
}
