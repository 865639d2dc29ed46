/*
 * Backups of the database. Promises that what is called a backup was read to
 * its last page, and that a restored database is the old or the new one, whole,
 * at every instant: SQLite's own transaction replaces the pages where it can.
 */
#include "chains/backup.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#include "base/point.h"
#include "chains/error.h"
#include "chains/file.h"
#include "chains/schema.h"

#define MAX_KEPT 1000
#define BUSY_MS 5000

struct _ChainsBackup {
  sqlite3 *memory;
  char *file;
};

void
chains_backup_free (ChainsBackup *backup)
{
  if (backup == NULL)
    return;
  sqlite3_close (backup->memory);
  g_free (backup->file);
  g_free (backup);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (sqlite3, sqlite3_close)

static gboolean
set_error (GError **error, ChainsError code, const char *file, const char *what)
{
  g_autofree char *shown = g_filename_display_name (file);

  g_set_error (error, CHAINS_ERROR, code, "'%s' %s", shown, what);
  return FALSE;
}

/* ---- what is in a copy ---- */

static int
collect_column (void *rows, int n_columns, char **columns, char **names)
{
  g_ptr_array_add (rows, g_strdup (n_columns > 0 && columns[0] != NULL ? columns[0] : ""));
  return 0;
}

/* The first column of each row; of damage, as many as can be read, and then %FALSE. */
static gboolean
ask (sqlite3 *handle, const char *sql, GPtrArray **rows)
{
  *rows = g_ptr_array_new_with_free_func (g_free);
  return sqlite3_exec (handle, sql, collect_column, *rows, NULL) == SQLITE_OK;
}

static gint64
ask_number (sqlite3 *handle, const char *sql)
{
  g_autoptr (GPtrArray) rows = NULL;

  return ask (handle, sql, &rows) && rows->len > 0 ? g_ascii_strtoll (g_ptr_array_index (rows, 0), NULL, 10) : -1;
}

static gboolean
check_version (sqlite3 *handle, const char *file, GError **error)
{
  gint64 version = ask_number (handle, "PRAGMA user_version");

  if (version > chains_schema_get_current ()->n_migrations)
    return set_error (error, CHAINS_ERROR_NEWER, file, "is the database of a newer chainctl: use that one");
  return version > 0 || set_error (error, CHAINS_ERROR_CORRUPT, file, "has no version, so it is not whole");
}

static gboolean
check_pages (sqlite3 *handle, const char *file, GError **error)
{
  g_autoptr (GPtrArray) problems = NULL;
  g_autoptr (GPtrArray) broken = NULL;
  g_autofree char *what = NULL;

  if (!ask (handle, "PRAGMA integrity_check (1)", &problems) || problems->len != 1 ||
      !g_str_equal (g_ptr_array_index (problems, 0), "ok")) {
    what = g_strdup_printf ("is damaged: %s",
                            problems->len > 0 ? (char *)g_ptr_array_index (problems, 0) : sqlite3_errmsg (handle));
    return set_error (error, CHAINS_ERROR_CORRUPT, file, what);
  }
  if (ask (handle, "PRAGMA foreign_key_check", &broken) && broken->len == 0)
    return TRUE;
  return set_error (error, CHAINS_ERROR_CORRUPT, file, "is damaged: its tables do not go together");
}

static gboolean
check (sqlite3 *handle, const char *file, GError **error)
{
  if (ask_number (handle, "PRAGMA application_id") != CHAINS_DB_APPLICATION_ID)
    return set_error (error, CHAINS_ERROR_FOREIGN, file, "is a database of another program");
  return check_version (handle, file, error) && check_pages (handle, file, error);
}

/* ---- copies ---- */

static int
copy_pages (sqlite3 *from, sqlite3 *to)
{
  sqlite3_backup *backup = sqlite3_backup_init (to, "main", from, "main");

  if (backup == NULL)
    return sqlite3_extended_errcode (to);
  sqlite3_backup_step (backup, -1);
  return sqlite3_backup_finish (backup);
}

static gboolean
check_copied (int result, const char *file, GError **error)
{
  g_autofree char *what = g_strdup_printf ("cannot be copied: %s", sqlite3_errstr (result));
  int primary = result & 0xff;
  ChainsError code = primary == SQLITE_FULL                                  ? CHAINS_ERROR_FULL
                     : primary == SQLITE_BUSY || primary == SQLITE_LOCKED    ? CHAINS_ERROR_LOCKED
                     : primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB ? CHAINS_ERROR_CORRUPT
                                                                             : CHAINS_ERROR_IO;

  return result == SQLITE_OK || set_error (error, code, file, what);
}

/* A copy that was made by `state backup` has no log: then SQLite makes no files beside it. */
static int
open_source (const char *file, sqlite3 **from)
{
  g_autofree char *escaped = g_uri_escape_string (file, "/", FALSE);
  g_autofree char *uri = g_strdup_printf ("file:%s?immutable=1", escaped);
  int result;

  if (chains_file_get_wal_size (file) == 0)
    return sqlite3_open_v2 (uri, from, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
  result = sqlite3_open_v2 (file, from, SQLITE_OPEN_READWRITE, NULL);
  sqlite3_busy_timeout (*from, BUSY_MS);
  sqlite3_db_config (*from, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  sqlite3_file_control (*from, "main", SQLITE_FCNTL_PERSIST_WAL, &(int){1});
  return result;
}

static gboolean
load (ChainsBackup *backup, GError **error)
{
  g_autoptr (sqlite3) from = NULL;
  int result = open_source (backup->file, &from);

  if (result == SQLITE_OK)
    result = sqlite3_open_v2 (":memory:", &backup->memory, SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY, NULL);
  if (result == SQLITE_OK)
    sqlite3_db_config (backup->memory, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  if (result == SQLITE_OK)
    result = copy_pages (from, backup->memory);
  return check_copied (result, backup->file, error) && check (backup->memory, backup->file, error);
}

ChainsBackup *
chains_backup_load (const char *file, GError **error)
{
  g_autoptr (ChainsBackup) backup = g_new0 (ChainsBackup, 1);
  gboolean exists;

  backup->file = g_strdup (file);
  if (!chains_file_exists (file, &exists, error))
    return NULL;
  if (!exists) {
    set_error (error, CHAINS_ERROR_NOT_FOUND, file, "is not there");
    return NULL;
  }
  return load (backup, error) ? g_steal_pointer (&backup) : NULL;
}

GPtrArray *
chains_backup_list_vms (ChainsBackup *backup)
{
  GPtrArray *names;

  ask (backup->memory, "SELECT name FROM vm ORDER BY name", &names);
  return names;
}

GPtrArray *
chains_backup_list_unfinished (ChainsBackup *backup)
{
  GPtrArray *names;

  ask (backup->memory,
       "SELECT verb || ' of ' || vm_name FROM operation WHERE state IN ('open', 'detached') ORDER BY sequence", &names);
  return names;
}

guint
chains_backup_count_snapshots (ChainsBackup *backup)
{
  return (guint)MAX (0, ask_number (backup->memory, "SELECT count (*) FROM snapshot"));
}

/* ---- making one ---- */

static gboolean
check_draft (const char *draft, GError **error)
{
  g_autoptr (sqlite3) handle = NULL;
  int result = sqlite3_open_v2 (draft, &handle, SQLITE_OPEN_READWRITE, NULL);

  return check_copied (result, draft, error) && check (handle, draft, error);
}

static gboolean
make (ChainsDb *db, const char *draft, const char *target, GError **error)
{
  if (!chains_file_copy_pages (db, draft, error) || !check_draft (draft, error))
    return FALSE;
  if (!base_point_before ("db", "backup", error) || !chains_file_publish_new (draft, target, error))
    return FALSE;
  base_point_after ("db", "backup");
  return TRUE;
}

gboolean
chains_backup_make (ChainsDb *db, const char *target, GError **error)
{
  g_autofree char *draft = NULL;
  gboolean exists, made;

  if (!chains_file_exists (chains_db_get_path (db), &exists, error))
    return FALSE;
  if (!exists)
    return set_error (error, CHAINS_ERROR_NOT_FOUND, chains_db_get_path (db), "is not there: there is nothing to copy");
  if (g_file_test (target, G_FILE_TEST_EXISTS) || g_file_test (target, G_FILE_TEST_IS_SYMLINK))
    return set_error (error, CHAINS_ERROR_EXISTS, target, "exists already, and stays as it is");
  draft = chains_file_make_draft (target, error);
  made = draft != NULL && make (db, draft, target, error);
  if (draft != NULL)
    g_unlink (draft);
  return made;
}

/* ---- putting one back ---- */

static char *
kept_path (const char *path, int number)
{
  return number == 1 ? g_strconcat (path, ".before-restore", NULL)
                     : g_strdup_printf ("%s.before-restore-%d", path, number);
}

gboolean
chains_backup_keep (ChainsDb *db, char **kept, GError **error)
{
  for (int i = 1; i < MAX_KEPT; i++) {
    g_autofree char *target = kept_path (chains_db_get_path (db), i);
    gboolean made;

    if (!chains_file_copy (db, target, &made, error))
      return FALSE;
    if (!made)
      continue;
    *kept = g_steal_pointer (&target);
    return TRUE;
  }
  return set_error (error, CHAINS_ERROR_EXISTS, chains_db_get_path (db), "cannot be kept: every name for it is taken");
}

gboolean
chains_backup_restore (ChainsBackup *backup, ChainsDb *db, GError **error)
{
  if (!base_point_before ("db", "restore", error) ||
      !check_copied (copy_pages (backup->memory, chains_db_get_handle (db)), chains_db_get_path (db), error))
    return FALSE;
  base_point_after ("db", "restore");
  return TRUE;
}

static gboolean
cannot_move (const char *path, GError **error)
{
  g_autofree char *what = g_strdup_printf ("cannot be moved aside: %s", g_strerror (errno));

  return set_error (error, chains_error_from_errno (errno), path, what);
}

/* A log that stays would be played into the new file. The damaged file itself stays until the new one takes its name.
 */
static gboolean
move_aside (const char *path, const char *kept, GError **error)
{
  static const char *const beside[] = {"-wal", "-shm"};

  for (gsize i = 0; i < G_N_ELEMENTS (beside); i++) {
    g_autofree char *from = g_strconcat (path, beside[i], NULL);
    g_autofree char *to = g_strconcat (kept, beside[i], NULL);

    if (g_rename (from, to) != 0 && errno != ENOENT)
      return cannot_move (from, error);
  }
  return TRUE;
}

static gboolean
keep_link (const char *path, char **kept, GError **error)
{
  for (int i = 1; i < MAX_KEPT; i++) {
    g_autofree char *target = kept_path (path, i);

    if (chains_file_link (path, target)) {
      *kept = g_steal_pointer (&target);
      return TRUE;
    }
    if (errno != EEXIST)
      break;
  }
  return cannot_move (path, error);
}

static gboolean
write_draft (ChainsBackup *backup, const char *draft, GError **error)
{
  g_autoptr (sqlite3) to = NULL;
  int result = sqlite3_open_v2 (draft, &to, SQLITE_OPEN_READWRITE, NULL);

  if (result == SQLITE_OK)
    result = copy_pages (backup->memory, to);
  return check_copied (result, draft, error);
}

static gboolean
replace (ChainsBackup *backup, const char *draft, const char *path, char **kept, GError **error)
{
  if (!write_draft (backup, draft, error) || !keep_link (path, kept, error) || !move_aside (path, *kept, error) ||
      !base_point_before ("db", "replace", error) || !chains_file_replace (draft, path, error))
    return FALSE;
  base_point_after ("db", "replace");
  return TRUE;
}

gboolean
chains_backup_replace (ChainsBackup *backup, const char *path, char **kept, GError **error)
{
  g_autofree char *draft = chains_file_make_draft (path, error);
  gboolean replaced = draft != NULL && replace (backup, draft, path, kept, error);

  if (draft != NULL && !replaced)
    g_unlink (draft);
  return replaced;
}
