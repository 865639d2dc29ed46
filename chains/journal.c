/*
 * Operations and their steps, as rows. Promises that what was written is on the
 * disk before the call returns (outside a transaction), that a VM has one
 * unfinished operation at most, and that only legal changes of state happen.
 * What intents and details mean is left to the verbs.
 */
#include "chains/journal.h"

#include "chains/error.h"
#include "chains/query.h"
#include "chains/transaction.h"

#define OP_COLUMNS "sequence, id, vm, vm_name, verb, run_by, pid, boot, started_us, ended_us, state, intent, error"

#define BIT(state) (1u << (state))

/* From which states each state can be reached. None leads out of done, undone and failed. */
static const guint reachable_from[] = {
    [CHAINS_OP_OPEN] = BIT (CHAINS_OP_OPEN) | BIT (CHAINS_OP_DETACHED), /* by a process that takes over */
    [CHAINS_OP_DETACHED] = BIT (CHAINS_OP_OPEN),
    [CHAINS_OP_DONE] = BIT (CHAINS_OP_OPEN) | BIT (CHAINS_OP_DETACHED),
    [CHAINS_OP_UNDONE] = BIT (CHAINS_OP_OPEN) | BIT (CHAINS_OP_DETACHED),
    [CHAINS_OP_FAILED] = BIT (CHAINS_OP_OPEN) | BIT (CHAINS_OP_DETACHED),
};

static gpointer
read_op (ChainsQuery *query)
{
  ChainsOp *op = chains_op_new ();
  g_autofree char *state = NULL;

  op->sequence = chains_query_read_int (query);
  op->id = chains_query_read_text (query);
  op->vm = chains_query_read_int (query);
  op->vm_name = chains_query_read_text (query);
  op->verb = chains_query_read_text (query);
  op->by = chains_query_read_text (query);
  op->pid = chains_query_read_int (query);
  op->boot = chains_query_read_text (query);
  op->started_us = chains_query_read_int (query);
  op->ended_us = chains_query_read_int (query);
  state = chains_query_read_text (query);
  chains_op_state_from_string (state, &op->state);
  op->intent = chains_query_read_text (query);
  op->error = chains_query_read_text (query);
  return op;
}

static gpointer
read_step (ChainsQuery *query)
{
  ChainsStep *step = chains_step_new ();

  step->number = chains_query_read_int (query);
  step->name = chains_query_read_text (query);
  step->detail = chains_query_read_text (query);
  step->begun_us = chains_query_read_int (query);
  step->ended_us = chains_query_read_int (query);
  return step;
}

static GPtrArray *
collect_ops (ChainsQuery *query, GError **error)
{
  return chains_query_collect (query, read_op, (GDestroyNotify)chains_op_free, error);
}

static gboolean
check_vm_is_free (ChainsDb *db, gint64 vm, GError **error)
{
  g_autoptr (GPtrArray) unfinished = chains_journal_list_unfinished (db, vm, error);
  const ChainsOp *holder = NULL;

  if (unfinished == NULL)
    return FALSE;
  if (unfinished->len == 0)
    return TRUE;
  holder = unfinished->pdata[0];
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_EXISTS, "VM '%s' has an unfinished operation: %s %s by %s, %s",
               holder->vm_name, holder->verb, holder->id, holder->by, chains_op_state_to_string (holder->state));
  return FALSE;
}

static void
bind_op (ChainsQuery *query, const ChainsOp *op)
{
  chains_query_bind_text (query, op->id);
  chains_query_bind_id (query, op->vm);
  chains_query_bind_text (query, op->vm_name);
  chains_query_bind_text (query, op->verb);
  chains_query_bind_text (query, op->by);
  chains_query_bind_int (query, op->pid);
  chains_query_bind_text (query, op->boot);
  chains_query_bind_int (query, op->started_us);
  chains_query_bind_text (query, chains_op_state_to_string (CHAINS_OP_OPEN));
  chains_query_bind_text (query, op->intent != NULL ? op->intent : "{}");
}

