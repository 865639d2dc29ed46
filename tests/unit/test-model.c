/*
 * The contract's words and its rule for names. Proves which are accepted and
 * which are not, and that every word means itself.
 */
#include "chains/model.h"

#include <string.h>

#include "chains/error.h"
#include "tests/support/suite.h"

static gboolean
is_name (const char *name)
{
  g_autoptr (GError) error = NULL;
  gboolean accepted = chains_model_check_name ("snapshot", name, &error);

  CU_ASSERT (accepted == (error == NULL));
  CU_ASSERT (accepted || g_error_matches (error, CHAINS_ERROR, CHAINS_ERROR_INVALID));
  return accepted;
}

static void
names_of_the_allowed_form_are_accepted (void)
{
  g_autofree char *longest = g_strnfill (64, 'x');

  CU_ASSERT (is_name ("a"));
  CU_ASSERT (is_name ("0"));
  CU_ASSERT (is_name ("vm-1_b.qcow2"));
  CU_ASSERT (is_name ("20240101T000000Z-2"));
  CU_ASSERT (is_name ("Base"));
  CU_ASSERT (is_name ("latest1"));
  CU_ASSERT (is_name (longest));
}

static void
names_of_another_form_are_refused (void)
{
  const char *const bad[] = {"", ".", "..", "-a", "_a", ".a", "a/b", "a b", "a\n", "\xc3\xa4", "a\xff", "a,b", "%s"};
  g_autofree char *too_long = g_strnfill (65, 'x');

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    CU_ASSERT (!is_name (bad[i]));
  CU_ASSERT (!is_name (too_long));
  CU_ASSERT (!is_name (NULL));
}

static void
reserved_names_are_refused (void)
{
  CU_ASSERT (!is_name ("base"));
  CU_ASSERT (!is_name ("none"));
  CU_ASSERT (!is_name ("active"));
  CU_ASSERT (!is_name ("latest"));
}

static void
a_refusal_names_the_kind_and_the_name (void)
{
  g_autoptr (GError) error = NULL;

  CU_ASSERT (!chains_model_check_name ("VM", "no/name", &error));
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, "'no/name'"));
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, "VM"));
}

static void
words_are_those_of_the_contract (void)
{
  CU_ASSERT_STRING_EQUAL (chains_quiesce_to_string (CHAINS_QUIESCE_AUTO), "auto");
  CU_ASSERT_STRING_EQUAL (chains_quiesce_to_string (CHAINS_QUIESCE_REQUIRE), "require");
  CU_ASSERT_STRING_EQUAL (chains_quiesce_to_string (CHAINS_QUIESCE_OFF), "off");
  CU_ASSERT_STRING_EQUAL (chains_consistency_to_string (CHAINS_CONSISTENCY_APPLICATION), "application");
  CU_ASSERT_STRING_EQUAL (chains_consistency_to_string (CHAINS_CONSISTENCY_FILESYSTEM), "filesystem");
  CU_ASSERT_STRING_EQUAL (chains_consistency_to_string (CHAINS_CONSISTENCY_CRASH), "crash");
  CU_ASSERT_STRING_EQUAL (chains_consistency_to_string (CHAINS_CONSISTENCY_OFFLINE), "offline");
  CU_ASSERT_STRING_EQUAL (chains_op_state_to_string (CHAINS_OP_OPEN), "open");
  CU_ASSERT_STRING_EQUAL (chains_op_state_to_string (CHAINS_OP_DETACHED), "detached");
  CU_ASSERT_STRING_EQUAL (chains_op_state_to_string (CHAINS_OP_DONE), "done");
  CU_ASSERT_STRING_EQUAL (chains_op_state_to_string (CHAINS_OP_UNDONE), "undone");
  CU_ASSERT_STRING_EQUAL (chains_op_state_to_string (CHAINS_OP_FAILED), "failed");
}

static void
every_word_is_read_back_as_what_it_was (void)
{
  for (guint i = CHAINS_QUIESCE_AUTO; i <= CHAINS_QUIESCE_OFF; i++) {
    ChainsQuiesce out = CHAINS_QUIESCE_AUTO;
    CU_ASSERT (chains_quiesce_from_string (chains_quiesce_to_string (i), &out) && out == i);
  }
  for (guint i = CHAINS_CONSISTENCY_APPLICATION; i <= CHAINS_CONSISTENCY_OFFLINE; i++) {
    ChainsConsistency out = CHAINS_CONSISTENCY_APPLICATION;
    CU_ASSERT (chains_consistency_from_string (chains_consistency_to_string (i), &out) && out == i);
  }
  for (guint i = CHAINS_OP_OPEN; i <= CHAINS_OP_FAILED; i++) {
    ChainsOpState out = CHAINS_OP_OPEN;
    CU_ASSERT (chains_op_state_from_string (chains_op_state_to_string (i), &out) && out == i);
  }
}

static void
an_unknown_word_leaves_the_output_alone (void)
{
  ChainsQuiesce quiesce = CHAINS_QUIESCE_OFF;
  ChainsOpState state = CHAINS_OP_UNDONE;

  CU_ASSERT (!chains_quiesce_from_string ("Auto", &quiesce));
  CU_ASSERT (!chains_quiesce_from_string ("", &quiesce));
  CU_ASSERT (!chains_quiesce_from_string (NULL, &quiesce));
  CU_ASSERT (!chains_op_state_from_string ("ope", &state));
  CU_ASSERT (quiesce == CHAINS_QUIESCE_OFF && state == CHAINS_OP_UNDONE);
}

static void
nothing_can_be_freed (void)
{
  chains_vm_free (NULL);
  chains_disk_free (NULL);
  chains_image_free (NULL);
  chains_snapshot_disk_free (NULL);
  chains_snapshot_free (NULL);
  chains_op_free (NULL);
  chains_step_free (NULL);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (names_of_the_allowed_form_are_accepted),
      SUPPORT_TEST (names_of_another_form_are_refused),
      SUPPORT_TEST (reserved_names_are_refused),
      SUPPORT_TEST (a_refusal_names_the_kind_and_the_name),
      SUPPORT_TEST (words_are_those_of_the_contract),
      SUPPORT_TEST (every_word_is_read_back_as_what_it_was),
      SUPPORT_TEST (an_unknown_word_leaves_the_output_alone),
      SUPPORT_TEST (nothing_can_be_freed),
  };

  return support_suite_run ("model", tests, G_N_ELEMENTS (tests), argc, argv);
}
