/*
 * An agent session against agents that are well, slow, stale, silent, mad and
 * lying.
 */
#include "qmp/qga.h"

#include "qmp/error.h"
#include "qmp/stream.h"
#include "tests/support/peer.h"
#include "tests/support/suite.h"

#define SOON qmp_call_deadline_in (0.1)
#define LATER qmp_call_deadline_in (10)

static QmpQga *
open_session (SupportPeer *peer)
{
  return qmp_qga_new (support_peer_take_io (peer));
}

static void
close_session (QmpQga *qga, SupportPeer *peer)
{
  qmp_qga_free (qga);
  support_peer_finish (peer);
}

static void
assert_finish_fails (QmpCall *call, QmpError code)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply = qmp_call_finish (call, NULL, &error);

  CU_ASSERT_PTR_NULL (reply);
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, code);
}

static gint64
finish_int (QmpCall *call)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply = qmp_call_finish (call, NULL, &error);

  SUPPORT_ASSERT_CLEAR (error);
  return reply != NULL ? json_node_get_int (reply) : -1;
}

static void
assert_status (QmpQga *qga, QmpQgaFreezeState expected)
{
  g_autoptr (GError) error = NULL;
  QmpQgaFreezeState state = !expected;

  CU_ASSERT_TRUE (qmp_qga_fsfreeze_status (qga, LATER, NULL, &state, &error));
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_EQUAL (state, expected);
}

/* Expects @command and answers with @json. */
static void
answer (SupportPeer *peer, const char *command, const char *json)
{
  g_autofree char *id = support_peer_expect (peer, command, NULL);
  support_peer_reply (peer, NULL, json);
}

static void
sync_once (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_sync (peer);
}

static void
a_sync_finds_the_agent (void)
{
  SupportPeer *peer = support_peer_new (sync_once, NULL);
  QmpQga *qga = open_session (peer);

  CU_ASSERT (finish_int (qmp_qga_start_sync (qga, LATER)) > 0);
  close_session (qga, peer);
}

static void
freeze_and_thaw (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_sync (peer);
  answer (peer, "guest-fsfreeze-status", "\"thawed\"");
  answer (peer, "guest-fsfreeze-freeze", "2");
  answer (peer, "guest-fsfreeze-status", "\"frozen\"");
  answer (peer, "guest-fsfreeze-thaw", "3");
  support_peer_expect_end (peer);
}

static void
one_sync_serves_all_calls_that_go_well (void)
{
  SupportPeer *peer = support_peer_new (freeze_and_thaw, NULL);
  QmpQga *qga = open_session (peer);
  g_autoptr (GError) error = NULL;
  gint64 count = -1;

  assert_status (qga, QMP_QGA_THAWED);
  CU_ASSERT_TRUE (qmp_qga_fsfreeze_freeze (qga, LATER, NULL, &count, &error));
  CU_ASSERT_EQUAL (count, 2);
  assert_status (qga, QMP_QGA_FROZEN);
  CU_ASSERT_TRUE (qmp_qga_fsfreeze_thaw (qga, LATER, NULL, &count, &error));
  CU_ASSERT_EQUAL (count, 3);
  SUPPORT_ASSERT_CLEAR (error);
  close_session (qga, peer);
}

/* As qemu-ga does: replies to a dead client, a parse error for 0xFF, another client's sync, then the answer. */
static void
be_stale (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_reply (peer, NULL, "\"frozen\"");
  support_peer_send (peer, "{\"retu");
  gint64 id = support_peer_expect_sync (peer);
  support_peer_reply_error (peer, NULL, "GenericError", "Invalid JSON syntax");
  support_peer_answer_sync (peer, id ^ 2);
  support_peer_reply (peer, NULL, "{}");
  support_peer_answer_sync (peer, id);
  answer (peer, "guest-fsfreeze-status", "\"thawed\"");
}

static void
stale_replies_and_one_parse_error_are_skipped (void)
{
  SupportPeer *peer = support_peer_new (be_stale, NULL);
  QmpQga *qga = open_session (peer);

  assert_status (qga, QMP_QGA_THAWED);
  close_session (qga, peer);
}

static void
answer_late (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_sync (peer);
  g_autofree char *late = support_peer_expect (peer, "guest-fsfreeze-freeze", NULL);
  gint64 id = support_peer_expect_sync (peer);
  support_peer_reply (peer, NULL, "4");
  support_peer_answer_sync (peer, id);
  answer (peer, "guest-fsfreeze-thaw", "5");
}

