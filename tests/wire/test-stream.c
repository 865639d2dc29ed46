/*
 * Framing against every way in which bytes can arrive: in pieces, joined,
 * pretty, half, too large, too deep, not JSON at all.
 */
#include <gio/gunixinputstream.h>

#include "qmp/call.h"
#include "qmp/error.h"
#include "qmp/stream.h"
#include "tests/support/peer.h"
#include "tests/support/suite.h"

/* What a stream delivered. */
typedef struct {
  QmpStream *stream;
  GPtrArray *messages; /* of char *, each a message as compact JSON, or its length where it is huge */
  GError *closed;
  guint closed_count;
  guint wanted;
  gboolean free_at_first; /* the handler frees the stream at the first message */
} Heard;

static void
note_message (JsonObject *message, gpointer user_data)
{
  Heard *heard = user_data;
  g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), message);
  g_autofree char *text = json_to_string (node, FALSE);

  if (strlen (text) > 1000)
    g_ptr_array_add (heard->messages, g_strdup_printf ("%zu", strlen (text)));
  else
    g_ptr_array_add (heard->messages, g_steal_pointer (&text));
  if (heard->free_at_first)
    g_clear_pointer (&heard->stream, qmp_stream_free);
}

static void
note_closed (const GError *error, gpointer user_data)
{
  Heard *heard = user_data;
  g_clear_error (&heard->closed);
  heard->closed = g_error_copy (error);
  heard->closed_count++;
}

static Heard *
hear (SupportPeer *peer, QmpStreamFlags flags)
{
  Heard *heard = g_new0 (Heard, 1);
  heard->messages = g_ptr_array_new_with_free_func (g_free);
  heard->stream = qmp_stream_new (support_peer_take_io (peer), flags, note_message, note_closed, heard);
  return heard;
}

static gboolean
has_heard (gpointer user_data)
{
  Heard *heard = user_data;
  return heard->messages->len >= heard->wanted || heard->closed != NULL;
}

/* Waits for @count messages or the close. */
static void
wait_heard (Heard *heard, guint count)
{
  g_autoptr (GError) error = NULL;

  heard->wanted = count;
  CU_ASSERT (qmp_call_wait_until (has_heard, heard, qmp_call_deadline_in (20), NULL, &error));
  SUPPORT_ASSERT_CLEAR (error);
}

static void
wait_closed (Heard *heard)
{
  wait_heard (heard, G_MAXUINT);
}

static void
finish (SupportPeer *peer, Heard *heard)
{
  g_clear_pointer (&heard->stream, qmp_stream_free);
  support_peer_finish (peer);
  g_ptr_array_unref (heard->messages);
  g_clear_error (&heard->closed);
  g_free (heard);
}

static const char *
message_at (Heard *heard, guint at)
{
  return at < heard->messages->len ? g_ptr_array_index (heard->messages, at) : "(none)";
}

static void
say (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_send (peer, user_data);
}

static void
say_and_close (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_send (peer, user_data);
  support_peer_close (peer);
}

static void
say_bytewise (SupportPeer *peer, gconstpointer user_data)
{
  support_peer_send_bytewise (peer, user_data);
}

/* What a strict stream makes of @text before the peer closes. Returns the count of messages; @code as it closed. */
static guint
hear_strictly (const char *text, int *code)
{
  g_autofree char *owned = g_strdup (text);
  SupportPeer *peer = support_peer_new (say_and_close, owned);
  Heard *heard = hear (peer, QMP_STREAM_STRICT);

  wait_closed (heard);
  guint count = heard->messages->len;
  *code = heard->closed != NULL ? heard->closed->code : -1;
  CU_ASSERT_EQUAL (heard->closed_count, 1);
  finish (peer, heard);
  return count;
}

static void
assert_protocol_error (const char *text)
{
  int code;
  CU_ASSERT_EQUAL (hear_strictly (text, &code), 0);
  CU_ASSERT_EQUAL (code, QMP_ERROR_PROTOCOL);
}

static char *
joined (Heard *heard)
{
  g_ptr_array_add (heard->messages, NULL);
  char *all = g_strjoinv (" ", (char **)heard->messages->pdata);
  g_ptr_array_remove_index (heard->messages, heard->messages->len - 1);
  return all;
}

