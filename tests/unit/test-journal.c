/*
 * Operations: one unfinished at most for a VM, only legal changes of state,
 * steps in order, and a log that outlives everything.
 */
#include "chains/journal.h"

#include <signal.h>
#include <string.h>

#include "tests/support/suite.h"
#include "tests/unit/fixtures/chains/fixture.h"

static ChainsOp *
make_op (gint64 vm, const char *id)
{
  ChainsOp *op = chains_op_new ();

  op->id = g_strdup (id);
  op->vm = vm;
  op->vm_name = g_strdup ("web");
  op->verb = g_strdup ("snapshot");
  op->by = g_strdup ("root");
  op->pid = 4711;
  op->boot = g_strdup ("boot-1");
  op->started_us = 1700000000000000;
  op->intent = g_strdup ("{\"overlay\":\"/a\"}");
  return op;
}

static gboolean
begin (ChainsDb *db, gint64 vm, const char *id, GError **error)
{
  g_autoptr (ChainsOp) op = make_op (vm, id);

  return chains_journal_begin (db, op, error);
}

static void
an_operation_is_read_back_as_it_was_begun (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsOp) op = make_op (fixture_add_vm (db, "web"), "op-1");
  g_autoptr (ChainsOp) read = NULL;

  CU_ASSERT (chains_journal_begin (db, op, NULL));
  CU_ASSERT (op->sequence > 0);
  read = chains_journal_get (db, "op-1", NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (read);
  CU_ASSERT (read->sequence == op->sequence && read->vm == op->vm && read->pid == 4711);
  CU_ASSERT (read->state == CHAINS_OP_OPEN && read->started_us == op->started_us && read->ended_us == 0);
  CU_ASSERT_STRING_EQUAL (read->vm_name, "web");
  CU_ASSERT_STRING_EQUAL (read->verb, "snapshot");
  CU_ASSERT_STRING_EQUAL (read->by, "root");
  CU_ASSERT_STRING_EQUAL (read->boot, "boot-1");
  CU_ASSERT_STRING_EQUAL (read->intent, op->intent);
  CU_ASSERT_PTR_NULL (read->error);
}

static void
a_vm_has_one_unfinished_operation (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 vm = fixture_add_vm (db, "web");
  g_autoptr (GError) open = NULL;
  g_autoptr (GError) detached = NULL;

  CU_ASSERT (begin (db, vm, "op-1", NULL));
  CU_ASSERT (!begin (db, vm, "op-2", &open));
  SUPPORT_ASSERT_ERROR (open, CHAINS_ERROR, CHAINS_ERROR_EXISTS);
  CU_ASSERT_PTR_NOT_NULL (strstr (open->message, "op-1"));
  CU_ASSERT (begin (db, fixture_add_vm (db, "mail"), "op-3", NULL));

  CU_ASSERT (chains_journal_end (db, "op-1", CHAINS_OP_DETACHED, NULL, NULL));
  CU_ASSERT (!begin (db, vm, "op-2", &detached));
  SUPPORT_ASSERT_ERROR (detached, CHAINS_ERROR, CHAINS_ERROR_EXISTS);
  CU_ASSERT (chains_journal_end (db, "op-1", CHAINS_OP_DONE, NULL, NULL));
  CU_ASSERT (begin (db, vm, "op-2", NULL));
}

static void
the_tables_too_allow_one_unfinished_operation (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 vm = fixture_add_vm (db, "web");

  CU_ASSERT (begin (db, vm, "op-1", NULL));
  CU_ASSERT_EQUAL (sqlite3_exec (chains_db_get_handle (db),
                                 "INSERT INTO operation (id, vm, vm_name, verb, run_by, pid, boot, started_us, state, "
                                 "intent) SELECT 'op-2', vm, vm_name, verb, run_by, pid, boot, started_us, 'detached', "
                                 "intent FROM operation",
                                 NULL, NULL, NULL),
                   SQLITE_CONSTRAINT_UNIQUE);
}

