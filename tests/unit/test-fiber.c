/*
 * Fibers: each runs to its end, one that waits holds up no other, and the
 * urgent one goes first; outside a fiber the same calls just wait.
 */
#include "base/fiber.h"

#include "tests/support/suite.h"

typedef struct {
  GString *log; /* shared by all runs of a test */
  char letter;
  gint64 sleeps_us;
  gint64 urgent_us;
} Runner;

static void
note_twice (gpointer item)
{
  Runner *run = item;

  CU_ASSERT (base_fiber_is_inside ());
  g_string_append_c (run->log, run->letter);
  base_fiber_set_urgent (run->urgent_us);
  if (run->sleeps_us > 0)
    base_fiber_sleep (run->sleeps_us);
  g_string_append_c (run->log, (char)g_ascii_toupper (run->letter));
}

static char *
log_of (Runner *runs, guint count, guint parallel)
{
  g_autoptr (GPtrArray) items = g_ptr_array_new ();
  GString *log = g_string_new (NULL);

  for (guint i = 0; i < count; i++) {
    runs[i].log = log;
    g_ptr_array_add (items, &runs[i]);
  }
  base_fiber_run_all (items, note_twice, parallel);
  CU_ASSERT (!base_fiber_is_inside ());
  return g_string_free (log, FALSE);
}

static void
one_that_waits_holds_up_no_other (void)
{
  Runner runs[] = {{NULL, 'a', 500000, 0}, {NULL, 'b', 5000, 0}, {NULL, 'c', 0, 0}};
  g_autofree char *log = log_of (runs, 3, 0);

  CU_ASSERT_STRING_EQUAL (log, "abcCBA");
}

static void
no_more_than_the_limit_are_under_way (void)
{
  Runner runs[] = {{NULL, 'a', 20000, 0}, {NULL, 'b', 5000, 0}, {NULL, 'c', 1000, 0}};
  g_autofree char *log = log_of (runs, 3, 1);

  CU_ASSERT_STRING_EQUAL (log, "aAbBcC");
}

static void
others_stand_back_while_one_is_urgent (void)
{
  Runner runs[] = {{NULL, 'a', 40000, G_USEC_PER_SEC}, {NULL, 'b', 2000, 0}};
  g_autofree char *log = log_of (runs, 2, 0);

  CU_ASSERT_STRING_EQUAL (log, "abAB");
}

static void
urgency_ends_by_itself (void)
{
  Runner runs[] = {{NULL, 'a', 600000, 20000}, {NULL, 'b', 2000, 0}};
  g_autofree char *log = log_of (runs, 2, 0);

  CU_ASSERT_STRING_EQUAL (log, "abBA");
}

static void
wait_for_idleness (gpointer item)
{
  Runner *run = item;

  base_fiber_wait_idle ();
  g_string_append_c (run->log, run->letter);
}

static void
run_either (gpointer item)
{
  if (((Runner *)item)->letter == 'i')
    wait_for_idleness (item);
  else
    note_twice (item);
}

static void
who_waits_for_idleness_comes_after_all_that_can_go_on (void)
{
  g_autoptr (GPtrArray) items = g_ptr_array_new ();
  g_autoptr (GString) log = g_string_new (NULL);
  Runner runs[] = {{log, 'i', 0, 0}, {log, 'a', 0, 0}, {log, 'b', 30000, 0}};

  for (guint i = 0; i < G_N_ELEMENTS (runs); i++)
    g_ptr_array_add (items, &runs[i]);
  base_fiber_run_all (items, run_either, 0);
  CU_ASSERT_STRING_EQUAL (log->str, "aAbiB");
}

/* Deep enough to show that each has a stack of its own, and of a useful size. */
static int
add_up (int n)
{
  volatile char room[256] = {0};

  if (n % 100 == 0)
    base_fiber_sleep (1);
  return n == 0 ? 0 : n + add_up (n - 1) + room[n % 256];
}

static void
go_deep (gpointer item)
{
  *(int *)item = add_up (*(int *)item);
}

static void
each_of_many_has_a_stack_of_its_own (void)
{
  g_autoptr (GPtrArray) items = g_ptr_array_new ();
  int numbers[300];

  for (int i = 0; i < 300; i++) {
    numbers[i] = 300 + i;
    g_ptr_array_add (items, &numbers[i]);
  }
  base_fiber_run_all (items, go_deep, 0);
  for (int i = 0; i < 300; i++)
    CU_ASSERT_EQUAL (numbers[i], (300 + i) * (301 + i) / 2);
}

static void
outside_a_fiber_waiting_is_just_waiting (void)
{
  gint64 before_us = g_get_monotonic_time ();

  base_fiber_set_urgent (1000);
  base_fiber_sleep (3000);
  CU_ASSERT (g_get_monotonic_time () - before_us >= 3000);
}

int
main (int argc, char **argv)
{
  const SupportTest tests[] = {
      SUPPORT_TEST (one_that_waits_holds_up_no_other),
      SUPPORT_TEST (no_more_than_the_limit_are_under_way),
      SUPPORT_TEST (others_stand_back_while_one_is_urgent),
      SUPPORT_TEST (urgency_ends_by_itself),
      SUPPORT_TEST (who_waits_for_idleness_comes_after_all_that_can_go_on),
      SUPPORT_TEST (each_of_many_has_a_stack_of_its_own),
      SUPPORT_TEST (outside_a_fiber_waiting_is_just_waiting),
  };

  return support_suite_run ("fiber", tests, G_N_ELEMENTS (tests), argc, argv);
}
