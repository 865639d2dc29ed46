/*
 * The three replies of which the block graph is made: any three JSON texts,
 * with a tilde between them. Proves that what does parse can be walked, down
 * to every path.
 */
#include "qmp/nodes.h"
#include "tests/fuzz/fuzz.h"

#define BORDER '~'

static void
walk_device (const QmpNodes *nodes, const QmpDevice *device)
{
  g_assert (device->backend != NULL);
  for (guint i = 0; i < device->layers->len; i++) {
    const QmpNodesLayer *layer = g_ptr_array_index (device->layers, i);
    const char *path = qmp_nodes_layer_path (layer);
    g_assert (path == NULL || path == layer->node->filename || path == layer->file->filename);
    g_assert (qmp_nodes_find (nodes, layer->node->name) == layer->node);
  }
}

static void
walk (const QmpNodes *nodes)
{
  const GPtrArray *devices = qmp_nodes_get_devices (nodes);
  const GPtrArray *all = qmp_nodes_get_all (nodes);

  for (guint i = 0; i < devices->len; i++)
    walk_device (nodes, g_ptr_array_index (devices, i));
  for (guint i = 0; i < all->len; i++) {
    const QmpNode *node = g_ptr_array_index (all, i);
    g_assert (node->name != NULL && node->driver != NULL && node->filename != NULL && node->detect_zeroes != NULL);
    g_assert (qmp_nodes_find (nodes, node->name) != NULL);
  }
}

void
fuzz_one (const guint8 *data, gsize length)
{
  g_autoptr (JsonNode) named = fuzz_take_json (&data, &length, BORDER);
  g_autoptr (JsonNode) block = fuzz_take_json (&data, &length, BORDER);
  g_autoptr (JsonNode) stats = fuzz_take_json (&data, &length, BORDER);
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpNodes) nodes = qmp_nodes_parse (QMP_NODES_OF_MACHINE, named, block, stats, &error);

  g_assert ((nodes == NULL) != (error == NULL));
  if (nodes != NULL)
    walk (nodes);
}
