/*
 * The database file: what is refused stays as it is byte for byte, what is
 * killed or locked loses nothing, migrations happen whole or not at all.
 */
#include "chains/db.h"
#include "chains/snapshots.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "chains/journal.h"
#include "chains/schema.h"
#include "chains/transaction.h"
#include "tests/support/suite.h"
#include "tests/unit/fixtures/chains/fixture.h"

#define NOBODY 65534

static char *
path_in (const char *folder, const char *name)
{
  return g_build_filename (folder, name, NULL);
}

/* The file's SHA-256, or "none". */
static char *
hash_file (const char *folder, const char *name)
{
  g_autofree char *path = path_in (folder, name);
  g_autofree char *content = NULL;
  gsize length = 0;

  if (!g_file_get_contents (path, &content, &length, NULL))
    return g_strdup ("none");
  return g_compute_checksum_for_data (G_CHECKSUM_SHA256, (const guchar *)content, length);
}

static void
write_file (const char *folder, const char *name, const void *content, gsize length)
{
  g_autofree char *path = path_in (folder, name);

  g_assert_true (g_file_set_contents (path, content, (gssize)length, NULL));
}

static void
run_sql (const char *folder, const char *sql)
{
  g_autofree char *path = path_in (folder, "chainctl.db");
  sqlite3 *handle = NULL;

  g_assert_cmpint (sqlite3_open (path, &handle), ==, SQLITE_OK);
  if (sqlite3_exec (handle, sql, NULL, NULL, NULL) != SQLITE_OK)
    g_error ("%s: %s", sql, sqlite3_errmsg (handle));
  sqlite3_close (handle);
}

/* The version of the tables of this release. */
#define CURRENT "2"

static int
keep_first (void *value, int n_columns, char **columns, char **names)
{
  g_free (*(char **)value);
  *(char **)value = g_strdup (columns[0]);
  return 0;
}

/* The last row's first column. */
static char *
ask (sqlite3 *handle, const char *sql)
{
  char *value = NULL;

  sqlite3_exec (handle, sql, keep_first, &value, NULL);
  return value;
}

static gboolean
answers (ChainsDb *db, const char *sql, const char *expected)
{
  g_autofree char *value = ask (chains_db_get_handle (db), sql);

  if (g_strcmp0 (value, expected) == 0)
    return TRUE;
  printf ("# %s: %s, not %s\n", sql, value, expected);
  return FALSE;
}

/* All into the one file, whose damage is then found there, and not made good from the log. */
static void
move_log_into (ChainsDb *db)
{
  g_assert_true (answers (db, "PRAGMA wal_checkpoint (TRUNCATE)", "0"));
}

static void
add_some (const char *folder)
{
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (db, NULL);

  for (guint i = 0; i < 200; i++) {
    g_autofree char *name = g_strdup_printf ("vm-%u", i);
    fixture_add_vm (db, name);
  }
  g_assert_true (chains_transaction_commit (transaction, NULL));
  move_log_into (db);
}

/* Whether opening is refused with @code in either mode, and nothing in the folder is other than before. */
static gboolean
is_refused_unchanged (const char *folder, int code)
{
  g_autofree char *before = hash_file (folder, "chainctl.db");
  g_autofree char *wal_before = hash_file (folder, "chainctl.db-wal");
  g_autoptr (GPtrArray) files_before = fixture_list_files (folder);
  gboolean right = TRUE;

  for (ChainsDbMode mode = CHAINS_DB_READ; mode <= CHAINS_DB_WRITE; mode++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (ChainsDb) db = chains_db_open (folder, mode, 100, &error);
    right = right && db == NULL && support_suite_is_error (error, CHAINS_ERROR, code) &&
            strstr (error->message, "chainctl.db") != NULL;
  }
  g_autofree char *after = hash_file (folder, "chainctl.db");
  g_autofree char *wal_after = hash_file (folder, "chainctl.db-wal");
  g_autoptr (GPtrArray) files_after = fixture_list_files (folder);
  return right && g_str_equal (before, after) && g_str_equal (wal_before, wal_after) &&
         files_before->len == files_after->len;
}

static void
a_missing_database_is_made_for_its_owner_alone (void)
{
  g_autoptr (FixtureFolder) top = fixture_make_folder ();
  g_autofree char *middle = path_in (top, "a");
  g_autoptr (FixtureFolder) folder = path_in (middle, "b");
  g_autofree char *path = path_in (folder, "chainctl.db");
  mode_t mask = umask (0);
  g_autoptr (ChainsDb) db = fixture_open (folder);
  GStatBuf status;

  umask (mask);
  CU_ASSERT (g_stat (folder, &status) == 0 && (status.st_mode & 07777) == 0700);
  CU_ASSERT (g_stat (path, &status) == 0 && (status.st_mode & 07777) == 0600);
  CU_ASSERT_STRING_EQUAL (chains_db_get_path (db), path);
  CU_ASSERT (answers (db, "PRAGMA application_id", "1667788387"));
  CU_ASSERT (answers (db, "PRAGMA user_version", CURRENT));
}

