/*
 * Framing: finds JSON objects in whatever pieces the bytes arrive, one look at
 * each byte, and writes without blocking. Promises that no input makes it
 * buffer or recurse beyond its caps, and that a handler may free the stream it
 * is called from. Leaves what a message says to its owner.
 */
#include "qmp/stream.h"

#include "qmp/error.h"
#include "qmp/transport.h"

#define READ_SIZE (64 * 1024)

/* A frame's buffer that grew beyond this is given back after the message. */
#define KEEP_SIZE (1024 * 1024)

/* 0xFF is in no UTF-8 text: an agent sends it before the answer to a sync, so that all before it is void. */
#define RESET_BYTE 0xFF

typedef enum {
  SCAN_BETWEEN,  /* between messages */
  SCAN_SKIPPING, /* in rubbish, up to a line end or 0xFF */
  SCAN_PLAIN,    /* in a message */
  SCAN_STRING,
  SCAN_ESCAPE, /* after the backslash */
  SCAN_HEX,    /* in the digits of \uXXXX */
} ScanState;

typedef enum {
  VERDICT_MORE,      /* the message goes on */
  VERDICT_COMPLETE,  /* this byte ended it */
  VERDICT_REJECTED,  /* this byte cannot be in it */
  VERDICT_TOO_LARGE, /* more than anyone is willing to hold */
} Verdict;

typedef struct {
  ScanState state;
  guint depth;
  guint values;
  guint max_values;
  guint hex_left;
} Scanner;

struct _QmpStream {
  GIOStream *io;
  QmpStreamFlags flags;
  QmpStreamMessageFunc on_message;
  QmpStreamClosedFunc on_closed;
  gpointer user_data;
  gboolean closed; /* no handler is called any more */

  GMainContext *context;
  GSource *reading;
  GSource *writing; /* (nullable): only while something is queued */

  Scanner scanner;
  GByteArray *frame; /* the message so far */
  GQueue outgoing;   /* of GBytes */
  gsize sent;        /* bytes of the first of them that are gone */
};

static void
finalize (gpointer data)
{
  QmpStream *self = data;
  g_byte_array_unref (self->frame);
  g_queue_clear_full (&self->outgoing, (GDestroyNotify)g_bytes_unref);
  g_main_context_unref (self->context);
  g_object_unref (self->io);
}

static void
unref (QmpStream *self)
{
  g_rc_box_release_full (self, finalize);
}

/* Source callbacks hold the stream so, as the handlers that they call may free it. */
typedef QmpStream HeldStream;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (HeldStream, unref)

static void
drop_source (GSource **source)
{
  if (*source != NULL)
    g_source_destroy (*source);
  g_clear_pointer (source, g_source_unref);
}

static void
stop (QmpStream *self)
{
  self->closed = TRUE;
  drop_source (&self->reading);
  drop_source (&self->writing);
}

static void
close_with (QmpStream *self, const GError *error)
{
  if (self->closed)
    return;
  stop (self);
  self->on_closed (error, self->user_data);
}

static void
close_saying (QmpStream *self, QmpError code, const char *what)
{
  g_autoptr (GError) error = g_error_new_literal (QMP_ERROR, code, what);
  close_with (self, error);
}

static gboolean
is_tolerant (QmpStream *self)
{
  return (self->flags & QMP_STREAM_TOLERANT) != 0;
}

static Verdict
open_nested (Scanner *scanner)
{
  if (++scanner->depth > QMP_STREAM_MAX_DEPTH)
    return VERDICT_REJECTED;
  return ++scanner->values > scanner->max_values ? VERDICT_TOO_LARGE : VERDICT_MORE;
}

static Verdict
scan_plain (Scanner *scanner, guint8 byte)
{
  switch (byte) {
  case '"':
    scanner->state = SCAN_STRING;
    return VERDICT_MORE;
  case '{':
  case '[':
    return open_nested (scanner);
  case '}':
  case ']':
    return --scanner->depth == 0 ? VERDICT_COMPLETE : VERDICT_MORE;
  case ',':
    return ++scanner->values > scanner->max_values ? VERDICT_TOO_LARGE : VERDICT_MORE;
  case '\\':
    return VERDICT_REJECTED;
  default:
    return (byte >= ' ' && byte < 0x7F) || g_ascii_isspace (byte) ? VERDICT_MORE : VERDICT_REJECTED;
  }
}

static Verdict
scan_string (Scanner *scanner, guint8 byte)
{
  if (byte == '"')
    scanner->state = SCAN_PLAIN;
  else if (byte == '\\')
    scanner->state = SCAN_ESCAPE;
  else if (byte < ' ' || byte == RESET_BYTE)
    return VERDICT_REJECTED;
  return VERDICT_MORE;
}

