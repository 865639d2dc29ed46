/*
 * Reads a storage daemon's disks from the edges of its block graph, since
 * query-block and query-blockstats know only devices. Promises, as qmp/nodes
 * does, %QMP_ERROR_PROTOCOL instead of a guess, and no end of time for no reply.
 * Source: QEMU qapi/block-export.json.
 */
#include "qmp/daemon.h"

#include "qmp/edges.h"
#include "qmp/error.h"
#include "qmp/message.h"

#define MAX_LAYERS 100000

static const QmpNode *
node_of (const QmpNodes *nodes, const QmpVertex *vertex)
{
  return vertex != NULL ? qmp_nodes_find (nodes, vertex->name) : NULL;
}

/* A filter's child is its "file" or its "backing". */
static const QmpVertex *
below (const QmpNodes *nodes, const QmpVertex *vertex)
{
  if (!qmp_nodes_is_filter (node_of (nodes, vertex)))
    return vertex->backing;
  return vertex->file != NULL ? vertex->file : vertex->backing;
}

/* A format's bytes lie at the end of its "file" children. */
static QmpNodesLayer *
layer_new (const QmpNodes *nodes, const QmpVertex *vertex)
{
  QmpNodesLayer *layer = g_new0 (QmpNodesLayer, 1);
  gboolean filter = qmp_nodes_is_filter (node_of (nodes, vertex));
  const QmpVertex *last = filter ? below (nodes, vertex) : vertex->file;
  for (int depth = 0; !filter && last != NULL && last->file != NULL && depth < MAX_LAYERS; depth++)
    last = last->file;
  layer->node = node_of (nodes, vertex);
  layer->file = node_of (nodes, last);
  layer->between = !filter && vertex->file != last ? node_of (nodes, vertex->file) : NULL;
  return layer;
}

static QmpDevice *
device_new (const QmpNodes *nodes, const QmpVertex *vertex, const char *backend)
{
  QmpDevice *device = qmp_nodes_device_new (backend);
  for (guint depth = 0; vertex != NULL && depth < MAX_LAYERS; depth++, vertex = below (nodes, vertex))
    g_ptr_array_add (device->layers, layer_new (nodes, vertex));
  return device;
}

static gboolean
check_known (const QmpNodes *nodes, const QmpEdges *edges, GError **error)
{
  const GPtrArray *all = qmp_edges_get_all (edges);
  for (guint i = 0; i < all->len; i++) {
    const QmpVertex *vertex = g_ptr_array_index (all, i);
    if (node_of (nodes, vertex) != NULL)
      continue;
    g_set_error (
        error, QMP_ERROR, QMP_ERROR_PROTOCOL,
        "x-debug-query-block-graph names node %s, which query-named-block-nodes lacks: the block graph changed "
        "between the two",
        vertex->name);
    return FALSE;
  }
  return TRUE;
}

static gboolean
add_exported (const QmpNodes *nodes, const QmpEdges *edges, JsonNode *reply, GPtrArray *devices, GHashTable *seen,
              GError **error)
{
  JsonArray *exports = qmp_message_as_array (reply, "query-block-exports", error);
  if (exports == NULL)
    return FALSE;
  for (guint i = 0; i < json_array_get_length (exports); i++) {
    JsonNode *element = json_array_get_element (exports, i);
    JsonObject *entry = JSON_NODE_HOLDS_OBJECT (element) ? json_node_get_object (element) : NULL;
    const char *id = NULL, *name = NULL;
    if (entry == NULL) {
      g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "query-block-exports: entry %u is no object", i);
      return FALSE;
    }
    if (!qmp_message_get_string (entry, "id", &id, error) || !qmp_message_get_string (entry, "node-name", &name, error))
      return FALSE;
    const QmpVertex *vertex = qmp_edges_find (edges, name);
    if (vertex != NULL && !vertex->has_parent && g_hash_table_add (seen, (gpointer)vertex))
      g_ptr_array_add (devices, device_new (nodes, vertex, id));
  }
  return TRUE;
}

GPtrArray *
qmp_daemon_parse (const QmpNodes *nodes, JsonNode *exports, JsonNode *graph, GError **error)
{
  g_autoptr (QmpEdges) edges = qmp_edges_parse (graph, error);
  g_autoptr (GPtrArray) devices = g_ptr_array_new_with_free_func ((GDestroyNotify)qmp_nodes_device_free);
  g_autoptr (GHashTable) seen = g_hash_table_new (NULL, NULL);
  if (edges == NULL || !check_known (nodes, edges, error) ||
      !add_exported (nodes, edges, exports, devices, seen, error))
    return NULL;
  const GPtrArray *all = qmp_edges_get_all (edges);
  /* QEMU lists the newest first. */
  for (guint i = all->len; i > 0; i--) {
    QmpVertex *vertex = g_ptr_array_index (all, i - 1);
    if (!vertex->has_parent && vertex->name[0] != '#' && g_hash_table_add (seen, vertex))
      g_ptr_array_add (devices, device_new (nodes, vertex, ""));
  }
  return g_steal_pointer (&devices);
}