static void
a_connection_is_durable_and_strict (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);

  CU_ASSERT (answers (db, "PRAGMA journal_mode", "wal"));
  CU_ASSERT (answers (db, "PRAGMA synchronous", "2"));
  CU_ASSERT (answers (db, "PRAGMA foreign_keys", "1"));
  CU_ASSERT (answers (db, "PRAGMA trusted_schema", "0"));
  CU_ASSERT (answers (db, "PRAGMA foreign_key_check", NULL));
  CU_ASSERT (answers (db, "PRAGMA integrity_check", "ok"));
  CU_ASSERT (answers (db, "SELECT count (*) FROM pragma_table_list WHERE NOT strict AND name NOT LIKE 'sqlite%'", "0"));
}

/* For those who may write to them, and not to the folder. */
static void
the_log_and_its_index_stay_beside_the_database (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (GPtrArray) files = NULL;

  chains_db_free (fixture_open (folder));
  add_some (folder);
  chains_db_free (chains_db_open (folder, CHAINS_DB_READ, 0, NULL));
  files = fixture_list_files (folder);
  CU_ASSERT_FATAL (files->len == 3);
  CU_ASSERT_STRING_EQUAL (files->pdata[0], "chainctl.db");
  CU_ASSERT_STRING_EQUAL (files->pdata[1], "chainctl.db-shm");
  CU_ASSERT_STRING_EQUAL (files->pdata[2], "chainctl.db-wal");
}

static void
the_log_does_not_grow_for_ever (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *wal = path_in (folder, "chainctl.db-wal");
  GStatBuf status;

  for (guint i = 0; i < 300; i++) {
    g_autoptr (ChainsDb) db = fixture_open (folder);
    g_autofree char *name = g_strdup_printf ("vm-%u", i);

    fixture_add_vm (db, name);
  }
  CU_ASSERT_FATAL (g_stat (wal, &status) == 0);
  printf ("# %ld bytes\n", (long)status.st_size);
  CU_ASSERT (status.st_size > 0 && status.st_size < 2 << 20);
}

