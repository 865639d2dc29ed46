/*
 * The guest's mounts held against QEMU's devices. The agent is not believed
 * further than that a lie of its costs its own guest a reset, or the lack of one.
 */
#include "engine/mounts.h"

#include "qmp/message.h"

#include <string.h>

/* "bus:slot.function" of the domain 0, which is the only one that QEMU tells of. */
static char *
address_new (gint64 bus, gint64 slot, gint64 function)
{
  return g_strdup_printf ("%" G_GINT64_FORMAT ":%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT, bus, slot, function);
}

static JsonObject *
peek_object (JsonObject *object, const char *member)
{
  JsonNode *node = object != NULL ? json_object_get_member (object, member) : NULL;

  return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static JsonArray *
peek_array (JsonObject *object, const char *member)
{
  JsonNode *node = object != NULL ? json_object_get_member (object, member) : NULL;

  return node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
}

static JsonObject *
object_at (JsonArray *array, guint index)
{
  JsonNode *node = json_array_get_element (array, index);

  return JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static guint
length_of (JsonArray *array)
{
  return array != NULL ? json_array_get_length (array) : 0;
}

/* Adds each PCI device, those behind bridges too: its address by its id. */
static void
add_devices (GHashTable *addresses, JsonArray *devices)
{
  for (guint i = 0; i < length_of (devices); i++) {
    JsonObject *device = object_at (devices, i);
    const char *id = device != NULL ? qmp_message_peek_string (device, "qdev_id") : NULL;
    JsonObject *bridge = peek_object (device, "pci_bridge");

    if (id != NULL && *id != '\0')
      g_hash_table_insert (addresses, g_strdup (id),
                           address_new (qmp_message_peek_int (device, "bus", -1),
                                        qmp_message_peek_int (device, "slot", -1),
                                        qmp_message_peek_int (device, "function", -1)));
    add_devices (addresses, peek_array (bridge, "devices"));
  }
}

/* Returns: (transfer full) (element-type utf8 utf8): addresses by qdev id */
static GHashTable *
ask_for_addresses (EngineVm *vm)
{
  g_autoptr (JsonNode) reply = qmp_commands_query_pci (vm->monitor, engine_vm_wait (vm), NULL);
  GHashTable *addresses = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  JsonArray *buses = reply != NULL && JSON_NODE_HOLDS_ARRAY (reply) ? json_node_get_array (reply) : NULL;

  for (guint i = 0; i < length_of (buses); i++)
    add_devices (addresses, peek_array (object_at (buses, i), "devices"));
  return addresses;
}

/* A disk of its own PCI device has that one's id; of others the controller is not told, and nothing is certain. */
static const char *
address_of (GHashTable *addresses, const EngineGraphDisk *disk)
{
  return g_hash_table_lookup (addresses, disk->name);
}

/* Whether all of a file system's disks are known, and none is among @ours. */
static gboolean
lies_elsewhere (JsonObject *filesystem, GHashTable *ours, GHashTable *known)
{
  JsonArray *disks = peek_array (filesystem, "disk");

  for (guint i = 0; i < length_of (disks); i++) {
    JsonObject *pci = peek_object (object_at (disks, i), "pci-controller");
    g_autofree char *address = NULL;

    if (pci == NULL || qmp_message_peek_int (pci, "domain", -1) != 0)
      return FALSE;
    address = address_new (qmp_message_peek_int (pci, "bus", -1), qmp_message_peek_int (pci, "slot", -1),
                           qmp_message_peek_int (pci, "function", -1));
    if (g_hash_table_contains (ours, address) || !g_hash_table_contains (known, address))
      return FALSE;
  }
  return length_of (disks) > 0;
}

/* The addresses of @disks; %NULL where one has none. */
static GHashTable *
collect_ours (GHashTable *addresses, const GPtrArray *disks)
{
  g_autoptr (GHashTable) ours = g_hash_table_new (g_str_hash, g_str_equal);

  for (guint i = 0; i < disks->len; i++) {
    const char *address = address_of (addresses, g_ptr_array_index (disks, i));

    if (address == NULL)
      return NULL;
    g_hash_table_add (ours, (gpointer)address);
  }
  return g_steal_pointer (&ours);
}

static GHashTable *
collect_values (GHashTable *addresses)
{
  GHashTable *values = g_hash_table_new (g_str_hash, g_str_equal);
  GHashTableIter iter;
  gpointer address;

  g_hash_table_iter_init (&iter, addresses);
  while (g_hash_table_iter_next (&iter, NULL, &address))
    g_hash_table_add (values, address);
  return values;
}

EngineMounts
engine_mounts_ask (EngineVm *vm, const GPtrArray *disks)
{
  g_autoptr (GHashTable) addresses = NULL;
  g_autoptr (GHashTable) ours = NULL;
  g_autoptr (GHashTable) known = NULL;
  g_autoptr (JsonNode) reply = NULL;

  if (vm->agent == NULL || vm->state != ENGINE_VM_RUNNING || !engine_vm_finish_agent (vm))
    return ENGINE_MOUNTS_UNKNOWN;
  reply = qmp_qga_execute (vm->agent, "guest-get-fsinfo", NULL, engine_context_deadline (vm->context), vm->cancellable,
                           NULL);
  if (reply == NULL || !JSON_NODE_HOLDS_ARRAY (reply))
    return ENGINE_MOUNTS_UNKNOWN;
  addresses = ask_for_addresses (vm);
  ours = collect_ours (addresses, disks);
  known = collect_values (addresses);
  for (guint i = 0; i < length_of (json_node_get_array (reply)); i++) {
    JsonObject *filesystem = object_at (json_node_get_array (reply), i);

    if (ours == NULL || filesystem == NULL || !lies_elsewhere (filesystem, ours, known))
      return ENGINE_MOUNTS_SOME;
  }
  return ENGINE_MOUNTS_NONE;
}
