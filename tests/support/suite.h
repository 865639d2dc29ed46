/*
 * How a C test runs: a table of named functions becomes a CUnit suite, its
 * results TAP on standard output. Each test has a time bound of its own, so that
 * what hangs fails. `PROGRAM WORD` runs only tests whose names contain WORD.
 */
#pragma once

#include <CUnit/CUnit.h>
#include <glib.h>

typedef struct {
  const char *name;
  void (*run) (void);
} SupportTest;

/* clang-format off */
#define SUPPORT_TEST(function) { #function, function }
/* clang-format on */

/** Seconds that one test may take. */
#define SUPPORT_SUITE_BOUND 30

/** Runs the tests. Returns: main()'s exit status. */
int support_suite_run (const char *name, const SupportTest *tests, guint count, int argc, char **argv);

/** Marks the running test as skipped, with the reason; it then just returns. */
void support_suite_skip (const char *reason);

/** Whether @error is of that domain and code; where not, shows what it is. */
gboolean support_suite_is_error (const GError *error, GQuark domain, int code);

/** Whether there is no error; where there is, shows it. */
gboolean support_suite_is_clear (const GError *error);

#define SUPPORT_ASSERT_ERROR(error, domain, code) CU_ASSERT (support_suite_is_error (error, domain, code))
#define SUPPORT_ASSERT_CLEAR(error) CU_ASSERT (support_suite_is_clear (error))
