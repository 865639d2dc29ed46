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

/* Far more than the layers of all disks need. */
#define MAX_STEPS 1000000

/* Steps are counted, so that a reply in which something lies under itself has an end. */
typedef struct {
  const QmpNodes *nodes;
  const QmpEdges *edges;
  guint steps;
} Walk;

static const QmpNode *
node_of (const Walk *walk, const QmpVertex *vertex)
{
  return vertex != NULL ? qmp_nodes_find (walk->nodes, vertex->name) : NULL;
}

/* %NULL, too, once a walk has been too long. */
static const QmpVertex *
step (Walk *walk, const QmpVertex *child)
{
  return child != NULL && walk->steps++ < MAX_STEPS ? child : NULL;
}

/* A filter's child is its "file" or its "backing". */
static const QmpVertex *
below (Walk *walk, const QmpVertex *vertex)
{
  if (!qmp_nodes_is_filter (node_of (walk, vertex)))
    return step (walk, vertex->backing);
  return step (walk, vertex->file != NULL ? vertex->file : vertex->backing);
}

/* A format's bytes lie at the end of its "file" children. */
static QmpNodesLayer *
layer_new (Walk *walk, const QmpVertex *vertex)
{
  QmpNodesLayer *layer = g_new0 (QmpNodesLayer, 1);
  gboolean filter = qmp_nodes_is_filter (node_of (walk, vertex));
  const QmpVertex *last = filter ? below (walk, vertex) : vertex->file;
  while (!filter && last != NULL && step (walk, last->file) != NULL)
    last = last->file;
  layer->node = node_of (walk, vertex);
  layer->file = node_of (walk, last);
  layer->between = !filter && vertex->file != last ? node_of (walk, vertex->file) : NULL;
  return layer;
}

static QmpDevice *
device_new (Walk *walk, const QmpVertex *vertex, const char *backend)
{
  QmpDevice *device = qmp_nodes_device_new (backend);
  for (; vertex != NULL; vertex = below (walk, vertex))
    g_ptr_array_add (device->layers, layer_new (walk, vertex));
  return device;
}

static gboolean
check_known (const Walk *walk, GError **error)
{
  const GPtrArray *all = qmp_edges_get_all (walk->edges);
  for (guint i = 0; i < all->len; i++) {
    const QmpVertex *vertex = g_ptr_array_index (all, i);
    if (node_of (walk, vertex) != NULL)
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
add_export (Walk *walk, JsonObject *entry, GPtrArray *devices, GHashTable *seen, GError **error)
{
  const char *id = NULL, *name = NULL;
  if (!qmp_message_get_string (entry, "id", &id, error) || !qmp_message_get_string (entry, "node-name", &name, error))
    return FALSE;
  const QmpVertex *vertex = qmp_edges_find (walk->edges, name);
  if (vertex == NULL) {
    g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL,
                 "node %s of export %s is not in the block graph: it changed between the two", name, id);
    return FALSE;
  }
  if (!vertex->has_parent && g_hash_table_add (seen, (gpointer)vertex))
    g_ptr_array_add (devices, device_new (walk, vertex, id));
  return TRUE;
}

/* The newest is listed first: one that is added later renames nothing. */
static gboolean
add_exports (Walk *walk, JsonNode *reply, GPtrArray *devices, GHashTable *seen, GError **error)
{
  JsonArray *exports = qmp_message_as_array (reply, "query-block-exports", error);
  if (exports == NULL)
    return FALSE;
  for (guint i = json_array_get_length (exports); i > 0; i--) {
    JsonNode *element = json_array_get_element (exports, i - 1);
    if (!JSON_NODE_HOLDS_OBJECT (element)) {
      g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "query-block-exports: entry %u is no object", i - 1);
      return FALSE;
    }
    if (!add_export (walk, json_node_get_object (element), devices, seen, error)) {
      g_prefix_error (error, "query-block-exports: ");
      return FALSE;
    }
  }
  return TRUE;
}

/* The newest is listed first here, too. */
static void
add_unexported (Walk *walk, GPtrArray *devices, GHashTable *seen)
{
  const GPtrArray *all = qmp_edges_get_all (walk->edges);
  for (guint i = all->len; i > 0; i--) {
    QmpVertex *vertex = g_ptr_array_index (all, i - 1);
    if (!vertex->has_parent && vertex->name[0] != '#' && g_hash_table_add (seen, vertex))
      g_ptr_array_add (devices, device_new (walk, vertex, ""));
  }
}

GPtrArray *
qmp_daemon_parse (const QmpNodes *nodes, JsonNode *exports, JsonNode *graph, GError **error)
{
  g_autoptr (QmpEdges) edges = qmp_edges_parse (graph, error);
  g_autoptr (GPtrArray) devices = g_ptr_array_new_with_free_func ((GDestroyNotify)qmp_nodes_device_free);
  g_autoptr (GHashTable) seen = g_hash_table_new (NULL, NULL);
  Walk walk = {.nodes = nodes, .edges = edges};
  if (edges == NULL || !check_known (&walk, error) || !add_exports (&walk, exports, devices, seen, error))
    return NULL;
  add_unexported (&walk, devices, seen);
  if (walk.steps < MAX_STEPS)
    return g_steal_pointer (&devices);
  g_set_error_literal (error, QMP_ERROR, QMP_ERROR_PROTOCOL,
                       "x-debug-query-block-graph: what lies under what has no end");
  return NULL;
}