static void
looking_at_a_missing_database_makes_nothing (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *missing = path_in (folder, "none");
  g_autoptr (ChainsDb) db = chains_db_open (missing, CHAINS_DB_READ, 0, NULL);
  g_autoptr (GPtrArray) vms = NULL;
  g_autoptr (ChainsVm) vm = chains_vm_new ();
  g_autoptr (GError) error = NULL;

  CU_ASSERT_PTR_NOT_NULL_FATAL (db);
  vms = chains_registry_list_vms (db, NULL);
  CU_ASSERT (vms != NULL && vms->len == 0);
  CU_ASSERT (!g_file_test (missing, G_FILE_TEST_EXISTS));
  vm->name = g_strdup ("web");
  vm->qmp = g_strdup ("/qmp");
  CU_ASSERT (!chains_registry_add_vm (db, vm, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_READ_ONLY);
}

static void
what_is_opened_to_look_cannot_be_written (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *before = NULL, *after = NULL;
  g_autoptr (GError) error = NULL;

  add_some (folder);
  before = hash_file (folder, "chainctl.db");
  {
    g_autoptr (ChainsDb) db = chains_db_open (folder, CHAINS_DB_READ, 0, NULL);
    g_autoptr (ChainsVm) vm = chains_registry_get_vm (db, "vm-7", NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL (vm);
    CU_ASSERT (!chains_registry_remove_vm (db, vm->id, &error));
  }
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_READ_ONLY);
  after = hash_file (folder, "chainctl.db");
  CU_ASSERT_STRING_EQUAL (before, after);
}

typedef struct {
  const char *folder;
  int number;
} Writer;

static int
open_and_add (gconstpointer data)
{
  const Writer *writer = data;

  for (int i = 0; i < 10; i++) {
    g_autoptr (ChainsDb) db = fixture_open (writer->folder);
    g_autofree char *name = g_strdup_printf ("vm-%d-%d", writer->number, i);
    fixture_add_vm (db, name);
  }
  return 0;
}

static void
processes_that_create_and_write_at_once_all_succeed (void)
{
  for (guint round = 0; round < 5; round++) {
    g_autoptr (FixtureFolder) folder = fixture_make_folder ();
    g_autoptr (ChainsDb) db = NULL;
    pid_t children[6];

    for (int i = 0; i < 6; i++)
      children[i] = fixture_start_child (open_and_add, &(Writer){folder, i});
    for (int i = 0; i < 6; i++)
      CU_ASSERT_EQUAL (fixture_wait_for_child (children[i]), 0);
    db = fixture_open (folder);
    CU_ASSERT (answers (db, "SELECT count (*) FROM vm", "60"));
    CU_ASSERT (answers (db, "PRAGMA integrity_check", "ok"));
  }
}

static void
looking_while_others_write_and_close_never_fails (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  pid_t children[2];
  guint failed = 0;

  add_some (folder);
  for (int i = 0; i < 2; i++)
    children[i] = fixture_start_child (open_and_add, &(Writer){folder, i});
  for (guint i = 0; i < 100; i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (ChainsDb) db = chains_db_open (folder, CHAINS_DB_READ, 5000, &error);
    failed += db == NULL || !support_suite_is_clear (error);
  }
  for (int i = 0; i < 2; i++)
    CU_ASSERT_EQUAL (fixture_wait_for_child (children[i]), 0);
  CU_ASSERT_EQUAL (failed, 0);
}

static void
a_creator_that_is_killed_leaves_none_or_a_whole_one (void)
{
  for (useconds_t delay = 0; delay < 12000; delay += 300) {
    g_autoptr (FixtureFolder) folder = fixture_make_folder ();
    g_autoptr (ChainsDb) db = NULL;
    g_autoptr (GError) error = NULL;
    pid_t child = fixture_start_child (open_and_add, &(Writer){folder, 0});

    usleep (delay);
    kill (child, SIGKILL);
    fixture_wait_for_child (child);
    db = chains_db_open (folder, CHAINS_DB_WRITE, 1000, &error);
    SUPPORT_ASSERT_CLEAR (error);
    CU_ASSERT (db != NULL && answers (db, "PRAGMA integrity_check", "ok"));
  }
}

static void
closing_one_connection_keeps_the_locks_of_another (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autofree char *wal = path_in (folder, "chainctl.db-wal");

  fixture_add_vm (db, "web");
  chains_db_free (fixture_open (folder));
  chains_db_free (chains_db_open (folder, CHAINS_DB_READ, 0, NULL));
  /* Were our lock gone, the child would believe to be the last and take the log away. */
  CU_ASSERT_EQUAL (fixture_wait_for_child (fixture_start_child (open_and_add, &(Writer){folder, 0})), 0);
  CU_ASSERT (g_file_test (wal, G_FILE_TEST_EXISTS));
  CU_ASSERT (answers (db, "SELECT count (*) FROM vm", "11"));
}

static void
a_truncated_database_is_refused_unchanged (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *path = path_in (folder, "chainctl.db");
  g_autofree char *content = NULL;
  gsize whole = 0;

  add_some (folder);
  g_assert_true (g_file_get_contents (path, &content, &whole, NULL));
  const gsize lengths[] = {0, 1, 16, 99, 100, 1000, 4096, 8192, whole / 2, whole - 4096, whole - 1};
  for (guint i = 0; i < G_N_ELEMENTS (lengths); i++) {
    write_file (folder, "chainctl.db", content, lengths[i]);
    CU_ASSERT (is_refused_unchanged (folder, CHAINS_ERROR_CORRUPT));
  }
  write_file (folder, "chainctl.db", content, whole);
  chains_db_free (fixture_open (folder));
}

static int
leave_a_log (gconstpointer data)
{
  const char *const *folder_and_sql = data;
  g_autofree char *path = path_in (folder_and_sql[0], "chainctl.db");
  sqlite3 *handle = NULL;

  if (sqlite3_open (path, &handle) != SQLITE_OK ||
      sqlite3_exec (handle, folder_and_sql[1], NULL, NULL, NULL) != SQLITE_OK)
    return 1;
  return kill (getpid (), SIGKILL);
}

static void
leave_log_of (const char *folder, const char *sql)
{
  const char *const folder_and_sql[] = {folder, sql};

  g_assert_cmpint (fixture_wait_for_child (fixture_start_child (leave_a_log, folder_and_sql)), ==, -1);
}

#define ADD_MANY                                                          \
  "WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) " \
  "INSERT INTO vm (name, qmp, quiesce, created_us) SELECT i, x'2f', 'auto', 0 FROM n"

/* As a process leaves it that is killed after the first pages of a checkpoint: new header, old length, whole log. */
static void
interrupt_checkpoint (const char *folder)
{
  g_autofree char *path = path_in (folder, "chainctl.db");
  g_autofree char *wal = path_in (folder, "chainctl.db-wal");
  g_autofree char *log = NULL;
  gsize log_length = 0;
  g_autoptr (ChainsDb) db = NULL;
  GStatBuf before;

  chains_db_free (fixture_open (folder));
  leave_log_of (folder, ADD_MANY);
  g_assert_true (g_stat (path, &before) == 0 && g_file_get_contents (wal, &log, &log_length, NULL));
  db = fixture_open (folder);
  move_log_into (db);
  g_clear_pointer (&db, chains_db_free);
  g_assert_cmpint (truncate (path, before.st_size), ==, 0);
  write_file (folder, "chainctl.db-wal", log, log_length);
}

static void
an_interrupted_checkpoint_is_not_taken_for_a_truncation (void)
{
  for (ChainsDbMode mode = CHAINS_DB_READ; mode <= CHAINS_DB_WRITE; mode++) {
    g_autoptr (FixtureFolder) folder = fixture_make_folder ();
    g_autoptr (GError) error = NULL;
    g_autoptr (ChainsDb) db = NULL;

    interrupt_checkpoint (folder);
    db = chains_db_open (folder, mode, 100, &error);
    SUPPORT_ASSERT_CLEAR (error);
    CU_ASSERT (db != NULL && answers (db, "SELECT count (*) FROM vm", "200"));
    CU_ASSERT (db != NULL && answers (db, "PRAGMA integrity_check", "ok"));
  }
}

static void
garbage_is_refused_unchanged (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *garbage = g_strnfill (20000, 'x');

  write_file (folder, "chainctl.db", garbage, 20000);
  CU_ASSERT (is_refused_unchanged (folder, CHAINS_ERROR_CORRUPT));
}

static void
damaged_tables_are_refused_unchanged (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *path = path_in (folder, "chainctl.db");
  g_autofree char *content = NULL;
  gsize length = 0;

  add_some (folder);
  g_assert_true (g_file_get_contents (path, &content, &length, NULL));
  memset (content + 100, 0xff, 3996);
  write_file (folder, "chainctl.db", content, length);
  CU_ASSERT (is_refused_unchanged (folder, CHAINS_ERROR_CORRUPT));
}

static void
another_programs_database_is_refused_unchanged (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();

  run_sql (folder, "CREATE TABLE song (title TEXT); INSERT INTO song VALUES ('a')");
  CU_ASSERT (is_refused_unchanged (folder, CHAINS_ERROR_FOREIGN));
}

static void
another_programs_log_is_left_alone (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *wal = path_in (folder, "chainctl.db-wal");

  run_sql (folder, "PRAGMA journal_mode = WAL; CREATE TABLE song (title TEXT)");
  leave_log_of (folder, "INSERT INTO song VALUES ('a')");
  CU_ASSERT (g_file_test (wal, G_FILE_TEST_EXISTS));
  CU_ASSERT (is_refused_unchanged (folder, CHAINS_ERROR_FOREIGN));
}

static void
a_newer_version_is_refused_unchanged (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();

  add_some (folder);
  run_sql (folder, "PRAGMA user_version = 99");
  CU_ASSERT (is_refused_unchanged (folder, CHAINS_ERROR_NEWER));
}

static void
a_newer_version_that_only_the_log_knows_is_refused_unchanged (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();

  add_some (folder);
  leave_log_of (folder, "PRAGMA user_version = 99");
  CU_ASSERT (is_refused_unchanged (folder, CHAINS_ERROR_NEWER));
}

static void
what_is_no_file_is_refused (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *path = path_in (folder, "chainctl.db");
  g_autoptr (GError) fifo = NULL;
  g_autoptr (GError) directory = NULL;

  g_assert_cmpint (mkfifo (path, 0600), ==, 0);
  CU_ASSERT_PTR_NULL (chains_db_open (folder, CHAINS_DB_WRITE, 0, &fifo));
  SUPPORT_ASSERT_ERROR (fifo, CHAINS_ERROR, CHAINS_ERROR_CORRUPT);
  g_remove (path);
  g_mkdir (path, 0700);
  CU_ASSERT_PTR_NULL (chains_db_open (folder, CHAINS_DB_READ, 0, &directory));
  SUPPORT_ASSERT_ERROR (directory, CHAINS_ERROR, CHAINS_ERROR_CORRUPT);
}

static void
a_folder_that_is_a_file_is_an_error_not_an_empty_memory (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *file = path_in (folder, "file");
  g_autoptr (GError) reading = NULL;
  g_autoptr (GError) writing = NULL;

  write_file (folder, "file", "", 0);
  CU_ASSERT_PTR_NULL (chains_db_open (file, CHAINS_DB_READ, 0, &reading));
  CU_ASSERT_PTR_NULL (chains_db_open (file, CHAINS_DB_WRITE, 0, &writing));
  SUPPORT_ASSERT_ERROR (reading, CHAINS_ERROR, CHAINS_ERROR_IO);
  SUPPORT_ASSERT_ERROR (writing, CHAINS_ERROR, CHAINS_ERROR_IO);
}

/* A child that has begun a transaction with one VM in it, and sits there. */
typedef struct {
  const char *folder;
  int ready[2];
} Holder;

static int
hold_transaction (gconstpointer data)
{
  const Holder *holder = data;
  g_autoptr (ChainsDb) db = fixture_open (holder->folder);
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (db, NULL);

  fixture_add_vm (db, "half");
  if (transaction == NULL || write (holder->ready[1], "x", 1) != 1)
    return 1;
  pause ();
  return 0;
}

static pid_t
start_holder (Holder *holder)
{
  pid_t child = 0;
  char byte = 0;

  g_assert_cmpint (pipe (holder->ready), ==, 0);
  child = fixture_start_child (hold_transaction, holder);
  g_assert_cmpint (read (holder->ready[0], &byte, 1), ==, 1);
  close (holder->ready[0]);
  close (holder->ready[1]);
  return child;
}

static void
a_locked_database_is_waited_for_then_named (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = NULL;
  g_autoptr (ChainsTransaction) transaction = NULL;
  g_autoptr (GPtrArray) vms = NULL;
  g_autoptr (GError) error = NULL;
  gint64 began = 0;

  add_some (folder);
  pid_t child = start_holder (&(Holder){folder, {0}});
  db = chains_db_open (folder, CHAINS_DB_WRITE, 200, NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (db);
  began = g_get_monotonic_time ();
  transaction = chains_transaction_begin (db, &error);
  CU_ASSERT (transaction == NULL && g_get_monotonic_time () - began >= 150000);
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_LOCKED);
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, chains_db_get_path (db)));
  vms = chains_registry_list_vms (db, NULL); /* reading goes on */
  CU_ASSERT (vms != NULL && vms->len == 200);
  kill (child, SIGKILL);
  fixture_wait_for_child (child);
  transaction = chains_transaction_begin (db, NULL);
  CU_ASSERT_PTR_NOT_NULL (transaction);
}

