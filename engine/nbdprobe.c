/*
 * As much of NBD's handshake as tells whether an export is there, how large it is,
 * and whether it may be written to. Nothing is transmitted.
 */
#include "engine/nbdprobe.h"

#include "engine/error.h"

#include <gio/gunixsocketaddress.h>
#include <string.h>

/* Source: NBD doc/proto.md. */
#define MAGIC "NBDMAGIC"
#define OPTION_MAGIC "IHAVEOPT"
#define REPLY_MAGIC G_GUINT64_CONSTANT (0x3e889045565a9)
#define FLAG_FIXED_NEWSTYLE 1
#define CLIENT_FIXED_NEWSTYLE 1
#define OPT_ABORT 2
#define OPT_STARTTLS 5
#define OPT_INFO 6
#define REP_ACK 1
#define REP_INFO 3
#define REP_ERROR (1U << 31)
#define REP_ERR_UNSUP (REP_ERROR + 1)
#define REP_ERR_POLICY (REP_ERROR + 2)
#define REP_ERR_TLS_REQD (REP_ERROR + 5)
#define REP_ERR_UNKNOWN (REP_ERROR + 6)
#define INFO_EXPORT 0
#define TRANSMISSION_READ_ONLY 2
#define MOST_REPLY 65536
#define MOST_REPLIES 64
#define LEAVE_US (200 * 1000)

typedef struct {
  const EngineNbdAddress *address;
  const char *export;
  GSocketConnection *connection;
  gint64 deadline_us;
  GCancellable *cancellable;
} Probe;

/* ---- bytes ---- */

/* One deadline for all of it: a server that says a byte now and then is no better than one that says nothing. */
static gboolean
await (const Probe *probe, GIOCondition condition, GError **error)
{
  gint64 left_us = probe->deadline_us - g_get_monotonic_time ();

  if (left_us > 0)
    return g_socket_condition_timed_wait (g_socket_connection_get_socket (probe->connection), condition, left_us,
                                          probe->cancellable, error);
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT, "it does not come to an end");
  return FALSE;
}

static gboolean
receive (const Probe *probe, guint8 *bytes, gsize length, GError **error)
{
  GSocket *socket = g_socket_connection_get_socket (probe->connection);
  gsize done = 0;

  while (done < length) {
    gssize got = await (probe, G_IO_IN, error)
                     ? g_socket_receive_with_blocking (socket, (char *)bytes + done, length - done, FALSE,
                                                       probe->cancellable, error)
                     : -1;

    if (got < 0)
      return FALSE;
    if (got == 0) {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_CLOSED, "it hung up");
      return FALSE;
    }
    done += (gsize)got;
  }
  return TRUE;
}

static void
put (GByteArray *to, guint64 value, gsize bytes)
{
  guint64 wire = GUINT64_TO_BE (value);

  g_byte_array_append (to, (const guint8 *)&wire + 8 - bytes, (guint)bytes);
}

static guint64
get (const guint8 *from, gsize bytes)
{
  guint64 value = 0;

  for (gsize i = 0; i < bytes; i++)
    value = value << 8 | from[i];
  return value;
}

static gboolean
send_bytes (const Probe *probe, const GByteArray *bytes, GError **error)
{
  GOutputStream *stream = g_io_stream_get_output_stream (G_IO_STREAM (probe->connection));

  return await (probe, G_IO_OUT, error) &&
         g_output_stream_write_all (stream, bytes->data, bytes->len, NULL, probe->cancellable, error);
}

/* ---- the handshake ---- */

static gboolean
greet (const Probe *probe, GError **error)
{
  guint8 greeting[18];
  g_autoptr (GByteArray) flags = g_byte_array_new ();

  if (!receive (probe, greeting, sizeof greeting, error))
    return FALSE;
  if (memcmp (greeting, MAGIC, 8) != 0 || memcmp (greeting + 8, OPTION_MAGIC, 8) != 0 ||
      (get (greeting + 16, 2) & FLAG_FIXED_NEWSTYLE) == 0) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "it does not speak NBD as of today");
    return FALSE;
  }
  put (flags, CLIENT_FIXED_NEWSTYLE, 4);
  return send_bytes (probe, flags, error);
}

static gboolean
send_option (const Probe *probe, guint32 option, const GByteArray *data, GError **error)
{
  g_autoptr (GByteArray) bytes = g_byte_array_new ();

  g_byte_array_append (bytes, (const guint8 *)OPTION_MAGIC, 8);
  put (bytes, option, 4);
  put (bytes, data != NULL ? data->len : 0, 4);
  if (data != NULL)
    g_byte_array_append (bytes, data->data, data->len);
  return send_bytes (probe, bytes, error);
}

static gboolean
receive_reply (const Probe *probe, guint32 option, guint32 *type, GByteArray *data, GError **error)
{
  guint8 head[20];
  guint64 length;

  if (!receive (probe, head, sizeof head, error))
    return FALSE;
  length = get (head + 16, 4);
  if (get (head, 8) != REPLY_MAGIC || get (head + 8, 4) != option || length > MOST_REPLY) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "what it answers is no NBD");
    return FALSE;
  }
  *type = (guint32)get (head + 12, 4);
  g_byte_array_set_size (data, (guint)length);
  return receive (probe, data->data, length, error);
}

static void
learn (EngineNbdExport *out, const GByteArray *info)
{
  if (info->len < 12 || get (info->data, 2) != INFO_EXPORT)
    return;
  out->known = TRUE;
  out->size = (gint64)get (info->data + 2, 8);
  out->read_only = (get (info->data + 10, 2) & TRANSMISSION_READ_ONLY) != 0;
}

