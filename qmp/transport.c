/*
 * Addresses and connections: parses `unix:` and `vsock:`, connects without
 * ever blocking the thread's main context, and wraps the descriptor as a
 * GIOStream. Promises CLOEXEC, non-blocking descriptors and writes without
 * SIGPIPE. Leaves bytes to qmp/stream.
 */
#include "qmp/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixinputstream.h>
#include <gio/gunixoutputstream.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <linux/vm_sockets.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "qmp/call.h"
#include "qmp/error.h"

/* A full listen queue says nothing when it drains, so it is asked again: soon at first, then less often. */
#define FIRST_RETRY_US (2 * 1000)
#define LAST_RETRY_US (50 * 1000)

typedef enum { ADDRESS_UNIX, ADDRESS_VSOCK } AddressKind;

typedef struct {
  AddressKind kind;
  const char *path; /* of ADDRESS_UNIX; borrowed from the text */
  guint32 cid;
  guint32 port;
} Address;

static gboolean
parse_vsock_number (const char *text, const char *what, guint32 *out, GError **error)
{
  guint64 number;

  /* 2^32-1 means "any" to a listener, and 0 is nobody's: neither can be connected to. */
  if (!g_ascii_string_to_unsigned (text, 10, 1, G_MAXUINT32 - 1, &number, NULL)) {
    g_set_error (error, QMP_ERROR, QMP_ERROR_ADDRESS, "the %s '%s' is no number from 1 to %u", what, text,
                 G_MAXUINT32 - 1);
    return FALSE;
  }
  *out = (guint32)number;
  return TRUE;
}

static gboolean
parse_vsock (const char *rest, Address *out, GError **error)
{
  g_auto (GStrv) parts = g_strsplit (rest, ":", -1);

  if (g_strv_length (parts) != 2) {
    g_set_error (error, QMP_ERROR, QMP_ERROR_ADDRESS, "a vsock address is vsock:CID:PORT");
    return FALSE;
  }
  out->kind = ADDRESS_VSOCK;
  return parse_vsock_number (parts[0], "CID", &out->cid, error) &&
         parse_vsock_number (parts[1], "port", &out->port, error);
}

static gboolean
parse_unix (const char *path, Address *out, GError **error)
{
  if (*path == '\0') {
    g_set_error (error, QMP_ERROR, QMP_ERROR_ADDRESS, "the path of the socket is missing");
    return FALSE;
  }
  out->kind = ADDRESS_UNIX;
  out->path = path;
  return TRUE;
}