static void
operations_before_a_vm_exists_do_not_exclude_each_other (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);

  CU_ASSERT (begin (db, 0, "op-1", NULL));
  CU_ASSERT (begin (db, 0, "op-2", NULL));
}

/* Brings a new operation to @from, then asks for @to. */
static gboolean
can_go (ChainsDb *db, gint64 vm, ChainsOpState from, ChainsOpState to)
{
  g_autofree char *id = g_uuid_string_random ();
  g_autoptr (GError) error = NULL;
  gboolean went = FALSE;

  CU_ASSERT (begin (db, vm, id, NULL));
  CU_ASSERT (from == CHAINS_OP_OPEN || chains_journal_end (db, id, from, NULL, NULL));
  went = chains_journal_end (db, id, to, NULL, &error);
  if (!went) {
    g_autoptr (ChainsOp) op = chains_journal_get (db, id, NULL);
    SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_INVALID);
    CU_ASSERT_EQUAL (op->state, from);
  }
  if (from <= CHAINS_OP_DETACHED && (!went || to <= CHAINS_OP_DETACHED))
    CU_ASSERT (chains_journal_end (db, id, CHAINS_OP_FAILED, NULL, NULL));
  return went;
}

static void
only_legal_changes_of_state_happen (void)
{
  static const gboolean legal[5][5] = {
      [CHAINS_OP_OPEN] = {FALSE, TRUE, TRUE, TRUE, TRUE},
      [CHAINS_OP_DETACHED] = {FALSE, FALSE, TRUE, TRUE, TRUE},
  };
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 vm = fixture_add_vm (db, "web");

  for (guint from = 0; from < 5; from++)
    for (guint to = 0; to < 5; to++)
      CU_ASSERT_EQUAL (can_go (db, vm, from, to), legal[from][to]);
}

