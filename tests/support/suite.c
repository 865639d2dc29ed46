/*
 * The glue between CUnit and TAP. Promises one line for each test, a diagnosis
 * for each failed assertion, and an end even where a test hangs. Leaves what is
 * asserted to the tests.
 */
#include "tests/support/suite.h"

#include <CUnit/TestDB.h>
#include <CUnit/TestRun.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* CUnit's tests take no argument, a signal handler takes none of ours: the test that runs is known to the file. */
static struct {
  const char *name;
  guint number;
  char *skip_reason;
} running;

static void
write_out (const char *text)
{
  ssize_t ignored = write (STDOUT_FILENO, text, strlen (text));
  (void)ignored;
}

/* Only what is safe in a signal handler: the test's own state is unknown, so the whole program ends. */
static void
on_alarm (int number)
{
  char digits[] = "   ";

  for (guint at = 3, rest = running.number; at-- > 0 && rest > 0; rest /= 10)
    digits[at] = (char)('0' + rest % 10);
  write_out ("not ok ");
  write_out (digits);
  write_out (" - ");
  write_out (running.name);
  write_out ("\n# it hung\nBail out! a test hung\n");
  _exit (1);
}

void
support_suite_skip (const char *reason)
{
  g_free (running.skip_reason);
  running.skip_reason = g_strdup (reason);
}

gboolean
support_suite_is_error (const GError *error, GQuark domain, int code)
{
  if (g_error_matches (error, domain, code))
    return TRUE;
  if (error == NULL)
    printf ("# there is no error\n");
  else
    printf ("# the error is %s %d: %s\n", g_quark_to_string (error->domain), error->code, error->message);
  return FALSE;
}

gboolean
support_suite_is_clear (const GError *error)
{
  return error == NULL || support_suite_is_error (error, 0, 0);
}

static gboolean
run_one (CU_pSuite suite, CU_pTest test, guint number)
{
  running.name = test->pName;
  running.number = number;
  g_clear_pointer (&running.skip_reason, g_free);

  alarm (SUPPORT_SUITE_BOUND);
  CU_ErrorCode code = CU_run_test (suite, test);
  alarm (0);

  gboolean passed = code == CUE_SUCCESS && CU_get_number_of_failure_records () == 0;
  gboolean skipped = passed && running.skip_reason != NULL;
  printf ("%s %u - %s%s%s\n", passed ? "ok" : "not ok", number, test->pName, skipped ? " # SKIP " : "",
          skipped ? running.skip_reason : "");
  for (CU_pFailureRecord failure = CU_get_failure_list (); failure != NULL; failure = failure->pNext)
    printf ("# %s:%u: %s\n", failure->strFileName, failure->uiLineNumber, failure->strCondition);
  if (code != CUE_SUCCESS)
    printf ("# CUnit: %s\n", CU_get_error_msg ());
  return passed;
}

static guint
register_tests (CU_pSuite suite, const SupportTest *tests, guint count, const char *word)
{
  guint registered = 0;

  for (guint i = 0; i < count; i++)
    if (word == NULL || strstr (tests[i].name, word) != NULL)
      registered += CU_add_test (suite, tests[i].name, tests[i].run) != NULL;
  return registered;
}

int
support_suite_run (const char *name, const SupportTest *tests, guint count, int argc, char **argv)
{
  guint number = 0, failed = 0;

  setvbuf (stdout, NULL, _IOLBF, 0);
  signal (SIGALRM, on_alarm);
  if (CU_initialize_registry () != CUE_SUCCESS)
    return 1;
  CU_pSuite suite = CU_add_suite (name, NULL, NULL);
  guint registered = register_tests (suite, tests, count, argc > 1 ? argv[1] : NULL);

  printf ("TAP version 13\n1..%u\n", registered);
  for (CU_pTest test = suite->pTest; test != NULL; test = test->pNext)
    failed += !run_one (suite, test, ++number);

  g_clear_pointer (&running.skip_reason, g_free);
  CU_cleanup_registry ();
  return failed == 0 && registered > 0 ? 0 : 1;
}