static Verdict
scan_escape (Scanner *scanner, guint8 byte)
{
  if (byte == 'u') {
    scanner->state = SCAN_HEX;
    scanner->hex_left = 4;
    return VERDICT_MORE;
  }
  scanner->state = SCAN_STRING;
  return byte != '\0' && strchr ("\"\\/bfnrt", byte) != NULL ? VERDICT_MORE : VERDICT_REJECTED;
}

static Verdict
scan_hex (Scanner *scanner, guint8 byte)
{
  if (--scanner->hex_left == 0)
    scanner->state = SCAN_STRING;
  return g_ascii_isxdigit (byte) ? VERDICT_MORE : VERDICT_REJECTED;
}

static Verdict
scan_byte (Scanner *scanner, guint8 byte)
{
  switch (scanner->state) {
  case SCAN_STRING:
    return scan_string (scanner, byte);
  case SCAN_ESCAPE:
    return scan_escape (scanner, byte);
  case SCAN_HEX:
    return scan_hex (scanner, byte);
  default:
    return scan_plain (scanner, byte);
  }
}

static void
reset_frame (QmpStream *self, ScanState state)
{
  self->scanner.state = state;
  self->scanner.depth = 0;
  self->scanner.values = 0;
  if (self->frame->len > KEEP_SIZE) {
    g_byte_array_unref (self->frame);
    self->frame = g_byte_array_new ();
  }
  g_byte_array_set_size (self->frame, 0);
}

/* The parser checks that the text is UTF-8, too. */
static JsonNode *
parse (const GByteArray *frame, GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new_immutable ();
  const char *text = (const char *)frame->data;

  g_autoptr (GError) local = NULL;
  g_autoptr (JsonNode) root = NULL;
  if (json_parser_load_from_data (parser, text, frame->len, &local))
    root = json_parser_steal_root (parser);
  if (root == NULL || !JSON_NODE_HOLDS_OBJECT (root)) {
    g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "the peer sent a message that is no JSON object: %s",
                 local != NULL ? local->message : "it is something else");
    return NULL;
  }
  return g_steal_pointer (&root);
}

static void
deliver (QmpStream *self)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) message = parse (self->frame, &error);

  reset_frame (self, SCAN_BETWEEN);
  if (message != NULL)
    self->on_message (json_node_get_object (message), self->user_data);
  else if (!is_tolerant (self))
    close_with (self, error);
}

/* A line end or 0xFF that cannot be in the message ends it, and the next may begin; after all else, rubbish lasts. */
static void
reject (QmpStream *self, guint8 byte)
{
  gboolean at_border = byte == '\n' || byte == RESET_BYTE;

  if (is_tolerant (self))
    reset_frame (self, at_border ? SCAN_BETWEEN : SCAN_SKIPPING);
  else
    close_saying (self, QMP_ERROR_PROTOCOL, "the peer sent something that is no JSON");
}

/* Takes the bytes of one message, as many as there are. Returns how many. */
static gsize
take_frame (QmpStream *self, const guint8 *data, gsize length)
{
  Verdict verdict = VERDICT_MORE;
  gsize used = 0;

  while (used < length && verdict == VERDICT_MORE)
    verdict = scan_byte (&self->scanner, data[used++]);

  if (verdict == VERDICT_REJECTED) {
    reject (self, data[used - 1]);
    return used;
  }
  if (verdict == VERDICT_TOO_LARGE || self->frame->len + used > QMP_STREAM_MAX_MESSAGE) {
    close_saying (self, QMP_ERROR_TOO_LARGE, "the peer sent a message that is larger than anything expected");
    return used;
  }
  g_byte_array_append (self->frame, data, (guint)used);
  if (verdict == VERDICT_COMPLETE)
    deliver (self);
  return used;
}

/* Takes bytes up to the brace that begins a message; the brace is left. Returns how many. */
static gsize
take_between (QmpStream *self, const guint8 *data, gsize length)
{
  for (gsize at = 0; at < length; at++) {
    guint8 byte = data[at];
    if (self->scanner.state == SCAN_SKIPPING) {
      if (byte == '\n' || byte == RESET_BYTE)
        self->scanner.state = SCAN_BETWEEN;
    } else if (byte == '{') {
      self->scanner.state = SCAN_PLAIN;
      return at;
    } else if (!g_ascii_isspace (byte)) {
      reject (self, byte);
      if (self->closed)
        return at;
    }
  }
  return length;
}

static void
take_bytes (QmpStream *self, const guint8 *data, gsize length)
{
  while (length > 0 && !self->closed) {
    gboolean between = self->scanner.state == SCAN_BETWEEN || self->scanner.state == SCAN_SKIPPING;
    gsize used = between ? take_between (self, data, length) : take_frame (self, data, length);
    data += used;
    length -= used;
  }
}

