/*
 * A storage daemon's disks read from replies recorded on qemu-storage-daemon 7.2:
 * "web" on a golden image, "data" a raw file, "slow" below a throttle filter and
 * once more without it, "d" not exported, "one" and "two" on the same node. Then
 * graphs made up here, and damaged replies.
 */
#include <string.h>

#include "qmp/error.h"
#include "qmp/nodes.h"
#include "tests/support/suite.h"

static JsonNode *
fixture (const char *reply)
{
  const char *folder = g_getenv ("TEST_FIXTURES");
  g_autofree char *name = g_strdup_printf ("daemon-%s.json", reply);
  g_autofree char *path = g_build_filename (folder != NULL ? folder : "tests/unit/fixtures", "qmp", name, NULL);
  g_autofree char *text = NULL;
  JsonNode *node;

  CU_ASSERT_FATAL (g_file_get_contents (path, &text, NULL, NULL));
  node = json_from_string (text, NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (node);
  return node;
}

static QmpNodes *
parse_daemon (void)
{
  g_autoptr (JsonNode) named_nodes = fixture ("named-nodes");
  g_autoptr (JsonNode) exports = fixture ("exports");
  g_autoptr (JsonNode) graph = fixture ("graph");
  g_autoptr (GError) error = NULL;
  QmpNodes *nodes = qmp_nodes_parse (QMP_NODES_OF_DAEMON, named_nodes, exports, graph, &error);

  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (nodes);
  return nodes;
}

/* The disks as words: "export:node node …", from above downwards, those that are not exported with no export. */
static char *
describe (const QmpNodes *nodes)
{
  const GPtrArray *devices = qmp_nodes_get_devices (nodes);
  g_autoptr (GString) words = g_string_new (NULL);

  for (guint i = 0; i < devices->len; i++) {
    const QmpDevice *device = g_ptr_array_index (devices, i);

    g_string_append_printf (words, "%s%s:", i > 0 ? "; " : "", device->backend);
    for (guint j = 0; j < device->layers->len; j++)
      g_string_append_printf (words, "%s%s", j > 0 ? " " : "",
                              ((const QmpNodesLayer *)g_ptr_array_index (device->layers, j))->node->name);
  }
  return g_string_free (g_steal_pointer (&words), FALSE);
}

static const QmpNodesLayer *
layer (const QmpNodes *nodes, const char *export, guint depth)
{
  const GPtrArray *devices = qmp_nodes_get_devices (nodes);

  for (guint i = 0; i < devices->len; i++) {
    const QmpDevice *device = g_ptr_array_index (devices, i);

    if (!g_str_equal (device->backend, export))
      continue;
    CU_ASSERT_FATAL (depth < device->layers->len);
    return g_ptr_array_index (device->layers, depth);
  }
  CU_FAIL_FATAL ("there is no such export");
  return NULL;
}

static void
each_uppermost_node_is_one_disk_exports_first_the_oldest_before (void)
{
  g_autoptr (QmpNodes) nodes = parse_daemon ();
  g_autofree char *disks = describe (nodes);

  CU_ASSERT (g_str_has_prefix (disks, "web:a #block"));
  CU_ASSERT_PTR_NOT_NULL (strstr (disks, "; data:b; slow:c-limit c; one:e; :d"));
  CU_ASSERT_PTR_NULL (strstr (disks, "two"));
  CU_ASSERT_PTR_NULL (strstr (disks, "below"));
}

static void
paths_come_from_the_nodes_at_the_bottom (void)
{
  g_autoptr (QmpNodes) nodes = parse_daemon ();

  CU_ASSERT_STRING_EQUAL (qmp_nodes_layer_path (layer (nodes, "web", 0)), "/srv/vm/a.qcow2");
  CU_ASSERT_STRING_EQUAL (qmp_nodes_layer_path (layer (nodes, "web", 1)), "/srv/vm/golden.qcow2");
  CU_ASSERT_STRING_EQUAL (layer (nodes, "web", 0)->file->name, "a-file");
  CU_ASSERT_STRING_EQUAL (qmp_nodes_layer_path (layer (nodes, "data", 0)), "/srv/vm/b.raw");
  CU_ASSERT_STRING_EQUAL (layer (nodes, "data", 0)->node->driver, "raw");
  CU_ASSERT_PTR_NULL (layer (nodes, "data", 0)->between);
}

static void
a_filter_is_a_layer_whose_file_is_what_it_filters (void)
{
  g_autoptr (QmpNodes) nodes = parse_daemon ();

  CU_ASSERT (qmp_nodes_is_filter (layer (nodes, "slow", 0)->node));
  CU_ASSERT_PTR_EQUAL (layer (nodes, "slow", 0)->file, layer (nodes, "slow", 1)->node);
  CU_ASSERT_PTR_NULL (qmp_nodes_layer_path (layer (nodes, "slow", 0)));
  CU_ASSERT_STRING_EQUAL (qmp_nodes_layer_path (layer (nodes, "slow", 1)), "/srv/vm/c.qcow2");
}

/* ---- made up: "a.file=b" is an edge from a to b ---- */

typedef struct {
  GString *named, *vertices, *edges, *exports;
} Made;

static void
separate (GString *list)
{
  if (list->len > 0)
    g_string_append_c (list, ',');
}

static void
make_node (Made *made, const char *name, const char *driver, guint id)
{
  separate (made->named);
  g_string_append_printf (made->named,
                          "{\"node-name\":\"%s\",\"drv\":\"%s\",\"file\":\"/%s\",\"detect_zeroes\":\"off\",\"ro\":"
                          "false,\"encrypted\":false,\"cache\":{\"direct\":false,\"no-flush\":false},"
                          "\"image\":{\"virtual-size\":1024}}",
                          name, driver, name);
  separate (made->vertices);
  g_string_append_printf (made->vertices, "{\"type\":\"block-driver\",\"name\":\"%s\",\"id\":%u}", name, id);
}

static void
make_edge (Made *made, guint parent, const char *role, guint child)
{
  separate (made->edges);
  g_string_append_printf (made->edges, "{\"name\":\"%s\",\"parent\":%u,\"child\":%u}", role, parent, child);
}

static void
make_export (Made *made, const char *id, const char *node)
{
  separate (made->exports);
  g_string_append_printf (made->exports, "{\"id\":\"%s\",\"node-name\":\"%s\",\"type\":\"nbd\"}", id, node);
}

static Made
made_new (void)
{
  return (Made){g_string_new (NULL), g_string_new (NULL), g_string_new (NULL), g_string_new (NULL)};
}

/* Takes what was made. */
static QmpNodes *
parse_made (Made *made, GError **error)
{
  g_autofree char *named = g_strdup_printf ("[%s]", made->named->str);
  g_autofree char *exports = g_strdup_printf ("[%s]", made->exports->str);
  g_autofree char *graph = g_strdup_printf ("{\"nodes\":[%s],\"edges\":[%s]}", made->vertices->str, made->edges->str);
  g_autoptr (JsonNode) first = json_from_string (named, NULL);
  g_autoptr (JsonNode) second = json_from_string (exports, NULL);
  g_autoptr (JsonNode) third = json_from_string (graph, NULL);
  GString *parts[] = {made->named, made->vertices, made->edges, made->exports};

  for (guint i = 0; i < G_N_ELEMENTS (parts); i++)
    g_string_free (parts[i], TRUE);
  return qmp_nodes_parse (QMP_NODES_OF_DAEMON, first, second, third, error);
}

static void
assert_described (Made *made, const char *expected)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpNodes) nodes = parse_made (made, &error);
  g_autofree char *disks = nodes != NULL ? describe (nodes) : NULL;

  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (disks);
  CU_ASSERT_STRING_EQUAL (disks, expected);
}

