/*
 * An agent session: sync, then one call at a time. Owns the connection.
 * Promises that a reply is taken only for the command that it answers: whatever
 * makes that doubtful (a timeout, an unasked reply, a lie) costs a sync before
 * the next command. Believes nothing else that a guest says. Leaves bytes to
 * qmp/stream, and what freeze and thaw are for to the engine.
 */
#include "qmp/qga.h"

#include "base/point.h"
#include "qmp/error.h"
#include "qmp/message.h"
#include "qmp/stream.h"

#define SYNC_COMMAND "guest-sync-delimited"

struct _QmpQga {
  GIOStream *io;
  QmpStream *stream; /* (nullable): gone once the session is lost */
  GError *lost;      /* (nullable): why it is over */

  QmpCall *call;   /* (nullable): under way, or abandoned and not looked at since */
  GBytes *command; /* (nullable): what the call sends once the sync is answered */
  gint64 sync_id;  /* 0 unless an answer to it is waited for */
  gboolean synced;
  gboolean was_sent;
};

static void
end_call (QmpQga *self, JsonNode *value, const GError *error)
{
  g_autoptr (JsonNode) owned = value;

  base_point_after ("qga", qmp_call_get_command (self->call));
  if (error != NULL)
    qmp_call_fail (self->call, error);
  else
    qmp_call_return (self->call, g_steal_pointer (&owned));
  g_clear_pointer (&self->call, qmp_call_unref);
}

static void
forget_call (QmpQga *self)
{
  g_clear_pointer (&self->call, qmp_call_unref);
  g_clear_pointer (&self->command, g_bytes_unref);
  self->sync_id = 0;
}

static void
lose (QmpQga *self, const GError *error)
{
  if (self->lost != NULL)
    return;
  self->lost = g_error_copy (error);
  g_clear_pointer (&self->stream, qmp_stream_free);
  if (self->call != NULL)
    qmp_call_fail_lost (self->call, error);
  forget_call (self);
}

static void
send_command (QmpQga *self)
{
  g_autoptr (GBytes) command = g_steal_pointer (&self->command);

  qmp_call_set_deadline_error (self->call, NULL);
  self->was_sent = TRUE;
  qmp_stream_send (self->stream, command);
}

/* Up to the answer with our id, all is left over from somebody else, or is the parse error that 0xFF brings about. */
static void
take_sync_answer (QmpQga *self, JsonObject *message)
{
  if (qmp_message_peek_int (message, "return", -1) != self->sync_id)
    return;

  self->sync_id = 0;
  self->synced = TRUE;
  if (self->command != NULL)
    send_command (self);
  else
    end_call (self, json_object_dup_member (message, "return"), NULL);
}

static void
take_answer (QmpQga *self, JsonObject *message)
{
  const char *command = qmp_call_get_command (self->call);
  JsonObject *error_member = qmp_message_peek_object (message, "error");
  gboolean has_error = json_object_has_member (message, "error");
  g_autoptr (GError) error = NULL;

  if (json_object_has_member (message, "return") && !has_error) {
    end_call (self, json_object_dup_member (message, "return"), NULL);
    return;
  }
  if (error_member != NULL && !json_object_has_member (message, "return")) {
    error = qmp_message_error (command, error_member);
  } else {
    self->synced = FALSE;
    error = g_error_new (QMP_ERROR, QMP_ERROR_PROTOCOL, "the guest agent answered '%s' with what is no reply", command);
  }
  end_call (self, NULL, error);
}

/* An abandoned call's answer may still come, so the next one must find its own by a sync. */
static void
drop_abandoned_call (QmpQga *self)
{
  if (self->call == NULL || !qmp_call_is_abandoned (self->call))
    return;
  forget_call (self);
  self->synced = FALSE;
}

static void
on_message (JsonObject *message, gpointer user_data)
{
  QmpQga *self = user_data;

  drop_abandoned_call (self);
  if (self->call == NULL)
    self->synced = FALSE;
  else if (self->sync_id != 0)
    take_sync_answer (self, message);
  else
    take_answer (self, message);
}

static void
on_closed (const GError *error, gpointer user_data)
{
  lose (user_data, error);
}

QmpQga *
qmp_qga_new (GIOStream *io)
{
  QmpQga *self = g_new0 (QmpQga, 1);
  self->io = g_object_ref (io);
  self->stream = qmp_stream_new (io, QMP_STREAM_GUEST, on_message, on_closed, self);
  return self;
}

void
qmp_qga_free (QmpQga *qga)
{
  g_autoptr (GError) error = g_error_new (QMP_ERROR, QMP_ERROR_CLOSED, "the session was ended here");

  lose (qga, error);
  g_clear_error (&qga->lost);
  g_object_unref (qga->io);
  g_free (qga);
}

/* 1 to 2^53-1: JSON numbers that every parser keeps exactly. */
static gint64
new_sync_id (void)
{
  guint64 random = ((guint64)g_random_int () << 32) | g_random_int ();
  return (gint64)(random >> 11) | 1;
}