static void
close_at_eof (QmpStream *self)
{
  if (self->frame->len > 0)
    close_saying (self, QMP_ERROR_CLOSED, "the peer closed the connection in the middle of a message");
  else
    close_saying (self, QMP_ERROR_CLOSED, "the peer closed the connection");
}

/* Reads and handles what is there. Returns FALSE where nothing more is to be had for now. */
static gboolean
read_some (QmpStream *self)
{
  g_autoptr (GError) error = NULL;
  GPollableInputStream *input = G_POLLABLE_INPUT_STREAM (g_io_stream_get_input_stream (self->io));
  guint8 buffer[READ_SIZE];
  gssize got = g_pollable_input_stream_read_nonblocking (input, buffer, sizeof buffer, NULL, &error);

  if (got > 0) {
    take_bytes (self, buffer, (gsize)got);
    return !self->closed;
  }
  if (got == 0) {
    close_at_eof (self);
  } else if (!g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
    g_autofree char *what = g_strdup_printf ("the connection was lost: %s", error->message);
    close_saying (self, QMP_ERROR_CLOSED, what);
  }
  return FALSE;
}

static gboolean
on_readable (GObject *input, gpointer user_data)
{
  g_autoptr (HeldStream) self = g_rc_box_acquire ((QmpStream *)user_data);

  read_some (self);
  return self->closed ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

/* Sends what is queued as far as the peer takes it. */
static gboolean
flush (QmpStream *self, GError **error)
{
  GBytes *first;

  while ((first = g_queue_peek_head (&self->outgoing)) != NULL) {
    gsize length;
    const guint8 *data = g_bytes_get_data (first, &length);
    gssize sent = qmp_transport_send (self->io, data + self->sent, length - self->sent, error);
    if (sent < 0)
      return FALSE;
    self->sent += (gsize)sent;
    if (self->sent == length) {
      g_bytes_unref (g_queue_pop_head (&self->outgoing));
      self->sent = 0;
    }
  }
  return TRUE;
}

/* What the peer said before it went is still of worth: a reply, or the event that explains. Bounded all the same. */
static void
close_after_write_error (QmpStream *self, const GError *error)
{
  g_autofree char *what = g_strdup_printf ("the connection was lost: %s", error->message);

  for (guint reads = 0; reads < QMP_STREAM_MAX_MESSAGE / READ_SIZE && read_some (self); reads++)
    continue;
  if (!self->closed)
    close_saying (self, QMP_ERROR_CLOSED, what);
}

static gboolean
on_writable (GObject *output, gpointer user_data)
{
  g_autoptr (HeldStream) self = g_rc_box_acquire ((QmpStream *)user_data);
  g_autoptr (GError) error = NULL;

  if (flush (self, &error)) {
    drop_source (&self->writing);
    return G_SOURCE_REMOVE;
  }
  if (!g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
    close_after_write_error (self, error);
  return self->closed ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

static GSource *
watch (QmpStream *self, GSource *source, GPollableSourceFunc callback)
{
  g_source_set_callback (source, G_SOURCE_FUNC (callback), self, NULL);
  g_source_attach (source, self->context);
  return source;
}

QmpStream *
qmp_stream_new (GIOStream *io, QmpStreamFlags flags, QmpStreamMessageFunc on_message, QmpStreamClosedFunc on_closed,
                gpointer user_data)
{
  QmpStream *self = g_rc_box_new0 (QmpStream);
  self->io = io;
  self->flags = flags;
  self->on_message = on_message;
  self->on_closed = on_closed;
  self->user_data = user_data;
  self->context = g_main_context_ref_thread_default ();
  self->frame = g_byte_array_new ();
  self->scanner.max_values = flags == QMP_STREAM_GUEST ? QMP_STREAM_MAX_GUEST_VALUES : QMP_STREAM_MAX_VALUES;
  g_queue_init (&self->outgoing);

  GPollableInputStream *input = G_POLLABLE_INPUT_STREAM (g_io_stream_get_input_stream (io));
  self->reading = watch (self, g_pollable_input_stream_create_source (input, NULL), on_readable);
  return self;
}

void
qmp_stream_free (QmpStream *stream)
{
  stop (stream);
  unref (stream);
}

void
qmp_stream_send (QmpStream *stream, GBytes *bytes)
{
  if (stream->closed || g_bytes_get_size (bytes) == 0)
    return;

  g_queue_push_tail (&stream->outgoing, g_bytes_ref (bytes));
  if (stream->writing != NULL)
    return;

  /* A command within the freeze must not wait for the next turn of the loop. An error here is met again there. */
  if (flush (stream, NULL))
    return;
  GPollableOutputStream *output = G_POLLABLE_OUTPUT_STREAM (g_io_stream_get_output_stream (stream->io));
  stream->writing = watch (stream, g_pollable_output_stream_create_source (output, NULL), on_writable);
}

GIOStream *
qmp_stream_get_io (QmpStream *stream)
{
  return stream->io;
}
