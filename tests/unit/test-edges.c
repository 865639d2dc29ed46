/*
 * The block graph by names alone: a reply recorded on qemu-storage-daemon 7.2,
 * graphs made up here, and replies without form.
 */
#include <string.h>

#include "qmp/edges.h"
#include "qmp/error.h"
#include "tests/support/suite.h"

#define NODE(id, name) "{\"type\":\"block-driver\",\"name\":\"" name "\",\"id\":" id "}"
#define USER(id, name) "{\"type\":\"block-backend\",\"name\":\"" name "\",\"id\":" id "}"
#define JOB(id, name) "{\"type\":\"block-job\",\"name\":\"" name "\",\"id\":" id "}"
#define EDGE(parent, role, child) "{\"name\":\"" role "\",\"parent\":" parent ",\"child\":" child ",\"perm\":[]}"
#define WRITER(parent, role, child) \
  "{\"name\":\"" role "\",\"parent\":" parent ",\"child\":" child ",\"perm\":[\"resize\",\"write\"]}"
#define GRAPH(nodes, edges) "{\"nodes\":[" nodes "],\"edges\":[" edges "]}"

static QmpEdges *
parse (const char *text)
{
  g_autoptr (JsonNode) reply = json_from_string (text, NULL);
  g_autoptr (GError) error = NULL;
  QmpEdges *edges;

  CU_ASSERT_PTR_NOT_NULL_FATAL (reply);
  edges = qmp_edges_parse (reply, &error);
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (edges);
  return edges;
}

static const QmpVertex *
vertex (const QmpEdges *edges, const char *name)
{
  const QmpVertex *found = qmp_edges_find (edges, name);

  CU_ASSERT_PTR_NOT_NULL_FATAL (found);
  CU_ASSERT (found != NULL && g_str_equal (found->name, name));
  return found;
}

/* "a,b": the users, as they come. */
static char *
users (const QmpEdges *edges)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  const GPtrArray *found = qmp_edges_get_users (edges);

  for (guint i = 0; i < found->len; i++)
    g_ptr_array_add (names, g_ptr_array_index (found, i));
  g_ptr_array_add (names, NULL);
  return g_strjoinv (",", (char **)names->pdata);
}

static void
assert_refused (const char *text, const char *word)
{
  g_autoptr (JsonNode) reply = json_from_string (text, NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpEdges) edges = NULL;

  CU_ASSERT_PTR_NOT_NULL_FATAL (reply);
  edges = qmp_edges_parse (reply, &error);
  CU_ASSERT_PTR_NULL (edges);
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_PROTOCOL);
  CU_ASSERT (error != NULL && strstr (error->message, word) != NULL);
  CU_ASSERT (error != NULL && strstr (error->message, "x-debug-query-block-graph") != NULL);
}

static void
a_recorded_graph_hangs_together_as_the_daemon_had_it (void)
{
  const char *folder = g_getenv ("TEST_FIXTURES");
  g_autofree char *path =
      g_build_filename (folder != NULL ? folder : "tests/unit/fixtures", "qmp", "daemon-graph.json", NULL);
  g_autofree char *text = NULL;
  g_autoptr (QmpEdges) edges = NULL;

  CU_ASSERT_FATAL (g_file_get_contents (path, &text, NULL, NULL));
  edges = parse (text);
  CU_ASSERT_STRING_EQUAL (vertex (edges, "a")->file->name, "a-file");
  CU_ASSERT_PTR_EQUAL (vertex (edges, "a")->file, vertex (edges, "a-file"));
  CU_ASSERT_PTR_NOT_NULL (vertex (edges, "a")->backing);
  CU_ASSERT (vertex (edges, "a")->has_user && !vertex (edges, "a")->has_parent && vertex (edges, "a")->writes);
  CU_ASSERT (vertex (edges, "a-file")->has_parent && !vertex (edges, "a-file")->has_user);
  CU_ASSERT_PTR_EQUAL (vertex (edges, "c-limit")->file, vertex (edges, "c"));
  CU_ASSERT (!vertex (edges, "d")->has_user);
  CU_ASSERT (qmp_edges_get_users (edges)->len > 0);
}

static void
nodes_come_in_the_order_of_the_reply (void)
{
  g_autoptr (QmpEdges) edges = parse (GRAPH (NODE ("7", "c") "," USER ("8", "vda") "," NODE ("2", "a"), ""));
  const GPtrArray *all = qmp_edges_get_all (edges);

  CU_ASSERT_EQUAL_FATAL (all->len, 2);
  CU_ASSERT_PTR_EQUAL (g_ptr_array_index (all, 0), vertex (edges, "c"));
  CU_ASSERT_PTR_EQUAL (g_ptr_array_index (all, 1), vertex (edges, "a"));
}

