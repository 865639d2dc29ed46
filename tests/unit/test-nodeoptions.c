/*
 * QEMU's command line as engine/nodeoptions reads it: every spelling of the
 * same options gives the same answer.
 */
#include "engine/nodeoptions.h"
#include "tests/support/suite.h"

/* A disk on a format node "fmt" over a file node "prot", as the graph would have it. */
typedef struct {
  QmpNode format;
  QmpNode file;
  EngineLayer layer;
  EngineGraphDisk disk;
} Rig;

static void
rig_init (Rig *rig, const char *backend)
{
  rig->format = (QmpNode){.name = (char *)"fmt", .driver = (char *)"qcow2", .detect_zeroes = (char *)"off"};
  rig->file = (QmpNode){.name = (char *)"prot", .driver = (char *)"file", .cache_direct = TRUE};
  rig->layer = (EngineLayer){.node = &rig->format, .file = &rig->file, .path = (char *)"/images/a,b.qcow2"};
  rig->disk = (EngineGraphDisk){.name = (char *)"vda", .backend = (char *)backend};
  rig->disk.layers = g_ptr_array_new ();
  g_ptr_array_add (rig->disk.layers, &rig->layer);
}

static void
rig_clear (Rig *rig)
{
  g_ptr_array_unref (rig->disk.layers);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Rig, rig_clear)

static void
assert_options (const char *const *arguments, const char *aio, const char *discard, const char *file_discard)
{
  g_auto (Rig) rig = {0};
  g_autoptr (EngineNodeOptions) options = NULL;

  rig_init (&rig, "drive0");
  options = engine_nodeoptions_find (&rig.disk, (char **)arguments, NULL);
  CU_ASSERT_FALSE (options->guessed);
  CU_ASSERT_STRING_EQUAL (options->aio, aio);
  CU_ASSERT_STRING_EQUAL (options->discard, discard);
  CU_ASSERT_STRING_EQUAL (options->file_discard, file_discard);
}

static void
two_blockdevs_by_node_name (void)
{
  const char *const arguments[] = {"qemu",
                                   "-blockdev",
                                   "driver=file,node-name=prot,filename=/x,aio=native,discard=unmap",
                                   "-blockdev",
                                   "driver=qcow2,node-name=fmt,file=prot,discard=unmap",
                                   NULL};

  assert_options (arguments, "native", "unmap", "unmap");
}

static void
one_blockdev_with_its_file_inline (void)
{
  const char *const arguments[] = {
      "qemu", "--blockdev",
      "driver=qcow2,node-name=fmt,discard=unmap,file.driver=file,file.filename=/a,,b,file.aio=io_uring", NULL};

  assert_options (arguments, "io_uring", "unmap", "unmap");
}

static void
a_blockdev_in_json (void)
{
  const char *const arguments[] = {"qemu", "-blockdev",
                                   "{\"driver\":\"qcow2\",\"node-name\":\"fmt\",\"discard\":\"unmap\",\"file\":{"
                                   "\"driver\":\"file\",\"filename\":\"/x\",\"aio\":\"native\"}}",
                                   NULL};

  assert_options (arguments, "native", "unmap", "unmap");
}

static void
a_drive_by_its_id (void)
{
  const char *const arguments[] = {"qemu", "-drive", "if=none,id=drive0,file=/else,aio=native,discard=on,cache=none",
                                   NULL};

  assert_options (arguments, "native", "unmap", "unmap");
}

static void
a_drive_by_its_file_with_a_comma (void)
{
  const char *const arguments[] = {"qemu", "-drive", "if=virtio,file=/images/a,,b.qcow2,aio=io_uring", NULL};

  assert_options (arguments, "io_uring", "ignore", "unmap");
}

static void
defaults_are_qemus_where_the_command_line_is_silent (void)
{
  const char *const arguments[] = {"qemu",
                                   "-blockdev",
                                   "driver=file,node-name=prot,filename=/x",
                                   "-blockdev",
                                   "driver=qcow2,node-name=fmt,file=prot",
                                   NULL};

  assert_options (arguments, "threads", "ignore", "ignore");
}

