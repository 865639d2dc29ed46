/*
 * Reads nodes and edges. Promises, as qmp/nodes does, %QMP_ERROR_PROTOCOL
 * instead of a guess where the reply lacks a member. An edge to what is not
 * among the nodes says nothing.
 * Source: QEMU qapi/block-core.json, XDbgBlockGraph.
 */
#include "qmp/edges.h"

#include "qmp/error.h"
#include "qmp/message.h"

#include <string.h>

#define COMMAND "x-debug-query-block-graph"

struct _QmpEdges {
  GPtrArray *all;      /* (element-type QmpVertex) */
  GHashTable *by_id;   /* gint64 -> QmpVertex, borrowed; %NULL for what is no node */
  GHashTable *others;  /* gint64 -> utf8: the names of what is no node */
  GHashTable *by_name; /* utf8 -> QmpVertex, both borrowed */
  GPtrArray *users;    /* (element-type utf8), borrowed from others */
  GHashTable *jobs;    /* gint64: those of others that are jobs; borrowed from there */
  GHashTable *held;    /* "JOB\nROLE" -> QmpVertex, borrowed */
};

static void
vertex_free (QmpVertex *vertex)
{
  g_free (vertex->name);
  g_free (vertex);
}

void
qmp_edges_free (QmpEdges *edges)
{
  if (edges == NULL)
    return;
  g_ptr_array_unref (edges->users);
  g_hash_table_unref (edges->held);
  g_hash_table_unref (edges->jobs);
  g_hash_table_unref (edges->others);
  g_hash_table_unref (edges->by_id);
  g_hash_table_unref (edges->by_name);
  g_ptr_array_unref (edges->all);
  g_free (edges);
}

static gboolean
add_node (QmpEdges *edges, JsonObject *entry, GError **error)
{
  const char *type = NULL, *name = NULL;
  gint64 id = 0;
  if (!qmp_message_get_string (entry, "type", &type, error) || !qmp_message_get_string (entry, "name", &name, error) ||
      !qmp_message_get_int (entry, "id", &id, error))
    return FALSE;
  gboolean is_node = g_str_equal (type, "block-driver");
  if (g_hash_table_contains (edges->by_id, &id) || (is_node && g_hash_table_contains (edges->by_name, name))) {
    g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "it names node %s, or its id, twice", name);
    return FALSE;
  }
  gint64 *key = g_new (gint64, 1);
  *key = id;
  if (!is_node) {
    gint64 *other = g_memdup2 (key, sizeof *key);
    g_hash_table_replace (edges->by_id, key, NULL);
    g_hash_table_replace (edges->others, other, g_strdup (name));
    if (g_str_equal (type, "block-job"))
      g_hash_table_add (edges->jobs, other);
    return TRUE;
  }
  QmpVertex *vertex = g_new0 (QmpVertex, 1);
  vertex->name = g_strdup (name);
  g_hash_table_replace (edges->by_id, key, vertex);
  g_hash_table_insert (edges->by_name, vertex->name, vertex);
  g_ptr_array_add (edges->all, vertex);
  return TRUE;
}

static gboolean
may_write (JsonObject *entry)
{
  JsonNode *node = json_object_get_member (entry, "perm");
  JsonArray *rights = node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  for (guint i = 0; rights != NULL && i < json_array_get_length (rights); i++) {
    JsonNode *right = json_array_get_element (rights, i);
    const char *word = JSON_NODE_HOLDS_VALUE (right) ? json_node_get_string (right) : NULL;
    if (g_strcmp0 (word, "write") == 0)
      return TRUE;
  }
  return FALSE;
}

/* Returns: (transfer full) */
static char *
held_key (const char *job, const char *role)
{
  return g_strjoin ("\n", job, role, NULL);
}

static gboolean
add_edge (QmpEdges *edges, JsonObject *entry, GError **error)
{
  const char *name = NULL;
  gint64 parent = 0, child = 0;
  gpointer above = NULL;
  if (!qmp_message_get_string (entry, "name", &name, error) || !qmp_message_get_int (entry, "parent", &parent, error) ||
      !qmp_message_get_int (entry, "child", &child, error))
    return FALSE;
  QmpVertex *below = g_hash_table_lookup (edges->by_id, &child);
  if (below == NULL || !g_hash_table_lookup_extended (edges->by_id, &parent, NULL, &above))
    return TRUE;
  if (above == NULL) {
    below->has_user = TRUE;
    g_ptr_array_add (edges->users, g_hash_table_lookup (edges->others, &parent));
    if (g_hash_table_contains (edges->jobs, &parent))
      g_hash_table_replace (edges->held, held_key (g_hash_table_lookup (edges->others, &parent), name), below);
    return TRUE;
  }
  QmpVertex *vertex = above;
  below->has_parent = TRUE;
  if (g_str_equal (name, "file")) {
    vertex->file = below;
    vertex->writes = may_write (entry);
  } else if (g_str_equal (name, "backing")) {
    vertex->backing = below;
  }
  return TRUE;
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

typedef gboolean (*AddEntry) (QmpEdges *edges, JsonObject *entry, GError **error);

static gboolean
add_all (QmpEdges *edges, JsonObject *reply, const char *member, AddEntry add, GError **error)
{
  JsonArray *entries = NULL;
  if (!qmp_message_get_array (reply, member, &entries, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (entries); i++) {
    JsonNode *element = json_array_get_element (entries, i);
    if (!JSON_NODE_HOLDS_OBJECT (element)) {
      g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "%s: entry %u is no object", member, i);
      return FALSE;
    }
    if (!add (edges, json_node_get_object (element), error))
      return FALSE;
  }
  return TRUE;
}

QmpEdges *
qmp_edges_parse (JsonNode *reply, GError **error)
{
  JsonObject *object = qmp_message_as_object (reply, COMMAND, error);
  if (object == NULL)
    return NULL;
  g_autoptr (QmpEdges) edges = g_new0 (QmpEdges, 1);
  edges->all = g_ptr_array_new_with_free_func ((GDestroyNotify)vertex_free);
  edges->by_id = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  edges->by_name = g_hash_table_new (g_str_hash, g_str_equal);
  edges->others = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, g_free);
  edges->users = g_ptr_array_new ();
  edges->jobs = g_hash_table_new (g_int64_hash, g_int64_equal);
  edges->held = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  if (!add_all (edges, object, "nodes", add_node, error) || !add_all (edges, object, "edges", add_edge, error)) {
    g_prefix_error (error, COMMAND ": ");
    return NULL;
  }
  g_ptr_array_sort (edges->users, compare_names);
  return g_steal_pointer (&edges);
}

const GPtrArray *
qmp_edges_get_all (const QmpEdges *edges)
{
  return edges->all;
}

const QmpVertex *
qmp_edges_find (const QmpEdges *edges, const char *name)
{
  return g_hash_table_lookup (edges->by_name, name);
}

const QmpVertex *
qmp_edges_find_held (const QmpEdges *edges, const char *job, const char *role)
{
  g_autofree char *key = held_key (job, role);

  return g_hash_table_lookup (edges->held, key);
}

const GPtrArray *
qmp_edges_get_users (const QmpEdges *edges)
{
  return edges->users;
}