/* What a tolerant stream hears of @text, the messages with a blank between. */
static void
assert_tolerant_hears (const char *text, const char *expected)
{
  g_autofree char *owned = g_strdup (text);
  SupportPeer *peer = support_peer_new (say_and_close, owned);
  Heard *heard = hear (peer, QMP_STREAM_TOLERANT);

  wait_closed (heard);
  g_autofree char *all = joined (heard);
  if (g_strcmp0 (all, expected) != 0)
    g_print ("# heard: %s\n# not:   %s\n", all, expected);
  CU_ASSERT_STRING_EQUAL (all, expected);
  SUPPORT_ASSERT_ERROR (heard->closed, QMP_ERROR, QMP_ERROR_CLOSED);
  finish (peer, heard);
}

static void
one_message_arrives (void)
{
  SupportPeer *peer = support_peer_new (say, "{\"return\": {}}\r\n");
  Heard *heard = hear (peer, QMP_STREAM_STRICT);

  wait_heard (heard, 1);
  CU_ASSERT_STRING_EQUAL (message_at (heard, 0), "{\"return\":{}}");
  CU_ASSERT_PTR_NULL (heard->closed);
  finish (peer, heard);
}

static void
a_message_needs_no_line_end (void)
{
  SupportPeer *peer = support_peer_new (say, "{\"a\":1}");
  Heard *heard = hear (peer, QMP_STREAM_STRICT);

  wait_heard (heard, 1);
  CU_ASSERT_STRING_EQUAL (message_at (heard, 0), "{\"a\":1}");
  finish (peer, heard);
}

static void
byte_by_byte_is_the_same_message (void)
{
  const char *text = "{\"a\": \"}\\\"{\\\\\", \"b\": [{\"c\": \"\\u00e9\"}]}\r\n{\"d\": 2}\r\n";
  SupportPeer *peer = support_peer_new (say_bytewise, text);
  Heard *heard = hear (peer, QMP_STREAM_STRICT);

  wait_heard (heard, 2);
  CU_ASSERT_STRING_EQUAL (message_at (heard, 0), "{\"a\":\"}\\\"{\\\\\",\"b\":[{\"c\":\"é\"}]}");
  CU_ASSERT_STRING_EQUAL (message_at (heard, 1), "{\"d\":2}");
  finish (peer, heard);
}

static void
many_messages_in_one_read_arrive_in_order (void)
{
  g_autoptr (GString) text = g_string_new (NULL);
  for (guint i = 0; i < 1000; i++)
    g_string_append_printf (text, "{\"n\":%u}%s", i, i % 2 ? "\r\n" : "");

  SupportPeer *peer = support_peer_new (say, text->str);
  Heard *heard = hear (peer, QMP_STREAM_STRICT);
  wait_heard (heard, 1000);
  for (guint i = 0; i < 1000; i++) {
    g_autofree char *expected = g_strdup_printf ("{\"n\":%u}", i);
    CU_ASSERT_STRING_EQUAL (message_at (heard, i), expected);
  }
  finish (peer, heard);
}

static void
pretty_printed_json_is_one_message (void)
{
  const char *text = "{\n    \"return\": {\n        \"a\": [\n            1,\n\t2\n        ]\n    }\n}\n";
  SupportPeer *peer = support_peer_new (say, text);
  Heard *heard = hear (peer, QMP_STREAM_STRICT);

  wait_heard (heard, 1);
  CU_ASSERT_STRING_EQUAL (message_at (heard, 0), "{\"return\":{\"a\":[1,2]}}");
  finish (peer, heard);
}

/* A message of exactly @size bytes: one long string. */
static char *
message_of_size (gsize size)
{
  const char *head = "{\"a\":\"", *tail = "\"}";
  char *text = g_malloc (size + 1);

  memset (text, 'x', size);
  memcpy (text, head, strlen (head));
  memcpy (text + size - strlen (tail), tail, strlen (tail) + 1);
  return text;
}