gboolean
chains_journal_begin (ChainsDb *db, ChainsOp *op, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL || !check_vm_is_free (db, op->vm, error))
    return FALSE;
  query = chains_query_new (db, "begin an operation",
                            "INSERT INTO operation (id, vm, vm_name, verb, run_by, pid, boot, started_us, state, "
                            "intent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                            error);
  if (query == NULL)
    return FALSE;
  bind_op (query, op);
  if (!chains_query_run (query, error) || !chains_transaction_commit (transaction, error))
    return FALSE;
  op->sequence = chains_query_get_inserted (query);
  op->state = CHAINS_OP_OPEN;
  return TRUE;
}

/* Whether operation @id is in one of the states of @allowed, and so can be what @wish says. */
static gboolean
check_state (ChainsDb *db, const char *id, guint allowed, const char *wish, GError **error)
{
  g_autoptr (ChainsOp) op = chains_journal_get (db, id, error);

  if (op == NULL)
    return FALSE;
  if (allowed & BIT (op->state))
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_INVALID, "operation %s is %s and cannot be %s", id,
               chains_op_state_to_string (op->state), wish);
  return FALSE;
}

gboolean
chains_journal_set_intent (ChainsDb *db, const char *op, const char *intent, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL || !check_state (db, op, BIT (CHAINS_OP_OPEN), "given another intent", error))
    return FALSE;
  query = chains_query_new (db, "change an intent", "UPDATE operation SET intent = ? WHERE id = ?", error);
  if (query == NULL)
    return FALSE;
  chains_query_bind_text (query, intent);
  chains_query_bind_text (query, op);
  return chains_query_run (query, error) && chains_transaction_commit (transaction, error);
}

gboolean
chains_journal_take_over (ChainsDb *db, const char *op, gint64 pid, const char *boot, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL || !check_state (db, op, reachable_from[CHAINS_OP_OPEN], "taken over", error))
    return FALSE;
  query = chains_query_new (db, "take an operation over",
                            "UPDATE operation SET state = 'open', pid = ?, boot = ? WHERE id = ?", error);
  if (query == NULL)
    return FALSE;
  chains_query_bind_int (query, pid);
  chains_query_bind_text (query, boot);
  chains_query_bind_text (query, op);
  return chains_query_run (query, error) && chains_transaction_commit (transaction, error);
}

gboolean
chains_journal_begin_step (ChainsDb *db, const char *op, const char *name, const char *detail, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL || !check_state (db, op, BIT (CHAINS_OP_OPEN), "given a step", error))
    return FALSE;
  query = chains_query_new (db, "begin a step",
                            "INSERT INTO step (operation, number, name, detail, begun_us) SELECT sequence, "
                            "(SELECT coalesce (max (number), 0) + 1 FROM step WHERE operation = sequence), ?, ?, ? "
                            "FROM operation WHERE id = ?",
                            error);
  if (query == NULL)
    return FALSE;
  chains_query_bind_text (query, name);
  chains_query_bind_text (query, detail);
  chains_query_bind_int (query, g_get_real_time ());
  chains_query_bind_text (query, op);
  return chains_query_run (query, error) && chains_transaction_commit (transaction, error);
}

gboolean
chains_journal_begin_step_unsynced (ChainsDb *db, const char *op, const char *name, const char *detail, GError **error)
{
  gboolean begun;

  chains_db_set_synced (db, FALSE);
  begun = chains_journal_begin_step (db, op, name, detail, error);
  chains_db_set_synced (db, TRUE);
  return begun;
}

static gboolean
check_step_ended (ChainsQuery *query, const char *op, const char *name, GError **error)
{
  if (chains_query_get_changes (query) == 1)
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND, "operation %s has no step '%s' under way", op, name);
  return FALSE;
}

gboolean
chains_journal_end_step (ChainsDb *db, const char *op, const char *name, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL || !check_state (db, op, BIT (CHAINS_OP_OPEN), "given an ended step", error))
    return FALSE;
  query = chains_query_new (db, "end a step",
                            "UPDATE step SET ended_us = ?1 WHERE (operation, number) = (SELECT operation, max (number) "
                            "FROM step JOIN operation ON sequence = operation WHERE id = ?2 AND name = ?3) "
                            "AND ended_us IS NULL",
                            error);
  if (query == NULL)
    return FALSE;
  chains_query_bind_int (query, g_get_real_time ());
  chains_query_bind_text (query, op);
  chains_query_bind_text (query, name);
  return chains_query_run (query, error) && check_step_ended (query, op, name, error) &&
         chains_transaction_commit (transaction, error);
}

