/*
 * Compares what was remembered with what is there, by names alone. Whatever does
 * not fit (a node more, a user more, another head, a filter, a disk that is not
 * remembered) is no error: it is what engine/graph is for.
 */
#include "engine/known.h"

#include "chains/images.h"
#include "engine/imagefile.h"
#include "engine/op.h"
#include "engine/qcow2.h"
#include "qmp/edges.h"
#include "qmp/error.h"

#include <string.h>

#define MAX_LAYERS 100000

struct _EngineKnown {
  QmpEdges *edges; /* (nullable) */
  GPtrArray *tops; /* (nullable utf8): the node under each registered disk's device, %NULL where that is not told */
};

void
engine_known_free (EngineKnown *known)
{
  if (known == NULL)
    return;
  g_clear_pointer (&known->edges, qmp_edges_free);
  g_ptr_array_unref (known->tops);
  g_free (known);
}

/* ---- asking ---- */

/* A device's "drive"; in a storage daemon there is no device to ask. */
static QmpCall *
start_top (EngineVm *vm, const ChainsDisk *record)
{
  g_autofree char *path = record->device != NULL ? engine_graph_qom_path (record->device) : NULL;

  if (path == NULL || vm->daemon)
    return NULL;
  return qmp_commands_start_qom_get (vm->monitor, engine_context_deadline (vm->context), path, "drive");
}

static char *
finish_top (EngineVm *vm, QmpCall *call)
{
  g_autoptr (JsonNode) reply = call != NULL ? qmp_call_finish (call, vm->cancellable, NULL) : NULL;

  return reply != NULL && JSON_NODE_HOLDS_VALUE (reply) ? json_node_dup_string (reply) : NULL;
}

EngineKnown *
engine_known_ask (EngineVm *vm, GError **error)
{
  g_autoptr (EngineKnown) known = g_new0 (EngineKnown, 1);
  QmpCall *asked =
      qmp_client_start (vm->monitor, "x-debug-query-block-graph", NULL, engine_context_deadline (vm->context));
  g_autoptr (GPtrArray) calls = g_ptr_array_new ();
  g_autoptr (GError) failure = NULL;
  g_autoptr (JsonNode) reply = NULL;

  known->tops = g_ptr_array_new_with_free_func (g_free);
  for (guint i = 0; i < vm->disks->len; i++)
    g_ptr_array_add (calls, start_top (vm, g_ptr_array_index (vm->disks, i)));
  reply = qmp_call_finish (asked, vm->cancellable, &failure);
  for (guint i = 0; i < calls->len; i++)
    g_ptr_array_add (known->tops, finish_top (vm, g_ptr_array_index (calls, i)));
  if (reply != NULL)
    known->edges = qmp_edges_parse (reply, NULL);
  if (reply != NULL || g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND))
    return g_steal_pointer (&known);
  g_propagate_error (error, g_steal_pointer (&failure));
  return NULL;
}

/* ---- a chain's fingerprint ---- */

/* Each layer is hashed with what lies below it, so that a new head needs only the digest of the old. */
static char *
hash_layer (const char *node, const char *file, const char *below)
{
  g_autofree char *text = g_strjoin ("\n", node, file != NULL ? file : "", below, NULL);

  return g_compute_checksum_for_string (G_CHECKSUM_SHA256, text, -1);
}

/* @seen: the names that were passed on the way. */
static char *
hash_chain (const QmpVertex *head, GHashTable *seen)
{
  g_autoptr (GPtrArray) chain = g_ptr_array_new ();
  char *digest = g_strdup ("");

  for (; head != NULL && chain->len < MAX_LAYERS; head = head->backing)
    g_ptr_array_add (chain, (gpointer)head);
  for (guint i = chain->len; i > 0; i--) {
    const QmpVertex *vertex = g_ptr_array_index (chain, i - 1);
    g_autofree char *below = digest;

    digest = hash_layer (vertex->name, vertex->file != NULL ? vertex->file->name : NULL, below);
    g_hash_table_add (seen, vertex->name);
    if (vertex->file != NULL)
      g_hash_table_add (seen, vertex->file->name);
  }
  return digest;
}