static void
after_a_timeout_the_next_call_syncs_first (void)
{
  SupportPeer *peer = support_peer_new (answer_late, NULL);
  QmpQga *qga = open_session (peer);
  g_autoptr (GError) error = NULL;
  gint64 count = -1;

  CU_ASSERT_FALSE (qmp_qga_fsfreeze_freeze (qga, qmp_call_deadline_in (1), NULL, &count, &error));
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_TIMEOUT);
  CU_ASSERT_EQUAL (count, -1);
  CU_ASSERT_TRUE (qmp_qga_was_sent (qga));
  g_clear_error (&error);
  CU_ASSERT_TRUE (qmp_qga_fsfreeze_thaw (qga, LATER, NULL, &count, &error));
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_EQUAL (count, 5);
  close_session (qga, peer);
}

static void
after_an_abandoned_call_the_next_syncs_first (void)
{
  SupportPeer *peer = support_peer_new (answer_late, NULL);
  QmpQga *qga = open_session (peer);

  CU_ASSERT (finish_int (qmp_qga_start_sync (qga, LATER)) > 0);
  qmp_call_abandon (qmp_qga_start (qga, "guest-fsfreeze-freeze", NULL, LATER));
  CU_ASSERT_EQUAL (finish_int (qmp_qga_start (qga, "guest-fsfreeze-thaw", NULL, LATER)), 5);
  close_session (qga, peer);
}

static void
hear_nothing_but_a_sync (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_expect_sync (peer);
  support_peer_expect_end (peer);
}

static void
a_silent_agent_times_out_and_the_command_was_never_sent (void)
{
  SupportPeer *peer = support_peer_new (hear_nothing_but_a_sync, NULL);
  QmpQga *qga = open_session (peer);
  g_autoptr (GError) error = NULL;
  gint64 count = -1;

  CU_ASSERT_FALSE (qmp_qga_fsfreeze_freeze (qga, SOON, NULL, &count, &error));
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_TIMEOUT);
  CU_ASSERT_PTR_NOT_NULL_FATAL (error);
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, "'guest-fsfreeze-freeze' was never sent"));
  CU_ASSERT_FALSE (qmp_qga_was_sent (qga));
  close_session (qga, peer);
}

static void
answer_the_second_sync (SupportPeer *peer, gconstpointer user_data)
{
  gint64 first = support_peer_expect_sync (peer);
  gint64 second = support_peer_expect_sync (peer);
  if (first == second)
    support_peer_close (peer);
  support_peer_answer_sync (peer, first);
  support_peer_answer_sync (peer, second);
  answer (peer, "guest-fsfreeze-status", "\"thawed\"");
}

static void
a_late_answer_to_an_older_sync_is_skipped (void)
{
  SupportPeer *peer = support_peer_new (answer_the_second_sync, NULL);
  QmpQga *qga = open_session (peer);

  assert_finish_fails (qmp_qga_start_sync (qga, SOON), QMP_ERROR_TIMEOUT);
  assert_status (qga, QMP_QGA_THAWED);
  close_session (qga, peer);
}

static void
be_frozen (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_sync (peer);
  g_autofree char *first = support_peer_expect (peer, "guest-fsfreeze-freeze", NULL);
  support_peer_reply_error (peer, NULL, "CommandNotFound",
                            "Command guest-fsfreeze-freeze has been disabled: the agent is in frozen state");
  g_autofree char *second = support_peer_expect (peer, "guest-fsfreeze-thaw", NULL);
  support_peer_reply_error (peer, NULL, "GenericError", "hook failed");
  answer (peer, "guest-fsfreeze-status", "\"frozen\"");
}

static void
freeze_while_frozen_is_command_not_found (void)
{
  SupportPeer *peer = support_peer_new (be_frozen, NULL);
  QmpQga *qga = open_session (peer);
  g_autoptr (GError) error = NULL;
  gint64 count = -1;

  CU_ASSERT_FALSE (qmp_qga_fsfreeze_freeze (qga, LATER, NULL, &count, &error));
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND);
  CU_ASSERT_PTR_NOT_NULL_FATAL (error);
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, "guest-fsfreeze-freeze"));
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, "frozen state"));
  assert_finish_fails (qmp_qga_start (qga, "guest-fsfreeze-thaw", NULL, LATER), QMP_ERROR_COMMAND);
  assert_status (qga, QMP_QGA_FROZEN);
  close_session (qga, peer);
}

