/*
 * One session with a QEMU monitor (QMP): greeting, capabilities, ids, events.
 *
 * Promises: every started call ends exactly once; events are kept in the order
 * in which they came and none is lost between calls; EOF fails all pending
 * calls. Leaves bytes to qmp/stream and the meaning of commands to qmp/commands.
 * Source: QEMU docs/interop/qmp-spec.
 */
#pragma once

#include "qmp/call.h"

/** Events kept for whoever takes them; a session on which more pile up fails with %QMP_ERROR_TOO_LARGE. */
#define QMP_CLIENT_MAX_EVENTS 100000

typedef struct _QmpClient QmpClient;

/**
 * QmpClientEvent:
 * @name: such as "BLOCK_JOB_READY"
 * @data: (nullable)
 * @time_us: QEMU's wall clock at the event, microseconds since 1970
 */
typedef struct {
  char *name;
  JsonObject *data;
  gint64 time_us;
} QmpClientEvent;

void qmp_client_event_free (QmpClientEvent *event);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpClientEvent, qmp_client_event_free)

/**
 * qmp_client_new:
 * @io: (transfer full): a fresh connection to a monitor; the handshake comes next
 */
QmpClient *qmp_client_new (GIOStream *io);

/**
 * qmp_client_new_attached:
 * @io: (transfer full): a connection on which somebody else has shaken hands, and may have
 *     died in the middle of a message in either direction (the guard's helper)
 * Sends 0xFF at once, which makes QEMU forget half a command. What cannot be understood is skipped, and ids are
 * such that a late answer to the dead one is not taken for ours.
 */
QmpClient *qmp_client_new_attached (GIOStream *io);
void qmp_client_free (QmpClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpClient, qmp_client_free)

/**
 * qmp_client_start_handshake:
 * Waits for the greeting, then enters command mode. Its call returns the
 * greeting's `QMP` object. No greeting until the deadline is %QMP_ERROR_BUSY:
 * a monitor serves one client, a second is left waiting in silence.
 */
QmpCall *qmp_client_start_handshake (QmpClient *client, gint64 deadline_us);

/**
 * qmp_client_start:
 * @arguments: (nullable) (transfer none)
 * The command leaves at once, as far as the socket takes it. Replies are matched by id and may come in any
 * order. On a connection that is lost the call fails at once with what lost it.
 *
 * Returns: (transfer full): give it to qmp_call_finish()
 */
QmpCall *qmp_client_start (QmpClient *client, const char *command, JsonObject *arguments, gint64 deadline_us);

/** qmp_client_start() and qmp_call_finish() in one. Returns: (transfer full) */
JsonNode *qmp_client_execute (QmpClient *client, const char *command, JsonObject *arguments, gint64 deadline_us,
                              GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The oldest event not taken yet, or %NULL. Returns: (transfer full) (nullable) */
QmpClientEvent *qmp_client_take_event (QmpClient *client);

/**
 * qmp_client_wait_event:
 * The oldest event not taken yet, waiting for one until the deadline
 * (%QMP_ERROR_TIMEOUT), the loss of the connection, or @cancellable.
 * Returns: (transfer full)
 */
QmpClientEvent *qmp_client_wait_event (QmpClient *client, gint64 deadline_us, GCancellable *cancellable, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Why the session is over, or %NULL while it is not. Borrowed. */
const GError *qmp_client_get_error (QmpClient *client);

/** Whether this is the event that is waited for. @event is borrowed. */
typedef gboolean (*QmpClientEventFunc) (const QmpClientEvent *event, gpointer user_data);

/**
 * qmp_client_wait_event_matching:
 * The oldest event not taken yet for which @match says so, waiting for one as qmp_client_wait_event() does.
 * The others stay, in their order, for whoever takes them later; @match sees each of them once per call.
 * Returns: (transfer full)
 */
QmpClientEvent *qmp_client_wait_event_matching (QmpClient *client, QmpClientEventFunc match, gpointer user_data,
                                                gint64 deadline_us, GCancellable *cancellable, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The stream, for its descriptor and its peer's pid; stays the client's. */
GIOStream *qmp_client_get_io (QmpClient *client);