static void
assert_made_refused (Made *made, const char *word)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpNodes) nodes = parse_made (made, &error);

  CU_ASSERT_PTR_NULL (nodes);
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_PROTOCOL);
  CU_ASSERT (error != NULL && strstr (error->message, word) != NULL);
}

static void
an_export_that_is_added_later_renames_no_disk (void)
{
  Made made = made_new ();

  make_node (&made, "q", "qcow2", 1);
  make_export (&made, "new", "q");
  make_export (&made, "old", "q");
  assert_described (&made, "old:q");
}

static void
a_node_that_got_no_name_is_no_disk_by_itself (void)
{
  Made made = made_new ();

  make_node (&made, "#block1", "qcow2", 1);
  make_node (&made, "#block2", "qcow2", 2);
  make_export (&made, "e", "#block2");
  assert_described (&made, "e:#block2");
}

/* Quorum's children are no chain, and are under it all the same. */
static void
a_child_in_any_role_is_under_its_parent (void)
{
  Made made = made_new ();

  make_node (&made, "quorum", "quorum", 1);
  make_node (&made, "a", "qcow2", 2);
  make_node (&made, "b", "qcow2", 3);
  make_edge (&made, 1, "children.0", 2);
  make_edge (&made, 1, "children.1", 3);
  make_edge (&made, 99, "root", 1);
  assert_described (&made, ":quorum");
}

