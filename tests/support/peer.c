/*
 * The scripted peer: a thread, a blocking socket with a bound on each wait, and
 * the few things that a script says and hears. It reads lines, as the tested
 * side sends one command a line. Leaves what to say to the scripts.
 */
#include "tests/support/peer.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qmp/transport.h"

#define PATIENCE_MS (10 * 1000)

static const char greeting[] = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
                               "\"package\": \"scripted\"}, \"capabilities\": [\"oob\"]}}\r\n";

struct _SupportPeer {
  GThread *thread;
  SupportPeerScript script;
  gconstpointer user_data;
  int fd;        /* the peer's end, -1 once closed */
  int other;     /* the tested end until it is taken, or -1 */
  int listener;  /* or -1 */
  char *folder;  /* (nullable): of the listener */
  char *address; /* (nullable) */
  GByteArray *received;
  GString *failures; /* the thread's until it is joined */
};

G_GNUC_PRINTF (2, 3)
static void
fail (SupportPeer *peer, const char *format, ...)
{
  va_list arguments;

  va_start (arguments, format);
  g_string_append (peer->failures, "# the scripted peer: ");
  g_string_append_vprintf (peer->failures, format, arguments);
  g_string_append_c (peer->failures, '\n');
  va_end (arguments);
}

static gboolean
wait_for (int fd, short events)
{
  struct pollfd watched = {.fd = fd, .events = events};
  int ready;

  do {
    ready = poll (&watched, 1, PATIENCE_MS);
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

static void
accept_connection (SupportPeer *peer)
{
  if (!wait_for (peer->listener, POLLIN)) {
    fail (peer, "nobody connected");
    return;
  }
  peer->fd = accept4 (peer->listener, NULL, NULL, SOCK_CLOEXEC);
}

static gpointer
run (gpointer data)
{
  SupportPeer *peer = data;

  if (peer->listener >= 0)
    accept_connection (peer);
  if (peer->fd >= 0)
    peer->script (peer, peer->user_data);
  return NULL;
}

static SupportPeer *
new_peer (SupportPeerScript script, gconstpointer user_data)
{
  SupportPeer *peer = g_new0 (SupportPeer, 1);
  peer->script = script;
  peer->user_data = user_data;
  peer->fd = peer->other = peer->listener = -1;
  peer->received = g_byte_array_new ();
  peer->failures = g_string_new (NULL);
  return peer;
}

SupportPeer *
support_peer_new (SupportPeerScript script, gconstpointer user_data)
{
  SupportPeer *peer = new_peer (script, user_data);
  int ends[2];

  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    g_error ("socketpair: %s", g_strerror (errno));
  peer->fd = ends[0];
  peer->other = ends[1];
  peer->thread = g_thread_new ("peer", run, peer);
  return peer;
}

SupportPeer *
support_peer_new_listening (SupportPeerScript script, gconstpointer user_data)
{
  SupportPeer *peer = new_peer (script, user_data);
  struct sockaddr_un where = {.sun_family = AF_UNIX};

  peer->folder = g_dir_make_tmp ("peer-XXXXXX", NULL);
  peer->address = g_strdup_printf ("unix:%s/socket", peer->folder);
  g_strlcpy (where.sun_path, peer->address + strlen ("unix:"), sizeof where.sun_path);
  peer->listener = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind (peer->listener, (const struct sockaddr *)&where, sizeof where) < 0 || listen (peer->listener, 1) < 0)
    g_error ("%s: %s", where.sun_path, g_strerror (errno));
  peer->thread = g_thread_new ("peer", run, peer);
  return peer;
}

GIOStream *
support_peer_take_io (SupportPeer *peer)
{
  int fd = peer->other;
  peer->other = -1;
  return qmp_transport_from_fd (fd);
}

const char *
support_peer_get_address (SupportPeer *peer)
{
  return peer->address;
}

static void
close_fd (int *fd)
{
  if (*fd >= 0)
    close (*fd);
  *fd = -1;
}

static void
remove_listener (SupportPeer *peer)
{
  close_fd (&peer->listener);
  if (peer->folder == NULL)
    return;
  g_unlink (peer->address + strlen ("unix:"));
  g_rmdir (peer->folder);
}

void
support_peer_finish (SupportPeer *peer)
{
  close_fd (&peer->other);
  g_thread_join (peer->thread);
  g_print ("%s", peer->failures->str);
  gboolean script_went_as_written = peer->failures->len == 0;
  CU_ASSERT (script_went_as_written);

  close_fd (&peer->fd);
  remove_listener (peer);
  g_byte_array_unref (peer->received);
  g_string_free (peer->failures, TRUE);
  g_free (peer->folder);
  g_free (peer->address);
  g_free (peer);
}

/* A tested side that hangs up is no failure here: that may be what the test is about. */
void
support_peer_send_bytes (SupportPeer *peer, const void *data, gsize length)
{
  const guint8 *bytes = data;

  while (length > 0 && peer->fd >= 0) {
    if (!wait_for (peer->fd, POLLOUT)) {
      fail (peer, "nobody reads what it sends");
      return;
    }
    ssize_t sent = send (peer->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
      return;
    if (sent > 0) {
      bytes += sent;
      length -= (gsize)sent;
    }
  }
}

void
support_peer_send (SupportPeer *peer, const char *text)
{
  support_peer_send_bytes (peer, text, strlen (text));
}

void
support_peer_send_bytewise (SupportPeer *peer, const char *text)
{
  for (; *text != '\0'; text++)
    support_peer_send_bytes (peer, text, 1);
}

/* Reads on. Returns FALSE at the end of the connection or of patience. */
static gboolean
receive (SupportPeer *peer)
{
  guint8 buffer[4096];

  if (peer->fd < 0 || !wait_for (peer->fd, POLLIN)) {
    fail (peer, "nothing came");
    return FALSE;
  }
  ssize_t got = read (peer->fd, buffer, sizeof buffer);
  if (got > 0)
    g_byte_array_append (peer->received, buffer, (guint)got);
  return got > 0;
}

static char *
receive_line (SupportPeer *peer)
{
  for (;;) {
    const guint8 *data = peer->received->data;
    const guint8 *end = peer->received->len > 0 ? memchr (data, '\n', peer->received->len) : NULL;
    if (end != NULL) {
      guint length = (guint)(end - data);
      char *line = g_strndup ((const char *)data, length);
      g_byte_array_remove_range (peer->received, 0, length + 1);
      return line;
    }
    if (!receive (peer))
      return NULL;
  }
}

static JsonNode *
receive_command (SupportPeer *peer, const char *expected)
{
  g_autofree char *line = receive_line (peer);
  g_autoptr (JsonNode) command = line != NULL ? json_from_string (line, NULL) : NULL;

  if (command == NULL || !JSON_NODE_HOLDS_OBJECT (command)) {
    fail (peer, "'%s' expected, came: %s", expected, line != NULL ? line : "nothing");
    return NULL;
  }
  const char *name = json_object_get_string_member_with_default (json_node_get_object (command), "execute", "");
  if (g_strcmp0 (name, expected) != 0)
    fail (peer, "'%s' expected, came '%s'", expected, name);
  return g_steal_pointer (&command);
}

char *
support_peer_expect (SupportPeer *peer, const char *command, JsonObject **arguments)
{
  g_autoptr (JsonNode) received = receive_command (peer, command);
  JsonObject *message = received != NULL ? json_node_get_object (received) : NULL;

  if (arguments != NULL) {
    gboolean given = message != NULL && json_object_has_member (message, "arguments");
    *arguments = given ? json_object_ref (json_object_get_object_member (message, "arguments")) : json_object_new ();
  }
  if (message == NULL)
    return g_strdup ("");
  return g_strdup (json_object_get_string_member_with_default (message, "id", ""));
}

void
support_peer_expect_byte (SupportPeer *peer, guint8 byte)
{
  while (peer->received->len == 0)
    if (!receive (peer))
      return;
  if (peer->received->data[0] != byte)
    fail (peer, "the byte 0x%02x expected, came 0x%02x", byte, peer->received->data[0]);
  g_byte_array_remove_index (peer->received, 0);
}

void
support_peer_expect_end (SupportPeer *peer)
{
  while (receive (peer))
    continue;
  if (peer->received->len > 0)
    fail (peer, "the end expected, came: %.*s", (int)peer->received->len, (const char *)peer->received->data);
}

void
support_peer_reply (SupportPeer *peer, const char *id, const char *json)
{
  g_autofree char *tail = id != NULL ? g_strdup_printf (", \"id\": \"%s\"", id) : g_strdup ("");
  g_autofree char *text = g_strdup_printf ("{\"return\": %s%s}\r\n", json, tail);
  support_peer_send (peer, text);
}

void
support_peer_reply_error (SupportPeer *peer, const char *id, const char *class, const char *desc)
{
  g_autofree char *tail = id != NULL ? g_strdup_printf (", \"id\": \"%s\"", id) : g_strdup ("");
  g_autofree char *text =
      g_strdup_printf ("{\"error\": {\"class\": \"%s\", \"desc\": \"%s\"}%s}\r\n", class, desc, tail);
  support_peer_send (peer, text);
}

void
support_peer_event (SupportPeer *peer, const char *name, int number)
{
  g_autofree char *text = g_strdup_printf ("{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 250000}, "
                                           "\"event\": \"%s\", \"data\": {\"number\": %d}}\r\n",
                                           name, number);
  support_peer_send (peer, text);
}

void
support_peer_greet (SupportPeer *peer)
{
  support_peer_send (peer, greeting);
  g_autofree char *id = support_peer_expect (peer, "qmp_capabilities", NULL);
  support_peer_reply (peer, id, "{}");
}

gint64
support_peer_expect_sync (SupportPeer *peer)
{
  g_autoptr (JsonObject) arguments = NULL;

  support_peer_expect_byte (peer, 0xFF);
  g_autofree char *id = support_peer_expect (peer, "guest-sync-delimited", &arguments);
  return json_object_get_int_member_with_default (arguments, "id", 0);
}

void
support_peer_answer_sync (SupportPeer *peer, gint64 id)
{
  g_autofree char *text = g_strdup_printf ("\xff{\"return\": %" G_GINT64_FORMAT "}\n", id);
  support_peer_send (peer, text);
}

void
support_peer_sync (SupportPeer *peer)
{
  support_peer_answer_sync (peer, support_peer_expect_sync (peer));
}

void
support_peer_close (SupportPeer *peer)
{
  close_fd (&peer->fd);
}