static void
only_file_and_backing_are_a_chain_and_any_child_has_a_parent (void)
{
  g_autoptr (QmpEdges) edges =
      parse (GRAPH (NODE ("1", "q") "," NODE ("2", "f") "," NODE ("3", "b") "," NODE ("4", "d"),
                    EDGE ("1", "file", "2") "," EDGE ("1", "backing", "3") "," EDGE ("1", "data-file", "4")));

  CU_ASSERT_PTR_EQUAL (vertex (edges, "q")->file, vertex (edges, "f"));
  CU_ASSERT_PTR_EQUAL (vertex (edges, "q")->backing, vertex (edges, "b"));
  CU_ASSERT (!vertex (edges, "q")->has_parent);
  CU_ASSERT (vertex (edges, "f")->has_parent && vertex (edges, "b")->has_parent && vertex (edges, "d")->has_parent);
  CU_ASSERT_PTR_NULL (vertex (edges, "d")->file);
  CU_ASSERT_PTR_NULL (vertex (edges, "d")->backing);
}

static void
a_node_writes_where_its_edge_to_its_file_says_so (void)
{
  g_autoptr (QmpEdges) edges =
      parse (GRAPH (NODE ("1", "w") "," NODE ("2", "r") "," NODE ("3", "b") "," NODE ("4", "f"),
                    WRITER ("1", "file", "4") "," EDGE ("2", "file", "4") "," WRITER ("3", "backing", "4")));

  CU_ASSERT (vertex (edges, "w")->writes);
  CU_ASSERT (!vertex (edges, "r")->writes);
  CU_ASSERT (!vertex (edges, "b")->writes);
}

static void
rights_of_another_form_are_none (void)
{
  static const char *const rights[] = {"7", "\"write\"", "null", "{\"write\":true}", "[7,null,[\"write\"],{}]"};

  for (guint i = 0; i < G_N_ELEMENTS (rights); i++) {
    g_autofree char *text = g_strdup_printf (
        GRAPH (NODE ("1", "q") "," NODE ("2", "f"), "{\"name\":\"file\",\"parent\":1,\"child\":2,\"perm\":%s}"),
        rights[i]);
    g_autoptr (QmpEdges) edges = parse (text);

    CU_ASSERT (!vertex (edges, "q")->writes);
  }
}

static void
users_are_told_by_name_in_one_order_and_each_as_often_as_it_holds_a_node (void)
{
  g_autoptr (QmpEdges) edges = parse (GRAPH (
      USER ("1", "vdb") "," JOB ("2", "copy") "," USER ("3", "") "," USER ("4", "idle") "," NODE ("5", "a") "," NODE (
          "6", "b"),
      EDGE ("1", "root", "5") "," EDGE ("2", "source", "5") "," EDGE ("2", "target", "6") "," EDGE ("3", "root", "6")));
  g_autofree char *names = users (edges);

  CU_ASSERT_STRING_EQUAL (names, ",copy,copy,vdb");
  CU_ASSERT (vertex (edges, "a")->has_user && vertex (edges, "b")->has_user);
  CU_ASSERT (!vertex (edges, "a")->has_parent && !vertex (edges, "b")->has_parent);
}

static void
a_job_holds_nodes_in_roles_and_nobody_else_does (void)
{
  g_autoptr (QmpEdges) edges = parse (GRAPH (
      USER ("1", "copy") "," JOB ("2", "copy") "," JOB ("3", "idle") "," NODE ("5", "a") "," NODE ("6", "b"),
      EDGE ("1", "root", "5") "," EDGE ("2", "main node", "5") "," EDGE ("2", "target", "6") "," EDGE ("2", "x", "9")));

  CU_ASSERT_PTR_EQUAL (qmp_edges_find_held (edges, "copy", "main node"), vertex (edges, "a"));
  CU_ASSERT_PTR_EQUAL (qmp_edges_find_held (edges, "copy", "target"), vertex (edges, "b"));
  CU_ASSERT_PTR_NULL (qmp_edges_find_held (edges, "copy", "root"));
  CU_ASSERT_PTR_NULL (qmp_edges_find_held (edges, "copy", "x"));
  CU_ASSERT_PTR_NULL (qmp_edges_find_held (edges, "idle", "main node"));
  CU_ASSERT_PTR_NULL (qmp_edges_find_held (edges, "nobody", "main node"));
}

static void
a_user_may_have_the_name_of_a_node_or_of_another_user (void)
{
  g_autoptr (QmpEdges) edges = parse (GRAPH (USER ("1", "a") "," USER ("2", "a") "," NODE ("3", "a"),
                                             EDGE ("1", "root", "3") "," EDGE ("2", "root", "3")));
  g_autofree char *names = users (edges);

  CU_ASSERT_EQUAL (qmp_edges_get_all (edges)->len, 1);
  CU_ASSERT_STRING_EQUAL (names, "a,a");
}