static GBytes *
sync_message (gint64 id)
{
  static const guint8 forget = 0xFF;
  g_autoptr (JsonObject) arguments = json_object_new ();
  json_object_set_int_member (arguments, "id", id);

  g_autoptr (GBytes) command = qmp_message_command (SYNC_COMMAND, arguments, NULL, NULL);
  GByteArray *message = g_byte_array_new ();
  g_byte_array_append (message, &forget, 1);
  g_byte_array_append (message, g_bytes_get_data (command, NULL), (guint)g_bytes_get_size (command));
  return g_byte_array_free_to_bytes (message);
}

static void
send_sync (QmpQga *self)
{
  self->sync_id = new_sync_id ();
  self->synced = FALSE;
  g_autoptr (GBytes) message = sync_message (self->sync_id);

  qmp_call_set_deadline_error (self->call, g_error_new (QMP_ERROR, QMP_ERROR_TIMEOUT,
                                                        "the guest agent is silent: no answer to " SYNC_COMMAND
                                                        " before the deadline%s%s%s",
                                                        self->command != NULL ? "; '" : "",
                                                        self->command != NULL ? qmp_call_get_command (self->call) : "",
                                                        self->command != NULL ? "' was never sent" : ""));
  qmp_stream_send (self->stream, message);
}

/* A call on which the session now works, or one that has failed already. */
static QmpCall *
begin_call (QmpQga *self, const char *command, gint64 deadline_us)
{
  QmpCall *call = qmp_call_new (command, deadline_us);

  drop_abandoned_call (self);
  g_assert (self->call == NULL);
  self->was_sent = FALSE;
  if (self->lost != NULL)
    qmp_call_fail_lost (call, self->lost);
  else
    self->call = qmp_call_ref (call);
  return call;
}

QmpCall *
qmp_qga_start_sync (QmpQga *qga, gint64 deadline_us)
{
  QmpCall *call = begin_call (qga, SYNC_COMMAND, deadline_us);

  if (qga->call != NULL)
    send_sync (qga);
  return call;
}

QmpCall *
qmp_qga_start (QmpQga *qga, const char *command, JsonObject *arguments, gint64 deadline_us)
{
  QmpCall *call = begin_call (qga, command, deadline_us);
  g_autoptr (GError) error = NULL;

  if (qga->call == NULL)
    return call;
  qga->command = qmp_message_command (command, arguments, NULL, &error);
  if (qga->command == NULL || !base_point_before ("qga", command, &error))
    end_call (qga, NULL, error);
  else if (qga->synced)
    send_command (qga);
  else
    send_sync (qga);
  return call;
}

JsonNode *
qmp_qga_execute (QmpQga *qga, const char *command, JsonObject *arguments, gint64 deadline_us, GCancellable *cancellable,
                 GError **error)
{
  return qmp_call_finish (qmp_qga_start (qga, command, arguments, deadline_us), cancellable, error);
}

gboolean
qmp_qga_was_sent (QmpQga *qga)
{
  return qga->was_sent;
}

GIOStream *
qmp_qga_get_io (QmpQga *qga)
{
  return qga->io;
}

/* An answer that cannot be true is perhaps the answer to something else. */
static gboolean
disbelieve (QmpQga *self, const char *command, GError **error)
{
  self->synced = FALSE;
  g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "the guest agent answered '%s' with something that it cannot mean",
               command);
  return FALSE;
}

gboolean
qmp_qga_fsfreeze_status (QmpQga *qga, gint64 deadline_us, GCancellable *cancellable, QmpQgaFreezeState *state,
                         GError **error)
{
  static const char *const command = "guest-fsfreeze-status";
  g_autoptr (JsonNode) reply = qmp_qga_execute (qga, command, NULL, deadline_us, cancellable, error);

  if (reply == NULL)
    return FALSE;
  const char *word = json_node_get_value_type (reply) == G_TYPE_STRING ? json_node_get_string (reply) : NULL;
  if (g_strcmp0 (word, "frozen") == 0)
    *state = QMP_QGA_FROZEN;
  else if (g_strcmp0 (word, "thawed") == 0)
    *state = QMP_QGA_THAWED;
  else
    return disbelieve (qga, command, error);
  return TRUE;
}

static gboolean
execute_for_count (QmpQga *self, const char *command, gint64 deadline_us, GCancellable *cancellable, gint64 *count,
                   GError **error)
{
  g_autoptr (JsonNode) reply = qmp_qga_execute (self, command, NULL, deadline_us, cancellable, error);

  if (reply == NULL)
    return FALSE;
  if (json_node_get_value_type (reply) != G_TYPE_INT64 || json_node_get_int (reply) < 0)
    return disbelieve (self, command, error);
  *count = json_node_get_int (reply);
  return TRUE;
}

gboolean
qmp_qga_fsfreeze_freeze (QmpQga *qga, gint64 deadline_us, GCancellable *cancellable, gint64 *count, GError **error)
{
  return execute_for_count (qga, "guest-fsfreeze-freeze", deadline_us, cancellable, count, error);
}

gboolean
qmp_qga_fsfreeze_thaw (QmpQga *qga, gint64 deadline_us, GCancellable *cancellable, gint64 *count, GError **error)
{
  return execute_for_count (qga, "guest-fsfreeze-thaw", deadline_us, cancellable, count, error);
}