static gboolean
refuse (const Probe *probe, guint32 type, GError **error)
{
  if (type == REP_ERR_TLS_REQD)
    engine_error_set (error, ENGINE_ERROR_REFUSED, "name a folder with certificates: --tls-creds DIR",
                      "the NBD server wants TLS");
  else if (type == REP_ERR_UNKNOWN)
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, "see what it has with `qemu-nbd --list`",
                      "the NBD server has no export '%s'", probe->export);
  else
    engine_error_set (error, ENGINE_ERROR_REFUSED, NULL, "the NBD server refuses the export '%s' (error %u)",
                      probe->export, type - REP_ERROR);
  return FALSE;
}

/* A server that knows no such question is let alone: QEMU will see. */
static gboolean
ask_export (const Probe *probe, EngineNbdExport *out, GError **error)
{
  g_autoptr (GByteArray) question = g_byte_array_new (), answer = g_byte_array_new ();
  guint32 type = REP_INFO;

  put (question, strlen (probe->export), 4);
  g_byte_array_append (question, (const guint8 *)probe->export, (guint)strlen (probe->export));
  put (question, 0, 2);
  if (!send_option (probe, OPT_INFO, question, error))
    return FALSE;
  for (int i = 0; i < MOST_REPLIES && type == REP_INFO; i++) {
    if (!receive_reply (probe, OPT_INFO, &type, answer, error))
      return FALSE;
    if (type == REP_INFO)
      learn (out, answer);
  }
  if (type != REP_INFO)
    return type == REP_ACK || type == REP_ERR_UNSUP || refuse (probe, type, error);
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "its answer does not come to an end");
  return FALSE;
}

static gboolean
ask_tls (const Probe *probe, GError **error)
{
  g_autoptr (GByteArray) answer = g_byte_array_new ();
  guint32 type;

  if (!send_option (probe, OPT_STARTTLS, NULL, error) || !receive_reply (probe, OPT_STARTTLS, &type, answer, error))
    return FALSE;
  if (type == REP_ACK)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "start it with credentials of its own",
                    "the NBD server does not offer TLS; nothing was sent in clear text");
  return FALSE;
}

/* ---- all of it ---- */

static GSocketConnection *
connect_to (const EngineNbdAddress *address, gint64 timeout_us, GCancellable *cancellable, GError **error)
{
  g_autoptr (GSocketClient) client = g_socket_client_new ();
  g_autoptr (GSocketConnectable) to = NULL;
  guint64 port = 0;

  if (address->path != NULL) {
    to = G_SOCKET_CONNECTABLE (g_unix_socket_address_new (address->path));
  } else {
    (void)g_ascii_string_to_unsigned (address->port, 10, 1, G_MAXUINT16, &port, NULL);
    to = G_SOCKET_CONNECTABLE (g_network_address_new (address->host, (guint16)port));
  }
  g_socket_client_set_timeout (client, (guint)MAX (timeout_us / G_USEC_PER_SEC, 1));
  g_socket_client_set_enable_proxy (client, FALSE);
  return g_socket_client_connect (client, to, cancellable, error);
}

/* A server that is left while it answers complains. One that does not answer has told already what was asked. */
static void
take_leave (const Probe *probe)
{
  Probe last = *probe;
  g_autoptr (GByteArray) answer = g_byte_array_new ();
  g_autoptr (GError) failure = NULL;
  guint32 type;

  last.deadline_us = MIN (probe->deadline_us, g_get_monotonic_time () + LEAVE_US);
  if (!send_option (&last, OPT_ABORT, NULL, &failure) || !receive_reply (&last, OPT_ABORT, &type, answer, &failure))
    g_debug ("an NBD server could not be taken leave of: %s", failure->message);
}

static gboolean
look (const Probe *probe, gboolean tls, EngineNbdExport *out, GError **error)
{
  if (!greet (probe, error) || !(tls ? ask_tls (probe, error) : ask_export (probe, out, error)))
    return FALSE;
  if (!tls)
    take_leave (probe);
  return TRUE;
}

/* What went wrong with the server @uri. @failure: (transfer full). Returns: %FALSE */
static gboolean
set_failure (const char *uri, GError *failure, GError **error)
{
  if (failure->domain == ENGINE_ERROR || g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_propagate_prefixed_error (error, failure, "%s: ", uri);
    return FALSE;
  }
  engine_error_set (error, ENGINE_ERROR_UNREACHABLE, "does it run, and may you and QEMU reach it?", "%s: %s", uri,
                    failure->message);
  g_error_free (failure);
  return FALSE;
}

gboolean
engine_nbdprobe_find (const EngineNbdAddress *address, gint64 timeout_us, GCancellable *cancellable, GError **error)
{
  GError *failure = NULL;
  g_autoptr (GSocketConnection) connection = connect_to (address, timeout_us, cancellable, &failure);
  g_autofree char *uri = engine_nbdaddress_uri (address, address->export, address->tls);

  return connection != NULL || set_failure (uri, failure, error);
}

gboolean
engine_nbdprobe_run (const EngineNbdAddress *address, const char *export, gboolean tls, gint64 timeout_us,
                     GCancellable *cancellable, EngineNbdExport *out, GError **error)
{
  GError *failure = NULL;
  g_autoptr (GSocketConnection) connection = connect_to (address, timeout_us, cancellable, &failure);
  const Probe probe = {address, export, connection, g_get_monotonic_time () + timeout_us, cancellable};
  g_autofree char *uri = engine_nbdaddress_uri (address, export, tls);

  *out = (EngineNbdExport){0};
  return (connection != NULL && look (&probe, tls, out, &failure)) || set_failure (uri, failure, error);
}