static gboolean
is_unfinished (ChainsOpState state)
{
  return state == CHAINS_OP_OPEN || state == CHAINS_OP_DETACHED;
}

gboolean
chains_journal_end (ChainsDb *db, const char *op, ChainsOpState state, const char *error_message, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;
  g_autofree char *message = error_message != NULL ? g_utf8_make_valid (error_message, -1) : NULL;
  const char *word = chains_op_state_to_string (state);

  /* Going on is taking over: it names the process that does. */
  if (transaction == NULL || !check_state (db, op, state != CHAINS_OP_OPEN ? reachable_from[state] : 0, word, error))
    return FALSE;
  query = chains_query_new (db, "end an operation",
                            "UPDATE operation SET state = ?, ended_us = ?, error = ? WHERE id = ?", error);
  if (query == NULL)
    return FALSE;
  chains_query_bind_text (query, word);
  chains_query_bind_id (query, is_unfinished (state) ? 0 : g_get_real_time ());
  chains_query_bind_text (query, message);
  chains_query_bind_text (query, op);
  return chains_query_run (query, error) && chains_transaction_commit (transaction, error);
}

ChainsOp *
chains_journal_get (ChainsDb *db, const char *op, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "look for an operation", "SELECT " OP_COLUMNS " FROM operation WHERE id = ?", error);
  gboolean found = FALSE;

  if (query == NULL)
    return NULL;
  chains_query_bind_text (query, op);
  if (!chains_query_next (query, &found, error))
    return NULL;
  if (found)
    return read_op (query);
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND, "no operation '%s' is in the log", op);
  return NULL;
}

GPtrArray *
chains_journal_list (ChainsDb *db, const char *vm_name, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "list operations",
                        vm_name != NULL ? "SELECT " OP_COLUMNS " FROM operation WHERE vm_name = ? ORDER BY sequence"
                                        : "SELECT " OP_COLUMNS " FROM operation ORDER BY sequence",
                        error);

  if (query == NULL)
    return NULL;
  if (vm_name != NULL)
    chains_query_bind_text (query, vm_name);
  return collect_ops (query, error);
}

GPtrArray *
chains_journal_list_unfinished (ChainsDb *db, gint64 vm, GError **error)
{
  /* Two statements: with a condition that may be none SQLite would not find its index. */
  g_autoptr (ChainsQuery) query = chains_query_new (
      db, "list unfinished operations",
      vm != 0 ? "SELECT " OP_COLUMNS " FROM operation WHERE state IN ('open', 'detached') AND vm = ? ORDER BY sequence"
              : "SELECT " OP_COLUMNS
                " FROM operation WHERE state IN ('open', 'detached') AND vm IS NOT NULL ORDER BY sequence",
      error);

  if (query == NULL)
    return NULL;
  if (vm != 0)
    chains_query_bind_id (query, vm);
  return collect_ops (query, error);
}

gboolean
chains_journal_weigh_unfinished (ChainsDb *db, gint64 *bytes, GError **error)
{
  g_autoptr (ChainsQuery) query = chains_query_new (
      db, "weigh operations",
      "SELECT coalesce (sum (length (intent)), 0) FROM operation WHERE state IN ('open', 'detached')", error);
  gboolean row = FALSE;

  if (query == NULL || !chains_query_next (query, &row, error))
    return FALSE;
  *bytes = chains_query_read_int (query);
  return TRUE;
}

GPtrArray *
chains_journal_list_steps (ChainsDb *db, const char *op, GError **error)
{
  g_autoptr (ChainsQuery) query = chains_query_new (
      db, "list steps",
      "SELECT number, name, detail, begun_us, step.ended_us FROM operation JOIN step ON operation = sequence "
      "WHERE id = ? ORDER BY number",
      error);

  if (query == NULL)
    return NULL;
  chains_query_bind_text (query, op);
  return chains_query_collect (query, read_step, (GDestroyNotify)chains_step_free, error);
}
