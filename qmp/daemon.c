/*
 * Reads a storage daemon's disks from the edges of its block graph, since
 * query-block and query-blockstats know only devices. Promises, as qmp/nodes
 * does, %QMP_ERROR_PROTOCOL instead of a guess, and no end of time for no reply.
 * Source: QEMU qapi/block-core.json, XDbgBlockGraph; qapi/block-export.json.
 */
#include "qmp/daemon.h"

#include "qmp/error.h"
#include "qmp/message.h"

#include <string.h>

#define GRAPH "x-debug-query-block-graph"
/* Far more than the layers of all disks need; only so that no reply can keep us busy for ever. */
#define MAX_STEPS 1000000

/* A node of the graph with what hangs under it. */
typedef struct {
  const QmpNode *node;
  gint64 file;    /* id of its child "file", 0 where it has none */
  gint64 backing; /* likewise */
  gboolean has_parent;
} Vertex;

typedef struct {
  GHashTable *by_id;   /* gint64 -> Vertex */
  GHashTable *by_name; /* utf8 -> Vertex, both borrowed */
  GPtrArray *order;    /* of Vertex, borrowed, as QEMU lists them */
  guint steps;         /* taken downwards */
} Graph;

static void
graph_clear (Graph *graph)
{
  g_clear_pointer (&graph->by_id, g_hash_table_unref);
  g_clear_pointer (&graph->by_name, g_hash_table_unref);
  g_clear_pointer (&graph->order, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Graph, graph_clear)

static JsonObject *
entry_of (JsonArray *array, guint i, const char *command, GError **error)
{
  JsonNode *element = json_array_get_element (array, i);
  if (JSON_NODE_HOLDS_OBJECT (element))
    return json_node_get_object (element);
  g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "%s: entry %u is no object", command, i);
  return NULL;
}

static gboolean
check_new (const Graph *graph, gint64 id, const char *name, GError **error)
{
  if (!g_hash_table_contains (graph->by_id, &id) && !g_hash_table_contains (graph->by_name, name))
    return TRUE;
  g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "it names node %s, or its id, twice", name);
  return FALSE;
}

static gboolean
add_vertex (Graph *graph, const QmpNodes *nodes, JsonObject *entry, GError **error)
{
  const char *type = NULL, *name = NULL;
  gint64 id = 0;
  if (!qmp_message_get_string (entry, "type", &type, error) || !qmp_message_get_string (entry, "name", &name, error) ||
      !qmp_message_get_int (entry, "id", &id, error))
    return FALSE;
  if (!g_str_equal (type, "block-driver"))
    return TRUE;
  const QmpNode *node = qmp_nodes_find (nodes, name);
  if (node == NULL) {
    g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL,
                 "it names node %s, which query-named-block-nodes lacks: the block graph changed between the two",
                 name);
    return FALSE;
  }
  if (!check_new (graph, id, name, error))
    return FALSE;
  Vertex *vertex = g_new0 (Vertex, 1);
  gint64 *key = g_new (gint64, 1);
  *key = id;
  vertex->node = node;
  g_hash_table_insert (graph->by_id, key, vertex);
  g_hash_table_insert (graph->by_name, node->name, vertex);
  g_ptr_array_add (graph->order, vertex);
  return TRUE;
}

/* Edges from what is no node (a BlockBackend, a job) say nothing about what lies under what. */
static gboolean
add_edge (Graph *graph, JsonObject *entry, GError **error)
{
  const char *name = NULL;
  gint64 parent = 0, child = 0;
  if (!qmp_message_get_string (entry, "name", &name, error) || !qmp_message_get_int (entry, "parent", &parent, error) ||
      !qmp_message_get_int (entry, "child", &child, error))
    return FALSE;
  Vertex *above = g_hash_table_lookup (graph->by_id, &parent);
  Vertex *below = g_hash_table_lookup (graph->by_id, &child);
  if (above == NULL || below == NULL)
    return TRUE;
  below->has_parent = TRUE;
  if (g_str_equal (name, "file"))
    above->file = child;
  else if (g_str_equal (name, "backing"))
    above->backing = child;
  return TRUE;
}

typedef gboolean (*AddEntry) (Graph *graph, const QmpNodes *nodes, JsonObject *entry, GError **error);

static gboolean
add_edge_entry (Graph *graph, const QmpNodes *nodes, JsonObject *entry, GError **error)
{
  return add_edge (graph, entry, error);
}

