/*
 * A monitor session: greeting, capabilities, ids, events. Owns the connection.
 * Promises that every started call ends, at the latest when the session does,
 * and that events wait in order until they are taken. An attached session
 * believes that bytes were lost before it and skips what it cannot place; a
 * session of its own takes such a thing as the end. Leaves bytes to qmp/stream.
 */
#include "qmp/client.h"

#include "base/point.h"
#include "qmp/error.h"
#include "qmp/message.h"
#include "qmp/stream.h"

typedef enum {
  STAGE_GREETING,     /* the monitor speaks first */
  STAGE_CAPABILITIES, /* it has; qmp_capabilities comes next, or has been sent */
  STAGE_COMMANDS,
} Stage;

struct _QmpClient {
  GIOStream *io;
  QmpStream *stream; /* (nullable): gone once the session is lost */
  GError *lost;      /* (nullable): why it is over */
  gboolean attached;

  Stage stage;
  JsonNode *greeting; /* (nullable) */
  QmpCall *handshake; /* (nullable): under way */

  char *id_prefix;
  guint64 last_id;
  GHashTable *pending; /* id -> QmpCall, each a reference */
  GQueue events;       /* of QmpClientEvent, the oldest first */
};

void
qmp_client_event_free (QmpClientEvent *event)
{
  g_free (event->name);
  g_clear_pointer (&event->data, json_object_unref);
  g_free (event);
}

/* Ends the session, and with it every call. */
static void
lose (QmpClient *self, const GError *error)
{
  GHashTableIter iter;
  gpointer call;

  if (self->lost != NULL)
    return;
  self->lost = g_error_copy (error);
  g_clear_pointer (&self->stream, qmp_stream_free);

  g_hash_table_iter_init (&iter, self->pending);
  while (g_hash_table_iter_next (&iter, NULL, &call))
    qmp_call_fail_lost (call, error);
  g_hash_table_remove_all (self->pending);

  if (self->handshake != NULL)
    qmp_call_fail_lost (self->handshake, error);
  g_clear_pointer (&self->handshake, qmp_call_unref);
}

G_GNUC_PRINTF (3, 4)
static void
lose_saying (QmpClient *self, QmpError code, const char *format, ...)
{
  va_list arguments;

  va_start (arguments, format);
  g_autoptr (GError) error = g_error_new_valist (QMP_ERROR, code, format, arguments);
  va_end (arguments);
  lose (self, error);
}

/* A message out of place: after a takeover to be expected, else the end, as nothing later can be trusted. */
static void
refuse (QmpClient *self, const char *what)
{
  if (!self->attached)
    lose_saying (self, QMP_ERROR_PROTOCOL, "the monitor sent %s", what);
}

/* Sends @command for @call, which ends with the reply to it. */
static void
ask (QmpClient *self, QmpCall *call, const char *command, JsonObject *arguments)
{
  g_autofree char *id = g_strdup_printf ("%s%" G_GUINT64_FORMAT, self->id_prefix, ++self->last_id);
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) message = qmp_message_command (command, arguments, id, &error);

  if (message == NULL || !base_point_before ("qmp", command, &error)) {
    qmp_call_fail (call, error);
    return;
  }
  g_hash_table_insert (self->pending, g_steal_pointer (&id), qmp_call_ref (call));
  qmp_stream_send (self->stream, message);
}

/* The greeting is there: the silence that may follow is no longer that of a monitor held by somebody else. */
static void
negotiate (QmpClient *self)
{
  qmp_call_set_deadline_error (self->handshake, NULL);
  ask (self, self->handshake, "qmp_capabilities", NULL);
}

static void
take_greeting (QmpClient *self, JsonObject *message)
{
  if (qmp_message_peek_object (message, "QMP") == NULL) {
    lose_saying (self, QMP_ERROR_PROTOCOL, "what answers there is no QMP monitor: its first message is no greeting");
    return;
  }
  self->stage = STAGE_CAPABILITIES;
  self->greeting = json_object_dup_member (message, "QMP");
  if (self->handshake != NULL)
    negotiate (self);
}

static gint64
event_time (JsonObject *message)
{
  JsonObject *timestamp = qmp_message_peek_object (message, "timestamp");

  if (timestamp == NULL)
    return 0;
  gint64 seconds = qmp_message_peek_int (timestamp, "seconds", 0);
  gint64 microseconds = qmp_message_peek_int (timestamp, "microseconds", 0);
  /* QEMU says -1 where its clock failed; nor may a wild number overflow here. */
  if (seconds < 0 || seconds >= G_MAXINT64 / G_USEC_PER_SEC || microseconds < 0 || microseconds >= G_USEC_PER_SEC)
    return 0;
  return seconds * G_USEC_PER_SEC + microseconds;
}

