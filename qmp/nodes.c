/*
 * Reads the block graph: three replies become nodes by name and, for each
 * device, the chain of nodes below it.
 *
 * Promises one pass over each reply, no recursion of its own (chains are
 * hundreds deep), and %QMP_ERROR_PROTOCOL instead of a guess where the replies
 * lack a member or contradict each other. Leaves what a chain means, and
 * asking again after the graph changed between the replies, to the caller.
 * Source: QEMU qapi/block-core.json.
 */
#include "qmp/nodes.h"

#include "qmp/daemon.h"
#include "qmp/error.h"
#include "qmp/message.h"

/* Far more than QEMU can open; only so that no reply can keep us busy for ever. */
#define MAX_LAYERS 100000

struct _QmpNodes {
  GPtrArray *nodes;    /* (element-type QmpNode) */
  GHashTable *by_name; /* (element-type utf8 QmpNode): both borrowed from nodes */
  GPtrArray *devices;  /* (element-type QmpDevice) */
};

struct _QmpNodesQuery {
  QmpNodesScope scope;
  QmpCall *named_nodes;
  QmpCall *first;  /* query-block or query-block-exports, %NULL for nodes alone */
  QmpCall *second; /* query-blockstats or x-debug-query-block-graph, likewise */
};

static void
node_free (QmpNode *node)
{
  g_free (node->name);
  g_free (node->driver);
  g_free (node->filename);
  g_free (node->header_backing);
  g_free (node->header_backing_format);
  g_free (node->detect_zeroes);
  g_free (node);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpNode, node_free)

QmpDevice *
qmp_nodes_device_new (const char *backend)
{
  QmpDevice *device = g_new0 (QmpDevice, 1);
  device->backend = g_strdup (backend);
  device->layers = g_ptr_array_new_with_free_func (g_free);
  return device;
}

void
qmp_nodes_device_free (QmpDevice *device)
{
  g_free (device->backend);
  g_free (device->qdev);
  g_ptr_array_unref (device->layers);
  g_free (device);
}

void
qmp_nodes_free (QmpNodes *nodes)
{
  if (nodes == NULL)
    return;
  g_ptr_array_unref (nodes->devices);
  g_hash_table_unref (nodes->by_name);
  g_ptr_array_unref (nodes->nodes);
  g_free (nodes);
}

static JsonObject *
element_object (JsonArray *array, guint i, const char *command, GError **error)
{
  JsonNode *element = json_array_get_element (array, i);
  if (JSON_NODE_HOLDS_OBJECT (element))
    return json_node_get_object (element);
  g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "%s: entry %u is no object", command, i);
  return NULL;
}

static gboolean
read_required (QmpNode *node, JsonObject *info, JsonObject **image, GError **error)
{
  const char *name = NULL, *driver = NULL, *filename = NULL, *detect_zeroes = NULL;
  JsonObject *cache = NULL;
  if (!qmp_message_get_string (info, "node-name", &name, error))
    return FALSE;
  node->name = g_strdup (name);
  if (!qmp_message_get_string (info, "drv", &driver, error) ||
      !qmp_message_get_string (info, "file", &filename, error) ||
      !qmp_message_get_string (info, "detect_zeroes", &detect_zeroes, error) ||
      !qmp_message_get_boolean (info, "ro", &node->read_only, error) ||
      !qmp_message_get_boolean (info, "encrypted", &node->encrypted, error) ||
      !qmp_message_get_object (info, "cache", &cache, error) ||
      !qmp_message_get_boolean (cache, "direct", &node->cache_direct, error) ||
      !qmp_message_get_boolean (cache, "no-flush", &node->cache_no_flush, error) ||
      !qmp_message_get_object (info, "image", image, error) ||
      !qmp_message_get_int (*image, "virtual-size", &node->virtual_size, error))
    return FALSE;
  node->driver = g_strdup (driver);
  node->filename = g_strdup (filename);
  node->detect_zeroes = g_strdup (detect_zeroes);
  return TRUE;
}