static void
an_outcome_has_its_time_and_its_error (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 before = g_get_real_time ();
  g_autoptr (ChainsOp) op = NULL;

  CU_ASSERT (begin (db, fixture_add_vm (db, "web"), "op-1", NULL));
  CU_ASSERT (chains_journal_end (db, "op-1", CHAINS_OP_FAILED, "thaw \xff failed", NULL));
  op = chains_journal_get (db, "op-1", NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (op);
  CU_ASSERT (op->state == CHAINS_OP_FAILED && op->ended_us >= before && op->ended_us <= g_get_real_time ());
  CU_ASSERT (g_utf8_validate (op->error, -1, NULL) && g_str_has_prefix (op->error, "thaw "));
}

static void
a_detached_operation_has_not_ended (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 vm = fixture_add_vm (db, "web");
  g_autoptr (GPtrArray) unfinished = NULL;
  const ChainsOp *op = NULL;

  CU_ASSERT (begin (db, vm, "op-1", NULL));
  CU_ASSERT (chains_journal_end (db, "op-1", CHAINS_OP_DETACHED, NULL, NULL));
  unfinished = chains_journal_list_unfinished (db, vm, NULL);
  CU_ASSERT_FATAL (unfinished != NULL && unfinished->len == 1);
  op = unfinished->pdata[0];
  CU_ASSERT (op->state == CHAINS_OP_DETACHED && op->ended_us == 0);
}

static void
another_process_takes_an_unfinished_operation_over (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsOp) op = NULL;
  g_autoptr (GError) error = NULL;

  CU_ASSERT (begin (db, fixture_add_vm (db, "web"), "op-1", NULL));
  CU_ASSERT (chains_journal_end (db, "op-1", CHAINS_OP_DETACHED, NULL, NULL));
  CU_ASSERT (chains_journal_take_over (db, "op-1", 12, "boot-2", NULL));
  CU_ASSERT (chains_journal_take_over (db, "op-1", 13, "boot-2", NULL));
  op = chains_journal_get (db, "op-1", NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (op);
  CU_ASSERT (op->state == CHAINS_OP_OPEN && op->pid == 13);
  CU_ASSERT_STRING_EQUAL (op->boot, "boot-2");
  CU_ASSERT (chains_journal_end (db, "op-1", CHAINS_OP_UNDONE, NULL, NULL));
  CU_ASSERT (!chains_journal_take_over (db, "op-1", 14, "boot-2", &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_INVALID);
}

static void
the_intent_of_an_open_operation_alone_is_replaced (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsOp) op = NULL;
  g_autoptr (GError) late = NULL;
  g_autoptr (GError) malformed = NULL;

  CU_ASSERT (begin (db, fixture_add_vm (db, "web"), "op-1", NULL));
  CU_ASSERT (chains_journal_set_intent (db, "op-1", "{\"a\":2}", NULL));
  CU_ASSERT (!chains_journal_set_intent (db, "op-1", "[1", &malformed));
  SUPPORT_ASSERT_ERROR (malformed, CHAINS_ERROR, CHAINS_ERROR_INVALID);
  CU_ASSERT (chains_journal_end (db, "op-1", CHAINS_OP_DONE, NULL, NULL));
  CU_ASSERT (!chains_journal_set_intent (db, "op-1", "{\"a\":3}", &late));
  SUPPORT_ASSERT_ERROR (late, CHAINS_ERROR, CHAINS_ERROR_INVALID);
  op = chains_journal_get (db, "op-1", NULL);
  CU_ASSERT_STRING_EQUAL (op->intent, "{\"a\":2}");
}

static void
steps_are_kept_in_order (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (GPtrArray) steps = NULL;
  const ChainsStep *first = NULL, *second = NULL, *third = NULL;

  CU_ASSERT (begin (db, fixture_add_vm (db, "web"), "op-1", NULL));
  CU_ASSERT (chains_journal_begin_step (db, "op-1", "switch", "{\"n\":1}", NULL));
  CU_ASSERT (chains_journal_end_step (db, "op-1", "switch", NULL));
  CU_ASSERT (chains_journal_begin_step (db, "op-1", "switch", NULL, NULL));
  CU_ASSERT (chains_journal_begin_step (db, "op-1", "record", NULL, NULL));
  CU_ASSERT (chains_journal_end_step (db, "op-1", "record", NULL));
  steps = chains_journal_list_steps (db, "op-1", NULL);
  CU_ASSERT_FATAL (steps != NULL && steps->len == 3);
  first = steps->pdata[0];
  second = steps->pdata[1];
  third = steps->pdata[2];
  CU_ASSERT (first->number == 1 && second->number == 2 && third->number == 3);
  CU_ASSERT (first->begun_us > 0 && first->ended_us > 0 && second->ended_us == 0 && third->ended_us > 0);
  CU_ASSERT_STRING_EQUAL (first->detail, "{\"n\":1}");
  CU_ASSERT_STRING_EQUAL (second->name, "switch");
  CU_ASSERT_PTR_NULL (second->detail);
}

static void
a_step_that_is_not_under_way_cannot_end (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (GError) never = NULL;
  g_autoptr (GError) twice = NULL;

  CU_ASSERT (begin (db, fixture_add_vm (db, "web"), "op-1", NULL));
  CU_ASSERT (!chains_journal_end_step (db, "op-1", "switch", &never));
  SUPPORT_ASSERT_ERROR (never, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
  CU_ASSERT (chains_journal_begin_step (db, "op-1", "switch", NULL, NULL));
  CU_ASSERT (chains_journal_end_step (db, "op-1", "switch", NULL));
  CU_ASSERT (!chains_journal_end_step (db, "op-1", "switch", &twice));
  SUPPORT_ASSERT_ERROR (twice, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
}

static void
an_ended_operation_has_no_further_steps (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (GError) error = NULL;

  CU_ASSERT (begin (db, fixture_add_vm (db, "web"), "op-1", NULL));
  CU_ASSERT (chains_journal_end (db, "op-1", CHAINS_OP_DONE, NULL, NULL));
  CU_ASSERT (!chains_journal_begin_step (db, "op-1", "switch", NULL, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_INVALID);
}

static void
an_unknown_operation_is_not_found (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (GError) got = NULL, ended = NULL, stepped = NULL;

  CU_ASSERT_PTR_NULL (chains_journal_get (db, "op-1", &got));
  CU_ASSERT (!chains_journal_end (db, "op-1", CHAINS_OP_DONE, NULL, &ended));
  CU_ASSERT (!chains_journal_begin_step (db, "op-1", "switch", NULL, &stepped));
  SUPPORT_ASSERT_ERROR (got, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
  SUPPORT_ASSERT_ERROR (ended, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
  SUPPORT_ASSERT_ERROR (stepped, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
}

static void
the_log_is_by_sequence_and_of_one_vm_or_of_all (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsOp) later = make_op (fixture_add_vm (db, "web"), "op-1");
  g_autoptr (ChainsOp) earlier = make_op (fixture_add_vm (db, "mail"), "op-2");
  g_autoptr (GPtrArray) all = NULL;
  g_autoptr (GPtrArray) one = NULL;

  fixture_set_text (&earlier->vm_name, "mail");
  earlier->started_us = 1; /* the clock was set back */
  CU_ASSERT (chains_journal_begin (db, later, NULL));
  CU_ASSERT (chains_journal_begin (db, earlier, NULL));
  all = chains_journal_list (db, NULL, NULL);
  one = chains_journal_list (db, "mail", NULL);
  CU_ASSERT_FATAL (all->len == 2 && one->len == 1);
  CU_ASSERT_STRING_EQUAL (((ChainsOp *)all->pdata[0])->id, "op-1");
  CU_ASSERT_STRING_EQUAL (((ChainsOp *)all->pdata[1])->id, "op-2");
  CU_ASSERT_STRING_EQUAL (((ChainsOp *)one->pdata[0])->id, "op-2");
}

static int
begin_step_and_die (gconstpointer folder)
{
  g_autoptr (ChainsDb) db = fixture_open (folder);

  if (!begin (db, fixture_add_vm (db, "web"), "op-1", NULL) ||
      !chains_journal_begin_step (db, "op-1", "switch", NULL, NULL))
    return 1;
  return kill (getpid (), SIGKILL);
}

static void
what_was_begun_is_known_after_a_kill (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = NULL;
  g_autoptr (GPtrArray) steps = NULL;

  CU_ASSERT_EQUAL (fixture_wait_for_child (fixture_start_child (begin_step_and_die, folder)), -1);
  db = fixture_open (folder);
  steps = chains_journal_list_steps (db, "op-1", NULL);
  CU_ASSERT_FATAL (steps->len == 1);
  CU_ASSERT_EQUAL (((ChainsStep *)steps->pdata[0])->ended_us, 0);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (an_operation_is_read_back_as_it_was_begun),
      SUPPORT_TEST (a_vm_has_one_unfinished_operation),
      SUPPORT_TEST (the_tables_too_allow_one_unfinished_operation),
      SUPPORT_TEST (operations_before_a_vm_exists_do_not_exclude_each_other),
      SUPPORT_TEST (only_legal_changes_of_state_happen),
      SUPPORT_TEST (an_outcome_has_its_time_and_its_error),
      SUPPORT_TEST (a_detached_operation_has_not_ended),
      SUPPORT_TEST (another_process_takes_an_unfinished_operation_over),
      SUPPORT_TEST (the_intent_of_an_open_operation_alone_is_replaced),
      SUPPORT_TEST (steps_are_kept_in_order),
      SUPPORT_TEST (a_step_that_is_not_under_way_cannot_end),
      SUPPORT_TEST (an_ended_operation_has_no_further_steps),
      SUPPORT_TEST (an_unknown_operation_is_not_found),
      SUPPORT_TEST (the_log_is_by_sequence_and_of_one_vm_or_of_all),
      SUPPORT_TEST (what_was_begun_is_known_after_a_kill),
  };

  return support_suite_run ("journal", tests, G_N_ELEMENTS (tests), argc, argv);
}