static void
take_event (QmpClient *self, JsonObject *message)
{
  const char *name = qmp_message_peek_string (message, "event");
  JsonObject *data = qmp_message_peek_object (message, "data");

  if (name == NULL || (data == NULL && json_object_has_member (message, "data"))) {
    refuse (self, "an event that is not of QMP's form");
    return;
  }
  if (g_queue_get_length (&self->events) >= QMP_CLIENT_MAX_EVENTS) {
    lose_saying (self, QMP_ERROR_TOO_LARGE, "the monitor sent more than %d events that nobody took",
                 QMP_CLIENT_MAX_EVENTS);
    return;
  }

  QmpClientEvent *event = g_new0 (QmpClientEvent, 1);
  event->name = g_strdup (name);
  event->data = data != NULL ? json_object_ref (data) : NULL;
  event->time_us = event_time (message);
  g_queue_push_tail (&self->events, event);
}

static void
end_call (QmpClient *self, QmpCall *call, JsonObject *message)
{
  JsonObject *error_member = qmp_message_peek_object (message, "error");

  if (error_member != NULL) {
    g_autoptr (GError) error = qmp_message_error (qmp_call_get_command (call), error_member);
    qmp_call_fail (call, error);
  } else if (!json_object_has_member (message, "return")) {
    g_autoptr (GError) error = g_error_new (QMP_ERROR, QMP_ERROR_PROTOCOL,
                                            "'%s' was answered with an error that is "
                                            "no object",
                                            qmp_call_get_command (call));
    qmp_call_fail (call, error);
    lose (self, error);
  } else if (call == self->handshake) {
    self->stage = STAGE_COMMANDS;
    qmp_call_return (call, g_steal_pointer (&self->greeting));
  } else {
    qmp_call_return (call, json_object_dup_member (message, "return"));
  }

  if (call == self->handshake)
    g_clear_pointer (&self->handshake, qmp_call_unref);
}

/* QEMU answers without an id only where it could not even read what was sent. */
static void
take_reply_without_id (QmpClient *self, JsonObject *message)
{
  JsonObject *error_member = qmp_message_peek_object (message, "error");

  if (error_member == NULL || self->attached) {
    refuse (self, "a reply without an id");
    return;
  }
  g_autoptr (GError) error = qmp_message_error ("a command without an id", error_member);
  lose_saying (self, QMP_ERROR_PROTOCOL, "the monitor could not read what was sent: %s", error->message);
}

static void
take_reply (QmpClient *self, JsonObject *message)
{
  const char *id = qmp_message_peek_string (message, "id");
  gpointer key, value;

  if (id == NULL) {
    take_reply_without_id (self, message);
    return;
  }
  /* An unknown id is a reply to a dead owner of this connection, or nonsense; either way nobody waits for it. */
  if (!g_hash_table_steal_extended (self->pending, id, &key, &value))
    return;

  g_autofree char *owned_key = key;
  QmpCall *call = value;
  base_point_after ("qmp", qmp_call_get_command (call));
  end_call (self, call, message);
  qmp_call_unref (call);
}

static void
on_message (JsonObject *message, gpointer user_data)
{
  QmpClient *self = user_data;

  if (self->stage == STAGE_GREETING)
    take_greeting (self, message);
  else if (json_object_has_member (message, "event"))
    take_event (self, message);
  else if (json_object_has_member (message, "return") || json_object_has_member (message, "error"))
    take_reply (self, message);
  else
    refuse (self, "a message that is neither reply nor event");
}

static void
on_closed (const GError *error, gpointer user_data)
{
  lose (user_data, error);
}

static QmpClient *
new_client (GIOStream *io, QmpStreamFlags flags)
{
  QmpClient *self = g_new0 (QmpClient, 1);
  self->io = g_object_ref (io);
  self->pending = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)qmp_call_unref);
  g_queue_init (&self->events);
  self->stream = qmp_stream_new (io, flags, on_message, on_closed, self);
  return self;
}

QmpClient *
qmp_client_new (GIOStream *io)
{
  QmpClient *self = new_client (io, QMP_STREAM_STRICT);
  self->stage = STAGE_GREETING;
  self->id_prefix = g_strdup ("c");
  return self;
}

