/*
 * One question to a peer and its one end, and how this program waits: by
 * iterating the thread's main context, asleep in poll(), up to a deadline or
 * a cancellation. Promises that a call ends once and that what comes later is
 * dropped. Leaves ids, bytes and meaning to the sessions that make calls.
 */
#include "qmp/call.h"

#include "base/fiber.h"
#include "qmp/error.h"

struct _QmpCall {
  char *command;
  gint64 deadline_us;
  GError *deadline_error; /* (nullable): raised at the deadline instead of QMP_ERROR_TIMEOUT */
  JsonNode *value;        /* what was returned, until finish takes it */
  GError *error;          /* what failed it, until finish takes it */
  gboolean done;
  gboolean abandoned;
};

gint64
qmp_call_deadline_in (double seconds)
{
  double now = (double)g_get_monotonic_time ();
  double then = now + seconds * G_USEC_PER_SEC;

  /* The last double below 2^63: a larger one has no gint64 to become. */
  if (!(then < 9223372036854774784.0))
    return QMP_CALL_NO_DEADLINE;
  return (gint64)MAX (then, now);
}

QmpCall *
qmp_call_new (const char *command, gint64 deadline_us)
{
  QmpCall *call = g_rc_box_new0 (QmpCall);
  call->command = g_strdup (command);
  call->deadline_us = deadline_us;
  return call;
}

QmpCall *
qmp_call_ref (QmpCall *call)
{
  return g_rc_box_acquire (call);
}

static void
clear (gpointer data)
{
  QmpCall *call = data;
  g_free (call->command);
  g_clear_error (&call->deadline_error);
  g_clear_pointer (&call->value, json_node_unref);
  g_clear_error (&call->error);
}

void
qmp_call_unref (QmpCall *call)
{
  g_rc_box_release_full (call, clear);
}

const char *
qmp_call_get_command (QmpCall *call)
{
  return call->command;
}

gboolean
qmp_call_is_done (QmpCall *call)
{
  return call->done;
}

gboolean
qmp_call_is_abandoned (QmpCall *call)
{
  return call->abandoned;
}

void
qmp_call_set_deadline_error (QmpCall *call, GError *error)
{
  g_clear_error (&call->deadline_error);
  call->deadline_error = error;
}

void
qmp_call_return (QmpCall *call, JsonNode *value)
{
  g_autoptr (JsonNode) owned = value;

  if (call->done)
    return;
  call->done = TRUE;
  call->value = g_steal_pointer (&owned);
}

void
qmp_call_fail (QmpCall *call, const GError *error)
{
  if (call->done)
    return;
  call->done = TRUE;
  call->error = g_error_copy (error);
}

void
qmp_call_fail_lost (QmpCall *call, const GError *error)
{
  g_autoptr (GError) named = g_error_copy (error);

  g_prefix_error (&named, "'%s': ", call->command);
  qmp_call_fail (call, named);
}

void
qmp_call_abandon (QmpCall *call)
{
  if (!call->done)
    call->abandoned = TRUE;
  call->done = TRUE;
  qmp_call_unref (call);
}

/* Both sources only have to wake the context; the loop looks for itself at what has happened. */

static gboolean
wake_for_deadline (GSource *source, GSourceFunc callback, gpointer user_data)
{
  return G_SOURCE_REMOVE;
}

static gboolean
wake_for_cancellation (GCancellable *cancellable, gpointer user_data)
{
  return G_SOURCE_REMOVE;
}

static GSource *
new_deadline_source (gint64 deadline_us)
{
  /* GLib writes into the functions of a source nowhere, yet takes them without const. */
  static GSourceFuncs functions = {.dispatch = wake_for_deadline};
  GSource *source = g_source_new (&functions, sizeof (GSource));

  g_source_set_ready_time (source, deadline_us == QMP_CALL_NO_DEADLINE ? -1 : deadline_us);
  return source;
}

static GSource *
new_cancellation_source (GCancellable *cancellable)
{
  GSource *source = g_cancellable_source_new (cancellable);
  g_source_set_callback (source, G_SOURCE_FUNC (wake_for_cancellation), NULL, NULL);
  return source;
}

typedef struct {
  QmpCallCondition is_met;
  gpointer user_data;
  gint64 deadline_us;
  GCancellable *cancellable;
} Wait;

static gboolean
is_over (gpointer user_data)
{
  const Wait *wait = user_data;

  return wait->is_met (wait->user_data) || g_cancellable_is_cancelled (wait->cancellable) ||
         g_get_monotonic_time () >= wait->deadline_us;
}

/* Past the deadline it still looks once, without sleeping, at what has already arrived. */
static gboolean
wait_until (GMainContext *context, const Wait *wait, GError **error)
{
  base_fiber_wait (is_over, (gpointer)wait);
  if (wait->is_met (wait->user_data))
    return TRUE;
  if (g_cancellable_set_error_if_cancelled (wait->cancellable, error))
    return FALSE;
  g_main_context_iteration (context, FALSE);
  if (wait->is_met (wait->user_data))
    return TRUE;
  g_set_error_literal (error, QMP_ERROR, QMP_ERROR_TIMEOUT, "the deadline has passed");
  return FALSE;
}

gboolean
qmp_call_wait_until (QmpCallCondition is_met, gpointer user_data, gint64 deadline_us, GCancellable *cancellable,
                     GError **error)
{
  if (is_met (user_data))
    return TRUE;

  g_autoptr (GMainContext) context = g_main_context_ref_thread_default ();
  g_autoptr (GSource) deadline = new_deadline_source (deadline_us);
  g_autoptr (GSource) cancellation = new_cancellation_source (cancellable);
  g_source_attach (deadline, context);
  g_source_attach (cancellation, context);

  const Wait wait = {is_met, user_data, deadline_us, cancellable};
  gboolean met = wait_until (context, &wait, error);

  g_source_destroy (deadline);
  g_source_destroy (cancellation);
  return met;
}

static gboolean
call_is_done (gpointer user_data)
{
  return qmp_call_is_done (user_data);
}

static GError *
explain_wait_error (QmpCall *call, GError *error)
{
  g_autoptr (GError) owned = error;

  if (!g_error_matches (owned, QMP_ERROR, QMP_ERROR_TIMEOUT)) {
    g_prefix_error (&owned, "'%s': ", call->command);
    return g_steal_pointer (&owned);
  }
  if (call->deadline_error != NULL)
    return g_steal_pointer (&call->deadline_error);
  return g_error_new (QMP_ERROR, QMP_ERROR_TIMEOUT, "'%s' was sent, but no answer came before the deadline",
                      call->command);
}

JsonNode *
qmp_call_finish (QmpCall *call, GCancellable *cancellable, GError **error)
{
  g_autoptr (QmpCall) owned = call;
  GError *wait_error = NULL;

  if (!qmp_call_wait_until (call_is_done, owned, owned->deadline_us, cancellable, &wait_error)) {
    g_propagate_error (error, explain_wait_error (owned, wait_error));
    return NULL;
  }
  if (owned->error != NULL) {
    g_propagate_error (error, g_steal_pointer (&owned->error));
    return NULL;
  }
  return g_steal_pointer (&owned->value);
}
