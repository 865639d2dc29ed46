/*
 * A monitor session against scripted monitors: greeting, ids, events, deadlines,
 * cancellation, loss, and the takeover of a connection in mid-message.
 */
#include "qmp/client.h"

#include <unistd.h>

#include "qmp/error.h"
#include "qmp/transport.h"
#include "tests/support/peer.h"
#include "tests/support/suite.h"

/* Soon, where the deadline is what is tested; else far beyond what anything here takes. */
#define SOON qmp_call_deadline_in (0.1)
#define LATER qmp_call_deadline_in (10)

static void
stay_silent (SupportPeer *peer, gconstpointer user_data)
{
}

static void
greet (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_greet (peer);
}

static void
shake_hands (QmpClient *client)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) greeting = qmp_call_finish (qmp_client_start_handshake (client, LATER), NULL, &error);

  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL (greeting);
}

/* A session with @peer, its handshake done. */
static QmpClient *
open_session (SupportPeer *peer)
{
  QmpClient *client = qmp_client_new (support_peer_take_io (peer));
  shake_hands (client);
  return client;
}

static JsonNode *
execute (QmpClient *client, const char *command, GError **error)
{
  return qmp_client_execute (client, command, NULL, LATER, NULL, error);
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
assert_finish_fails (QmpCall *call, QmpError code)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply = qmp_call_finish (call, NULL, &error);

  CU_ASSERT_PTR_NULL (reply);
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, code);
}