/* ImageInfo: with flat:true it stands alone, without its backing image's. */
static void
read_image (QmpNode *node, JsonObject *image)
{
  const char *backing = qmp_message_peek_string (image, "full-backing-filename");
  if (backing == NULL)
    backing = qmp_message_peek_string (image, "backing-filename");
  node->header_backing = g_strdup (backing);
  node->header_backing_format = g_strdup (qmp_message_peek_string (image, "backing-filename-format"));
  node->actual_size = qmp_message_peek_int (image, "actual-size", -1);
  node->cluster_size = qmp_message_peek_int (image, "cluster-size", 0);
  node->dirty_flag = qmp_message_peek_boolean (image, "dirty-flag", FALSE);

  JsonObject *specific = qmp_message_peek_object (image, "format-specific");
  JsonObject *data = specific != NULL ? qmp_message_peek_object (specific, "data") : NULL;
  if (data != NULL) {
    node->extended_l2 = qmp_message_peek_boolean (data, "extended-l2", FALSE);
    node->corrupt = qmp_message_peek_boolean (data, "corrupt", FALSE);
    node->data_file = json_object_has_member (data, "data-file");
  }
}

static gboolean
parse_nodes (QmpNodes *nodes, JsonNode *reply, GError **error)
{
  const char *command = "query-named-block-nodes";
  JsonArray *entries = qmp_message_as_array (reply, command, error);
  if (entries == NULL)
    return FALSE;
  for (guint i = 0; i < json_array_get_length (entries); i++) {
    JsonObject *info = element_object (entries, i, command, error);
    if (info == NULL)
      return FALSE;
    g_autoptr (QmpNode) node = g_new0 (QmpNode, 1);
    JsonObject *image = NULL;
    if (!read_required (node, info, &image, error)) {
      g_prefix_error (error, "%s: entry %u (%s): ", command, i, node->name != NULL ? node->name : "nameless");
      return FALSE;
    }
    read_image (node, image);
    qmp_nodes_add (nodes, g_steal_pointer (&node));
  }
  return TRUE;
}

/* The known node that @stats, an entry of query-blockstats at any depth, is about. */
static const QmpNode *
node_of_stats (const QmpNodes *nodes, JsonObject *stats, GError **error)
{
  const char *name = NULL;
  if (!qmp_message_get_string (stats, "node-name", &name, error)) {
    g_prefix_error (error, "query-blockstats: ");
    return NULL;
  }
  const QmpNode *node = qmp_nodes_find (nodes, name);
  if (node == NULL)
    g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL,
                 "query-blockstats names node %s, which query-named-block-nodes lacks: "
                 "the block graph changed between the two",
                 name);
  return node;
}

/* Where a format's bytes lie: the lowest node by `parent`, past filters (and luks) under the format. */
static gboolean
find_file (const QmpNodes *nodes, QmpNodesLayer *layer, JsonObject *stats, GError **error)
{
  JsonObject *below = qmp_message_peek_object (stats, "parent");
  if (below == NULL)
    return TRUE;
  JsonObject *next = qmp_nodes_is_filter (layer->node) ? NULL : qmp_message_peek_object (below, "parent");
  if (next != NULL) {
    layer->between = node_of_stats (nodes, below, error);
    if (layer->between == NULL)
      return FALSE;
  }
  for (int depth = 0; next != NULL && depth < MAX_LAYERS; depth++) {
    below = next;
    next = qmp_message_peek_object (below, "parent");
  }
  layer->file = node_of_stats (nodes, below, error);
  return layer->file != NULL;
}

/* Follows `backing`, which QEMU gives for a format node's backing image and for a filter's child alike. */
static gboolean
parse_layers (const QmpNodes *nodes, GPtrArray *layers, JsonObject *stats, GError **error)
{
  for (; stats != NULL; stats = qmp_message_peek_object (stats, "backing")) {
    if (layers->len == MAX_LAYERS) {
      g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "query-blockstats: a chain of over %d layers", MAX_LAYERS);
      return FALSE;
    }
    const QmpNode *node = node_of_stats (nodes, stats, error);
    if (node == NULL)
      return FALSE;
    QmpNodesLayer *layer = g_new0 (QmpNodesLayer, 1);
    layer->node = node;
    g_ptr_array_add (layers, layer);
    if (!find_file (nodes, layer, stats, error))
      return FALSE;
  }
  return TRUE;
}

/* The same BlockBackend in two replies: its name and its device agree. Either may be missing or empty. */
static char *
device_key (JsonObject *entry)
{
  const char *backend = qmp_message_peek_string (entry, "device");
  const char *qdev = qmp_message_peek_string (entry, "qdev");
  return g_strconcat (backend != NULL ? backend : "", "\n", qdev != NULL ? qdev : "", NULL);
}

