/*
 * A call: something asked of a peer, ended exactly once by a reply, an error,
 * its deadline, or the loss of the connection. Calls are started by
 * qmp/client and qmp/qga and finished here, so that many sessions run at once
 * on one thread: start on all, then finish all.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

typedef struct _QmpCall QmpCall;

#define QMP_CALL_NO_DEADLINE G_MAXINT64

/** A deadline @seconds from now, on g_get_monotonic_time()'s clock. */
gint64 qmp_call_deadline_in (double seconds);

/** Whether it has ended: qmp_call_finish() will not wait. */
gboolean qmp_call_is_done (QmpCall *call);

/**
 * qmp_call_finish:
 * @call: (transfer full): from a start function; gone after this
 * Iterates the thread-default main context (the one its session was made under) until the call is done or
 * @cancellable is. A reply that has already arrived counts even past the deadline.
 * A call that is cancelled or past its deadline is abandoned: its reply, should it come, is skipped.
 *
 * Returns: (transfer full): what the peer returned; raises %QMP_ERROR_TIMEOUT,
 *     %QMP_ERROR_CLOSED, %QMP_ERROR_COMMAND…, %G_IO_ERROR_CANCELLED
 */
JsonNode *qmp_call_finish (QmpCall *call, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Abandons a call whose result is of no interest. */
void qmp_call_abandon (QmpCall *call);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpCall, qmp_call_abandon)

typedef gboolean (*QmpCallCondition) (gpointer user_data);

/**
 * qmp_call_wait_until:
 * Iterates the thread-default main context until @is_met says so. It sleeps in
 * poll() meanwhile, so what meets the condition must be a source on that context.
 * Raises %QMP_ERROR_TIMEOUT at the deadline, %G_IO_ERROR_CANCELLED.
 */
gboolean qmp_call_wait_until (QmpCallCondition is_met, gpointer user_data, gint64 deadline_us,
                              GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/*
 * For the peers of this folder only: make a call, end it. A call is kept by
 * its starter and by its peer (two references), so either may go first.
 */

/** Returns: (transfer full): the starter's reference; the peer takes its own */
QmpCall *qmp_call_new (const char *command, gint64 deadline_us);
QmpCall *qmp_call_ref (QmpCall *call);
void qmp_call_unref (QmpCall *call);
const char *qmp_call_get_command (QmpCall *call);
gboolean qmp_call_is_abandoned (QmpCall *call);

/**
 * qmp_call_set_deadline_error:
 * @error: (transfer full) (nullable): what to raise at the deadline instead of a plain
 *     %QMP_ERROR_TIMEOUT, for a peer that knows better what the silence means
 */
void qmp_call_set_deadline_error (QmpCall *call, GError *error);

/** Ends the call unless it has ended. @value: (transfer full) */
void qmp_call_return (QmpCall *call, JsonNode *value);

/** Ends the call unless it has ended. @error: (transfer none) */
void qmp_call_fail (QmpCall *call, const GError *error);

/** qmp_call_fail() for what befell the whole session: the message gets the command's name. */
void qmp_call_fail_lost (QmpCall *call, const GError *error);