static void
a_filter_between_format_and_file_is_seen (void)
{
  g_autoptr (GError) error = NULL;
  Made made = made_new ();

  make_node (&made, "top", "qcow2", 1);
  make_node (&made, "throttle", "throttle", 2);
  make_node (&made, "bottom", "file", 3);
  make_edge (&made, 1, "file", 2);
  make_edge (&made, 2, "file", 3);
  make_export (&made, "e", "top");
  {
    g_autoptr (QmpNodes) nodes = parse_made (&made, &error);

    CU_ASSERT_PTR_NOT_NULL_FATAL (nodes);
    CU_ASSERT_STRING_EQUAL (layer (nodes, "e", 0)->between->name, "throttle");
    CU_ASSERT_STRING_EQUAL (qmp_nodes_layer_path (layer (nodes, "e", 0)), "/bottom");
  }
}

static void
a_chain_300_deep_is_read_whole (void)
{
  g_autoptr (GError) error = NULL;
  Made made = made_new ();

  for (guint i = 1; i <= 300; i++) {
    g_autofree char *name = g_strdup_printf ("q%u", i);

    make_node (&made, name, "qcow2", i);
    if (i > 1)
      make_edge (&made, i - 1, "backing", i);
  }
  make_export (&made, "deep", "q1");
  {
    g_autoptr (QmpNodes) nodes = parse_made (&made, &error);
    const QmpDevice *device;

    CU_ASSERT_PTR_NOT_NULL_FATAL (nodes);
    CU_ASSERT_EQUAL_FATAL (qmp_nodes_get_devices (nodes)->len, 1);
    device = g_ptr_array_index (qmp_nodes_get_devices (nodes), 0);
    CU_ASSERT_EQUAL (device->layers->len, 300);
    CU_ASSERT_STRING_EQUAL (layer (nodes, "deep", 299)->node->name, "q300");
  }
}

static void
a_circle_is_refused_in_no_time (void)
{
  static const char *const roles[] = {"file", "backing"};

  for (guint i = 0; i < G_N_ELEMENTS (roles); i++) {
    Made made = made_new ();

    make_node (&made, "top", "qcow2", 1);
    make_node (&made, "a", "qcow2", 2);
    make_node (&made, "b", "qcow2", 3);
    make_edge (&made, 1, roles[i], 2);
    make_edge (&made, 2, roles[i], 3);
    make_edge (&made, 3, roles[i], 2);
    assert_made_refused (&made, "no end");
  }
}

static void
a_node_that_is_told_twice_is_refused (void)
{
  Made same_id = made_new ();
  Made same_name = made_new ();

  make_node (&same_id, "a", "qcow2", 1);
  make_node (&same_id, "b", "qcow2", 1);
  make_export (&same_id, "e", "a");
  assert_made_refused (&same_id, "twice");
  make_node (&same_name, "a", "qcow2", 1);
  g_string_append (same_name.vertices, ",{\"type\":\"block-driver\",\"name\":\"a\",\"id\":2}");
  assert_made_refused (&same_name, "twice");
}

