/*
 * The three replies of which a storage daemon's block graph is made: any three
 * JSON texts, with a tilde between them. Proves that what does parse is disks
 * that can be walked, each from an uppermost node of its own.
 */
#include "qmp/nodes.h"
#include "tests/fuzz/fuzz.h"

#define BORDER '~'

static void
walk (const QmpNodes *nodes)
{
  const GPtrArray *devices = qmp_nodes_get_devices (nodes);
  g_autoptr (GHashTable) heads = g_hash_table_new (NULL, NULL);

  for (guint i = 0; i < devices->len; i++) {
    const QmpDevice *device = g_ptr_array_index (devices, i);

    g_assert (device->backend != NULL && device->layers->len > 0);
    g_assert (g_hash_table_add (heads, (gpointer)((const QmpNodesLayer *)g_ptr_array_index (device->layers, 0))->node));
    for (guint j = 0; j < device->layers->len; j++) {
      const QmpNodesLayer *layer = g_ptr_array_index (device->layers, j);
      const char *path = qmp_nodes_layer_path (layer);

      g_assert (path == NULL || path == layer->node->filename || path == layer->file->filename);
      g_assert (qmp_nodes_find (nodes, layer->node->name) == layer->node);
    }
  }
}

void
fuzz_one (const guint8 *data, gsize length)
{
  g_autoptr (JsonNode) named = fuzz_take_json (&data, &length, BORDER);
  g_autoptr (JsonNode) exports = fuzz_take_json (&data, &length, BORDER);
  g_autoptr (JsonNode) graph = fuzz_take_json (&data, &length, BORDER);
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpNodes) nodes = qmp_nodes_parse (QMP_NODES_OF_DAEMON, named, exports, graph, &error);

  g_assert ((nodes == NULL) != (error == NULL));
  if (nodes != NULL)
    walk (nodes);
}