QmpClient *
qmp_client_new_attached (GIOStream *io)
{
  static const guint8 forget[] = {0xFF, '\n'};
  g_autoptr (GBytes) bytes = g_bytes_new_static (forget, sizeof forget);
  QmpClient *self = new_client (io, QMP_STREAM_TOLERANT);

  self->attached = TRUE;
  self->stage = STAGE_COMMANDS;
  self->id_prefix = g_strdup_printf ("a%08x-", g_random_int ());
  qmp_stream_send (self->stream, bytes);
  return self;
}

void
qmp_client_free (QmpClient *client)
{
  lose_saying (client, QMP_ERROR_CLOSED, "the session was ended here");
  g_hash_table_unref (client->pending);
  g_queue_clear_full (&client->events, (GDestroyNotify)qmp_client_event_free);
  g_clear_pointer (&client->greeting, json_node_unref);
  g_clear_error (&client->lost);
  g_free (client->id_prefix);
  g_object_unref (client->io);
  g_free (client);
}

QmpCall *
qmp_client_start_handshake (QmpClient *client, gint64 deadline_us)
{
  QmpCall *call = qmp_call_new ("qmp_capabilities", deadline_us);

  g_assert (!client->attached && client->handshake == NULL && client->stage != STAGE_COMMANDS);
  if (client->lost != NULL) {
    qmp_call_fail_lost (call, client->lost);
    return call;
  }

  qmp_call_set_deadline_error (
      call, g_error_new (QMP_ERROR, QMP_ERROR_BUSY,
                         "the monitor gave no greeting before the deadline: another client may hold it"));
  client->handshake = qmp_call_ref (call);
  if (client->stage == STAGE_CAPABILITIES)
    negotiate (client);
  return call;
}

QmpCall *
qmp_client_start (QmpClient *client, const char *command, JsonObject *arguments, gint64 deadline_us)
{
  QmpCall *call = qmp_call_new (command, deadline_us);

  if (client->lost != NULL)
    qmp_call_fail_lost (call, client->lost);
  else
    ask (client, call, command, arguments);
  return call;
}

JsonNode *
qmp_client_execute (QmpClient *client, const char *command, JsonObject *arguments, gint64 deadline_us,
                    GCancellable *cancellable, GError **error)
{
  return qmp_call_finish (qmp_client_start (client, command, arguments, deadline_us), cancellable, error);
}

QmpClientEvent *
qmp_client_take_event (QmpClient *client)
{
  return g_queue_pop_head (&client->events);
}

/* A search of the queue that goes on where it ended: each event is looked at once. */
typedef struct {
  QmpClient *client;
  QmpClientEventFunc match;
  gpointer user_data;
  GList *last; /* (nullable): the last one looked at */
  GList *found;
} Search;

static gboolean
found_or_lost (gpointer data)
{
  Search *search = data;
  GList *next;

  while (search->found == NULL &&
         (next = search->last != NULL ? search->last->next : search->client->events.head) != NULL) {
    search->last = next;
    if (search->match (next->data, search->user_data))
      search->found = next;
  }
  return search->found != NULL || search->client->lost != NULL;
}

QmpClientEvent *
qmp_client_wait_event_matching (QmpClient *client, QmpClientEventFunc match, gpointer user_data, gint64 deadline_us,
                                GCancellable *cancellable, GError **error)
{
  Search search = {.client = client, .match = match, .user_data = user_data};

  if (!qmp_call_wait_until (found_or_lost, &search, deadline_us, cancellable, error)) {
    g_prefix_error (error, "waiting for an event: ");
    return NULL;
  }
  if (search.found == NULL) {
    g_propagate_error (error, g_error_copy (client->lost));
    g_prefix_error (error, "waiting for an event: ");
    return NULL;
  }
  QmpClientEvent *event = search.found->data;
  g_queue_delete_link (&client->events, search.found);
  return event;
}

static gboolean
any_event (const QmpClientEvent *event, gpointer user_data)
{
  return TRUE;
}

QmpClientEvent *
qmp_client_wait_event (QmpClient *client, gint64 deadline_us, GCancellable *cancellable, GError **error)
{
  return qmp_client_wait_event_matching (client, any_event, NULL, deadline_us, cancellable, error);
}

const GError *
qmp_client_get_error (QmpClient *client)
{
  return client->lost;
}

GIOStream *
qmp_client_get_io (QmpClient *client)
{
  return client->io;
}
