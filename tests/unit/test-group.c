/*
 * The commits of fibers: many are one on the disk, each is whole, and what one
 * takes back takes nothing of another's with it.
 */
#include "base/fiber.h"
#include "chains/error.h"
#include "chains/registry.h"
#include "chains/transaction.h"
#include "tests/support/suite.h"
#include "tests/unit/fixtures/chains/fixture.h"

typedef struct {
  ChainsDb *db;
  const char *name;
  gboolean takes_back;
  gboolean committed;
} Writer;

static gboolean
add_vm (ChainsDb *db, const char *name)
{
  g_autoptr (ChainsVm) vm = chains_vm_new ();

  vm->name = g_strdup (name);
  vm->qmp = g_strdup ("/run/qmp");
  return chains_registry_add_vm (db, vm, NULL);
}

static void
write_one (gpointer item)
{
  Writer *writer = item;
  g_autofree char *second = g_strconcat (writer->name, "-second", NULL);
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (writer->db, NULL);

  CU_ASSERT_PTR_NOT_NULL_FATAL (transaction);
  CU_ASSERT (add_vm (writer->db, writer->name));
  CU_ASSERT (add_vm (writer->db, second));
  if (!writer->takes_back)
    writer->committed = chains_transaction_commit (transaction, NULL);
}

static void
run_writers (Writer *writers, guint count)
{
  g_autoptr (GPtrArray) items = g_ptr_array_new ();

  for (guint i = 0; i < count; i++)
    g_ptr_array_add (items, &writers[i]);
  base_fiber_run_all (items, write_one, 0);
}

static int
count_commit (void *commits)
{
  ++*(int *)commits;
  return 0;
}

static guint
count_vms (ChainsDb *db)
{
  g_autoptr (GPtrArray) vms = chains_registry_list_vms (db, NULL);

  return vms->len;
}

static void
many_commits_are_one_on_the_disk (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  Writer writers[] = {{db, "a", FALSE, FALSE}, {db, "b", FALSE, FALSE}, {db, "c", FALSE, FALSE}};
  int commits = 0;

  sqlite3_commit_hook (chains_db_get_handle (db), count_commit, &commits);
  run_writers (writers, 3);
  CU_ASSERT_EQUAL (commits, 1);
  CU_ASSERT_EQUAL (count_vms (db), 6);
  CU_ASSERT (writers[0].committed && writers[1].committed && writers[2].committed);
}

static void
what_one_takes_back_is_no_others (void)
{
  for (guint who = 0; who < 3; who++) {
    g_autoptr (FixtureFolder) folder = fixture_make_folder ();
    g_autoptr (ChainsDb) db = fixture_open (folder);
    Writer writers[] = {{db, "a", FALSE, FALSE}, {db, "b", FALSE, FALSE}, {db, "c", FALSE, FALSE}};

    writers[who].takes_back = TRUE;
    run_writers (writers, 3);
    CU_ASSERT_EQUAL (count_vms (db), 4);
  }
}

static void
when_all_take_back_nothing_stays_open (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  Writer writers[] = {{db, "a", TRUE, FALSE}, {db, "b", TRUE, FALSE}};

  run_writers (writers, 2);
  CU_ASSERT_EQUAL (count_vms (db), 0);
  CU_ASSERT (sqlite3_get_autocommit (chains_db_get_handle (db)));
  CU_ASSERT (add_vm (db, "later"));
}

static int
refuse_commit (void *data)
{
  return 1;
}

static void
a_commit_that_fails_fails_for_all (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  Writer writers[] = {{db, "a", FALSE, FALSE}, {db, "b", FALSE, FALSE}};

  sqlite3_commit_hook (chains_db_get_handle (db), refuse_commit, NULL);
  run_writers (writers, 2);
  CU_ASSERT (!writers[0].committed && !writers[1].committed);
  sqlite3_commit_hook (chains_db_get_handle (db), NULL, NULL);
  CU_ASSERT_EQUAL (count_vms (db), 0);
  CU_ASSERT (add_vm (db, "later"));
}

/* As on a full disk: SQLite takes back all that is in the transaction. */
static void
lose_one (gpointer item)
{
  Writer *writer = item;
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (writer->db, NULL);

  CU_ASSERT_PTR_NOT_NULL_FATAL (transaction);
  CU_ASSERT_EQUAL (sqlite3_exec (chains_db_get_handle (writer->db), "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
}

static void
write_or_lose (gpointer item)
{
  Writer *writer = item;

  if (writer->takes_back)
    lose_one (item);
  else
    write_one (item);
}

static void
what_sqlite_takes_back_nobody_calls_committed (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  Writer writers[] = {{db, "a", FALSE, FALSE}, {db, "b", TRUE, FALSE}, {db, "c", FALSE, FALSE}};
  g_autoptr (GPtrArray) items = g_ptr_array_new ();

  for (guint i = 0; i < 3; i++)
    g_ptr_array_add (items, &writers[i]);
  base_fiber_run_all (items, write_or_lose, 0);
  CU_ASSERT (!writers[0].committed);
  CU_ASSERT (writers[2].committed);
  CU_ASSERT_EQUAL (count_vms (db), 2);
  CU_ASSERT (add_vm (db, "later"));
}

int
main (int argc, char **argv)
{
  const SupportTest tests[] = {
      SUPPORT_TEST (many_commits_are_one_on_the_disk),
      SUPPORT_TEST (what_one_takes_back_is_no_others),
      SUPPORT_TEST (when_all_take_back_nothing_stays_open),
      SUPPORT_TEST (a_commit_that_fails_fails_for_all),
      SUPPORT_TEST (what_sqlite_takes_back_nobody_calls_committed),
  };

  return support_suite_run ("group", tests, G_N_ELEMENTS (tests), argc, argv);
}