static void
assert_handshake_fails (SupportPeerScript script, const char *text, gint64 deadline_us, QmpError code)
{
  SupportPeer *peer = support_peer_new (script, text);
  QmpClient *client = qmp_client_new (support_peer_take_io (peer));

  assert_finish_fails (qmp_client_start_handshake (client, deadline_us), code);
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
say (SupportPeer *peer, gconstpointer text)
{
  support_peer_send (peer, text);
}

static void
say_and_close (SupportPeer *peer, gconstpointer text)
{
  support_peer_send (peer, text);
  support_peer_close (peer);
}

static void
no_greeting_by_the_deadline_is_busy (void)
{
  gint64 begun = g_get_monotonic_time ();
  assert_handshake_fails (stay_silent, NULL, SOON, QMP_ERROR_BUSY);
  gint64 took = g_get_monotonic_time () - begun;
  CU_ASSERT (took >= 90 * 1000 && took < 5 * G_USEC_PER_SEC);
}

static void
greet_and_hang (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_send (peer, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
  g_autofree char *id = support_peer_expect (peer, "qmp_capabilities", NULL);
}

static void
silence_after_the_greeting_is_a_timeout (void)
{
  assert_handshake_fails (greet_and_hang, NULL, qmp_call_deadline_in (1), QMP_ERROR_TIMEOUT);
}

static void
anything_but_a_greeting_first_is_a_protocol_error (void)
{
  assert_handshake_fails (say, "{\"return\": {}}\r\n", LATER, QMP_ERROR_PROTOCOL);
  assert_handshake_fails (say, "{\"QMP\": 5}\r\n", LATER, QMP_ERROR_PROTOCOL);
  assert_handshake_fails (say, "HTTP/1.1 400 Bad Request\r\n", LATER, QMP_ERROR_PROTOCOL);
}

static void
eof_before_the_greeting_is_closed (void)
{
  assert_handshake_fails (say_and_close, "", LATER, QMP_ERROR_CLOSED);
}

static void
the_handshake_returns_the_greeting (void)
{
  SupportPeer *peer = support_peer_new_listening (greet, NULL);
  g_autoptr (GError) error = NULL;
  GIOStream *io = qmp_transport_connect (support_peer_get_address (peer), LATER, NULL, &error);
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (io);

  QmpClient *client = qmp_client_new (io);
  g_autoptr (JsonNode) greeting = qmp_call_finish (qmp_client_start_handshake (client, LATER), NULL, &error);
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (greeting);
  CU_ASSERT_TRUE (json_object_has_member (json_node_get_object (greeting), "version"));
  CU_ASSERT_PTR_EQUAL (qmp_client_get_io (client), io);
  CU_ASSERT_EQUAL (qmp_transport_get_peer_pid (io), getpid ());
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
refuse_capabilities (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_send (peer, "{\"QMP\": {}}");
  g_autofree char *id = support_peer_expect (peer, "qmp_capabilities", NULL);
  support_peer_reply_error (peer, id, "GenericError", "no");
}

static void
refused_capabilities_fail_the_handshake (void)
{
  assert_handshake_fails (refuse_capabilities, NULL, LATER, QMP_ERROR_COMMAND);
}

static void
echo_path (SupportPeer *peer, gconstpointer user_data)
{
  g_autoptr (JsonObject) arguments = NULL;

  support_peer_greet (peer);
  g_autofree char *id = support_peer_expect (peer, "echo", &arguments);
  g_autofree char *quoted =
      g_strdup_printf ("\"%s\"", json_object_get_string_member_with_default (arguments, "path", "(none)"));
  support_peer_reply (peer, id, quoted);
}

static void
arguments_reach_the_monitor (void)
{
  SupportPeer *peer = support_peer_new (echo_path, NULL);
  QmpClient *client = open_session (peer);
  g_autoptr (JsonObject) arguments = json_object_new ();
  g_autoptr (GError) error = NULL;

  json_object_set_string_member (arguments, "path", "/é/x");
  g_autoptr (JsonNode) reply = qmp_client_execute (client, "echo", arguments, LATER, NULL, &error);
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (reply);
  CU_ASSERT_STRING_EQUAL (json_node_get_string (reply), "/é/x");
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
expect_only_the_end (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_greet (peer);
  support_peer_expect_end (peer);
}

static void
arguments_that_are_not_utf8_are_never_sent (void)
{
  SupportPeer *peer = support_peer_new (expect_only_the_end, NULL);
  QmpClient *client = open_session (peer);
  g_autoptr (JsonObject) arguments = json_object_new ();

  json_object_set_string_member (arguments, "path", "/\xc3(");
  assert_finish_fails (qmp_client_start (client, "echo", arguments, LATER), QMP_ERROR_PROTOCOL);
  CU_ASSERT_PTR_NULL (qmp_client_get_error (client));
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
answer_in_reverse (SupportPeer *peer, gconstpointer user_data)
{
  char *ids[5];

  support_peer_greet (peer);
  for (int i = 0; i < 5; i++)
    ids[i] = support_peer_expect (peer, "count", NULL);
  for (int i = 4; i >= 0; i--) {
    g_autofree char *number = g_strdup_printf ("%d", i);
    support_peer_reply (peer, ids[i], number);
    g_free (ids[i]);
  }
}

static void
replies_are_matched_by_id_in_any_order (void)
{
  SupportPeer *peer = support_peer_new (answer_in_reverse, NULL);
  QmpClient *client = open_session (peer);
  QmpCall *calls[5];

  for (int i = 0; i < 5; i++)
    calls[i] = qmp_client_start (client, "count", NULL, LATER);
  for (int i = 0; i < 5; i++)
    CU_ASSERT_EQUAL (finish_int (calls[i]), i);
  qmp_client_free (client);
  support_peer_finish (peer);
}

#define MANY 500

static void
answer_many (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_greet (peer);
  for (int i = 0; i < MANY; i++) {
    g_autofree char *id = support_peer_expect (peer, "count", NULL);
    g_autofree char *number = g_strdup_printf ("%d", i);
    support_peer_reply (peer, id, number);
  }
}

static void
many_calls_may_be_started_before_any_is_finished (void)
{
  SupportPeer *peer = support_peer_new (answer_many, NULL);
  QmpClient *client = open_session (peer);
  QmpCall *calls[MANY];

  for (int i = 0; i < MANY; i++)
    calls[i] = qmp_client_start (client, "count", NULL, LATER);
  for (int i = MANY - 1; i >= 0; i--)
    CU_ASSERT_EQUAL (finish_int (calls[i]), i);
  qmp_client_free (client);
  support_peer_finish (peer);
}

typedef struct {
  guint number;
  guint sessions;
  gint *arrived; /* how many sessions' commands are there */
} OneOfMany;

/* Answers only once every session's command has arrived: proof that none waits for another's answer. */
static void
answer_after_all (SupportPeer *peer, gconstpointer user_data)
{
  const OneOfMany *one = user_data;

  support_peer_greet (peer);
  g_autofree char *id = support_peer_expect (peer, "count", NULL);
  g_atomic_int_inc (one->arrived);
  while (g_atomic_int_get (one->arrived) < (gint)one->sessions)
    g_thread_yield ();
  g_autofree char *number = g_strdup_printf ("%u", one->number);
  support_peer_reply (peer, id, number);
}

static void
sessions_run_at_once_on_one_thread (void)
{
  enum { SESSIONS = 8 };
  SupportPeer *peers[SESSIONS];
  QmpClient *clients[SESSIONS];
  QmpCall *calls[SESSIONS];
  OneOfMany each[SESSIONS];
  gint arrived = 0;

  for (guint i = 0; i < SESSIONS; i++) {
    each[i] = (OneOfMany){.number = i, .sessions = SESSIONS, .arrived = &arrived};
    peers[i] = support_peer_new (answer_after_all, &each[i]);
    clients[i] = open_session (peers[i]);
  }
  for (guint i = 0; i < SESSIONS; i++)
    calls[i] = qmp_client_start (clients[i], "count", NULL, LATER);
  for (guint i = 0; i < SESSIONS; i++)
    CU_ASSERT_EQUAL (finish_int (calls[i]), i);
  for (guint i = 0; i < SESSIONS; i++) {
    qmp_client_free (clients[i]);
    support_peer_finish (peers[i]);
  }
}

static void
tell_events (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_greet (peer);
  for (int round = 0; round < 3; round++) {
    g_autofree char *id = support_peer_expect (peer, "step", NULL);
    for (int i = 0; i < 10; i++)
      support_peer_event (peer, "JOB_STATUS_CHANGE", round * 20 + i);
    support_peer_reply (peer, id, "{}");
    for (int i = 10; i < 20; i++)
      support_peer_event (peer, "JOB_STATUS_CHANGE", round * 20 + i);
  }
}

static void
events_keep_their_order_and_none_is_lost_between_calls (void)
{
  SupportPeer *peer = support_peer_new (tell_events, NULL);
  QmpClient *client = open_session (peer);

  for (int round = 0; round < 3; round++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonNode) reply = execute (client, "step", &error);
    SUPPORT_ASSERT_CLEAR (error);
  }
  for (int i = 0; i < 60; i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (QmpClientEvent) event = qmp_client_wait_event (client, LATER, NULL, &error);
    SUPPORT_ASSERT_CLEAR (error);
    CU_ASSERT_PTR_NOT_NULL_FATAL (event);
    CU_ASSERT_STRING_EQUAL (event->name, "JOB_STATUS_CHANGE");
    CU_ASSERT_EQUAL (event->time_us, G_GINT64_CONSTANT (1700000000250000));
    CU_ASSERT_EQUAL (json_object_get_int_member (event->data, "number"), i);
  }
  CU_ASSERT_PTR_NULL (qmp_client_take_event (client));
  qmp_client_free (client);
  support_peer_finish (peer);
}

/* Counts how often it is asked, and wants the event with the number that it is given. */
typedef struct {
  gint64 number;
  guint asked;
} Wanted;

static gboolean
has_number (const QmpClientEvent *event, gpointer user_data)
{
  Wanted *wanted = user_data;
  wanted->asked++;
  return json_object_get_int_member (event->data, "number") == wanted->number;
}

static void
tell_three_now_and_three_later (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_greet (peer);
  g_autofree char *id = support_peer_expect (peer, "step", NULL);
  for (int i = 0; i < 3; i++)
    support_peer_event (peer, "JOB_STATUS_CHANGE", i);
  support_peer_reply (peer, id, "{}");
  for (int i = 3; i < 6; i++)
    support_peer_event (peer, "JOB_STATUS_CHANGE", i);
  support_peer_close (peer);
}

static gint64
wait_number (QmpClient *client, Wanted *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpClientEvent) event = qmp_client_wait_event_matching (client, has_number, wanted, LATER, NULL, &error);

  SUPPORT_ASSERT_CLEAR (error);
  return event != NULL ? json_object_get_int_member (event->data, "number") : -1;
}

static void
a_wanted_event_is_picked_and_the_others_keep_their_order (void)
{
  SupportPeer *peer = support_peer_new (tell_three_now_and_three_later, NULL);
  QmpClient *client = open_session (peer);
  Wanted early = {.number = 1}, late = {.number = 4}, never = {.number = 99};
  const gint64 left[] = {0, 2, 3, 5};
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply = execute (client, "step", &error);

  CU_ASSERT_EQUAL (wait_number (client, &early), 1);
  CU_ASSERT_EQUAL (early.asked, 2);
  CU_ASSERT_EQUAL (wait_number (client, &late), 4);
  CU_ASSERT_EQUAL (late.asked, 4);
  CU_ASSERT_PTR_NULL (qmp_client_wait_event_matching (client, has_number, &never, LATER, NULL, &error));
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_CLOSED);
  for (guint i = 0; i < G_N_ELEMENTS (left); i++) {
    g_autoptr (QmpClientEvent) event = qmp_client_take_event (client);
    CU_ASSERT_PTR_NOT_NULL_FATAL (event);
    CU_ASSERT_EQUAL (json_object_get_int_member (event->data, "number"), left[i]);
  }
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
waiting_for_an_event_ends_at_the_deadline (void)
{
  SupportPeer *peer = support_peer_new (greet, NULL);
  QmpClient *client = open_session (peer);
  g_autoptr (GError) error = NULL;

  CU_ASSERT_PTR_NULL (qmp_client_wait_event (client, SOON, NULL, &error));
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_TIMEOUT);
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
tell_and_close (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_greet (peer);
  support_peer_event (peer, "SHUTDOWN", 1);
  support_peer_close (peer);
}

static void
events_outlive_the_connection (void)
{
  SupportPeer *peer = support_peer_new (tell_and_close, NULL);
  QmpClient *client = open_session (peer);
  g_autoptr (GError) error = NULL;

  assert_finish_fails (qmp_client_start (client, "query-status", NULL, LATER), QMP_ERROR_CLOSED);
  g_autoptr (QmpClientEvent) event = qmp_client_wait_event (client, LATER, NULL, &error);
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL (event);
  CU_ASSERT_PTR_NULL (qmp_client_wait_event (client, LATER, NULL, &error));
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_CLOSED);
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
flood_with_events (SupportPeer *peer, gconstpointer user_data)
{
  g_autoptr (GString) text = g_string_new (NULL);

  support_peer_greet (peer);
  for (int i = 0; i <= QMP_CLIENT_MAX_EVENTS; i++)
    g_string_append (text, "{\"event\":\"E\"}");
  support_peer_send (peer, text->str);
}

static void
events_that_nobody_takes_end_the_session (void)
{
  SupportPeer *peer = support_peer_new (flood_with_events, NULL);
  QmpClient *client = open_session (peer);

  assert_finish_fails (qmp_client_start (client, "query-status", NULL, qmp_call_deadline_in (25)), QMP_ERROR_TOO_LARGE);
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
close_on_third (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_greet (peer);
  for (int i = 0; i < 3; i++) {
    g_autofree char *id = support_peer_expect (peer, "wait", NULL);
  }
  support_peer_close (peer);
}

static void
eof_fails_every_pending_call_and_all_later_ones (void)
{
  SupportPeer *peer = support_peer_new (close_on_third, NULL);
  QmpClient *client = open_session (peer);
  QmpCall *calls[3];

  for (int i = 0; i < 3; i++)
    calls[i] = qmp_client_start (client, "wait", NULL, QMP_CALL_NO_DEADLINE);
  for (int i = 0; i < 3; i++)
    assert_finish_fails (calls[i], QMP_ERROR_CLOSED);
  assert_finish_fails (qmp_client_start (client, "wait", NULL, QMP_CALL_NO_DEADLINE), QMP_ERROR_CLOSED);
  SUPPORT_ASSERT_ERROR (qmp_client_get_error (client), QMP_ERROR, QMP_ERROR_CLOSED);
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
a_lost_call_names_its_command (void)
{
  SupportPeer *peer = support_peer_new (tell_and_close, NULL);
  QmpClient *client = open_session (peer);
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply = execute (client, "query-block", &error);

  CU_ASSERT_PTR_NULL (reply);
  CU_ASSERT_PTR_NOT_NULL_FATAL (error);
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, "query-block"));
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
freeing_the_session_ends_its_calls (void)
{
  SupportPeer *peer = support_peer_new (greet, NULL);
  QmpClient *client = open_session (peer);
  QmpCall *call = qmp_client_start (client, "wait", NULL, QMP_CALL_NO_DEADLINE);

  qmp_client_free (client);
  CU_ASSERT_TRUE (qmp_call_is_done (call));
  assert_finish_fails (call, QMP_ERROR_CLOSED);
  support_peer_finish (peer);
}

static void
answer_with_errors (SupportPeer *peer, gconstpointer user_data)
{
  const char *const classes[] = {"GenericError", "CommandNotFound", "DeviceNotFound", "KVMMissingCap"};

  support_peer_greet (peer);
  for (guint i = 0; i < G_N_ELEMENTS (classes); i++) {
    g_autofree char *id = support_peer_expect (peer, "blockdev-del", NULL);
    support_peer_reply_error (peer, id, classes[i], "Node 'x' is in use\\u001b[31m");
  }
}

static void
error_replies_become_errors_with_the_monitors_words (void)
{
  SupportPeer *peer = support_peer_new (answer_with_errors, NULL);
  QmpClient *client = open_session (peer);
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply = execute (client, "blockdev-del", &error);

  CU_ASSERT_PTR_NULL (reply);
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_COMMAND);
  CU_ASSERT_STRING_EQUAL (error->message, "'blockdev-del' was refused: Node 'x' is in use [31m");
  assert_finish_fails (qmp_client_start (client, "blockdev-del", NULL, LATER), QMP_ERROR_COMMAND_NOT_FOUND);
  assert_finish_fails (qmp_client_start (client, "blockdev-del", NULL, LATER), QMP_ERROR_DEVICE_NOT_FOUND);
  assert_finish_fails (qmp_client_start (client, "blockdev-del", NULL, LATER), QMP_ERROR_COMMAND);
  CU_ASSERT_PTR_NULL (qmp_client_get_error (client));
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
answer_after_a_stranger (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_greet (peer);
  g_autofree char *id = support_peer_expect (peer, "count", NULL);
  support_peer_reply (peer, "stranger", "1");
  support_peer_reply_error (peer, "c999", "GenericError", "no");
  support_peer_reply (peer, id, "2");
}

static void
replies_with_unknown_ids_are_skipped (void)
{
  SupportPeer *peer = support_peer_new (answer_after_a_stranger, NULL);
  QmpClient *client = open_session (peer);

  CU_ASSERT_EQUAL (finish_int (qmp_client_start (client, "count", NULL, LATER)), 2);
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
greet_then_say (SupportPeer *peer, gconstpointer text)
{
  support_peer_greet (peer);
  g_autofree char *id = support_peer_expect (peer, "wait", NULL);
  support_peer_send (peer, text);
}

static void
assert_ends_the_session (const char *text, QmpError code)
{
  SupportPeer *peer = support_peer_new (greet_then_say, text);
  QmpClient *client = open_session (peer);

  assert_finish_fails (qmp_client_start (client, "wait", NULL, LATER), code);
  assert_finish_fails (qmp_client_start (client, "wait", NULL, LATER), code);
  SUPPORT_ASSERT_ERROR (qmp_client_get_error (client), QMP_ERROR, code);
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
what_is_not_qmp_ends_the_session (void)
{
  assert_ends_the_session ("{\"return\": 1}\r\n", QMP_ERROR_PROTOCOL);
  assert_ends_the_session ("{\"return\": 1, \"id\": 7}\r\n", QMP_ERROR_PROTOCOL);
  assert_ends_the_session ("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}",
                           QMP_ERROR_PROTOCOL);
  assert_ends_the_session ("{\"error\": 5, \"id\": \"c2\"}\r\n", QMP_ERROR_PROTOCOL);
  assert_ends_the_session ("{\"event\": 5}\r\n", QMP_ERROR_PROTOCOL);
  assert_ends_the_session ("{\"event\": \"STOP\", \"data\": 5}\r\n", QMP_ERROR_PROTOCOL);
  assert_ends_the_session ("{}\r\n", QMP_ERROR_PROTOCOL);
  assert_ends_the_session ("{\"return\" oops}\r\n", QMP_ERROR_PROTOCOL);
  assert_ends_the_session ("{\"return\": \"\xc3(\", \"id\": \"c2\"}\r\n", QMP_ERROR_PROTOCOL);
  assert_ends_the_session ("rubbish", QMP_ERROR_PROTOCOL);
}

static void
tell_wild_times (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_greet (peer);
  support_peer_send (peer, "{\"event\":\"E\",\"timestamp\":{\"seconds\":9223372036854775807,\"microseconds\":1}}"
                           "{\"event\":\"E\",\"timestamp\":{\"seconds\":-1,\"microseconds\":-1}}"
                           "{\"event\":\"E\",\"timestamp\":5}{\"event\":\"E\"}");
}

static void
an_event_without_a_usable_time_has_none (void)
{
  SupportPeer *peer = support_peer_new (tell_wild_times, NULL);
  QmpClient *client = open_session (peer);

  for (int i = 0; i < 4; i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (QmpClientEvent) event = qmp_client_wait_event (client, LATER, NULL, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL (event);
    CU_ASSERT_EQUAL (event->time_us, 0);
    CU_ASSERT_PTR_NULL (event->data);
  }
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
answer_late (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_greet (peer);
  g_autofree char *first = support_peer_expect (peer, "slow", NULL);
  g_autofree char *second = support_peer_expect (peer, "count", NULL);
  support_peer_reply (peer, first, "1");
  support_peer_reply (peer, second, "2");
}

static void
a_late_reply_is_skipped_and_the_next_call_gets_its_own (void)
{
  SupportPeer *peer = support_peer_new (answer_late, NULL);
  QmpClient *client = open_session (peer);

  assert_finish_fails (qmp_client_start (client, "slow", NULL, SOON), QMP_ERROR_TIMEOUT);
  CU_ASSERT_EQUAL (finish_int (qmp_client_start (client, "count", NULL, LATER)), 2);
  qmp_client_free (client);
  support_peer_finish (peer);
}

static gboolean
cancel (gpointer cancellable)
{
  g_cancellable_cancel (cancellable);
  return G_SOURCE_REMOVE;
}

static void
a_cancelled_call_ends_at_once_and_the_session_goes_on (void)
{
  SupportPeer *peer = support_peer_new (answer_late, NULL);
  QmpClient *client = open_session (peer);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;

  g_timeout_add (50, cancel, cancellable);
  g_autoptr (JsonNode) reply = qmp_client_execute (client, "slow", NULL, QMP_CALL_NO_DEADLINE, cancellable, &error);
  CU_ASSERT_PTR_NULL (reply);
  SUPPORT_ASSERT_ERROR (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  CU_ASSERT_EQUAL (finish_int (qmp_client_start (client, "count", NULL, LATER)), 2);
  qmp_client_free (client);
  support_peer_finish (peer);
}

static gpointer
cancel_in_thread (gpointer cancellable)
{
  g_cancellable_cancel (cancellable);
  return NULL;
}

static void
cancellation_from_another_thread_wakes_the_wait (void)
{
  SupportPeer *peer = support_peer_new (greet, NULL);
  QmpClient *client = open_session (peer);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;

  /* Cancelled before the wait begins, too: it must not begin. */
  g_cancellable_cancel (cancellable);
  CU_ASSERT_PTR_NULL (qmp_client_wait_event (client, QMP_CALL_NO_DEADLINE, cancellable, &error));
  SUPPORT_ASSERT_ERROR (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&error);

  g_cancellable_reset (cancellable);
  GThread *thread = g_thread_new ("cancel", cancel_in_thread, cancellable);
  CU_ASSERT_PTR_NULL (qmp_client_wait_event (client, QMP_CALL_NO_DEADLINE, cancellable, &error));
  SUPPORT_ASSERT_ERROR (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_thread_join (thread);
  qmp_client_free (client);
  support_peer_finish (peer);
}

static void
an_abandoned_call_may_be_forgotten (void)
{
  SupportPeer *peer = support_peer_new (answer_late, NULL);
  QmpClient *client = open_session (peer);

  qmp_call_abandon (qmp_client_start (client, "slow", NULL, LATER));
  CU_ASSERT_EQUAL (finish_int (qmp_client_start (client, "count", NULL, LATER)), 2);
  qmp_client_free (client);
  support_peer_finish (peer);
}

/* The dead owner's reply is half read, its command half written, and another reply with an id such as ours to come. */
static void
be_taken_over (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_expect_byte (peer, 0xFF);
  support_peer_expect_byte (peer, '\n');
  support_peer_send (peer, "d\": {\"running\": true}, \"status\": \"paused\"}, \"id\": \"c7\"}\r\n");
  support_peer_send (peer, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\r\n");
  support_peer_reply (peer, "c1", "1");
  g_autofree char *id = support_peer_expect (peer, "cont", NULL);
  support_peer_event (peer, "RESUME", 3);
  support_peer_reply (peer, id, "2");
}

static void
an_attached_session_survives_a_takeover_in_mid_message (void)
{
  SupportPeer *peer = support_peer_new (be_taken_over, NULL);
  QmpClient *client = qmp_client_new_attached (support_peer_take_io (peer));

  CU_ASSERT_EQUAL (finish_int (qmp_client_start (client, "cont", NULL, LATER)), 2);
  g_autoptr (QmpClientEvent) event = qmp_client_take_event (client);
  CU_ASSERT_PTR_NOT_NULL_FATAL (event);
  CU_ASSERT_STRING_EQUAL (event->name, "RESUME");
  qmp_client_free (client);
  support_peer_finish (peer);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (no_greeting_by_the_deadline_is_busy),
      SUPPORT_TEST (silence_after_the_greeting_is_a_timeout),
      SUPPORT_TEST (anything_but_a_greeting_first_is_a_protocol_error),
      SUPPORT_TEST (eof_before_the_greeting_is_closed),
      SUPPORT_TEST (the_handshake_returns_the_greeting),
      SUPPORT_TEST (refused_capabilities_fail_the_handshake),
      SUPPORT_TEST (arguments_reach_the_monitor),
      SUPPORT_TEST (arguments_that_are_not_utf8_are_never_sent),
      SUPPORT_TEST (replies_are_matched_by_id_in_any_order),
      SUPPORT_TEST (many_calls_may_be_started_before_any_is_finished),
      SUPPORT_TEST (sessions_run_at_once_on_one_thread),
      SUPPORT_TEST (events_keep_their_order_and_none_is_lost_between_calls),
      SUPPORT_TEST (a_wanted_event_is_picked_and_the_others_keep_their_order),
      SUPPORT_TEST (waiting_for_an_event_ends_at_the_deadline),
      SUPPORT_TEST (events_outlive_the_connection),
      SUPPORT_TEST (events_that_nobody_takes_end_the_session),
      SUPPORT_TEST (eof_fails_every_pending_call_and_all_later_ones),
      SUPPORT_TEST (a_lost_call_names_its_command),
      SUPPORT_TEST (freeing_the_session_ends_its_calls),
      SUPPORT_TEST (error_replies_become_errors_with_the_monitors_words),
      SUPPORT_TEST (replies_with_unknown_ids_are_skipped),
      SUPPORT_TEST (what_is_not_qmp_ends_the_session),
      SUPPORT_TEST (an_event_without_a_usable_time_has_none),
      SUPPORT_TEST (a_late_reply_is_skipped_and_the_next_call_gets_its_own),
      SUPPORT_TEST (a_cancelled_call_ends_at_once_and_the_session_goes_on),
      SUPPORT_TEST (cancellation_from_another_thread_wakes_the_wait),
      SUPPORT_TEST (an_abandoned_call_may_be_forgotten),
      SUPPORT_TEST (an_attached_session_survives_a_takeover_in_mid_message),
  };
  return support_suite_run ("client", tests, G_N_ELEMENTS (tests), argc, argv);
}
