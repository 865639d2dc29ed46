/*
 * What NBD servers may answer to engine/nbdprobe: honest ones, in pieces, and
 * all that are not. Each is a thread that says its bytes, whatever it is asked.
 */
#include "engine/nbdprobe.h"

#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <string.h>

#include "engine/error.h"
#include "tests/support/suite.h"

#define GREETING "NBDMAGICIHAVEOPT\0\3"
#define REPLY "\0\3\xe8\x89\x04\x55\x65\xa9"
#define TO_INFO REPLY "\0\0\0\6"
#define TO_TLS REPLY "\0\0\0\5"
/* NBD_INFO_EXPORT: 8 MiB, flags. */
#define EXPORT TO_INFO "\0\0\0\3\0\0\0\x0c\0\0\0\0\0\0\0\x80\0\0"
#define ACK TO_INFO "\0\0\0\1\0\0\0\0"
#define BYTES(text) .bytes = text, .length = sizeof text - 1
/* For a server that falls silent, and for one that answers: at once, but on a machine that may be busy. */
#define SOON_US (300 * 1000)
#define LATER_US (20 * G_USEC_PER_SEC)

/* @piece: bytes at a time, with a pause between; @again: it never stops saying the last @again bytes */
typedef struct {
  const char *bytes;
  gsize length;
  gsize piece;
  gsize again;
  gboolean hangs_up;
} Script;

typedef struct {
  const Script *script;
  char *folder;
  char *path;
  GSocketListener *listener;
  GCancellable *over;
  GThread *thread;
} Server;

static gboolean
say (GOutputStream *to, const char *bytes, gsize length, gsize piece)
{
  for (gsize at = 0; at < length; at += piece) {
    if (!g_output_stream_write_all (to, bytes + at, MIN (piece, length - at), NULL, NULL, NULL))
      return FALSE;
    if (piece < length)
      g_usleep (1000);
  }
  return TRUE;
}

static gpointer
serve (gpointer data)
{
  const Server *server = data;
  const Script *script = server->script;
  g_autoptr (GSocketConnection) client = g_socket_listener_accept (server->listener, NULL, server->over, NULL);
  GOutputStream *to = client != NULL ? g_io_stream_get_output_stream (G_IO_STREAM (client)) : NULL;
  char heard[256];

  if (to == NULL || !say (to, script->bytes, script->length, script->piece > 0 ? script->piece : script->length))
    return NULL;
  while (script->again > 0 && say (to, script->bytes + script->length - script->again, script->again, script->again))
    g_usleep (100);
  while (!script->hangs_up &&
         g_input_stream_read (g_io_stream_get_input_stream (G_IO_STREAM (client)), heard, sizeof heard, NULL, NULL) > 0)
    ;
  return NULL;
}

static gboolean
probe (const Script *script, gboolean tls, gint64 patience_us, EngineNbdExport *told, GError **error)
{
  Server server = {.script = script, .folder = g_dir_make_tmp ("nbd-XXXXXX", NULL)};
  g_autoptr (GSocketAddress) at = NULL;
  g_autoptr (EngineNbdAddress) address = g_new0 (EngineNbdAddress, 1);
  gboolean done;

  server.path = g_build_filename (server.folder, "s", NULL);
  at = g_unix_socket_address_new (server.path);
  server.listener = g_socket_listener_new ();
  server.over = g_cancellable_new ();
  CU_ASSERT_FATAL (g_socket_listener_add_address (server.listener, at, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT,
                                                  NULL, NULL, NULL));
  server.thread = g_thread_new ("server", serve, &server);
  address->path = g_strdup (server.path);
  address->export = g_strdup ("x");
  done = engine_nbdprobe_run (address, "x", tls, patience_us, NULL, told, error);
  g_cancellable_cancel (server.over);
  g_thread_join (server.thread);
  g_object_unref (server.listener);
  g_object_unref (server.over);
  CU_ASSERT (g_unlink (server.path) == 0 && g_rmdir (server.folder) == 0);
  g_free (server.path);
  g_free (server.folder);
  return done;
}

static void
assert_refused (const Script *script, gboolean tls, EngineError code)
{
  EngineNbdExport told;
  g_autoptr (GError) error = NULL;
  gint64 begun_us = g_get_monotonic_time ();

  CU_ASSERT (!probe (script, tls, code == ENGINE_ERROR_UNREACHABLE ? SOON_US : LATER_US, &told, &error));
  SUPPORT_ASSERT_ERROR (error, ENGINE_ERROR, code);
  /* A second is what the connecting takes at least to give up. */
  CU_ASSERT (g_get_monotonic_time () - begun_us < 3 * G_USEC_PER_SEC);
}

static void
size_and_rights_are_learnt (void)
{
  const Script writable = {BYTES (GREETING EXPORT "\0\1" ACK)}, read_only = {BYTES (GREETING EXPORT "\0\3" ACK)};
  EngineNbdExport told;
  g_autoptr (GError) error = NULL;
  gint64 begun_us = g_get_monotonic_time ();

  CU_ASSERT (probe (&writable, FALSE, LATER_US, &told, &error));
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT (told.known && told.size == 0x800000 && !told.read_only);
  CU_ASSERT (probe (&read_only, FALSE, LATER_US, &told, &error));
  CU_ASSERT (told.known && told.read_only);
  /* Neither answers when it is taken leave of. */
  CU_ASSERT (g_get_monotonic_time () - begun_us < LATER_US / 2);
}

