/*
 * Begins and ends transactions, and puts the commits of fibers together: what
 * they write meanwhile is one transaction of SQLite's, in which each has a part
 * of its own, and one sync serves all. Promises that a commit is on the disk.
 */
#include "chains/transaction.h"

#include "base/fiber.h"
#include "base/point.h"
#include "chains/error.h"

#define COMMIT "COMMIT"

struct _ChainsTransaction {
  ChainsDb *db; /* borrowed */
  const char *commit;
  const char *rollback;
  ChainsTransactionGroup *group; /* (nullable): that it is part of */
};

/* What the fibers that are about to commit have written. */
struct _ChainsTransactionGroup {
  gboolean led;  /* somebody waits to commit it */
  gboolean done; /* it is committed, or failed with @error */
  GError *error;
};

static void
group_clear (gpointer data)
{
  g_clear_error (&((ChainsTransactionGroup *)data)->error);
}

static void
group_unref (ChainsTransactionGroup *group)
{
  g_rc_box_release_full (group, group_clear);
}

static ChainsTransaction *
start (ChainsDb *db, const char *begin, const char *commit, const char *rollback, GError **error)
{
  ChainsTransaction *transaction = NULL;

  if (!chains_db_execute (db, "begin", begin, error))
    return NULL;
  transaction = g_new0 (ChainsTransaction, 1);
  transaction->db = db;
  transaction->commit = commit;
  transaction->rollback = rollback;
  chains_db_get_transactions (db)->depth++;
  return transaction;
}

static ChainsTransaction *
start_part (ChainsDb *db, GError **error)
{
  return start (db, "SAVEPOINT part", "RELEASE part", "ROLLBACK TO part; RELEASE part", error);
}

/* SQLite takes all of a transaction back by itself where the disk is full: then what was in it is lost to all. */
static void
give_up_lost (ChainsDb *db)
{
  ChainsTransactionGroup *group = chains_db_get_transactions (db)->group;

  if (group == NULL || !sqlite3_get_autocommit (chains_db_get_handle (db)))
    return;
  group->error = g_error_new (CHAINS_ERROR, CHAINS_ERROR_FULL,
                              "database '%s': a change was taken back together with another one, which failed",
                              chains_db_get_path (db));
  chains_db_get_transactions (db)->group = NULL;
  group_unref (group);
}

/* In a fiber: a part of the group's transaction, which this opens where none is open. */
static ChainsTransaction *
start_in_group (ChainsDb *db, GError **error)
{
  ChainsTransaction *transaction;

  give_up_lost (db);
  if (chains_db_get_transactions (db)->group == NULL) {
    if (!chains_db_execute (db, "begin", "BEGIN IMMEDIATE", error))
      return NULL;
    chains_db_get_transactions (db)->group = g_rc_box_new0 (ChainsTransactionGroup);
  }
  transaction = start_part (db, error);
  if (transaction != NULL)
    transaction->group = g_rc_box_acquire (chains_db_get_transactions (db)->group);
  return transaction;
}

ChainsTransaction *
chains_transaction_begin (ChainsDb *db, GError **error)
{
  if (base_fiber_is_inside () && chains_db_get_transactions (db)->depth == 0)
    return start_in_group (db, error);
  return start (db, "BEGIN IMMEDIATE", COMMIT, "ROLLBACK", error);
}

ChainsTransaction *
chains_transaction_join (ChainsDb *db, ChainsDbMode mode, GError **error)
{
  if (chains_db_get_transactions (db)->depth == 0 && mode == CHAINS_DB_WRITE)
    return chains_transaction_begin (db, error);
  if (!sqlite3_get_autocommit (chains_db_get_handle (db)))
    return start_part (db, error);
  return start (db, "BEGIN", COMMIT, "ROLLBACK", error);
}

static gboolean
is_done (gpointer user_data)
{
  return ((const ChainsTransactionGroup *)user_data)->done;
}

static void
commit_all (ChainsDb *db, ChainsTransactionGroup *group)
{
  chains_db_get_transactions (db)->group = NULL;
  if (!chains_db_execute (db, "commit", COMMIT, &group->error))
    sqlite3_exec (chains_db_get_handle (db), "ROLLBACK", NULL, NULL, NULL);
  group_unref (group);
}

/* The first to commit waits until nobody can add anything, and commits for all; the others wait for it. */
static gboolean
commit_group (ChainsDb *db, ChainsTransactionGroup *group, GError **error)
{
  if (group->led) {
    base_fiber_wait (is_done, group);
  } else {
    group->led = TRUE;
    base_fiber_wait_idle ();
    if (chains_db_get_transactions (db)->group == group)
      commit_all (db, group);
    group->done = TRUE;
  }
  if (group->error != NULL)
    g_propagate_error (error, g_error_copy (group->error));
  return group->error == NULL;
}

static gboolean
is_written (const ChainsTransaction *transaction)
{
  return sqlite3_txn_state (chains_db_get_handle (transaction->db), NULL) == SQLITE_TXN_WRITE &&
         (transaction->group != NULL || g_str_equal (transaction->commit, COMMIT));
}

gboolean
chains_transaction_commit (ChainsTransaction *transaction, GError **error)
{
  ChainsDb *db = transaction->db;
  gboolean writes = is_written (transaction);

  if (writes && !base_point_before ("db", "commit", error))
    return FALSE;
  if (!chains_db_execute (db, "commit", transaction->commit, error))
    return FALSE;
  transaction->rollback = NULL;
  chains_db_get_transactions (db)->depth--;
  if (transaction->group != NULL && !commit_group (db, transaction->group, error))
    return FALSE;
  if (writes)
    base_point_after ("db", "commit");
  return TRUE;
}

/* A group that nobody commits any more: what opened it was taken back. */
static void
close_group (ChainsDb *db)
{
  ChainsTransactionGroup *group = g_steal_pointer (&chains_db_get_transactions (db)->group);

  sqlite3_exec (chains_db_get_handle (db), "ROLLBACK", NULL, NULL, NULL);
  group_unref (group);
}

void
chains_transaction_end (ChainsTransaction *transaction)
{
  ChainsDb *db;

  if (transaction == NULL)
    return;
  db = transaction->db;
  /* SQLite rolls back by itself after some failures, a full disk for one. */
  if (transaction->rollback != NULL) {
    chains_db_get_transactions (db)->depth--;
    if (!sqlite3_get_autocommit (chains_db_get_handle (db)))
      sqlite3_exec (chains_db_get_handle (db), transaction->rollback, NULL, NULL, NULL);
  }
  if (transaction->group != NULL && transaction->group == chains_db_get_transactions (db)->group &&
      !transaction->group->led)
    close_group (db);
  if (transaction->group != NULL)
    group_unref (transaction->group);
  g_free (transaction);
}