static void
a_process_killed_within_a_transaction_leaves_none_of_it (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = NULL;

  add_some (folder);
  pid_t child = start_holder (&(Holder){folder, {0}});
  kill (child, SIGKILL);
  fixture_wait_for_child (child);
  db = fixture_open (folder);
  CU_ASSERT (answers (db, "SELECT count (*) FROM vm WHERE name = 'half'", "0"));
  CU_ASSERT (answers (db, "SELECT count (*) FROM vm", "200"));
}

static int
add_one_and_die (gconstpointer folder)
{
  ChainsDb *db = fixture_open (folder);

  fixture_add_vm (db, "whole");
  return kill (getpid (), SIGKILL);
}

static void
a_commit_outlives_the_process (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) looking = NULL;
  g_autoptr (ChainsDb) db = NULL;

  add_some (folder);
  CU_ASSERT_EQUAL (fixture_wait_for_child (fixture_start_child (add_one_and_die, folder)), -1);
  looking = chains_db_open (folder, CHAINS_DB_READ, 0, NULL);
  CU_ASSERT (looking != NULL && answers (looking, "SELECT count (*) FROM vm WHERE name = 'whole'", "1"));
  db = fixture_open (folder);
  CU_ASSERT (answers (db, "SELECT count (*) FROM vm WHERE name = 'whole'", "1"));
}