/* Whoever comes or goes, a disk that is plugged in where another was taken out too, is seen by its name. */
static char *
hash_users (const QmpEdges *edges)
{
  const GPtrArray *users = qmp_edges_get_users (edges);
  g_autoptr (GChecksum) checksum = g_checksum_new (G_CHECKSUM_SHA256);

  for (guint i = 0; i < users->len; i++) {
    const char *name = g_ptr_array_index (users, i);

    g_checksum_update (checksum, (const guchar *)name, (gssize)strlen (name) + 1);
  }
  return g_strdup (g_checksum_get_string (checksum));
}

/* ---- remembering ---- */

static void
set_caches (JsonObject *object, const QmpNode *node, const char *direct, const char *no_flush)
{
  json_object_set_boolean_member (object, direct, node->cache_direct);
  json_object_set_boolean_member (object, no_flush, node->cache_no_flush);
}

static gboolean
is_registered (const EngineVm *vm, const EngineGraphDisk *disk)
{
  for (guint i = 0; i < vm->disks->len; i++)
    if (g_str_equal (((const ChainsDisk *)g_ptr_array_index (vm->disks, i))->name, disk->name))
      return TRUE;
  return FALSE;
}

static gboolean
has_unregistered (const EngineVm *vm, const EngineGraph *graph)
{
  for (guint i = 0; i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);

    if (disk->skipped == NULL && !is_registered (vm, disk))
      return TRUE;
  }
  return FALSE;
}

char *
engine_known_after (const EngineKnown *known, const EngineVm *vm, const EngineGraph *graph, const EngineGraphDisk *disk,
                    const EngineIntentOverlay *overlay)
{
  const EngineLayer *head = engine_graph_head (disk);
  const QmpVertex *vertex = known->edges != NULL ? qmp_edges_find (known->edges, head->node->name) : NULL;
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
  g_autofree char *below = vertex != NULL ? hash_chain (vertex, seen) : NULL;
  g_autofree char *digest = below != NULL ? hash_layer (overlay->node, overlay->file_node, below) : NULL;
  g_autofree char *users = digest != NULL ? hash_users (known->edges) : NULL;
  g_autoptr (JsonNode) root = json_node_new (JSON_NODE_OBJECT);
  JsonObject *object;

  if (digest == NULL || head->file == NULL || disk->filters->len > 0 || *disk->backend != '\0' ||
      has_unregistered (vm, graph))
    return NULL;
  object = json_object_new ();
  json_object_set_string_member (object, "path", overlay->path);
  json_object_set_string_member (object, "node", overlay->node);
  json_object_set_string_member (object, "file", overlay->file_node);
  json_object_set_string_member (object, "chain", digest);
  json_object_set_string_member (object, "users", users);
  json_object_set_string_member (object, "detect-zeroes", head->node->detect_zeroes);
  set_caches (object, head->node, "direct", "no-flush");
  set_caches (object, head->file, "file-direct", "file-no-flush");
  json_node_take_object (root, object);
  return json_to_string (root, FALSE);
}

/* ---- recalling ---- */

static const char *
text_of (JsonObject *live, const char *member)
{
  const char *text = json_object_get_string_member_with_default (live, member, NULL);

  return text != NULL ? text : "";
}

static gboolean
flag_of (JsonObject *live, const char *member)
{
  return json_object_get_boolean_member_with_default (live, member, FALSE);
}

