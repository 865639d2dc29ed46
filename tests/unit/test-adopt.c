/*
 * The snapshot's name that an overlay's file name holds, as engine/adopt reads it.
 */
#include "engine/adopt.h"
#include "tests/support/suite.h"

static void
assert_name (const char *base, const char *overlay, const char *expected)
{
  g_autofree char *name = engine_adopt_name (base, overlay);

  CU_ASSERT_EQUAL (g_strcmp0 (name, expected), 0);
}

static void
names_stand_between_the_stem_and_the_extension (void)
{
  assert_name ("/i/disk.qcow2", "/i/disk.monday.qcow2", "monday");
  assert_name ("/i/disk.img", "/elsewhere/disk.monday.qcow2", "monday");
  assert_name ("/i/disk.qcow2", "/i/disk.monday", "monday");
  assert_name ("/i/disk", "/i/disk.monday.img", "monday");
  assert_name ("/i/my.disk.qcow2", "/i/my.disk.s1.qcow2", "s1");
}

static void
dots_in_a_name_stay (void)
{
  assert_name ("/i/disk.qcow2", "/i/disk.v1.2", "v1.2");
  assert_name ("/i/disk.qcow2", "/i/disk.v1.2.qcow2", "v1.2");
}

static void
other_file_names_hold_none (void)
{
  assert_name ("/i/disk.qcow2", "/i/other.monday.qcow2", NULL);
  assert_name ("/i/disk.qcow2", "/i/disk2.monday.qcow2", NULL);
  assert_name ("/i/disk.qcow2", "/i/disk-monday.qcow2", NULL);
  assert_name ("/i/disk.qcow2", "/i/disk", NULL);
  assert_name ("/i/disk.qcow2", "/i/disk.", NULL);
  assert_name ("/i/disk.qcow2", "/i/d", NULL);
}

static void
names_that_are_not_allowed_are_none (void)
{
  assert_name ("/i/disk.qcow2", "/i/disk.base.qcow2", NULL);
  assert_name ("/i/disk.qcow2", "/i/disk.latest", NULL);
  assert_name ("/i/disk.qcow2", "/i/disk.a b.qcow2", NULL);
  assert_name ("/i/disk.qcow2", "/i/disk.-x.qcow2", NULL);
  assert_name ("/i/disk.qcow2", "/i/disk.\xff.qcow2", NULL);
  assert_name ("/i/disk.qcow2", "/i/disk..qcow2", NULL);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (names_stand_between_the_stem_and_the_extension),
      SUPPORT_TEST (dots_in_a_name_stay),
      SUPPORT_TEST (other_file_names_hold_none),
      SUPPORT_TEST (names_that_are_not_allowed_are_none),
  };

  return support_suite_run ("adopt", tests, G_N_ELEMENTS (tests), argc, argv);
}
