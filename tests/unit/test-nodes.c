/*
 * The block graph read from replies recorded on QEMU 7.2: "rig" is a VM with
 * most kinds of disk, "filters" has a SCSI disk on each filter driver. Then
 * deep chains made up here, and damaged replies.
 */
#include <string.h>

#include "qmp/error.h"
#include "qmp/nodes.h"
#include "tests/support/suite.h"

static JsonNode *
fixture (const char *rig, const char *reply)
{
  const char *folder = g_getenv ("TEST_FIXTURES");
  g_autofree char *name = g_strdup_printf ("%s-%s.json", rig, reply);
  g_autofree char *path = g_build_filename (folder != NULL ? folder : "tests/unit/fixtures", "qmp", name, NULL);
  g_autofree char *text = NULL;
  g_autoptr (GError) error = NULL;
  CU_ASSERT_FATAL (g_file_get_contents (path, &text, NULL, &error));
  JsonNode *node = json_from_string (text, &error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (node);
  return node;
}

static QmpNodes *
parse_rig (const char *rig)
{
  g_autoptr (JsonNode) named_nodes = fixture (rig, "named-nodes");
  g_autoptr (JsonNode) block = fixture (rig, "block");
  g_autoptr (JsonNode) blockstats = fixture (rig, "blockstats");
  g_autoptr (GError) error = NULL;
  QmpNodes *nodes = qmp_nodes_parse (QMP_NODES_OF_MACHINE, named_nodes, block, blockstats, &error);
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (nodes);
  return nodes;
}

static const QmpDevice *
device (const QmpNodes *nodes, const char *qdev)
{
  const GPtrArray *devices = qmp_nodes_get_devices (nodes);
  for (guint i = 0; i < devices->len; i++) {
    const QmpDevice *found = g_ptr_array_index (devices, i);
    if (g_strcmp0 (found->qdev, qdev) == 0)
      return found;
  }
  CU_FAIL_FATAL ("the device is not there");
  return NULL;
}

static const QmpNodesLayer *
layer (const QmpDevice *found, guint depth)
{
  CU_ASSERT_FATAL (depth < found->layers->len);
  return g_ptr_array_index (found->layers, depth);
}

/* The chain as "[A] <- [B]" has it, but from the guest downwards: "vda mid base". */
static char *
chain (const QmpDevice *found)
{
  g_autoptr (GString) names = g_string_new (NULL);
  for (guint i = 0; i < found->layers->len; i++)
    g_string_append_printf (names, "%s%s", i > 0 ? " " : "", layer (found, i)->node->name);
  return g_string_free (g_steal_pointer (&names), FALSE);
}

static gboolean
has_path (const QmpDevice *found, guint depth, const char *path)
{
  return g_strcmp0 (qmp_nodes_layer_path (layer (found, depth)), path) == 0;
}

static void
a_virtio_disk_has_its_chain_down_to_a_raw_base (void)
{
  g_autoptr (QmpNodes) nodes = parse_rig ("rig");
  const QmpDevice *disk = device (nodes, "/machine/peripheral/disk0/virtio-backend");
  CU_ASSERT_EQUAL_FATAL (disk->layers->len, 3);
  CU_ASSERT_STRING_EQUAL (disk->backend, "");
  CU_ASSERT_FALSE (disk->removable);
  CU_ASSERT_FALSE (disk->io_failed);
  CU_ASSERT_STRING_EQUAL (layer (disk, 0)->node->name, "vda");
  CU_ASSERT_STRING_EQUAL (layer (disk, 0)->file->name, "vda-file");
  CU_ASSERT (has_path (disk, 0, "/srv/vm/active.qcow2"));
  CU_ASSERT (has_path (disk, 1, "/srv/vm/mid.qcow2"));
  CU_ASSERT (has_path (disk, 2, "/srv/vm/base.raw"));
  CU_ASSERT_STRING_EQUAL (layer (disk, 2)->node->driver, "raw");
}

static void
a_node_keeps_size_cache_and_header (void)
{
  g_autoptr (QmpNodes) nodes = parse_rig ("rig");
  const QmpNode *node = qmp_nodes_find (nodes, "vda");
  CU_ASSERT_PTR_NOT_NULL_FATAL (node);
  CU_ASSERT_STRING_EQUAL (node->driver, "qcow2");
  CU_ASSERT_EQUAL (node->virtual_size, 64 * 1024 * 1024);
  CU_ASSERT (node->actual_size > 0);
  CU_ASSERT_EQUAL (node->cluster_size, 65536);
  CU_ASSERT_STRING_EQUAL (node->header_backing, "/srv/vm/mid.qcow2");
  CU_ASSERT_STRING_EQUAL (node->header_backing_format, "qcow2");
  CU_ASSERT_STRING_EQUAL (node->detect_zeroes, "on");
  CU_ASSERT (node->cache_direct);
  CU_ASSERT_FALSE (node->cache_no_flush || node->read_only || node->encrypted || node->corrupt || node->extended_l2);
  CU_ASSERT (qmp_nodes_find (nodes, "sda-fmt")->extended_l2);
  CU_ASSERT_PTR_NULL (qmp_nodes_find (nodes, "nobody"));
}

static void
a_path_comes_from_the_file_node_not_from_a_json_name (void)
{
  g_autoptr (QmpNodes) nodes = parse_rig ("rig");
  const QmpDevice *disk = device (nodes, "/machine/peripheral-anon/device[0]/virtio-backend");
  CU_ASSERT (g_str_has_prefix (layer (disk, 0)->node->filename, "json:"));
  CU_ASSERT (has_path (disk, 0, "/srv/vm/data.qcow2"));
  CU_ASSERT (has_path (disk, 1, "/srv/vm/data-base.qcow2"));
  CU_ASSERT_STRING_EQUAL (layer (disk, 0)->node->header_backing, "/srv/vm/data-base.qcow2");
}

static void
a_throttled_disk_shows_filter_then_format (void)
{
  g_autoptr (QmpNodes) nodes = parse_rig ("rig");
  const QmpDevice *disk = device (nodes, "sda");
  g_autofree char *names = chain (disk);
  CU_ASSERT_STRING_EQUAL (names, "sda-throttle sda-fmt");
  CU_ASSERT (qmp_nodes_is_filter (layer (disk, 0)->node));
  CU_ASSERT_PTR_EQUAL (layer (disk, 0)->file, layer (disk, 1)->node);
  CU_ASSERT (has_path (disk, 0, NULL));
  CU_ASSERT (has_path (disk, 1, "/srv/vm/scsi.qcow2"));
}

static void
a_legacy_drive_keeps_its_generated_names (void)
{
  g_autoptr (QmpNodes) nodes = parse_rig ("rig");
  const QmpDevice *disk = device (nodes, "/machine/peripheral-anon/device[3]/virtio-backend");
  CU_ASSERT_STRING_EQUAL (disk->backend, "old");
  CU_ASSERT (g_str_has_prefix (layer (disk, 0)->node->name, "#block"));
  CU_ASSERT (has_path (disk, 0, "/srv/vm/legacy.raw"));
}

static void
trays_are_removable_with_and_without_a_medium (void)
{
  static const char *const empty[] = {"cd1", "dvd", "/machine/peripheral-anon/device[1]",
                                      "/machine/peripheral-anon/device[2]"};
  g_autoptr (QmpNodes) nodes = parse_rig ("rig");
  for (guint i = 0; i < G_N_ELEMENTS (empty); i++) {
    CU_ASSERT (device (nodes, empty[i])->removable);
    CU_ASSERT_EQUAL (device (nodes, empty[i])->layers->len, 0);
  }
  CU_ASSERT (device (nodes, "cd0")->removable);
  CU_ASSERT (has_path (device (nodes, "cd0"), 0, "/srv/vm/cd.iso"));
}

static void
flash_and_an_unused_drive_are_not_removable (void)
{
  g_autoptr (QmpNodes) nodes = parse_rig ("rig");
  const QmpDevice *unused = device (nodes, NULL);
  CU_ASSERT_FALSE (device (nodes, "/machine/system.flash0")->removable);
  CU_ASSERT (has_path (device (nodes, "/machine/system.flash0"), 0, "/srv/vm/vars.fd"));
  CU_ASSERT_STRING_EQUAL (unused->backend, "unused");
  CU_ASSERT_FALSE (unused->removable);
}

static void
the_filter_list_is_what_qemu_itself_passes_through (void)
{
  g_autoptr (QmpNodes) nodes = parse_rig ("filters");
  const GPtrArray *devices = qmp_nodes_get_devices (nodes);
  guint filters = 0;
  for (guint i = 0; i < devices->len; i++) {
    const QmpDevice *disk = g_ptr_array_index (devices, i);
    const QmpNodesLayer *top = layer (disk, 0);
    /* For a filter alone the next layer is also the child. */
    gboolean passes = disk->layers->len > 1 && layer (disk, 1)->node == top->file;
    CU_ASSERT_EQUAL (qmp_nodes_is_filter (top->node), passes);
    filters += passes ? 1 : 0;
  }
  CU_ASSERT_EQUAL (filters, 11);
  CU_ASSERT_FALSE (qmp_nodes_is_filter (qmp_nodes_find (nodes, "n-quorum")));
  CU_ASSERT_FALSE (qmp_nodes_is_filter (qmp_nodes_find (nodes, "n-snapshot-access")));
}

static void
a_filter_between_format_and_file_does_not_hide_the_path (void)
{
  g_autoptr (QmpNodes) nodes = parse_rig ("filters");
  const QmpDevice *disk = device (nodes, "d-act2");
  CU_ASSERT_STRING_EQUAL (layer (disk, 0)->file->driver, "file");
  CU_ASSERT (has_path (disk, 0, "/srv/vm/active.qcow2"));
  CU_ASSERT_EQUAL (disk->layers->len, 3);
}

static void
what_is_no_local_file_has_no_path (void)
{
  g_autoptr (QmpNodes) nodes = parse_rig ("filters");
  CU_ASSERT_STRING_EQUAL (layer (device (nodes, "d-raw"), 0)->file->driver, "null-co");
  CU_ASSERT (has_path (device (nodes, "d-raw"), 0, NULL));
  CU_ASSERT (has_path (device (nodes, "d-quorum"), 0, NULL));
}

static char *
node_json (const char *name, const char *driver, const char *file)
{
  return g_strdup_printf ("{\"node-name\":\"%s\",\"drv\":\"%s\",\"file\":\"%s\",\"ro\":false,\"encrypted\":false,"
                          "\"detect_zeroes\":\"off\",\"cache\":{\"direct\":false,\"no-flush\":false},"
                          "\"image\":{\"virtual-size\":1048576}}",
                          name, driver, file);
}

static QmpNodes *
parse_text (const char *named_nodes, const char *block, const char *blockstats, GError **error)
{
  g_autoptr (JsonNode) first = json_from_string (named_nodes, NULL);
  g_autoptr (JsonNode) second = json_from_string (block, NULL);
  g_autoptr (JsonNode) third = json_from_string (blockstats, NULL);
  CU_ASSERT_FATAL (first != NULL && second != NULL && third != NULL);
  return qmp_nodes_parse (QMP_NODES_OF_MACHINE, first, second, third, error);
}

#define ONE_DISK "[{\"device\":\"\",\"qdev\":\"d\",\"removable\":false,\"inserted\":{\"node-name\":\"q0\"}}]"

static void
a_chain_300_deep_is_read_whole (void)
{
  const int depth = 300;
  g_autoptr (GString) nodes_text = g_string_new ("[");
  g_autoptr (GString) stats = g_string_new ("[{\"device\":\"\",\"qdev\":\"d\",");
  for (int i = 0; i < depth; i++) {
    g_autofree char *format_name = g_strdup_printf ("q%d", i), *file_name = g_strdup_printf ("f%d", i);
    g_autofree char *path = g_strdup_printf ("/srv/vm/%d.qcow2", i);
    g_autofree char *format = node_json (format_name, "qcow2", path), *file = node_json (file_name, "file", path);
    g_string_append_printf (nodes_text, "%s%s,%s", i > 0 ? "," : "", format, file);
    g_string_append_printf (stats, "%s\"node-name\":\"q%d\",\"parent\":{\"node-name\":\"f%d\"}",
                            i > 0 ? ",\"backing\":{" : "", i, i);
  }
  for (int i = 0; i < depth; i++)
    g_string_append_c (stats, '}');
  g_string_append_c (stats, ']');
  g_string_append_c (nodes_text, ']');

  g_autoptr (GError) error = NULL;
  g_autoptr (QmpNodes) nodes = parse_text (nodes_text->str, ONE_DISK, stats->str, &error);
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (nodes);
  CU_ASSERT_EQUAL_FATAL (device (nodes, "d")->layers->len, depth);
  CU_ASSERT (has_path (device (nodes, "d"), depth - 1, "/srv/vm/299.qcow2"));
}

static void
assert_refused (const char *named_nodes, const char *block, const char *blockstats, const char *word)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpNodes) nodes = parse_text (named_nodes, block, blockstats, &error);
  CU_ASSERT_PTR_NULL (nodes);
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_PROTOCOL);
  CU_ASSERT (error != NULL && strstr (error->message, word) != NULL);
}

