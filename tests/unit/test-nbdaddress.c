/*
 * Addresses of NBD servers, as engine/nbdaddress reads and writes them.
 */
#include "engine/nbdaddress.h"

#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>

#include "engine/error.h"
#include "qmp/message.h"
#include "tests/support/suite.h"

typedef struct {
  const char *text;
  const char *host;
  const char *port;
  const char *path;
  const char *export;
  gboolean tls;
} Row;

static void
assert_row (const Row *row)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineNbdAddress) address = engine_nbdaddress_parse (row->text, &error);

  if (address == NULL)
    g_printerr ("# %s\n", row->text);
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (address);
  CU_ASSERT_EQUAL (g_strcmp0 (address->host, row->host), 0);
  CU_ASSERT_EQUAL (g_strcmp0 (address->port, row->port), 0);
  CU_ASSERT_EQUAL (g_strcmp0 (address->path, row->path), 0);
  CU_ASSERT_EQUAL (g_strcmp0 (address->export, row->export), 0);
  CU_ASSERT_EQUAL (address->tls, row->tls);
}

static void
every_spelling_is_understood (void)
{
  const Row rows[] = {
      {"host", "host", "10809", NULL, "", FALSE},
      {"host:1", "host", "1", NULL, "", FALSE},
      {"host:65535/a/b", "host", "65535", NULL, "a/b", FALSE},
      {"host/x:y", "host", "10809", NULL, "x:y", FALSE},
      {"[::1]", "::1", "10809", NULL, "", FALSE},
      {"[fe80::1]:2/x", "fe80::1", "2", NULL, "x", FALSE},
      {"nbd:host:3", "host", "3", NULL, "", FALSE},
      {"nbd:host:3:exportname=x:y/z", "host", "3", NULL, "x:y/z", FALSE},
      {"nbd:[::1]:3:exportname=x", "::1", "3", NULL, "x", FALSE},
      {"nbd:unix:/s:exportname=x", NULL, NULL, "/s", "x", FALSE},
      {"nbd:unix:/s", NULL, NULL, "/s", "", FALSE},
      {"nbd://host", "host", "10809", NULL, "", FALSE},
      {"nbd://host:4/x", "host", "4", NULL, "x", FALSE},
      {"nbds://[::1]:4/x", "::1", "4", NULL, "x", TRUE},
      {"nbd://host/a%20b%2fc", "host", "10809", NULL, "a b/c", FALSE},
      {"nbd://host/disk-%d", "host", "10809", NULL, "disk-%d", FALSE},
      {"nbd://host/%d.raw", "host", "10809", NULL, "%d.raw", FALSE},
      {"nbd://host/%d0%b1", "host", "10809", NULL, "б", FALSE},
      {"nbd+unix:///x?socket=/s", NULL, NULL, "/s", "x", FALSE},
      {"nbds+unix:///?socket=/a%26b/s", NULL, NULL, "/a&b/s", "", TRUE},
      {"unix:/nobody/listens/here", NULL, NULL, "/nobody/listens/here", "", FALSE},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (rows); i++)
    assert_row (&rows[i]);
}

static void
what_is_no_address_is_refused (void)
{
  const char *const texts[] = {"",
                               ":1",
                               "host:",
                               "host:0",
                               "host:65536",
                               "host:x",
                               "host: 1",
                               "[::1",
                               "[]:1",
                               "[::1]x",
                               "::1:10809",
                               "nbd:",
                               "nbd:host:x",
                               "nbd:unix:",
                               "unix:",
                               "nbd://",
                               "nbd://h:99999999",
                               "nbd+unix:///x",
                               "nbd+unix:///x?other=/s"};

  for (gsize i = 0; i < G_N_ELEMENTS (texts); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (EngineNbdAddress) address = engine_nbdaddress_parse (texts[i], &error);

    if (address != NULL)
      g_printerr ("# %s\n", texts[i]);
    CU_ASSERT_PTR_NULL (address);
    SUPPORT_ASSERT_ERROR (error, ENGINE_ERROR, ENGINE_ERROR_USAGE);
  }
}