static void
a_transaction_that_is_not_committed_is_rolled_back (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  ChainsTransaction *transaction = chains_transaction_begin (db, NULL);

  fixture_add_vm (db, "one");
  chains_transaction_end (transaction);
  CU_ASSERT (answers (db, "SELECT count (*) FROM vm", "0"));
  transaction = chains_transaction_begin (db, NULL);
  fixture_add_vm (db, "one");
  fixture_add_vm (db, "two");
  CU_ASSERT (chains_transaction_commit (transaction, NULL));
  chains_transaction_end (transaction);
  CU_ASSERT (answers (db, "SELECT count (*) FROM vm", "2"));
}

static void
a_function_that_fails_leaves_the_callers_transaction_whole (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (db, NULL);
  g_autoptr (ChainsVm) again = chains_vm_new ();

  fixture_add_vm (db, "one");
  again->name = g_strdup ("one");
  again->qmp = g_strdup ("/qmp");
  CU_ASSERT (!chains_registry_add_vm (db, again, NULL));
  fixture_add_vm (db, "two");
  CU_ASSERT (chains_transaction_commit (transaction, NULL));
  CU_ASSERT (answers (db, "SELECT count (*) FROM vm", "2"));
}

static void
transactions_do_not_nest (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsTransaction) one = chains_transaction_begin (db, NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (ChainsTransaction) two = chains_transaction_begin (db, &error);

  CU_ASSERT (one != NULL && two == NULL && error != NULL);
  fixture_add_vm (db, "one");
  CU_ASSERT (chains_transaction_commit (one, NULL));
}

static void
a_full_disk_is_said_and_rolls_back (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (db, NULL);
  g_autoptr (ChainsVm) vm = chains_vm_new ();
  g_autoptr (GError) error = NULL;

  g_free (ask (chains_db_get_handle (db), "PRAGMA max_page_count = 1")); /* no less than it has */
  fixture_add_vm (db, "one");
  vm->name = g_strdup ("two");
  vm->qmp = g_strnfill (100000, 'x');
  CU_ASSERT (!chains_registry_add_vm (db, vm, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_FULL);
  g_clear_pointer (&transaction, chains_transaction_end);
  CU_ASSERT (answers (db, "SELECT count (*) FROM vm", "0"));
}

/* As a user who may not write: a child of its own, for root may always. */
typedef struct {
  const char *folder;
  ChainsDbMode mode;
} Opening;

enum { OPENED_WHOLE, REFUSED_READ_ONLY, OTHER };

static int
open_as_nobody (gconstpointer data)
{
  const Opening *opening = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (ChainsDb) db = NULL;

  if (geteuid () == 0 && setresuid (NOBODY, NOBODY, NOBODY) != 0)
    return OTHER;
  db = chains_db_open (opening->folder, opening->mode, 100, &error);
  if (db != NULL)
    return answers (db, "SELECT count (*) FROM vm", "200") ? OPENED_WHOLE : OTHER;
  return support_suite_is_error (error, CHAINS_ERROR, CHAINS_ERROR_READ_ONLY) ? REFUSED_READ_ONLY : OTHER;
}

static int
opens_as_nobody (const char *folder, ChainsDbMode mode)
{
  return fixture_wait_for_child (fixture_start_child (open_as_nobody, &(Opening){folder, mode}));
}

static void
set_modes (const char *folder, mode_t folder_mode, mode_t file_mode)
{
  const char *const names[] = {"chainctl.db", "chainctl.db-wal", "chainctl.db-shm"};

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *path = path_in (folder, names[i]);
    g_chmod (path, (int)file_mode);
  }
  g_chmod (folder, (int)folder_mode);
}

static void
what_cannot_be_written_can_be_read (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();

  add_some (folder);
  g_autofree char *before = hash_file (folder, "chainctl.db");
  set_modes (folder, 0555, 0444);
  CU_ASSERT_EQUAL (opens_as_nobody (folder, CHAINS_DB_READ), OPENED_WHOLE);
  CU_ASSERT_EQUAL (opens_as_nobody (folder, CHAINS_DB_WRITE), REFUSED_READ_ONLY);
  set_modes (folder, 0777, 0444);
  CU_ASSERT_EQUAL (opens_as_nobody (folder, CHAINS_DB_WRITE), REFUSED_READ_ONLY);
  set_modes (folder, 0700, 0600);
  g_autofree char *after = hash_file (folder, "chainctl.db");
  CU_ASSERT_STRING_EQUAL (before, after);
}