/* Returns: (transfer full): query-blockstats' entries by device_key(), borrowed from @reply */
static GHashTable *
index_stats (JsonNode *reply, GError **error)
{
  JsonArray *entries = qmp_message_as_array (reply, "query-blockstats", error);
  if (entries == NULL)
    return NULL;
  g_autoptr (GHashTable) by_key = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  for (guint i = 0; i < json_array_get_length (entries); i++) {
    JsonObject *entry = element_object (entries, i, "query-blockstats", error);
    if (entry == NULL)
      return NULL;
    g_hash_table_insert (by_key, device_key (entry), entry);
  }
  return g_steal_pointer (&by_key);
}

static gboolean
parse_medium (const QmpNodes *nodes, QmpDevice *device, JsonObject *inserted, JsonObject *stats, GError **error)
{
  const char *head = NULL, *stats_head = stats != NULL ? qmp_message_peek_string (stats, "node-name") : NULL;
  if (!qmp_message_get_string (inserted, "node-name", &head, error)) {
    g_prefix_error (error, "query-block: ");
    return FALSE;
  }
  if (g_strcmp0 (head, stats_head) != 0) {
    g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL,
                 "query-block and query-blockstats disagree about the node of device %s (%s, %s): "
                 "the block graph changed between the two",
                 device->qdev != NULL ? device->qdev : device->backend, head, stats_head != NULL ? stats_head : "none");
    return FALSE;
  }
  return parse_layers (nodes, device->layers, stats, error);
}

static QmpDevice *
parse_device (const QmpNodes *nodes, JsonObject *info, GHashTable *stats_by_key, GError **error)
{
  const char *backend = NULL;
  gboolean changeable = FALSE;
  if (!qmp_message_get_string (info, "device", &backend, error) ||
      !qmp_message_get_boolean (info, "removable", &changeable, error)) {
    g_prefix_error (error, "query-block: ");
    return NULL;
  }
  const char *io_status = qmp_message_peek_string (info, "io-status");
  g_autoptr (QmpDevice) device = qmp_nodes_device_new (backend);
  device->qdev = g_strdup (qmp_message_peek_string (info, "qdev"));
  /* QEMU calls a BlockBackend that no device uses removable too. A floppy has a device but no tray_open. */
  device->removable = changeable && (device->qdev != NULL || json_object_has_member (info, "tray_open"));
  device->io_failed = io_status != NULL && g_strcmp0 (io_status, "ok") != 0;

  g_autofree char *key = device_key (info);
  JsonObject *inserted = qmp_message_peek_object (info, "inserted");
  if (inserted != NULL && !parse_medium (nodes, device, inserted, g_hash_table_lookup (stats_by_key, key), error))
    return NULL;
  return g_steal_pointer (&device);
}

static gboolean
parse_devices (QmpNodes *nodes, JsonNode *block, JsonNode *blockstats, GError **error)
{
  JsonArray *entries = qmp_message_as_array (block, "query-block", error);
  g_autoptr (GHashTable) stats_by_key = entries != NULL ? index_stats (blockstats, error) : NULL;
  if (stats_by_key == NULL)
    return FALSE;
  for (guint i = 0; i < json_array_get_length (entries); i++) {
    JsonObject *info = element_object (entries, i, "query-block", error);
    QmpDevice *device = info != NULL ? parse_device (nodes, info, stats_by_key, error) : NULL;
    if (device == NULL)
      return FALSE;
    g_ptr_array_add (nodes->devices, device);
  }
  return TRUE;
}

QmpNodes *
qmp_nodes_new (void)
{
  QmpNodes *nodes = g_new0 (QmpNodes, 1);
  nodes->nodes = g_ptr_array_new_with_free_func ((GDestroyNotify)node_free);
  nodes->by_name = g_hash_table_new (g_str_hash, g_str_equal);
  nodes->devices = g_ptr_array_new_with_free_func ((GDestroyNotify)qmp_nodes_device_free);
  return nodes;
}

void
qmp_nodes_add (QmpNodes *nodes, QmpNode *node)
{
  g_hash_table_insert (nodes->by_name, node->name, node);
  g_ptr_array_add (nodes->nodes, node);
}