static void
a_graph_that_changed_between_the_replies_is_refused (void)
{
  g_autofree char *node = node_json ("q0", "qcow2", "/x");
  g_autofree char *known = g_strdup_printf ("[%s]", node);
  const char *stats = "[{\"device\":\"\",\"qdev\":\"d\",\"node-name\":\"q0\"}]";
  assert_refused ("[]", ONE_DISK, stats, "q0");
  assert_refused (known, ONE_DISK, "[]", "changed");
  assert_refused (known, ONE_DISK, "[{\"device\":\"\",\"qdev\":\"d\"}]", "changed");
  assert_refused (known, ONE_DISK, "[{\"device\":\"\",\"qdev\":\"d\",\"node-name\":\"q1\"}]", "changed");
  assert_refused (known, ONE_DISK,
                  "[{\"device\":\"\",\"qdev\":\"d\",\"node-name\":\"q0\",\"backing\":{\"node-name\":\"gone\"}}]",
                  "gone");
  assert_refused (known, ONE_DISK,
                  "[{\"device\":\"\",\"qdev\":\"d\",\"node-name\":\"q0\",\"parent\":{\"node-name\":\"gone\"}}]",
                  "gone");
  assert_refused (known, ONE_DISK, "[{\"device\":\"\",\"qdev\":\"d\",\"node-name\":\"q0\",\"backing\":{}}]",
                  "node-name");
}