static void
what_a_log_holds_is_read_or_refused_but_never_missed (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *shm = path_in (folder, "chainctl.db-shm");

  chains_db_free (fixture_open (folder));
  leave_log_of (folder, ADD_MANY);
  set_modes (folder, 0555, 0444);
  CU_ASSERT_EQUAL (opens_as_nobody (folder, CHAINS_DB_READ), OPENED_WHOLE);
  g_chmod (folder, 0700);
  g_remove (shm);
  g_chmod (folder, 0555);
  CU_ASSERT_EQUAL (opens_as_nobody (folder, CHAINS_DB_READ), REFUSED_READ_ONLY);
  set_modes (folder, 0700, 0600);
}

static void
a_folder_that_cannot_be_written_gets_no_database (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *inside = path_in (folder, "inside");

  g_chmod (folder, 0555);
  CU_ASSERT_EQUAL (opens_as_nobody (folder, CHAINS_DB_WRITE), REFUSED_READ_ONLY);
  CU_ASSERT_EQUAL (opens_as_nobody (inside, CHAINS_DB_WRITE), REFUSED_READ_ONLY);
  g_chmod (folder, 0700);
}

/* Migrations */

static char *
get_fixture (const char *name)
{
  const char *fixtures = g_getenv ("TEST_FIXTURES");
  g_autofree char *here = g_path_get_dirname (__FILE__);
  g_autofree char *beside = g_build_filename (here, "fixtures", NULL);
  g_autofree char *path = g_build_filename (fixtures != NULL ? fixtures : beside, "chains", name, NULL);
  char *content = NULL;

  if (!g_file_get_contents (path, &content, NULL, NULL))
    g_error ("no fixture %s", path);
  return content;
}

static FixtureFolder *
make_version_1 (void)
{
  FixtureFolder *folder = fixture_make_folder ();
  g_autofree char *sql = get_fixture ("v1.sql");

  run_sql (folder, sql);
  run_sql (folder, "PRAGMA journal_mode = WAL");
  return folder;
}

#define GOOD "ALTER TABLE vm ADD COLUMN note TEXT; UPDATE vm SET note = 'new'"
#define HALF "ALTER TABLE vm ADD COLUMN note TEXT; UPDATE vm SET note = 'new'; INSERT INTO nowhere VALUES (1)"
#define BREAKING "DELETE FROM disk"

static ChainsDb *
open_with (const char *folder, ChainsDbMode mode, const char *second, const char *third, GError **error)
{
  const char *const migrations[] = {chains_schema_get_current ()->migrations[0], second, third};
  const ChainsSchema schema = {third != NULL ? 3 : 2, migrations};

  return chains_db_open_schema (folder, mode, 10000, &schema, error);
}

static char *
describe_tables (ChainsDb *db)
{
  return ask (chains_db_get_handle (db),
              "SELECT group_concat (sql, ';') FROM (SELECT sql FROM sqlite_schema ORDER BY type, name)");
}

static void
version_1_is_still_what_it_was (void)
{
  g_autoptr (FixtureFolder) folder = make_version_1 ();
  g_autoptr (FixtureFolder) fresh = fixture_make_folder ();
  g_autoptr (ChainsDb) old = fixture_open (folder);
  g_autoptr (ChainsDb) new = fixture_open (fresh);
  g_autofree char *old_tables = describe_tables (old);
  g_autofree char *new_tables = describe_tables (new);

  CU_ASSERT_EQUAL (chains_schema_get_current ()->n_migrations, atoi (CURRENT));
  CU_ASSERT_PTR_NOT_NULL_FATAL (old_tables);
  CU_ASSERT_STRING_EQUAL (old_tables, new_tables);
}

static void
a_database_of_version_1_is_read (void)
{
  g_autoptr (FixtureFolder) folder = make_version_1 ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsVm) vm = chains_registry_get_vm (db, "web", NULL);
  g_autoptr (ChainsSnapshot) snapshot = NULL;
  g_autoptr (GPtrArray) unfinished = NULL;

  CU_ASSERT_PTR_NOT_NULL_FATAL (vm);
  snapshot = chains_snapshots_find (db, vm->id, "latest", NULL);
  CU_ASSERT_FATAL (snapshot != NULL && snapshot->disks->len == 1);
  CU_ASSERT_STRING_EQUAL (((ChainsSnapshotDisk *)snapshot->disks->pdata[0])->image_path, "/srv/\xff/web.qcow2");
  unfinished = chains_journal_list_unfinished (db, vm->id, NULL);
  CU_ASSERT (unfinished->len == 1);
}

