/*
 * One session with a guest agent (qemu-ga), of whom nothing is believed.
 *
 * The agent has no greeting, and the replies to a dead client's commands reach
 * the next one. So each session, and each call after one that timed out,
 * begins with 0xFF and `guest-sync-delimited`; whatever comes before its answer
 * is skipped. One call at a time. Messages may have the size that qmp/stream allows (a guest-exec's output comes
 * in one), but few values. Source: QEMU qga/qapi-schema.json.
 */
#pragma once

#include "qmp/call.h"

typedef struct _QmpQga QmpQga;

/** @io: (transfer full): a connection to the agent's channel */
QmpQga *qmp_qga_new (GIOStream *io);
void qmp_qga_free (QmpQga *qga);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpQga, qmp_qga_free)

/**
 * qmp_qga_start_sync:
 * Finds out whether an agent is there and listening; from then until a timeout
 * calls need no further sync. Its call returns the sync's id.
 */
QmpCall *qmp_qga_start_sync (QmpQga *qga, gint64 deadline_us);

/**
 * qmp_qga_start:
 * @arguments: (nullable) (transfer none)
 * Starts a command, after a sync where one is due: within the same deadline, whose error then says that the
 * command itself was never sent. A programming error while another call is under way.
 * Returns: (transfer full): give it to qmp_call_finish()
 */
QmpCall *qmp_qga_start (QmpQga *qga, const char *command, JsonObject *arguments, gint64 deadline_us);

/** qmp_qga_start() and qmp_call_finish() in one. Returns: (transfer full) */
JsonNode *qmp_qga_execute (QmpQga *qga, const char *command, JsonObject *arguments, gint64 deadline_us,
                           GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether the command of the call started last has left, as opposed to a sync that still waits for its answer. */
gboolean qmp_qga_was_sent (QmpQga *qga);

/** The stream, for its descriptor; stays the session's. */
GIOStream *qmp_qga_get_io (QmpQga *qga);

/* The commands that the engine uses, typed. Deadlines on g_get_monotonic_time()'s clock. */

typedef enum { QMP_QGA_THAWED, QMP_QGA_FROZEN } QmpQgaFreezeState;

/** guest-fsfreeze-status; an answer that is neither word is %QMP_ERROR_PROTOCOL. */
gboolean qmp_qga_fsfreeze_status (QmpQga *qga, gint64 deadline_us, GCancellable *cancellable, QmpQgaFreezeState *state,
                                  GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** guest-fsfreeze-freeze: @count: how many file systems are frozen now. */
gboolean qmp_qga_fsfreeze_freeze (QmpQga *qga, gint64 deadline_us, GCancellable *cancellable, gint64 *count,
                                  GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** guest-fsfreeze-thaw: @count: how many file systems were thawed. */
gboolean qmp_qga_fsfreeze_thaw (QmpQga *qga, gint64 deadline_us, GCancellable *cancellable, gint64 *count,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;