static void
what_qmp_tells_comes_from_the_node (void)
{
  g_auto (Rig) rig = {0};
  g_autoptr (EngineNodeOptions) options = NULL;

  rig_init (&rig, "");
  rig.format.detect_zeroes = (char *)"unmap";
  rig.format.cache_no_flush = TRUE;
  options = engine_nodeoptions_find (&rig.disk, NULL, NULL);
  CU_ASSERT_STRING_EQUAL (options->detect_zeroes, "unmap");
  CU_ASSERT_TRUE (options->no_flush);
  CU_ASSERT_TRUE (options->file_direct);
  CU_ASSERT_FALSE (options->direct);
}

static void
what_cannot_be_found_out_is_said (void)
{
  g_auto (Rig) rig = {0};
  g_autoptr (EngineNodeOptions) options = NULL;

  rig_init (&rig, "");
  options = engine_nodeoptions_find (&rig.disk, NULL, NULL);
  CU_ASSERT_TRUE (options->guessed);
}

static void
a_node_of_ours_is_remembered (void)
{
  g_auto (Rig) rig = {0};
  const char *const arguments[] = {"qemu", "-drive", "if=none,id=drive0,file=/x,aio=threads", NULL};
  g_autoptr (EngineNodeOptions) first = NULL;
  g_autoptr (EngineNodeOptions) again = NULL;
  g_autofree char *remembered = NULL;

  rig_init (&rig, "drive0");
  first = engine_nodeoptions_find (&rig.disk, (char **)arguments, NULL);
  g_free (first->aio);
  first->aio = g_strdup ("native");
  remembered = engine_nodeoptions_to_json (first);
  rig.format.name = (char *)"cc-0123456789abcdef-0";
  again = engine_nodeoptions_find (&rig.disk, (char **)arguments, remembered);
  CU_ASSERT_STRING_EQUAL (again->aio, "native");
  CU_ASSERT_FALSE (again->guessed);
}

static void
every_occurrence_of_an_option_is_listed_in_each_spelling (void)
{
  const char *const arguments[] = {"qemu",
                                   "-drive",
                                   "file=/a,,b,if=none",
                                   "--drive",
                                   "file=json:{\"file\":{\"filename\":\"/c\"}}",
                                   "-blockdev",
                                   "{\"file\":{\"filename\":\"/d\"}}",
                                   "-hda",
                                   "/e",
                                   "-drive",
                                   NULL};
  g_autoptr (GPtrArray) drives = engine_nodeoptions_list ((char **)arguments, "-drive");
  g_autoptr (GPtrArray) nodes = engine_nodeoptions_list ((char **)arguments, "-blockdev");
  g_autoptr (GPtrArray) bare = engine_nodeoptions_list ((char **)arguments, "-hda");
  g_autoptr (GPtrArray) none = engine_nodeoptions_list (NULL, "-drive");

  CU_ASSERT_EQUAL_FATAL (drives->len, 2);
  CU_ASSERT_STRING_EQUAL (g_hash_table_lookup (g_ptr_array_index (drives, 0), "file"), "/a,b");
  CU_ASSERT_STRING_EQUAL (g_hash_table_lookup (g_ptr_array_index (drives, 1), "file.filename"), "/c");
  CU_ASSERT_EQUAL_FATAL (nodes->len, 1);
  CU_ASSERT_STRING_EQUAL (g_hash_table_lookup (g_ptr_array_index (nodes, 0), "file.filename"), "/d");
  CU_ASSERT_EQUAL_FATAL (bare->len, 1);
  CU_ASSERT_STRING_EQUAL (g_hash_table_lookup (g_ptr_array_index (bare, 0), ""), "/e");
  CU_ASSERT_EQUAL (none->len, 0);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (two_blockdevs_by_node_name),
      SUPPORT_TEST (one_blockdev_with_its_file_inline),
      SUPPORT_TEST (a_blockdev_in_json),
      SUPPORT_TEST (a_drive_by_its_id),
      SUPPORT_TEST (a_drive_by_its_file_with_a_comma),
      SUPPORT_TEST (defaults_are_qemus_where_the_command_line_is_silent),
      SUPPORT_TEST (what_qmp_tells_comes_from_the_node),
      SUPPORT_TEST (what_cannot_be_found_out_is_said),
      SUPPORT_TEST (a_node_of_ours_is_remembered),
      SUPPORT_TEST (every_occurrence_of_an_option_is_listed_in_each_spelling),
  };

  return support_suite_run ("nodeoptions", tests, G_N_ELEMENTS (tests), argc, argv);
}
