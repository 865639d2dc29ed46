/*
 * Labels of security modules as /proc has them: who is held, and who only seems
 * to be.
 */
#include "engine/confinement.h"
#include "tests/support/suite.h"

static void
assert_confined (const char *text, const char *module, const char *label, gboolean enforced)
{
  g_autoptr (EngineConfinement) confinement = engine_confinement_parse (text);

  CU_ASSERT_PTR_NOT_NULL_FATAL (confinement);
  CU_ASSERT_STRING_EQUAL (confinement->module, module);
  CU_ASSERT_STRING_EQUAL (confinement->label, label);
  CU_ASSERT_EQUAL (confinement->enforced, enforced);
}

static void
assert_free (const char *text)
{
  g_autoptr (EngineConfinement) confinement = engine_confinement_parse (text);

  CU_ASSERT_PTR_NULL (confinement);
}

static void
an_apparmor_profile_that_is_enforced_holds (void)
{
  assert_confined ("libvirt-5ed2a1d2-4b6c-4d29-a5e8-4c56e4a6d1c0 (enforce)\n", "AppArmor",
                   "libvirt-5ed2a1d2-4b6c-4d29-a5e8-4c56e4a6d1c0", TRUE);
  assert_confined ("/usr/bin/qemu-system-x86_64 (kill)", "AppArmor", "/usr/bin/qemu-system-x86_64", TRUE);
}

static void
a_profile_that_only_complains_does_not_hold (void)
{
  assert_confined ("qemu (complain)\n", "AppArmor", "qemu", FALSE);
  assert_confined ("qemu (unconfined)\n", "AppArmor", "qemu", FALSE);
}

static void
a_profile_may_have_blanks_and_parentheses_in_its_name (void)
{
  assert_confined ("my qemu (new) (enforce)\n", "AppArmor", "my qemu (new)", TRUE);
  assert_confined ("a//&b:c:d (enforce)\n", "AppArmor", "a//&b:c:d", TRUE);
}

static void
an_selinux_context_holds (void)
{
  assert_confined ("system_u:system_r:svirt_t:s0:c107,c434", "SELinux", "system_u:system_r:svirt_t:s0:c107,c434", TRUE);
}

static void
what_is_not_confined_is_not_held (void)
{
  assert_free ("unconfined\n");
  assert_free ("unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023");
  assert_free ("system_u:system_r:unconfined_service_t:s0");
  assert_free ("system_u:system_r:kernel_t:s0");
}

static void
what_is_no_label_is_not_held (void)
{
  assert_free ("");
  assert_free ("\n");
  assert_free ("(enforce)");
  assert_free (" (enforce)");
  assert_free ("qemu(enforce)");
  assert_free ("a:b");
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (an_apparmor_profile_that_is_enforced_holds),
      SUPPORT_TEST (a_profile_that_only_complains_does_not_hold),
      SUPPORT_TEST (a_profile_may_have_blanks_and_parentheses_in_its_name),
      SUPPORT_TEST (an_selinux_context_holds),
      SUPPORT_TEST (what_is_not_confined_is_not_held),
      SUPPORT_TEST (what_is_no_label_is_not_held),
  };

  return support_suite_run ("confinement", tests, G_N_ELEMENTS (tests), argc, argv);
}