/* What is shown and journalled is read again, and has to mean the same. */
static void
uri_is_read_back_as_what_it_was_made_of (void)
{
  const Row rows[] = {
      {NULL, "host", "1", NULL, "", FALSE},
      {NULL, "::1", "10809", NULL, "a b/c?d&e#f%g", FALSE},
      {NULL, NULL, NULL, "/a b/c?d&e#f%41", "x=y&socket=z", FALSE},
      {NULL, NULL, NULL, "/s", "б%d", TRUE},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (rows); i++) {
    Row row = rows[i];
    const EngineNbdAddress made = {(char *)row.host, (char *)row.port, (char *)row.path, (char *)row.export, row.tls};
    g_autofree char *uri = engine_nbdaddress_uri (&made, row.export, row.tls);

    row.text = uri;
    assert_row (&row);
  }
}

static void
socket_tells_where_its_path_ends (void)
{
  g_autofree char *folder = g_dir_make_tmp ("nbd-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "s", NULL);
  g_autofree char *text = g_strdup_printf ("unix:%s/a/b", path), *alone = g_strdup_printf ("unix:%s", path);
  g_autoptr (GSocketListener) listener = g_socket_listener_new ();
  g_autoptr (GSocketAddress) address = g_unix_socket_address_new (path);

  CU_ASSERT_FATAL (g_socket_listener_add_address (listener, address, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT,
                                                  NULL, NULL, NULL));
  assert_row (&(Row){text, NULL, NULL, path, "a/b", FALSE});
  assert_row (&(Row){alone, NULL, NULL, path, "", FALSE});
  CU_ASSERT_EQUAL (g_unlink (path), 0);
  CU_ASSERT_EQUAL (g_rmdir (folder), 0);
}

static void
export_may_be_another_for_each_disk (void)
{
  g_autoptr (EngineNbdAddress) each = engine_nbdaddress_parse ("host/%d-of-%d", NULL);
  g_autoptr (EngineNbdAddress) one = engine_nbdaddress_parse ("host/d", NULL);
  g_autofree char *export = engine_nbdaddress_export (each, "vda"), *same = engine_nbdaddress_export (one, "vda");

  CU_ASSERT (engine_nbdaddress_is_of_each (each) && !engine_nbdaddress_is_of_each (one));
  CU_ASSERT_STRING_EQUAL (export, "vda-of-vda");
  CU_ASSERT_STRING_EQUAL (same, "d");
}

static void
qmp_takes_an_address_of_either_kind (void)
{
  g_autoptr (EngineNbdAddress) tcp = engine_nbdaddress_parse ("[::1]:5/x", NULL);
  g_autoptr (EngineNbdAddress) local = engine_nbdaddress_parse ("nbd:unix:/s:exportname=x", NULL);
  g_autoptr (JsonObject) inet = engine_nbdaddress_to_json (tcp);
  g_autoptr (JsonObject) path = engine_nbdaddress_to_json (local);

  CU_ASSERT_STRING_EQUAL (qmp_message_peek_string (inet, "type"), "inet");
  CU_ASSERT_STRING_EQUAL (qmp_message_peek_string (inet, "host"), "::1");
  CU_ASSERT_STRING_EQUAL (qmp_message_peek_string (inet, "port"), "5");
  CU_ASSERT_STRING_EQUAL (qmp_message_peek_string (path, "type"), "unix");
  CU_ASSERT_STRING_EQUAL (qmp_message_peek_string (path, "path"), "/s");
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (every_spelling_is_understood),
      SUPPORT_TEST (what_is_no_address_is_refused),
      SUPPORT_TEST (uri_is_read_back_as_what_it_was_made_of),
      SUPPORT_TEST (socket_tells_where_its_path_ends),
      SUPPORT_TEST (export_may_be_another_for_each_disk),
      SUPPORT_TEST (qmp_takes_an_address_of_either_kind),
  };
  return support_suite_run ("nbdaddress", tests, G_N_ELEMENTS (tests), argc, argv);
}