static void
replies_without_form_are_refused (void)
{
  assert_refused ("{}", "[]", "[]", "query-named-block-nodes");
  assert_refused ("[7]", "[]", "[]", "query-named-block-nodes");
  assert_refused ("[]", "{}", "[]", "query-block");
  assert_refused ("[]", "[null]", "[]", "query-block");
  assert_refused ("[]", "[]", "7", "query-blockstats");
  assert_refused ("[]", "[]", "[[]]", "query-blockstats");
  assert_refused ("[]", "[{}]", "[]", "device");
  assert_refused ("[]", "[{\"device\":\"\",\"removable\":\"yes\"}]", "[]", "removable");
  assert_refused ("[]", "[{\"device\":\"\",\"removable\":false,\"inserted\":{}}]", "[]", "node-name");
}

/* Each required member once missing, once of a wrong type. */
static void
a_node_without_a_required_member_is_refused (void)
{
  static const char *const members[] = {"node-name", "drv",           "file",  "ro",
                                        "encrypted", "detect_zeroes", "cache", "image"};
  g_autofree char *text = node_json ("q0", "qcow2", "/x");
  for (guint i = 0; i < 2 * G_N_ELEMENTS (members); i++) {
    const char *member = members[i / 2];
    g_autoptr (JsonNode) node = json_from_string (text, NULL);
    if (i % 2 == 0)
      json_object_remove_member (json_node_get_object (node), member);
    else
      json_object_set_int_member (json_node_get_object (node), member, 7);
    g_autofree char *damaged = json_to_string (node, FALSE);
    g_autofree char *list = g_strdup_printf ("[%s]", damaged);
    assert_refused (list, "[]", "[]", member);
  }
}

