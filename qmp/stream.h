/*
 * Bytes to JSON objects and back: framing, the size cap, nothing of meaning.
 *
 * Objects are found by their braces (strings and escapes heeded), not by line
 * ends, so a `-qmp-pretty` monitor and any splitting or joining of reads work.
 * Reading and writing are asynchronous on the thread-default main context.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

/** The largest message, in bytes from its first brace to its last; one byte more is %QMP_ERROR_TOO_LARGE. */
#define QMP_STREAM_MAX_MESSAGE (64 * 1024 * 1024)

/** Objects and arrays in one another, as many as QEMU's own parser takes. */
#define QMP_STREAM_MAX_DEPTH 1024

/**
 * Values in one message, %QMP_ERROR_TOO_LARGE beyond. A parsed value takes some 70 bytes where "1," took two, so
 * the cap on bytes alone would not bound memory; and a guest could choose names that all hash alike.
 */
#define QMP_STREAM_MAX_VALUES (4 * 1024 * 1024)
#define QMP_STREAM_MAX_GUEST_VALUES (16 * 1024)

typedef struct _QmpStream QmpStream;

/**
 * QmpStreamFlags:
 * @QMP_STREAM_STRICT: anything between messages but white space is %QMP_ERROR_PROTOCOL, and so is a message
 *     that is not JSON
 * @QMP_STREAM_TOLERANT: rubbish up to the next line end or 0xFF, and messages that are no
 *     JSON, are skipped: for a connection taken over in mid-message
 * @QMP_STREAM_GUEST: the peer is a guest: tolerant, and at most %QMP_STREAM_MAX_GUEST_VALUES
 */
typedef enum {
  QMP_STREAM_STRICT = 0,
  QMP_STREAM_TOLERANT = 1 << 0,
  QMP_STREAM_GUEST = QMP_STREAM_TOLERANT | 1 << 1,
} QmpStreamFlags;

/** @message is borrowed for the call. A handler may free the stream. */
typedef void (*QmpStreamMessageFunc) (JsonObject *message, gpointer user_data);
/** Called once: EOF (%QMP_ERROR_CLOSED), an I/O or framing error. @error is borrowed. */
typedef void (*QmpStreamClosedFunc) (const GError *error, gpointer user_data);

/**
 * qmp_stream_new:
 * @io: (transfer full): from qmp/transport
 * Starts reading at once. Handlers run from the main context, never from inside qmp_stream_send().
 */
QmpStream *qmp_stream_new (GIOStream *io, QmpStreamFlags flags, QmpStreamMessageFunc on_message,
                           QmpStreamClosedFunc on_closed, gpointer user_data);
void qmp_stream_free (QmpStream *stream);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpStream, qmp_stream_free)

/**
 * qmp_stream_send:
 * What the peer takes at once leaves at once, the rest in order as it takes it (@bytes: transfer none).
 * A write error arrives at on_closed, after what the peer had still said.
 */
void qmp_stream_send (QmpStream *stream, GBytes *bytes);

/** What it was made on; stays the stream's. */
GIOStream *qmp_stream_get_io (QmpStream *stream);