static void
a_message_of_64_mib_is_accepted (void)
{
  g_autofree char *text = message_of_size (QMP_STREAM_MAX_MESSAGE);
  SupportPeer *peer = support_peer_new (say, text);
  Heard *heard = hear (peer, QMP_STREAM_STRICT);

  wait_heard (heard, 1);
  CU_ASSERT_STRING_EQUAL (message_at (heard, 0), "67108864");
  CU_ASSERT_PTR_NULL (heard->closed);
  finish (peer, heard);
}

static void
one_byte_beyond_64_mib_is_too_large (void)
{
  g_autofree char *text = message_of_size (QMP_STREAM_MAX_MESSAGE + 1);
  SupportPeer *peer = support_peer_new (say, text);
  Heard *heard = hear (peer, QMP_STREAM_STRICT);

  wait_closed (heard);
  SUPPORT_ASSERT_ERROR (heard->closed, QMP_ERROR, QMP_ERROR_TOO_LARGE);
  CU_ASSERT_EQUAL (heard->messages->len, 0);
  finish (peer, heard);
}

static void
a_message_without_end_is_too_large_even_when_tolerant (void)
{
  g_autofree char *text = message_of_size (QMP_STREAM_MAX_MESSAGE + 3);
  SupportPeer *peer = support_peer_new (say, text);
  Heard *heard = hear (peer, QMP_STREAM_TOLERANT);

  wait_closed (heard);
  SUPPORT_ASSERT_ERROR (heard->closed, QMP_ERROR, QMP_ERROR_TOO_LARGE);
  finish (peer, heard);
}

/* {"a":[1,1,…]}: @count values within the outer object's one. */
static char *
message_of_values (guint count)
{
  GString *text = g_string_new ("{\"a\":[1");
  for (guint i = 1; i < count; i++)
    g_string_append (text, ",1");
  return g_string_free (g_string_append (text, "]}"), FALSE);
}

static void
a_guest_may_send_few_values_only (void)
{
  g_autofree char *within = message_of_values (QMP_STREAM_MAX_GUEST_VALUES - 1);
  SupportPeer *peer = support_peer_new (say, within);
  Heard *heard = hear (peer, QMP_STREAM_GUEST);
  wait_heard (heard, 1);
  CU_ASSERT_EQUAL (heard->messages->len, 1);
  finish (peer, heard);

  g_autofree char *beyond = message_of_values (QMP_STREAM_MAX_GUEST_VALUES);
  peer = support_peer_new (say, beyond);
  heard = hear (peer, QMP_STREAM_GUEST);
  wait_closed (heard);
  SUPPORT_ASSERT_ERROR (heard->closed, QMP_ERROR, QMP_ERROR_TOO_LARGE);
  finish (peer, heard);
}

static char *
nested (guint depth)
{
  GString *text = g_string_new ("{\"a\":");
  for (guint i = 1; i < depth; i++)
    g_string_append_c (text, '[');
  for (guint i = 1; i < depth; i++)
    g_string_append_c (text, ']');
  return g_string_free (g_string_append (text, "}\r\n"), FALSE);
}

static void
nesting_up_to_the_cap_is_accepted (void)
{
  g_autofree char *text = nested (QMP_STREAM_MAX_DEPTH);
  int code;
  CU_ASSERT_EQUAL (hear_strictly (text, &code), 1);
  CU_ASSERT_EQUAL (code, QMP_ERROR_CLOSED);
}

static void
nesting_beyond_the_cap_is_a_protocol_error (void)
{
  g_autofree char *just_beyond = nested (QMP_STREAM_MAX_DEPTH + 1);
  g_autofree char *a_million = nested (1000 * 1000);
  assert_protocol_error (just_beyond);
  assert_protocol_error (a_million);
}

static void
invalid_utf8_is_a_protocol_error (void)
{
  assert_protocol_error ("{\"a\":\"\xc3(\"}");
  assert_protocol_error ("{\"a\":\"\xed\xa0\x80\"}");
  assert_protocol_error ("{\"a\":\"\xff\"}");
}

static void
invalid_json_is_a_protocol_error (void)
{
  const char *const cases[] = {
      "hello\r\n",
      "[1]",
      "1",
      "{\"a\" 1}",
      "{\"a\":1,}",
      "{\"a\":tru}",
      "{]",
      "{\"a\":\"\n\"}",
      "{\"a\":\\n}",
      "{\"a\":\"\\x\"}",
      "{\"a\":\"\\u00zz\"}",
      "{\"a\":\"\\ud800\\u0041\"}",
      "\xff",
      "{'a':'}'}",
      "{\"a\":\x01}",
      "}",
  };
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    assert_protocol_error (cases[i]);
}

