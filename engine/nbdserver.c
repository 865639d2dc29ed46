/*
 * Starts the daemon with its server and its exports, and looks at it from outside:
 * sockets as the kernel shows them, writes as query-blockstats counts them.
 */
#include "engine/nbdserver.h"

#include "base/point.h"
#include "engine/error.h"
#include "qmp/error.h"
#include "qmp/exports.h"

#define TLS "tls"

/* QEMU 9.1's own limit, so that nobody's connections can take all of the daemon's descriptors; copies have some each.
 */
#define MOST_STRANGERS 100
#define MOST_PER_DISK 4

/**
 * EngineNbdserver:
 * @count: of the disks
 * @ends: of what was written to each; @gone: whether its export was taken back
 * @connections: who was connected when that was learnt
 */
struct _EngineNbdserver {
  char *name;
  EngineDaemon *daemon;
  QmpClient *monitor;
  gint64 patience_us;
  guint count;
  gint64 *ends;
  gboolean *gone;
  char *connections;
};

/* ---- its words ---- */

/* @option with @value (transfer full) as JSON. */
static void
add_option (GPtrArray *words, const char *option, JsonObject *value)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);

  json_node_take_object (node, value);
  g_ptr_array_add (words, g_strdup (option));
  g_ptr_array_add (words, json_to_string (node, FALSE));
}

static void
add_server (GPtrArray *words, const EngineNbdserverOrder *order)
{
  JsonObject *server = json_object_new (), *address = json_object_new ();
  g_autofree char *fd = g_strdup_printf ("%d", ENGINE_DAEMON_FIRST_FD);

  json_object_set_string_member (address, "type", "fd");
  json_object_set_string_member (address, "str", fd);
  json_object_set_object_member (server, "addr", address);
  json_object_set_int_member (server, "max-connections", MOST_STRANGERS + MOST_PER_DISK * (gint64)order->disks->len);
  if (order->tls_creds != NULL)
    json_object_set_string_member (server, "tls-creds", TLS);
  add_option (words, "--nbd-server", server);
}

/* An export's id is its node's name. */
static char *
node_of (const char *name, guint index)
{
  return g_strdup_printf ("%s-%u", name, index);
}

static char **
server_words (const EngineNbdserverOrder *order)
{
  g_autoptr (GPtrArray) words = g_ptr_array_new ();

  if (order->tls_creds != NULL)
    add_option (words, "--object", qmp_commands_tls_credentials (TLS, "server", order->tls_creds));
  add_server (words, order);
  for (guint i = 0; i < order->disks->len; i++) {
    JsonObject *export = json_object_new ();
    g_autofree char *node = node_of (order->name, i);

    json_object_set_string_member (export, "type", "nbd");
    json_object_set_string_member (export, "id", node);
    json_object_set_string_member (export, "node-name", node);
    json_object_set_string_member (export, "name",
                                   ((const EngineStandinDisk *)g_ptr_array_index (order->disks, i))->name);
    json_object_set_boolean_member (export, "writable", TRUE);
    add_option (words, "--export", export);
  }
  g_ptr_array_add (words, NULL);
  return (char **)g_ptr_array_steal (words, NULL);
}

/* ---- its life ---- */

EngineNbdserver *
engine_nbdserver_start (const EngineNbdserverOrder *order, GCancellable *cancellable, GError **error)
{
  g_autoptr (EngineNbdserver) server = g_new0 (EngineNbdserver, 1);
  g_auto (GStrv) words = server_words (order);
  int listener = engine_listener_get_fd (order->listener);
  gint64 version;
  const EngineDaemonOrder daemon = {
      .name = order->name,
      .disks = order->disks,
      .words = (const char *const *)words,
      .fds = &listener,
      .n_fds = 1,
      .patience_us = order->patience_us,
  };

  server->name = g_strdup (order->name);
  server->patience_us = order->patience_us;
  server->count = order->disks->len;
  server->ends = g_new0 (gint64, server->count);
  server->gone = g_new0 (gboolean, server->count);
  server->daemon = engine_daemon_spawn (&daemon, &server->monitor, error);
  if (server->daemon == NULL || !engine_daemon_greet (server->daemon, server->monitor, cancellable, &version, error))
    return NULL;
  return g_steal_pointer (&server);
}