static gboolean
looks_like_another_kind (const char *address)
{
  gsize letters = strspn (address, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
  return letters > 0 && address[letters] == ':';
}

static gboolean
parse_kind (const char *address, Address *out, GError **error)
{
  if (g_str_has_prefix (address, "unix:"))
    return parse_unix (address + strlen ("unix:"), out, error);
  if (g_str_has_prefix (address, "vsock:"))
    return parse_vsock (address + strlen ("vsock:"), out, error);
  if (!looks_like_another_kind (address))
    return parse_unix (address, out, error);

  g_set_error (error, QMP_ERROR, QMP_ERROR_ADDRESS, "it is neither unix:PATH nor vsock:CID:PORT");
  return FALSE;
}

static gboolean
parse_address (const char *address, Address *out, GError **error)
{
  g_autofree char *shown = g_filename_display_name (address);

  if (parse_kind (address, out, error))
    return TRUE;
  g_prefix_error (error, "address '%s': ", shown);
  return FALSE;
}

gboolean
qmp_transport_check_address (const char *address, GError **error)
{
  Address ignored = {0};
  return parse_address (address, &ignored, error);
}

static gboolean
set_connect_error (const char *address, QmpError code, int errsv, GError **error)
{
  g_autofree char *shown = g_filename_display_name (address);
  const char *hint = errsv == ENOENT || errsv == ECONNREFUSED ? " (nobody listens there)" : "";

  g_set_error (error, QMP_ERROR, code, "cannot connect to '%s': %s%s", shown, g_strerror (errsv), hint);
  return FALSE;
}

/*
 * sun_path has room for 107 bytes. The socket of a longer path is opened as a
 * mere place (O_PATH) and reached through /proc, which makes a short name of it
 * and checks the same permissions. @place keeps it open.
 */
static gboolean
fill_sun_path (const char *path, struct sockaddr_un *out, int *place)
{
  out->sun_family = AF_UNIX;
  if (strlen (path) < sizeof out->sun_path) {
    g_strlcpy (out->sun_path, path, sizeof out->sun_path);
    return TRUE;
  }

  *place = open (path, O_PATH | O_CLOEXEC);
  if (*place < 0)
    return FALSE;
  g_snprintf (out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d", *place);
  return TRUE;
}

static void
close_place (int *place)
{
  if (*place >= 0)
    close (*place);
}

static int
try_connect_unix (int fd, const char *path)
{
  __attribute__ ((cleanup (close_place))) int place = -1;
  struct sockaddr_un where = {0};

  if (!fill_sun_path (path, &where, &place))
    return errno;
  return connect (fd, (const struct sockaddr *)&where, sizeof where) == 0 ? 0 : errno;
}

static gboolean
never (gpointer user_data)
{
  return FALSE;
}

/* Sleeps, or says why there is no more time for it. */
static gboolean
sleep_until (gint64 until_us, gint64 deadline_us, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) local = NULL;
  gboolean woken = qmp_call_wait_until (never, NULL, MIN (until_us, deadline_us), cancellable, &local);

  if (!woken && g_error_matches (local, QMP_ERROR, QMP_ERROR_TIMEOUT) && until_us <= deadline_us)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&local));
  return FALSE;
}

static gboolean
connect_unix (int fd, const char *address, const char *path, gint64 deadline_us, GCancellable *cancellable,
              GError **error)
{
  gint64 pause_us = FIRST_RETRY_US;
  int result;

  while ((result = try_connect_unix (fd, path)) == EAGAIN) {
    g_autoptr (GError) local = NULL;
    if (!sleep_until (g_get_monotonic_time () + pause_us, deadline_us, cancellable, &local)) {
      if (!g_error_matches (local, QMP_ERROR, QMP_ERROR_TIMEOUT)) {
        g_propagate_error (error, g_steal_pointer (&local));
        return FALSE;
      }
      g_autofree char *shown = g_filename_display_name (address);
      g_set_error (error, QMP_ERROR, QMP_ERROR_BUSY,
                   "'%s' takes no further connection: another client holds it and others wait", shown);
      return FALSE;
    }
    pause_us = MIN (pause_us * 2, LAST_RETRY_US);
  }
  return result == 0 ? TRUE : set_connect_error (address, QMP_ERROR_CONNECT, result, error);
}

static gboolean
note_writable (int fd, GIOCondition condition, gpointer user_data)
{
  gboolean *writable = user_data;
  *writable = TRUE;
  return G_SOURCE_REMOVE;
}

static gboolean
is_set (gpointer user_data)
{
  return *(gboolean *)user_data;
}

static gboolean
wait_connected (int fd, gint64 deadline_us, GCancellable *cancellable, GError **error)
{
  g_autoptr (GMainContext) context = g_main_context_ref_thread_default ();
  g_autoptr (GSource) source = g_unix_fd_source_new (fd, G_IO_OUT);
  gboolean writable = FALSE;

  g_source_set_callback (source, G_SOURCE_FUNC (note_writable), &writable, NULL);
  g_source_attach (source, context);
  gboolean met = qmp_call_wait_until (is_set, &writable, deadline_us, cancellable, error);
  g_source_destroy (source);
  return met;
}