static void
an_io_error_shows_on_the_device (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpNodes) nodes = parse_text (
      "[]", "[{\"device\":\"\",\"qdev\":\"d\",\"removable\":false,\"io-status\":\"nospace\"}]", "[]", &error);
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (nodes);
  CU_ASSERT (device (nodes, "d")->io_failed);
}

static const SupportTest tests[] = {
    SUPPORT_TEST (a_virtio_disk_has_its_chain_down_to_a_raw_base),
    SUPPORT_TEST (a_node_keeps_size_cache_and_header),
    SUPPORT_TEST (a_path_comes_from_the_file_node_not_from_a_json_name),
    SUPPORT_TEST (a_throttled_disk_shows_filter_then_format),
    SUPPORT_TEST (a_legacy_drive_keeps_its_generated_names),
    SUPPORT_TEST (trays_are_removable_with_and_without_a_medium),
    SUPPORT_TEST (flash_and_an_unused_drive_are_not_removable),
    SUPPORT_TEST (the_filter_list_is_what_qemu_itself_passes_through),
    SUPPORT_TEST (a_filter_between_format_and_file_does_not_hide_the_path),
    SUPPORT_TEST (what_is_no_local_file_has_no_path),
    SUPPORT_TEST (a_chain_300_deep_is_read_whole),
    SUPPORT_TEST (a_graph_that_changed_between_the_replies_is_refused),
    SUPPORT_TEST (replies_without_form_are_refused),
    SUPPORT_TEST (a_node_without_a_required_member_is_refused),
    SUPPORT_TEST (an_io_error_shows_on_the_device),
};

int
main (int argc, char **argv)
{
  return support_suite_run ("nodes", tests, G_N_ELEMENTS (tests), argc, argv);
}