static void
an_edge_to_or_from_what_is_not_told_of_says_nothing (void)
{
  g_autoptr (QmpEdges) edges =
      parse (GRAPH (USER ("1", "vda") "," NODE ("2", "a"),
                    EDGE ("99", "root", "2") "," EDGE ("2", "file", "98") "," EDGE ("1", "root", "97")));

  CU_ASSERT (!vertex (edges, "a")->has_user && !vertex (edges, "a")->has_parent);
  CU_ASSERT_PTR_NULL (vertex (edges, "a")->file);
  CU_ASSERT_EQUAL (qmp_edges_get_users (edges)->len, 0);
}

static void
ids_are_as_large_as_qemu_may_make_them (void)
{
  g_autoptr (QmpEdges) edges = parse (
      GRAPH (NODE ("4294967297", "a") "," NODE ("1", "b") "," NODE ("0", "c"), EDGE ("4294967297", "backing", "0")));

  CU_ASSERT_PTR_EQUAL (vertex (edges, "a")->backing, vertex (edges, "c"));
  CU_ASSERT_PTR_NULL (vertex (edges, "b")->backing);
}

static void
what_is_not_there_is_not_found (void)
{
  g_autoptr (QmpEdges) edges = parse (GRAPH (USER ("1", "vda"), ""));

  CU_ASSERT_PTR_NULL (qmp_edges_find (edges, "vda"));
  CU_ASSERT_PTR_NULL (qmp_edges_find (edges, ""));
  CU_ASSERT_EQUAL (qmp_edges_get_all (edges)->len, 0);
}

static void
what_is_told_twice_is_refused (void)
{
  assert_refused (GRAPH (NODE ("1", "a") "," NODE ("1", "b"), ""), "twice");
  assert_refused (GRAPH (NODE ("1", "a") "," NODE ("2", "a"), ""), "twice");
  assert_refused (GRAPH (USER ("1", "vda") "," NODE ("1", "a"), ""), "twice");
  assert_refused (GRAPH (USER ("1", "vda") "," USER ("1", "vdb"), ""), "twice");
}

static void
replies_without_form_are_refused (void)
{
  assert_refused ("[]", "object");
  assert_refused ("7", "object");
  assert_refused ("{}", "nodes");
  assert_refused ("{\"nodes\":[]}", "edges");
  assert_refused ("{\"nodes\":{},\"edges\":[]}", "nodes");
  assert_refused (GRAPH (NODE ("1", "a") ",7", ""), "entry 1");
  assert_refused (GRAPH ("", "null"), "entry 0");
  assert_refused (GRAPH ("{\"type\":\"block-driver\",\"id\":1}", ""), "name");
  assert_refused (GRAPH ("{\"type\":\"block-driver\",\"name\":7,\"id\":1}", ""), "name");
  assert_refused (GRAPH ("{\"type\":7,\"name\":\"a\",\"id\":1}", ""), "type");
  assert_refused (GRAPH ("{\"type\":\"block-driver\",\"name\":\"a\"}", ""), "id");
  assert_refused (GRAPH (NODE ("\"1\"", "a"), ""), "id");
  assert_refused (GRAPH ("", "{\"parent\":1,\"child\":2}"), "name");
  assert_refused (GRAPH ("", "{\"name\":\"file\",\"child\":2}"), "parent");
  assert_refused (GRAPH ("", EDGE ("1", "file", "[2]")), "child");
}

static const SupportTest tests[] = {
    SUPPORT_TEST (a_recorded_graph_hangs_together_as_the_daemon_had_it),
    SUPPORT_TEST (nodes_come_in_the_order_of_the_reply),
    SUPPORT_TEST (only_file_and_backing_are_a_chain_and_any_child_has_a_parent),
    SUPPORT_TEST (a_node_writes_where_its_edge_to_its_file_says_so),
    SUPPORT_TEST (rights_of_another_form_are_none),
    SUPPORT_TEST (users_are_told_by_name_in_one_order_and_each_as_often_as_it_holds_a_node),
    SUPPORT_TEST (a_job_holds_nodes_in_roles_and_nobody_else_does),
    SUPPORT_TEST (a_user_may_have_the_name_of_a_node_or_of_another_user),
    SUPPORT_TEST (an_edge_to_or_from_what_is_not_told_of_says_nothing),
    SUPPORT_TEST (ids_are_as_large_as_qemu_may_make_them),
    SUPPORT_TEST (what_is_not_there_is_not_found),
    SUPPORT_TEST (what_is_told_twice_is_refused),
    SUPPORT_TEST (replies_without_form_are_refused),
};

int
main (int argc, char **argv)
{
  return support_suite_run ("edges", tests, G_N_ELEMENTS (tests), argc, argv);
}