static void
rubbish_after_a_message_does_not_unsay_it (void)
{
  int code;
  CU_ASSERT_EQUAL (hear_strictly ("{\"a\":1} rubbish", &code), 1);
  CU_ASSERT_EQUAL (code, QMP_ERROR_PROTOCOL);
}

static void
eof_in_the_middle_of_a_message_is_closed (void)
{
  int code;
  CU_ASSERT_EQUAL (hear_strictly ("{\"a\":1}{\"b\":", &code), 1);
  CU_ASSERT_EQUAL (code, QMP_ERROR_CLOSED);
}

static void
tolerant_skips_rubbish_up_to_the_line_end (void)
{
  assert_tolerant_hears ("boot: {\"no\":1}\n{\"a\":1}\n", "{\"a\":1}");
  assert_tolerant_hears ("\x01\x02[1,2]\r\n\r\n{\"a\":1}", "{\"a\":1}");
}

static void
tolerant_skips_up_to_the_reset_byte (void)
{
  assert_tolerant_hears ("{\"half\": [\"of\xff{\"a\":1}\n", "{\"a\":1}");
  assert_tolerant_hears ("rubbish\xff{\"a\":1}\n\xff\xff{\"b\":1}", "{\"a\":1} {\"b\":1}");
}

static void
tolerant_skips_the_tail_of_a_message (void)
{
  assert_tolerant_hears ("lue\": 3}, \"id\": \"c7\"}\r\n{\"a\":1}\r\n", "{\"a\":1}");
  /* The tail begins within a string, and looks like an object. */
  assert_tolerant_hears ("{ in a string\"}, \"id\": \"c7\"}\r\n{\"a\":1}\r\n", "{\"a\":1}");
  assert_tolerant_hears ("{ \\\" }\", \"id\": \"c7\"}\r\n{\"a\":1}\r\n", "{\"a\":1}");
  /* The same with an escaped quote, where counting quotes goes wrong, and more braces than will be closed. */
  assert_tolerant_hears ("{{ \\\" \", \"id\": \"c7\"}\r\n{\"a\":1}\r\n", "{\"a\":1}");
  /* A pretty one. */
  assert_tolerant_hears ("\": 3,\n  \"b\": 4\n  },\n  \"id\": \"c7\"\n}\n{\n  \"a\": 1\n}\n", "{\"a\":1}");
}

static void
tolerant_drops_what_does_not_parse (void)
{
  assert_tolerant_hears ("{\"a\" 1}\n{\"b\":1}\n", "{\"b\":1}");
  assert_tolerant_hears ("{\"a\":\"\xc3(\"}\n{\"b\":1}\n", "{\"b\":1}");
  g_autofree char *deep = nested (QMP_STREAM_MAX_DEPTH + 1);
  g_autofree char *text = g_strconcat (deep, "{\"b\":1}\n", NULL);
  assert_tolerant_hears (text, "{\"b\":1}");
}

static void
a_handler_may_free_the_stream (void)
{
  SupportPeer *peer = support_peer_new (say, "{\"a\":1}{\"b\":1}{\"c\":1}");
  Heard *heard = hear (peer, QMP_STREAM_STRICT);

  heard->free_at_first = TRUE;
  wait_heard (heard, 1);
  while (g_main_context_iteration (NULL, FALSE))
    continue;
  CU_ASSERT_EQUAL (heard->messages->len, 1);
  CU_ASSERT_EQUAL (heard->closed_count, 0);
  finish (peer, heard);
}

/* More than a socket buffer holds, taken by the peer only later. */
static void
read_all (SupportPeer *peer, gconstpointer user_data)
{
  for (int i = 0; i < 3; i++) {
    g_autoptr (JsonObject) arguments = NULL;
    g_autofree char *id = support_peer_expect (peer, "big", &arguments);
    support_peer_reply (peer, id, json_object_get_string_member_with_default (arguments, "n", "null"));
  }
}