static void
answer_that_comes_byte_by_byte_is_the_same (void)
{
  const Script script = {BYTES (GREETING EXPORT "\0\1" ACK), .piece = 1};
  EngineNbdExport told;
  g_autoptr (GError) error = NULL;

  CU_ASSERT (probe (&script, FALSE, LATER_US, &told, &error));
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT (told.known && told.size == 0x800000);
}

static void
other_information_is_passed_over (void)
{
  const Script script = {BYTES (GREETING TO_INFO "\0\0\0\3\0\0\0\2\0\1" TO_INFO "\0\0\0\3\0\0\0\0" EXPORT "\0\1" ACK)};
  EngineNbdExport told;

  CU_ASSERT (probe (&script, FALSE, LATER_US, &told, NULL));
  CU_ASSERT (told.known && told.size == 0x800000);
}

static void
server_that_does_not_know_the_question_is_left_to_qemu (void)
{
  const Script script = {BYTES (GREETING TO_INFO "\x80\0\0\1\0\0\0\0")};
  EngineNbdExport told;

  CU_ASSERT (probe (&script, FALSE, LATER_US, &told, NULL));
  CU_ASSERT (!told.known);
}

static void
refusals_are_told_apart (void)
{
  const Script unknown = {BYTES (GREETING TO_INFO "\x80\0\0\6\0\0\0\4gone")};
  const Script policy = {BYTES (GREETING TO_INFO "\x80\0\0\2\0\0\0\0")};
  const Script wants_tls = {BYTES (GREETING TO_INFO "\x80\0\0\5\0\0\0\0")};

  assert_refused (&unknown, FALSE, ENGINE_ERROR_NO_SUCH_IMAGE);
  assert_refused (&policy, FALSE, ENGINE_ERROR_REFUSED);
  assert_refused (&wants_tls, FALSE, ENGINE_ERROR_REFUSED);
}

static void
tls_is_asked_for_and_nothing_else (void)
{
  const Script offers = {BYTES (GREETING TO_TLS "\0\0\0\1\0\0\0\0")};
  const Script refuses = {BYTES (GREETING TO_TLS "\x80\0\0\1\0\0\0\0")};
  EngineNbdExport told;
  g_autoptr (GError) error = NULL;

  CU_ASSERT (probe (&offers, TRUE, LATER_US, &told, &error));
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT (!told.known);
  assert_refused (&refuses, TRUE, ENGINE_ERROR_REFUSED);
}

static void
what_is_no_nbd_is_unreachable (void)
{
  const Script scripts[] = {
      {BYTES ("SSH-2.0-OpenSSH_9.2\r\n")},
      {BYTES ("NBDMAGIC\0\0\x42\2\x81\x86\x12\x53\0\0")},
      {BYTES ("NBDMAGICIHAVEOPT\0\0")},
      {BYTES (GREETING "garbage that is long enough")},
      {BYTES (GREETING TO_TLS "\0\0\0\3\0\0\0\0")},
      {BYTES (GREETING TO_INFO "\0\0\0\3\xff\xff\xff\xff")},
      {BYTES (GREETING TO_INFO "\0\0\0\3\0\1\0\1")},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (scripts); i++)
    assert_refused (&scripts[i], FALSE, ENGINE_ERROR_UNREACHABLE);
}

static void
server_that_hangs_up_is_unreachable (void)
{
  const Script scripts[] = {
      {BYTES ("NBDM"), .hangs_up = TRUE},
      {BYTES (GREETING), .hangs_up = TRUE},
      {BYTES (GREETING TO_INFO "\0\0\0\3\0\0\0\x0c\0\0"), .hangs_up = TRUE},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (scripts); i++)
    assert_refused (&scripts[i], FALSE, ENGINE_ERROR_UNREACHABLE);
}

static void
silence_ends_at_the_deadline (void)
{
  const Script scripts[] = {{BYTES ("N")}, {BYTES (GREETING)}, {BYTES (GREETING EXPORT "\0\1")}};

  for (gsize i = 0; i < G_N_ELEMENTS (scripts); i++)
    assert_refused (&scripts[i], FALSE, ENGINE_ERROR_UNREACHABLE);
}

static void
endless_answers_end (void)
{
  const Script informs = {BYTES (GREETING EXPORT "\0\1"), .again = sizeof EXPORT "\0\1" - 1};
  const Script drips = {BYTES (GREETING TO_INFO "\0\0\0\3\0\1\0\0x"), .again = 1};

  assert_refused (&informs, FALSE, ENGINE_ERROR_UNREACHABLE);
  assert_refused (&drips, FALSE, ENGINE_ERROR_UNREACHABLE);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (size_and_rights_are_learnt),
      SUPPORT_TEST (answer_that_comes_byte_by_byte_is_the_same),
      SUPPORT_TEST (other_information_is_passed_over),
      SUPPORT_TEST (server_that_does_not_know_the_question_is_left_to_qemu),
      SUPPORT_TEST (refusals_are_told_apart),
      SUPPORT_TEST (tls_is_asked_for_and_nothing_else),
      SUPPORT_TEST (what_is_no_nbd_is_unreachable),
      SUPPORT_TEST (server_that_hangs_up_is_unreachable),
      SUPPORT_TEST (silence_ends_at_the_deadline),
      SUPPORT_TEST (endless_answers_end),
  };
  return support_suite_run ("nbdprobe", tests, G_N_ELEMENTS (tests), argc, argv);
}