static void
a_graph_that_changed_between_the_replies_is_refused (void)
{
  Made unknown_node = made_new ();
  Made unknown_export = made_new ();

  g_string_append (unknown_node.vertices, "{\"type\":\"block-driver\",\"name\":\"gone\",\"id\":1}");
  assert_made_refused (&unknown_node, "gone");
  make_export (&unknown_export, "e", "gone");
  assert_made_refused (&unknown_export, "gone");
}

static void
assert_text_refused (const char *exports, const char *graph, const char *word)
{
  g_autoptr (JsonNode) named = json_from_string ("[]", NULL);
  g_autoptr (JsonNode) second = json_from_string (exports, NULL);
  g_autoptr (JsonNode) third = json_from_string (graph, NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpNodes) nodes = qmp_nodes_parse (QMP_NODES_OF_DAEMON, named, second, third, &error);

  CU_ASSERT_PTR_NULL (nodes);
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_PROTOCOL);
  CU_ASSERT (error != NULL && strstr (error->message, word) != NULL);
}

#define EMPTY "{\"nodes\":[],\"edges\":[]}"

static void
replies_without_form_are_refused (void)
{
  assert_text_refused ("[]", "[]", "x-debug-query-block-graph");
  assert_text_refused ("[]", "{}", "nodes");
  assert_text_refused ("[]", "{\"nodes\":[]}", "edges");
  assert_text_refused ("[]", "{\"nodes\":{},\"edges\":[]}", "nodes");
  assert_text_refused ("[]", "{\"nodes\":[7],\"edges\":[]}", "nodes");
  assert_text_refused ("[]", "{\"nodes\":[],\"edges\":[null]}", "edges");
  assert_text_refused ("[]", "{\"nodes\":[{\"type\":\"block-driver\",\"name\":\"a\"}],\"edges\":[]}", "id");
  assert_text_refused ("[]", "{\"nodes\":[{\"type\":\"block-driver\",\"name\":\"a\",\"id\":\"1\"}],\"edges\":[]}",
                       "id");
  assert_text_refused ("[]", "{\"nodes\":[{\"name\":\"a\",\"id\":1}],\"edges\":[]}", "type");
  assert_text_refused ("[]", "{\"nodes\":[],\"edges\":[{\"name\":\"file\",\"parent\":1}]}", "child");
  assert_text_refused ("[]", "{\"nodes\":[],\"edges\":[{\"name\":7,\"parent\":1,\"child\":2}]}", "name");
  assert_text_refused ("{}", EMPTY, "query-block-exports");
  assert_text_refused ("[7]", EMPTY, "query-block-exports");
  assert_text_refused ("[{\"id\":\"e\"}]", EMPTY, "node-name");
  assert_text_refused ("[{\"id\":7,\"node-name\":\"a\"}]", EMPTY, "id");
}

static const SupportTest tests[] = {
    SUPPORT_TEST (each_uppermost_node_is_one_disk_exports_first_the_oldest_before),
    SUPPORT_TEST (paths_come_from_the_nodes_at_the_bottom),
    SUPPORT_TEST (a_filter_is_a_layer_whose_file_is_what_it_filters),
    SUPPORT_TEST (an_export_that_is_added_later_renames_no_disk),
    SUPPORT_TEST (a_node_that_got_no_name_is_no_disk_by_itself),
    SUPPORT_TEST (a_child_in_any_role_is_under_its_parent),
    SUPPORT_TEST (a_filter_between_format_and_file_is_seen),
    SUPPORT_TEST (a_chain_300_deep_is_read_whole),
    SUPPORT_TEST (a_circle_is_refused_in_no_time),
    SUPPORT_TEST (a_node_that_is_told_twice_is_refused),
    SUPPORT_TEST (a_graph_that_changed_between_the_replies_is_refused),
    SUPPORT_TEST (replies_without_form_are_refused),
};

int
main (int argc, char **argv)
{
  return support_suite_run ("daemon", tests, G_N_ELEMENTS (tests), argc, argv);
}