/* Junk before the sync, between sync and command, and around the answer. */
static void
be_mad (SupportPeer *peer, gconstpointer user_data)
{
  g_autofree char *junk = g_strnfill (3 * 1000 * 1000, '#');

  support_peer_send (peer, "\x01\x02[[[{{{\"\\\n\xfe\xfd{]}\n");
  support_peer_send (peer, junk);
  gint64 id = support_peer_expect_sync (peer);
  support_peer_send (peer, "{\"return\": \"text\"}\n{\"return\": null}\n{}\n{\"error\": 3}\n");
  support_peer_answer_sync (peer, id);
  g_autofree char *command = support_peer_expect (peer, "guest-fsfreeze-status", NULL);
  support_peer_send (peer, "no JSON\n{\"return\" oops}\n");
  support_peer_reply (peer, NULL, "\"thawed\"");
}

static void
garbage_is_skipped (void)
{
  SupportPeer *peer = support_peer_new (be_mad, NULL);
  QmpQga *qga = open_session (peer);

  assert_status (qga, QMP_QGA_THAWED);
  close_session (qga, peer);
}

static void
lie_about_status (SupportPeer *peer, gconstpointer user_data)
{
  const char *const lies[] = {"\"melted\"", "5", "null", "{}", "[\"thawed\"]", "true"};

  for (guint i = 0; i < G_N_ELEMENTS (lies); i++) {
    support_peer_sync (peer);
    answer (peer, "guest-fsfreeze-status", lies[i]);
  }
  support_peer_expect_end (peer);
}

static void
a_status_that_is_neither_word_is_a_protocol_error_and_costs_a_sync (void)
{
  SupportPeer *peer = support_peer_new (lie_about_status, NULL);
  QmpQga *qga = open_session (peer);

  for (int i = 0; i < 6; i++) {
    g_autoptr (GError) error = NULL;
    QmpQgaFreezeState state;
    CU_ASSERT_FALSE (qmp_qga_fsfreeze_status (qga, LATER, NULL, &state, &error));
    SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_PROTOCOL);
  }
  close_session (qga, peer);
}

static void
lie_about_counts (SupportPeer *peer, gconstpointer user_data)
{
  const char *const lies[] = {"\"2\"", "-1", "2.5", "null", "{}", "[]"};

  for (guint i = 0; i < G_N_ELEMENTS (lies); i++) {
    support_peer_sync (peer);
    answer (peer, "guest-fsfreeze-freeze", lies[i]);
  }
}

static void
a_count_that_is_none_is_a_protocol_error (void)
{
  SupportPeer *peer = support_peer_new (lie_about_counts, NULL);
  QmpQga *qga = open_session (peer);

  for (int i = 0; i < 6; i++) {
    g_autoptr (GError) error = NULL;
    gint64 count = 77;
    CU_ASSERT_FALSE (qmp_qga_fsfreeze_freeze (qga, LATER, NULL, &count, &error));
    SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_PROTOCOL);
    CU_ASSERT_EQUAL (count, 77);
  }
  close_session (qga, peer);
}

static void
answer_with_no_reply (SupportPeer *peer, gconstpointer user_data)
{
  const char *const lies[] = {"{}", "{\"error\": 5}", "{\"return\": 1, \"error\": {}}", "{\"event\": \"STOP\"}"};

  for (guint i = 0; i < G_N_ELEMENTS (lies); i++) {
    support_peer_sync (peer);
    g_autofree char *id = support_peer_expect (peer, "guest-ping", NULL);
    support_peer_send (peer, lies[i]);
  }
}

static void
an_object_that_is_no_reply_is_a_protocol_error (void)
{
  SupportPeer *peer = support_peer_new (answer_with_no_reply, NULL);
  QmpQga *qga = open_session (peer);

  for (int i = 0; i < 4; i++)
    assert_finish_fails (qmp_qga_start (qga, "guest-ping", NULL, LATER), QMP_ERROR_PROTOCOL);
  close_session (qga, peer);
}

static void
answer_twice (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_sync (peer);
  g_autofree char *id = support_peer_expect (peer, "guest-ping", NULL);
  support_peer_send (peer, "{\"return\": 1}\n{\"return\": 2}\n");
  support_peer_sync (peer);
  answer (peer, "guest-ping", "3");
}