static void
an_older_database_is_migrated_and_its_copy_kept (void)
{
  g_autoptr (FixtureFolder) folder = make_version_1 ();
  g_autoptr (GError) error = NULL;
  g_autoptr (ChainsDb) db = open_with (folder, CHAINS_DB_WRITE, GOOD, "CREATE TABLE extra (a INTEGER) STRICT", &error);
  g_autofree char *copy = path_in (folder, "chainctl.db.v1");
  GStatBuf status;

  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (db);
  CU_ASSERT (answers (db, "PRAGMA user_version", "3"));
  CU_ASSERT (answers (db, "SELECT note FROM vm", "new"));
  CU_ASSERT (answers (db, "SELECT count (*) FROM extra", "0"));
  CU_ASSERT (answers (db, "PRAGMA foreign_keys", "1"));
  CU_ASSERT (g_stat (copy, &status) == 0 && (status.st_mode & 07777) == 0600);
}

static void
a_copy_is_the_database_as_it_was_with_its_log (void)
{
  g_autoptr (FixtureFolder) folder = make_version_1 ();
  g_autoptr (FixtureFolder) restored = fixture_make_folder ();
  g_autofree char *copy = path_in (folder, "chainctl.db.v1");
  g_autofree char *target = path_in (restored, "chainctl.db");
  g_autoptr (ChainsDb) old = NULL;

  leave_log_of (folder, "INSERT INTO vm (name, qmp, quiesce, created_us) VALUES ('late', x'2f', 'auto', 0)");
  chains_db_free (open_with (folder, CHAINS_DB_WRITE, GOOD, NULL, NULL));
  CU_ASSERT_EQUAL (g_rename (copy, target), 0);
  old = fixture_open (restored);
  CU_ASSERT (answers (old, "PRAGMA user_version", CURRENT));
  CU_ASSERT (answers (old, "SELECT count (*) FROM vm WHERE name = 'late'", "1"));
  CU_ASSERT (answers (old, "PRAGMA integrity_check", "ok"));
}

static void
a_copy_that_exists_is_kept (void)
{
  g_autoptr (FixtureFolder) folder = make_version_1 ();
  g_autoptr (ChainsDb) db = NULL;
  g_autofree char *hash = NULL, *expected = NULL;

  write_file (folder, "chainctl.db.v1", "precious", 8);
  expected = hash_file (folder, "chainctl.db.v1");
  db = open_with (folder, CHAINS_DB_WRITE, GOOD, NULL, NULL);
  hash = hash_file (folder, "chainctl.db.v1");
  CU_ASSERT (db != NULL && answers (db, "PRAGMA user_version", "2"));
  CU_ASSERT_STRING_EQUAL (hash, expected);
}

static gboolean
migration_fails_unchanged (const char *second)
{
  g_autoptr (FixtureFolder) folder = make_version_1 ();
  g_autofree char *before = hash_file (folder, "chainctl.db");
  g_autoptr (GError) error = NULL;
  g_autoptr (ChainsDb) failed = open_with (folder, CHAINS_DB_WRITE, second, NULL, &error);
  g_autofree char *after = hash_file (folder, "chainctl.db");
  g_autoptr (GPtrArray) files = fixture_list_files (folder);
  g_autoptr (ChainsDb) db = NULL;

  if (failed != NULL || error == NULL || strstr (error->message, "migrate") == NULL)
    return FALSE;
  if (files->len != 3 || !g_str_equal (before, after))
    return FALSE;
  db = fixture_open (folder);
  return answers (db, "PRAGMA user_version", CURRENT) && answers (db, "SELECT count (*) FROM disk", "1");
}

static void
a_migration_that_fails_half_way_changes_nothing (void)
{
  CU_ASSERT (migration_fails_unchanged (HALF));
}

static void
a_migration_that_breaks_references_changes_nothing (void)
{
  CU_ASSERT (migration_fails_unchanged (BREAKING));
}

static void
a_copy_that_exists_outlives_a_failed_migration (void)
{
  g_autoptr (FixtureFolder) folder = make_version_1 ();
  g_autofree char *hash = NULL, *expected = NULL;
  g_autoptr (GError) error = NULL;

  write_file (folder, "chainctl.db.v1", "precious", 8);
  expected = hash_file (folder, "chainctl.db.v1");
  CU_ASSERT_PTR_NULL (open_with (folder, CHAINS_DB_WRITE, HALF, NULL, &error));
  CU_ASSERT_PTR_NOT_NULL (error);
  hash = hash_file (folder, "chainctl.db.v1");
  CU_ASSERT_STRING_EQUAL (hash, expected);
}

static void
what_was_migrated_before_a_failure_stays (void)
{
  g_autoptr (FixtureFolder) folder = make_version_1 ();
  g_autoptr (GError) error = NULL;
  g_autoptr (ChainsDb) db = NULL;

  CU_ASSERT_PTR_NULL (open_with (folder, CHAINS_DB_WRITE, GOOD, HALF, &error));
  CU_ASSERT_PTR_NOT_NULL (error);
  db = open_with (folder, CHAINS_DB_WRITE, GOOD, NULL, NULL);
  CU_ASSERT (db != NULL && answers (db, "SELECT note FROM vm", "new"));
}

static int
open_version_2 (gconstpointer folder)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ChainsDb) db = open_with (folder, CHAINS_DB_WRITE, GOOD, NULL, &error);

  return support_suite_is_clear (error) && answers (db, "PRAGMA user_version", "2") ? 0 : 1;
}