QmpNodes *
qmp_nodes_parse (QmpNodesScope scope, JsonNode *named_nodes, JsonNode *first, JsonNode *second, GError **error)
{
  g_autoptr (QmpNodes) nodes = qmp_nodes_new ();
  if (!parse_nodes (nodes, named_nodes, error))
    return NULL;
  if (scope == QMP_NODES_OF_DAEMON) {
    GPtrArray *devices = qmp_daemon_parse (nodes, first, second, error);
    if (devices == NULL)
      return NULL;
    g_ptr_array_unref (nodes->devices);
    nodes->devices = devices;
  }
  if (scope == QMP_NODES_OF_MACHINE && !parse_devices (nodes, first, second, error))
    return NULL;
  return g_steal_pointer (&nodes);
}

QmpNodesQuery *
qmp_nodes_start (QmpClient *client, QmpNodesScope scope, gint64 deadline_us)
{
  static const char *const commands[][2] = {
      [QMP_NODES_ALONE] = {NULL, NULL},
      [QMP_NODES_OF_MACHINE] = {"query-block", "query-blockstats"},
      [QMP_NODES_OF_DAEMON] = {"query-block-exports", "x-debug-query-block-graph"},
  };
  g_autoptr (JsonObject) flat = json_object_new ();
  /* Without it each node repeats the whole chain below it: minutes at depth 200. */
  json_object_set_boolean_member (flat, "flat", TRUE);
  QmpNodesQuery *query = g_new0 (QmpNodesQuery, 1);
  query->scope = scope;
  query->named_nodes = qmp_client_start (client, "query-named-block-nodes", flat, deadline_us);
  if (commands[scope][0] == NULL)
    return query;
  query->first = qmp_client_start (client, commands[scope][0], NULL, deadline_us);
  query->second = qmp_client_start (client, commands[scope][1], NULL, deadline_us);
  return query;
}

void
qmp_nodes_query_free (QmpNodesQuery *query)
{
  if (query == NULL)
    return;
  g_clear_pointer (&query->named_nodes, qmp_call_abandon);
  g_clear_pointer (&query->first, qmp_call_abandon);
  g_clear_pointer (&query->second, qmp_call_abandon);
  g_free (query);
}

QmpNodes *
qmp_nodes_finish (QmpNodesQuery *query, GCancellable *cancellable, GError **error)
{
  g_autoptr (QmpNodesQuery) owned = query;
  g_autoptr (JsonNode) named_nodes = qmp_call_finish (g_steal_pointer (&owned->named_nodes), cancellable, error);
  if (named_nodes == NULL || query->scope == QMP_NODES_ALONE)
    return named_nodes != NULL ? qmp_nodes_parse (query->scope, named_nodes, NULL, NULL, error) : NULL;
  g_autoptr (JsonNode) first = qmp_call_finish (g_steal_pointer (&owned->first), cancellable, error);
  if (first == NULL)
    return NULL;
  g_autoptr (JsonNode) second = qmp_call_finish (g_steal_pointer (&owned->second), cancellable, error);
  if (second == NULL)
    return NULL;
  return qmp_nodes_parse (query->scope, named_nodes, first, second, error);
}

const GPtrArray *
qmp_nodes_get_devices (const QmpNodes *nodes)
{
  return nodes->devices;
}

const GPtrArray *
qmp_nodes_get_all (const QmpNodes *nodes)
{
  return nodes->nodes;
}

const QmpNode *
qmp_nodes_find (const QmpNodes *nodes, const char *name)
{
  return g_hash_table_lookup (nodes->by_name, name);
}

gboolean
qmp_nodes_is_filter (const QmpNode *node)
{
  /*
   * The drivers with `is_filter` set in QEMU's block/, confirmed on 7.2 by putting each under a device: only
   * for these does query-blockstats give the child as `backing`. So quorum, snapshot-access and raw are none.
   * backup-top was copy-before-write's name before 6.2.
   */
  static const char *const filters[] = {
      "backup-top",        "blkdebug",     "blklogwrites", "blkreplay",   "blkverify",   "commit_top", "compress",
      "copy-before-write", "copy-on-read", "mirror_top",   "preallocate", "replication", "throttle",   NULL,
  };
  return g_strv_contains (filters, node->driver);
}

const char *
qmp_nodes_layer_path (const QmpNodesLayer *layer)
{
  static const char *const local[] = {"file", "host_cdrom", "host_device", NULL};
  if (qmp_nodes_is_filter (layer->node))
    return NULL;
  const QmpNode *file = layer->file != NULL ? layer->file : layer->node;
  return g_strv_contains (local, file->driver) ? file->filename : NULL;
}