/* The kernel gives up on a vsock peer after two seconds of its own; the deadline is ours to set. */
static void
extend_vsock_timeout (int fd, gint64 deadline_us)
{
  gint64 seconds = (deadline_us - g_get_monotonic_time ()) / G_USEC_PER_SEC + 1;
  struct timeval timeout = {.tv_sec = CLAMP (seconds, 1, 24 * 3600)};

  setsockopt (fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &timeout, sizeof timeout);
}

static gboolean
connect_vsock (int fd, const char *address, const Address *parsed, gint64 deadline_us, GCancellable *cancellable,
               GError **error)
{
  struct sockaddr_vm where = {.svm_family = AF_VSOCK, .svm_cid = parsed->cid, .svm_port = parsed->port};
  g_autoptr (GError) local = NULL;
  int result = 0;
  socklen_t size = sizeof result;

  extend_vsock_timeout (fd, deadline_us);
  if (connect (fd, (const struct sockaddr *)&where, sizeof where) == 0)
    return TRUE;
  if (errno != EINPROGRESS)
    return set_connect_error (address, QMP_ERROR_CONNECT, errno, error);

  if (!wait_connected (fd, deadline_us, cancellable, &local)) {
    if (g_error_matches (local, QMP_ERROR, QMP_ERROR_TIMEOUT))
      return set_connect_error (address, QMP_ERROR_TIMEOUT, ETIMEDOUT, error);
    g_propagate_error (error, g_steal_pointer (&local));
    return FALSE;
  }
  if (getsockopt (fd, SOL_SOCKET, SO_ERROR, &result, &size) < 0)
    result = errno;
  if (result == 0)
    return TRUE;
  return set_connect_error (address, result == ETIMEDOUT ? QMP_ERROR_TIMEOUT : QMP_ERROR_CONNECT, result, error);
}

GIOStream *
qmp_transport_connect (const char *address, gint64 deadline_us, GCancellable *cancellable, GError **error)
{
  Address parsed = {0};

  if (!parse_address (address, &parsed, error))
    return NULL;

  int family = parsed.kind == ADDRESS_UNIX ? AF_UNIX : AF_VSOCK;
  int fd = socket (family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    set_connect_error (address, QMP_ERROR_CONNECT, errno, error);
    return NULL;
  }

  /* Owned from here on, so that every way out closes it. */
  g_autoptr (GIOStream) stream = qmp_transport_from_fd (fd);
  gboolean connected = parsed.kind == ADDRESS_UNIX
                           ? connect_unix (fd, address, parsed.path, deadline_us, cancellable, error)
                           : connect_vsock (fd, address, &parsed, deadline_us, cancellable, error);
  return connected ? g_steal_pointer (&stream) : NULL;
}

GIOStream *
qmp_transport_from_fd (int fd)
{
  int flags = fcntl (fd, F_GETFD);

  if (flags >= 0)
    fcntl (fd, F_SETFD, flags | FD_CLOEXEC);
  g_unix_set_fd_nonblocking (fd, TRUE, NULL);

  g_autoptr (GInputStream) input = g_unix_input_stream_new (fd, TRUE);
  g_autoptr (GOutputStream) output = g_unix_output_stream_new (fd, FALSE);
  return g_simple_io_stream_new (input, output);
}

gssize
qmp_transport_send (GIOStream *stream, const void *data, gsize length, GError **error)
{
  gssize sent;

  do {
    sent = send (qmp_transport_get_fd (stream), data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);

  if (sent < 0) {
    int errsv = errno;
    g_set_error_literal (error, G_IO_ERROR, g_io_error_from_errno (errsv), g_strerror (errsv));
  }
  return sent;
}

int
qmp_transport_get_fd (GIOStream *stream)
{
  return g_unix_input_stream_get_fd (G_UNIX_INPUT_STREAM (g_io_stream_get_input_stream (stream)));
}

pid_t
qmp_transport_get_peer_pid (GIOStream *stream)
{
  struct ucred peer = {0};
  socklen_t size = sizeof peer;

  if (getsockopt (qmp_transport_get_fd (stream), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
    return 0;
  return peer.pid;
}