static void
an_unasked_reply_costs_a_sync (void)
{
  SupportPeer *peer = support_peer_new (answer_twice, NULL);
  QmpQga *qga = open_session (peer);

  CU_ASSERT_EQUAL (finish_int (qmp_qga_start (qga, "guest-ping", NULL, LATER)), 1);
  CU_ASSERT_EQUAL (finish_int (qmp_qga_start (qga, "guest-ping", NULL, LATER)), 3);
  close_session (qga, peer);
}

static void
send_too_much (SupportPeer *peer, gconstpointer user_data)
{
  g_autoptr (GString) text = g_string_new ("{\"return\":[");

  support_peer_sync (peer);
  g_autofree char *id = support_peer_expect (peer, "guest-ping", NULL);
  for (guint i = 0; i <= QMP_STREAM_MAX_GUEST_VALUES; i++)
    g_string_append (text, "1,");
  support_peer_send (peer, text->str);
}

static void
an_answer_of_too_many_values_ends_the_session (void)
{
  SupportPeer *peer = support_peer_new (send_too_much, NULL);
  QmpQga *qga = open_session (peer);

  assert_finish_fails (qmp_qga_start (qga, "guest-ping", NULL, LATER), QMP_ERROR_TOO_LARGE);
  assert_finish_fails (qmp_qga_start_sync (qga, LATER), QMP_ERROR_TOO_LARGE);
  close_session (qga, peer);
}

static void
close_when_asked (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_sync (peer);
  g_autofree char *id = support_peer_expect (peer, "guest-ping", NULL);
  support_peer_close (peer);
}

static void
a_closed_channel_fails_this_call_and_all_later_ones (void)
{
  SupportPeer *peer = support_peer_new (close_when_asked, NULL);
  QmpQga *qga = open_session (peer);

  assert_finish_fails (qmp_qga_start (qga, "guest-ping", NULL, QMP_CALL_NO_DEADLINE), QMP_ERROR_CLOSED);
  assert_finish_fails (qmp_qga_start (qga, "guest-ping", NULL, QMP_CALL_NO_DEADLINE), QMP_ERROR_CLOSED);
  close_session (qga, peer);
}

static void
a_cancelled_call_costs_a_sync (void)
{
  SupportPeer *peer = support_peer_new (answer_late, NULL);
  QmpQga *qga = open_session (peer);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;

  CU_ASSERT (finish_int (qmp_qga_start_sync (qga, LATER)) > 0);
  g_cancellable_cancel (cancellable);
  g_autoptr (JsonNode) reply =
      qmp_qga_execute (qga, "guest-fsfreeze-freeze", NULL, QMP_CALL_NO_DEADLINE, cancellable, &error);
  CU_ASSERT_PTR_NULL (reply);
  SUPPORT_ASSERT_ERROR (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  CU_ASSERT_EQUAL (finish_int (qmp_qga_start (qga, "guest-fsfreeze-thaw", NULL, LATER)), 5);
  close_session (qga, peer);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (a_sync_finds_the_agent),
      SUPPORT_TEST (one_sync_serves_all_calls_that_go_well),
      SUPPORT_TEST (stale_replies_and_one_parse_error_are_skipped),
      SUPPORT_TEST (after_a_timeout_the_next_call_syncs_first),
      SUPPORT_TEST (after_an_abandoned_call_the_next_syncs_first),
      SUPPORT_TEST (a_silent_agent_times_out_and_the_command_was_never_sent),
      SUPPORT_TEST (a_late_answer_to_an_older_sync_is_skipped),
      SUPPORT_TEST (freeze_while_frozen_is_command_not_found),
      SUPPORT_TEST (garbage_is_skipped),
      SUPPORT_TEST (a_status_that_is_neither_word_is_a_protocol_error_and_costs_a_sync),
      SUPPORT_TEST (a_count_that_is_none_is_a_protocol_error),
      SUPPORT_TEST (an_object_that_is_no_reply_is_a_protocol_error),
      SUPPORT_TEST (an_unasked_reply_costs_a_sync),
      SUPPORT_TEST (an_answer_of_too_many_values_ends_the_session),
      SUPPORT_TEST (a_closed_channel_fails_this_call_and_all_later_ones),
      SUPPORT_TEST (a_cancelled_call_costs_a_sync),
  };
  return support_suite_run ("qga", tests, G_N_ELEMENTS (tests), argc, argv);
}
