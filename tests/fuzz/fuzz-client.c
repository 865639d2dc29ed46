/*
 * What a monitor may say: the stream and the client on any bytes. The first
 * byte chooses the kind of session and the size of the pieces, the rest is what
 * the peer says. Proves that each call ends once, with a value or an error, never both.
 */
#include "qmp/commands.h"
#include "qmp/error.h"
#include "qmp/features.h"
#include "qmp/nodes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/peer.h"

#define ATTACHED 0x80
#define MAX_PIECE 0x7f

static void
finish (QmpCall *call)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) value = qmp_call_finish (call, NULL, &error);

  g_assert ((value == NULL) != (error == NULL));
  /* Every input ends the connection, so silence until the deadline is a call that was forgotten. */
  g_assert (!g_error_matches (error, QMP_ERROR, QMP_ERROR_TIMEOUT));
}

static void
query_all (QmpClient *client, QmpWait wait)
{
  g_autofree char *status = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) jobs = NULL;

  status = qmp_commands_finish_query_status (qmp_commands_start_query_status (client, wait.deadline_us), NULL, &error);
  g_assert ((status == NULL) == (error != NULL));
  g_clear_error (&error);
  jobs = qmp_commands_query_jobs (client, wait, &error);
  g_assert ((jobs == NULL) != (error == NULL));
}

static void
query_graph (QmpClient *client, QmpWait wait)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpNodes) nodes =
      qmp_nodes_finish (qmp_nodes_start (client, QMP_NODES_OF_MACHINE, wait.deadline_us), NULL, &error);

  g_assert ((nodes == NULL) != (error == NULL));
}

static void
take_events (QmpClient *client, QmpWait wait)
{
  QmpClientEvent *event;
  g_autoptr (GError) error = NULL;

  while ((event = qmp_client_wait_event (client, wait.deadline_us, NULL, &error)) != NULL)
    qmp_client_event_free (event);
  g_assert (error != NULL && !g_error_matches (error, QMP_ERROR, QMP_ERROR_TIMEOUT));
  g_assert (qmp_client_get_error (client) != NULL);
}

void
fuzz_one (const guint8 *data, gsize length)
{
  if (length < 1)
    return;
  g_autoptr (FuzzPeer) peer = fuzz_peer_new (data + 1, length - 1, (gsize)(data[0] & MAX_PIECE) * 8 + 1);
  gboolean attached = (data[0] & ATTACHED) != 0;
  QmpWait wait = {.deadline_us = qmp_call_deadline_in (FUZZ_PEER_PATIENCE)};
  GIOStream *io = fuzz_peer_take_io (peer);
  g_autoptr (QmpClient) client = attached ? qmp_client_new_attached (io) : qmp_client_new (io);

  if (!attached)
    finish (qmp_client_start_handshake (client, wait.deadline_us));
  QmpCall *first = qmp_client_start (client, "stop", NULL, wait.deadline_us);
  QmpCall *abandoned = qmp_client_start (client, "cont", NULL, wait.deadline_us);
  query_all (client, wait);
  qmp_call_abandon (abandoned);
  query_graph (client, wait);
  finish (first);
  take_events (client, wait);
}