static gboolean
add_all (Graph *graph, const QmpNodes *nodes, JsonObject *reply, const char *member, AddEntry add, GError **error)
{
  JsonArray *entries = NULL;
  if (!qmp_message_get_array (reply, member, &entries, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (entries); i++) {
    JsonObject *entry = entry_of (entries, i, member, error);
    if (entry == NULL || !add (graph, nodes, entry, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
parse_graph (Graph *graph, const QmpNodes *nodes, JsonNode *reply, GError **error)
{
  JsonObject *object = qmp_message_as_object (reply, GRAPH, error);
  graph->by_id = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, g_free);
  graph->by_name = g_hash_table_new (g_str_hash, g_str_equal);
  graph->order = g_ptr_array_new ();
  if (object == NULL)
    return FALSE;
  if (add_all (graph, nodes, object, "nodes", add_vertex, error) &&
      add_all (graph, nodes, object, "edges", add_edge_entry, error))
    return TRUE;
  g_prefix_error (error, GRAPH ": ");
  return FALSE;
}

/* %NULL, too, once a walk has been too long. */
static const Vertex *
child_of (Graph *graph, gint64 id)
{
  if (id == 0 || graph->steps >= MAX_STEPS)
    return NULL;
  graph->steps++;
  return g_hash_table_lookup (graph->by_id, &id);
}

/* A filter's child is its "file" or its "backing"; a format's bytes lie at the end of its "file" children. */
static const Vertex *
below (Graph *graph, const Vertex *vertex)
{
  if (!qmp_nodes_is_filter (vertex->node))
    return child_of (graph, vertex->backing);
  return child_of (graph, vertex->file != 0 ? vertex->file : vertex->backing);
}

static QmpNodesLayer *
layer_new (Graph *graph, const Vertex *vertex)
{
  QmpNodesLayer *layer = g_new0 (QmpNodesLayer, 1);
  const Vertex *first = child_of (graph, vertex->file), *last = first;

  layer->node = vertex->node;
  if (qmp_nodes_is_filter (vertex->node))
    last = below (graph, vertex);
  else
    while (last != NULL && last->file != 0)
      last = child_of (graph, last->file);
  layer->file = last != NULL ? last->node : NULL;
  layer->between = !qmp_nodes_is_filter (vertex->node) && first != last ? first->node : NULL;
  return layer;
}

static QmpDevice *
device_new (Graph *graph, const Vertex *vertex, const char *backend)
{
  QmpDevice *device = qmp_nodes_device_new (backend);

  for (; vertex != NULL; vertex = below (graph, vertex))
    g_ptr_array_add (device->layers, layer_new (graph, vertex));
  return device;
}

static gboolean
add_exported (Graph *graph, JsonNode *reply, GPtrArray *devices, GHashTable *seen, GError **error)
{
  JsonArray *exports = qmp_message_as_array (reply, "query-block-exports", error);
  if (exports == NULL)
    return FALSE;
  /* The newest is listed first: one that is added later renames nothing. */
  for (guint i = json_array_get_length (exports); i > 0; i--) {
    JsonObject *entry = entry_of (exports, i - 1, "query-block-exports", error);
    const char *id = NULL, *name = NULL;
    if (entry == NULL || !qmp_message_get_string (entry, "id", &id, error) ||
        !qmp_message_get_string (entry, "node-name", &name, error))
      return FALSE;
    Vertex *vertex = g_hash_table_lookup (graph->by_name, name);
    if (vertex == NULL) {
      g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL,
                   "query-block-exports: node %s of export %s is not in the block graph: it changed between the two",
                   name, id);
      return FALSE;
    }
    if (!vertex->has_parent && g_hash_table_add (seen, vertex))
      g_ptr_array_add (devices, device_new (graph, vertex, id));
  }
  return TRUE;
}

GPtrArray *
qmp_daemon_parse (const QmpNodes *nodes, JsonNode *exports, JsonNode *reply, GError **error)
{
  g_auto (Graph) graph = {0};
  g_autoptr (GPtrArray) devices = g_ptr_array_new_with_free_func ((GDestroyNotify)qmp_nodes_device_free);
  g_autoptr (GHashTable) seen = g_hash_table_new (NULL, NULL);
  if (!parse_graph (&graph, nodes, reply, error) || !add_exported (&graph, exports, devices, seen, error))
    return NULL;
  /* QEMU lists the newest first. */
  for (guint i = graph.order->len; i > 0; i--) {
    Vertex *vertex = g_ptr_array_index (graph.order, i - 1);
    if (!vertex->has_parent && vertex->node->name[0] != '#' && g_hash_table_add (seen, vertex))
      g_ptr_array_add (devices, device_new (&graph, vertex, ""));
  }
  if (graph.steps < MAX_STEPS)
    return g_steal_pointer (&devices);
  g_set_error_literal (error, QMP_ERROR, QMP_ERROR_PROTOCOL, GRAPH ": what lies under what has no end");
  return NULL;
}