gboolean
engine_nbdserver_stop (EngineNbdserver *server)
{
  gboolean well;

  g_clear_pointer (&server->monitor, qmp_client_free);
  well = server->daemon == NULL || engine_daemon_stop (server->daemon);
  g_free (server->name);
  g_free (server->ends);
  g_free (server->gone);
  g_free (server->connections);
  g_free (server);
  return well;
}

void
engine_nbdserver_free (EngineNbdserver *server)
{
  gboolean well = server == NULL || engine_nbdserver_stop (server);

  (void)well;
}

/* Not cancellable: it is asked at Ctrl-C too. */
static QmpWait
patience (const EngineNbdserver *server)
{
  return (QmpWait){g_get_monotonic_time () + server->patience_us, NULL};
}

static gboolean
is_lost (gpointer user_data)
{
  const EngineNbdserver *server = user_data;

  return qmp_client_get_error (server->monitor) != NULL;
}

static gboolean
lose (const EngineNbdserver *server, const GError *failure, GError **error)
{
  g_autofree char *words = engine_daemon_has_died (server->daemon) ? engine_daemon_last_words (server->daemon) : NULL;

  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, ENGINE_DAEMON_PROGRAM " does not serve any more: %s",
                    words != NULL ? words : failure->message);
  return FALSE;
}

gboolean
engine_nbdserver_wait (EngineNbdserver *server, gint64 until_us, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (qmp_call_wait_until (is_lost, server, until_us, cancellable, &failure))
    return lose (server, qmp_client_get_error (server->monitor), error);
  if (g_error_matches (failure, QMP_ERROR, QMP_ERROR_TIMEOUT))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

/* ---- its clients ---- */

static gboolean
connections_changed (EngineNbdserver *server)
{
  g_autofree char *now = engine_daemon_connections (server->daemon);

  if (g_strcmp0 (now, server->connections) == 0)
    return FALSE;
  g_free (server->connections);
  server->connections = g_steal_pointer (&now);
  return TRUE;
}

/* One who comes, writes and goes between two looks leaves at least what was written. */
gboolean
engine_nbdserver_learn (EngineNbdserver *server, gboolean *changed, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GHashTable) written = qmp_exports_query_written (server->monitor, patience (server), &failure);

  if (written == NULL)
    return lose (server, failure, error);
  *changed = connections_changed (server);
  for (guint i = 0; i < server->count; i++) {
    g_autofree char *node = node_of (server->name, i);
    const gint64 *end = g_hash_table_lookup (written, node);

    if (end == NULL || *end == server->ends[i])
      continue;
    server->ends[i] = *end;
    *changed = TRUE;
  }
  return TRUE;
}

gint64
engine_nbdserver_written (const EngineNbdserver *server, guint index)
{
  return server->ends[index];
}

gboolean
engine_nbdserver_take_back (EngineNbdserver *server, gboolean written, gboolean *in_use, GError **error)
{
  *in_use = FALSE;
  for (guint i = 0; i < server->count && !*in_use; i++) {
    g_autofree char *node = node_of (server->name, i);
    g_autoptr (GError) failure = NULL;

    if (server->gone[i] || (server->ends[i] > 0) != written)
      continue;
    server->gone[i] = qmp_exports_delete_unused (server->monitor, patience (server), node, &failure);
    *in_use = g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND);
    if (failure != NULL && !*in_use)
      return lose (server, failure, error);
    if (base_point_is_mutant ("sender-not-waited-for"))
      *in_use = FALSE;
  }
  return TRUE;
}