/* The head that was remembered, where it and all below it still are what they were. */
static const QmpVertex *
find_head (const EngineVm *vm, const EngineKnown *known, guint index, JsonObject *live, GHashTable *seen)
{
  const char *top = g_ptr_array_index (known->tops, index);
  const QmpVertex *head = qmp_edges_find (known->edges, text_of (live, "node"));
  g_autofree char *digest = head != NULL ? hash_chain (head, seen) : NULL;
  g_autofree char *users = hash_users (known->edges);

  if (head == NULL || head->has_parent || !head->writes || !g_str_equal (digest, text_of (live, "chain")) ||
      g_strcmp0 (head->file != NULL ? head->file->name : NULL, text_of (live, "file")) != 0 ||
      !g_str_equal (users, text_of (live, "users")))
    return NULL;
  /* Of a daemon only what is not exported is remembered. */
  return (vm->daemon ? !head->has_user : g_strcmp0 (top, head->name) == 0) ? head : NULL;
}

static QmpNode *
node_new (const char *name, const char *driver, const ChainsImage *image, gint64 size)
{
  QmpNode *node = g_new0 (QmpNode, 1);

  node->name = g_strdup (name);
  node->driver = g_strdup (driver);
  node->filename = g_strdup (image->path);
  node->virtual_size = size;
  node->actual_size = -1;
  return node;
}

static EngineGraphDisk *
disk_new (QmpNodes *nodes, const ChainsDisk *record, const ChainsImage *image, JsonObject *live, gint64 size)
{
  QmpNode *node = node_new (text_of (live, "node"), image->format, image, size);
  QmpNode *file = node_new (text_of (live, "file"), "file", image, size);

  node->detect_zeroes = g_strdup (text_of (live, "detect-zeroes"));
  file->detect_zeroes = g_strdup ("off");
  node->cache_direct = flag_of (live, "direct");
  node->cache_no_flush = flag_of (live, "no-flush");
  file->cache_direct = flag_of (live, "file-direct");
  file->cache_no_flush = flag_of (live, "file-no-flush");
  qmp_nodes_add (nodes, node);
  qmp_nodes_add (nodes, file);
  return engine_graph_disk_new_known (record->name, record->device, node, file, image->path);
}

/* QEMU locks what it has open: a node may have been given a name that once was ours, and be on another file. */
static EngineGraphDisk *
recall_disk (EngineVm *vm, const EngineKnown *known, guint index, QmpNodes *nodes, GHashTable *seen)
{
  const ChainsDisk *record = g_ptr_array_index (vm->disks, index);
  g_autoptr (JsonNode) root = record->live != NULL ? json_from_string (record->live, NULL) : NULL;
  JsonObject *live = root != NULL && JSON_NODE_HOLDS_OBJECT (root) ? json_node_get_object (root) : NULL;
  g_autoptr (ChainsImage) image = live != NULL ? chains_images_get (vm->context->db, record->active, NULL) : NULL;
  gint64 size;

  if (image == NULL || !g_str_equal (image->path, text_of (live, "path")) ||
      find_head (vm, known, index, live, seen) == NULL || !engine_imagefile_is_locked (image->path) ||
      !engine_qcow2_read_size (image->path, &size, NULL))
    return NULL;
  return disk_new (nodes, record, image, live, size);
}

/* A node of ours that no disk uses is for engine/drift to tell of. */
static gboolean
has_strays (const EngineKnown *known, GHashTable *seen)
{
  const GPtrArray *all = qmp_edges_get_all (known->edges);

  for (guint i = 0; i < all->len; i++) {
    const char *name = ((const QmpVertex *)g_ptr_array_index (all, i))->name;

    if (engine_op_is_ours (name) && !g_hash_table_contains (seen, name))
      return TRUE;
  }
  return FALSE;
}

EngineGraph *
engine_known_recall (EngineVm *vm, const EngineKnown *known)
{
  g_autoptr (EngineGraph) graph = engine_graph_new (qmp_nodes_new ());
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);

  graph->known = TRUE;
  if (known->edges == NULL || vm->standin != NULL)
    return NULL;
  for (guint i = 0; i < vm->disks->len; i++) {
    EngineGraphDisk *disk = recall_disk (vm, known, i, graph->nodes, seen);

    if (disk == NULL)
      return NULL;
    g_ptr_array_add (graph->disks, disk);
  }
  return has_strays (known, seen) ? NULL : g_steal_pointer (&graph);
}