static void
a_slow_reader_gets_everything_in_order (void)
{
  SupportPeer *peer = support_peer_new (read_all, NULL);
  Heard *heard = hear (peer, QMP_STREAM_STRICT);

  for (int i = 0; i < 3; i++) {
    g_autofree char *padding = g_strnfill (400 * 1000, ' ');
    g_autofree char *text =
        g_strdup_printf ("{\"execute\":\"big\",%s\"arguments\":{\"n\":\"%d\"},\"id\":\"%d\"}\n", padding, i, i);
    g_autoptr (GBytes) bytes = g_bytes_new (text, strlen (text));
    qmp_stream_send (heard->stream, bytes);
  }
  wait_heard (heard, 3);
  CU_ASSERT_STRING_EQUAL (message_at (heard, 0), "{\"return\":0,\"id\":\"0\"}");
  CU_ASSERT_STRING_EQUAL (message_at (heard, 2), "{\"return\":2,\"id\":\"2\"}");
  finish (peer, heard);
}

/* More than one read takes, less than a socket holds. */
#define LAST_WORDS 150000

static void
say_last_words (SupportPeer *peer, gconstpointer user_data)
{
  g_autofree char *text = message_of_size (LAST_WORDS);
  support_peer_send (peer, text);
  support_peer_close (peer);
}

static void
last_words_are_heard_when_writing_fails (void)
{
  SupportPeer *peer = support_peer_new (say_last_words, NULL);
  Heard *heard = hear (peer, QMP_STREAM_STRICT);
  g_autoptr (GBytes) bytes = g_bytes_new_static ("{}\n", 3);

  /* Let the peer go first: poll without reading. */
  GPollFD gone = {.fd = g_unix_input_stream_get_fd (
                      G_UNIX_INPUT_STREAM (g_io_stream_get_input_stream (qmp_stream_get_io (heard->stream)))),
                  .events = G_IO_HUP};
  CU_ASSERT_EQUAL (g_poll (&gone, 1, 5000), 1);
  qmp_stream_send (heard->stream, bytes);
  CU_ASSERT_EQUAL (heard->closed_count, 0);
  wait_closed (heard);
  CU_ASSERT_STRING_EQUAL (message_at (heard, 0), G_STRINGIFY (LAST_WORDS));
  SUPPORT_ASSERT_ERROR (heard->closed, QMP_ERROR, QMP_ERROR_CLOSED);
  CU_ASSERT_EQUAL (heard->closed_count, 1);
  finish (peer, heard);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (one_message_arrives),
      SUPPORT_TEST (a_message_needs_no_line_end),
      SUPPORT_TEST (byte_by_byte_is_the_same_message),
      SUPPORT_TEST (many_messages_in_one_read_arrive_in_order),
      SUPPORT_TEST (pretty_printed_json_is_one_message),
      SUPPORT_TEST (a_message_of_64_mib_is_accepted),
      SUPPORT_TEST (one_byte_beyond_64_mib_is_too_large),
      SUPPORT_TEST (a_message_without_end_is_too_large_even_when_tolerant),
      SUPPORT_TEST (a_guest_may_send_few_values_only),
      SUPPORT_TEST (nesting_up_to_the_cap_is_accepted),
      SUPPORT_TEST (nesting_beyond_the_cap_is_a_protocol_error),
      SUPPORT_TEST (invalid_utf8_is_a_protocol_error),
      SUPPORT_TEST (invalid_json_is_a_protocol_error),
      SUPPORT_TEST (rubbish_after_a_message_does_not_unsay_it),
      SUPPORT_TEST (eof_in_the_middle_of_a_message_is_closed),
      SUPPORT_TEST (tolerant_skips_rubbish_up_to_the_line_end),
      SUPPORT_TEST (tolerant_skips_up_to_the_reset_byte),
      SUPPORT_TEST (tolerant_skips_the_tail_of_a_message),
      SUPPORT_TEST (tolerant_drops_what_does_not_parse),
      SUPPORT_TEST (a_handler_may_free_the_stream),
      SUPPORT_TEST (a_slow_reader_gets_everything_in_order),
      SUPPORT_TEST (last_words_are_heard_when_writing_fails),
  };
  return support_suite_run ("stream", tests, G_N_ELEMENTS (tests), argc, argv);
}