static void
processes_that_migrate_at_once_do_it_once (void)
{
  for (guint round = 0; round < 10; round++) {
    g_autoptr (FixtureFolder) folder = make_version_1 ();
    pid_t children[4];

    for (int i = 0; i < 4; i++)
      children[i] = fixture_start_child (open_version_2, folder);
    for (int i = 0; i < 4; i++)
      CU_ASSERT_EQUAL (fixture_wait_for_child (children[i]), 0);
  }
}

static void
looking_at_an_older_database_migrates_only_in_memory (void)
{
  g_autoptr (FixtureFolder) folder = make_version_1 ();
  g_autofree char *before = hash_file (folder, "chainctl.db");
  g_autofree char *after = NULL;
  g_autoptr (GPtrArray) files = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (ChainsDb) db = open_with (folder, CHAINS_DB_READ, GOOD, NULL, &error);

  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (db);
  CU_ASSERT (answers (db, "SELECT note FROM vm", "new"));
  CU_ASSERT_EQUAL (sqlite3_exec (chains_db_get_handle (db), "DELETE FROM vm", NULL, NULL, NULL), SQLITE_READONLY);
  after = hash_file (folder, "chainctl.db");
  files = fixture_list_files (folder);
  CU_ASSERT_STRING_EQUAL (before, after);
  CU_ASSERT_EQUAL (files->len, 3);
}

static void
a_new_database_of_a_later_version_needs_no_copies (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autofree char *copy = path_in (folder, "chainctl.db.v1");
  g_autoptr (ChainsDb) db = open_with (folder, CHAINS_DB_WRITE, GOOD, NULL, NULL);

  CU_ASSERT (db != NULL && answers (db, "PRAGMA user_version", "2"));
  CU_ASSERT (!g_file_test (copy, G_FILE_TEST_EXISTS));
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (a_missing_database_is_made_for_its_owner_alone),
      SUPPORT_TEST (a_connection_is_durable_and_strict),
      SUPPORT_TEST (the_log_and_its_index_stay_beside_the_database),
      SUPPORT_TEST (the_log_does_not_grow_for_ever),
      SUPPORT_TEST (looking_at_a_missing_database_makes_nothing),
      SUPPORT_TEST (what_is_opened_to_look_cannot_be_written),
      SUPPORT_TEST (processes_that_create_and_write_at_once_all_succeed),
      SUPPORT_TEST (looking_while_others_write_and_close_never_fails),
      SUPPORT_TEST (a_creator_that_is_killed_leaves_none_or_a_whole_one),
      SUPPORT_TEST (closing_one_connection_keeps_the_locks_of_another),
      SUPPORT_TEST (a_truncated_database_is_refused_unchanged),
      SUPPORT_TEST (an_interrupted_checkpoint_is_not_taken_for_a_truncation),
      SUPPORT_TEST (garbage_is_refused_unchanged),
      SUPPORT_TEST (damaged_tables_are_refused_unchanged),
      SUPPORT_TEST (another_programs_database_is_refused_unchanged),
      SUPPORT_TEST (another_programs_log_is_left_alone),
      SUPPORT_TEST (a_newer_version_is_refused_unchanged),
      SUPPORT_TEST (a_newer_version_that_only_the_log_knows_is_refused_unchanged),
      SUPPORT_TEST (what_is_no_file_is_refused),
      SUPPORT_TEST (a_folder_that_is_a_file_is_an_error_not_an_empty_memory),
      SUPPORT_TEST (a_locked_database_is_waited_for_then_named),
      SUPPORT_TEST (a_process_killed_within_a_transaction_leaves_none_of_it),
      SUPPORT_TEST (a_commit_outlives_the_process),
      SUPPORT_TEST (a_transaction_that_is_not_committed_is_rolled_back),
      SUPPORT_TEST (a_function_that_fails_leaves_the_callers_transaction_whole),
      SUPPORT_TEST (transactions_do_not_nest),
      SUPPORT_TEST (a_full_disk_is_said_and_rolls_back),
      SUPPORT_TEST (what_cannot_be_written_can_be_read),
      SUPPORT_TEST (what_a_log_holds_is_read_or_refused_but_never_missed),
      SUPPORT_TEST (a_folder_that_cannot_be_written_gets_no_database),
      SUPPORT_TEST (version_1_is_still_what_it_was),
      SUPPORT_TEST (a_database_of_version_1_is_read),
      SUPPORT_TEST (an_older_database_is_migrated_and_its_copy_kept),
      SUPPORT_TEST (a_copy_is_the_database_as_it_was_with_its_log),
      SUPPORT_TEST (a_copy_that_exists_is_kept),
      SUPPORT_TEST (a_migration_that_fails_half_way_changes_nothing),
      SUPPORT_TEST (a_migration_that_breaks_references_changes_nothing),
      SUPPORT_TEST (a_copy_that_exists_outlives_a_failed_migration),
      SUPPORT_TEST (what_was_migrated_before_a_failure_stays),
      SUPPORT_TEST (processes_that_migrate_at_once_do_it_once),
      SUPPORT_TEST (looking_at_an_older_database_migrates_only_in_memory),
      SUPPORT_TEST (a_new_database_of_a_later_version_needs_no_copies),
  };

  return support_suite_run ("db", tests, G_N_ELEMENTS (tests), argc, argv);
}
