/*
 * Addresses that are listened at: how they are written, what a URI makes of them,
 * and what is left of a socket's file.
 */
#include "engine/error.h"
#include "engine/listener.h"
#include "tests/support/suite.h"

#include <glib/gstdio.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static char *
uri_at (const char *address, const char *export, gboolean tls)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineListener) listener = engine_listener_open (address, &error);

  CU_ASSERT_PTR_NOT_NULL_FATAL (listener);
  return engine_listener_uri (listener, export, tls);
}

static void
a_uri_has_the_host_that_was_named_and_the_port_that_was_found (void)
{
  g_autofree char *v4 = uri_at ("127.0.0.1:0", "vda", FALSE);
  g_autofree char *v6 = uri_at ("[::1]:0", "vda", TRUE);
  g_autofree char *all = uri_at (":0", "vda", FALSE);
  g_autofree char *host = g_strconcat ("nbd://", g_get_host_name (), ":", NULL);

  CU_ASSERT (g_str_has_prefix (v4, "nbd://127.0.0.1:") && g_str_has_suffix (v4, "/vda"));
  CU_ASSERT (!g_str_has_prefix (v4, "nbd://127.0.0.1:0/"));
  CU_ASSERT (g_str_has_prefix (v6, "nbds://[::1]:"));
  CU_ASSERT (g_str_has_prefix (all, host));
}

static void
a_uri_escapes_what_would_end_it (void)
{
  g_autofree char *folder = g_dir_make_tmp ("chainctl-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "a b&c", NULL);
  g_autofree char *address = g_strconcat ("unix:", path, NULL);
  g_autofree char *uri = uri_at (address, "d?sk", FALSE);
  g_autofree char *expected = g_strconcat ("nbd+unix:///d%3Fsk?socket=", folder, "/a%20b%26c", NULL);

  CU_ASSERT_STRING_EQUAL (uri, expected);
  g_rmdir (folder);
}

static void
the_file_of_a_socket_is_gone_with_it_but_not_anothers (void)
{
  g_autofree char *folder = g_dir_make_tmp ("chainctl-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "nbd", NULL);
  g_autofree char *address = g_strconcat ("unix:", path, NULL);
  EngineListener *listener = engine_listener_open (address, NULL);

  CU_ASSERT (g_file_test (path, G_FILE_TEST_EXISTS));
  engine_listener_free (listener);
  CU_ASSERT (!g_file_test (path, G_FILE_TEST_EXISTS));
  listener = engine_listener_open (address, NULL);
  g_unlink (path);
  CU_ASSERT (g_file_set_contents (path, "another's", -1, NULL));
  engine_listener_free (listener);
  CU_ASSERT (g_file_test (path, G_FILE_TEST_EXISTS));
  g_unlink (path);
  g_rmdir (folder);
}

static void
assert_refused (const char *address)
{
  g_autoptr (GError) error = NULL;

  CU_ASSERT (!engine_listener_check (address, &error));
  SUPPORT_ASSERT_ERROR (error, ENGINE_ERROR, ENGINE_ERROR_USAGE);
  g_clear_error (&error);
  CU_ASSERT_PTR_NULL (engine_listener_open (address, &error));
  SUPPORT_ASSERT_ERROR (error, ENGINE_ERROR, ENGINE_ERROR_USAGE);
}

static void
what_is_no_address_is_refused (void)
{
  g_autofree char *endless = g_strnfill (200, 'x');
  g_autofree char *too_long = g_strconcat ("unix:/", endless, NULL);
  const char *const wrong[] = {"",          "host",       "host:", "host:port", "host:65536", "host:-1",
                               "::1:10809", "[::1:10809", "[::1]", "unix:",     too_long,     "host:1:2"};

  for (gsize i = 0; i < G_N_ELEMENTS (wrong); i++)
    assert_refused (wrong[i]);
}

static int
option_of (int fd, int level, int option)
{
  int value = -1;
  socklen_t length = sizeof value;

  return getsockopt (fd, level, option, &value, &length) == 0 ? value : -1;
}

/* What a connection inherits: Linux copies the socket's options. */
static void
a_client_that_dies_without_a_word_is_noticed_within_a_minute (void)
{
  g_autoptr (EngineListener) listener = engine_listener_open ("127.0.0.1:0", NULL);
  int fd = engine_listener_get_fd (listener);

  CU_ASSERT_EQUAL (option_of (fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  CU_ASSERT (option_of (fd, IPPROTO_TCP, TCP_KEEPIDLE) +
                 option_of (fd, IPPROTO_TCP, TCP_KEEPINTVL) * option_of (fd, IPPROTO_TCP, TCP_KEEPCNT) <=
             ENGINE_LISTENER_DEAD_AFTER);
  CU_ASSERT_EQUAL (option_of (fd, IPPROTO_TCP, TCP_USER_TIMEOUT), ENGINE_LISTENER_DEAD_AFTER * 1000);
}

static gboolean
is_open (const char *address)
{
  g_autoptr (EngineListener) listener = engine_listener_open (address, NULL);

  return engine_listener_is_open (listener);
}

static void
what_others_can_reach_is_known (void)
{
  CU_ASSERT (is_open (":0") && is_open ("0.0.0.0:0") && is_open ("[::]:0"));
  CU_ASSERT (!is_open ("127.0.0.1:0") && !is_open ("127.1.2.3:0") && !is_open ("[::1]:0"));
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (a_uri_has_the_host_that_was_named_and_the_port_that_was_found),
      SUPPORT_TEST (a_uri_escapes_what_would_end_it),
      SUPPORT_TEST (the_file_of_a_socket_is_gone_with_it_but_not_anothers),
      SUPPORT_TEST (what_is_no_address_is_refused),
      SUPPORT_TEST (a_client_that_dies_without_a_word_is_noticed_within_a_minute),
      SUPPORT_TEST (what_others_can_reach_is_known),
  };

  return support_suite_run ("listener", tests, G_N_ELEMENTS (tests), argc, argv);
}
