/*
 * What systemctl says of the timer, judged.
 */
#include "engine/hostadvice.h"
#include "tests/support/suite.h"

#include <string.h>

static guint
judge (const char *enabled, const char *active, const char *word)
{
  g_autoptr (GPtrArray) problems = engine_problem_list_new ();
  const EngineProblem *first;

  engine_hostadvice_judge_timer (enabled, active, problems);
  if (problems->len == 0)
    return 0;
  first = g_ptr_array_index (problems, 0);
  CU_ASSERT_STRING_EQUAL (first->code, "no-recover-timer");
  CU_ASSERT_FALSE (first->is_error);
  CU_ASSERT (word != NULL && strstr (first->message, word) != NULL);
  return problems->len;
}

static void
a_timer_that_is_enabled_and_active_is_well (void)
{
  CU_ASSERT_EQUAL (judge ("enabled", "active", NULL), 0);
  CU_ASSERT_EQUAL (judge ("enabled-runtime", "active", NULL), 0);
}

static void
a_timer_that_is_not_started_or_not_enabled_or_not_there_is_found (void)
{
  CU_ASSERT_EQUAL (judge ("enabled", "inactive", "not active"), 1);
  CU_ASSERT_EQUAL (judge ("disabled", "active", "not enabled"), 1);
  CU_ASSERT_EQUAL (judge ("disabled", "inactive", "not active"), 1);
  CU_ASSERT_EQUAL (judge ("not-found", "inactive", "not active"), 1);
  CU_ASSERT_EQUAL (judge ("enabled", "failed", "not active"), 1);
}

static void
a_systemctl_that_cannot_be_asked_is_no_finding (void)
{
  CU_ASSERT_EQUAL (judge (NULL, "inactive", NULL), 0);
  CU_ASSERT_EQUAL (judge ("disabled", NULL, NULL), 0);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (a_timer_that_is_enabled_and_active_is_well),
      SUPPORT_TEST (a_timer_that_is_not_started_or_not_enabled_or_not_there_is_found),
      SUPPORT_TEST (a_systemctl_that_cannot_be_asked_is_no_finding),
  };

  return support_suite_run ("hostadvice", tests, G_N_ELEMENTS (tests), argc, argv);
}
