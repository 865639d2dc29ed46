/*
 * Notes as engine/note reads and writes them: bad ones are errors that say why,
 * good ones come through byte for byte, and no other file is touched for one.
 */
#include "engine/error.h"
#include "engine/note.h"
#include "engine/notefile.h"
#include "tests/support/suite.h"

#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID "01234567-89ab-cdef-0123-456789abcdef"
#define IMAGE(path, more)                                                                          \
  "{\"path\":\"" path "\",\"format\":\"qcow2\",\"virtual_size\":1024,\"owned\":true,\"device\":1," \
  "\"inode\":-2,\"born_ns\":9,\"created_by\":null,\"options\":null,\"frozen\":null" more "}"
#define GOOD                                                                                                          \
  "{\"chainctl_note\":1,"                                                                                             \
  "\"vm\":{\"name\":\"web\",\"uuid\":null,\"qmp\":\"/run/web.qmp\",\"agent\":null,\"guest\":null,"                    \
  "\"quiesce\":\"auto\",\"created_us\":5},"                                                                           \
  "\"disk\":{\"name\":\"vda\",\"device\":null,\"position\":0,\"ignored\":false,\"base\":" IMAGE (                     \
      "/d/base", "") ",\"foreign\":[" IMAGE ("/d/golden",                                                             \
                                             "") "]},"                                                                \
                                                 "\"snapshot\":{\"id\":\"" ID                                         \
                                                 "\",\"name\":\"one\",\"description\":\"\",\"tags\":[\"a\",\"b c\"]," \
                                                 "\"protected\":true,\"automatic\":false,\"consistency\":\"crash\","  \
                                                 "\"reason\":null,\"frozen_us\":-1,"                                  \
                                                 "\"created_us\":7,\"sequence\":3,\"disks\":[\"vda\"]},"              \
                                                 "\"image\":" IMAGE ("/d/base", "") ","                               \
                                                                                    "\"overlay\":" IMAGE (            \
                                                                                        "/d/base.one.qcow2", "") "}"

static EngineNote *
parse (const char *text, GError **error)
{
  return engine_note_parse (text, strlen (text), error);
}

static char *
replaced (const char *what, const char *with)
{
  g_auto (GStrv) parts = g_strsplit (GOOD, what, 2);

  CU_ASSERT_EQUAL_FATAL (g_strv_length (parts), 2);
  return g_strjoinv (with, parts);
}

static void
a_good_note_comes_through_byte_for_byte (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineNote) note = parse (GOOD, &error);
  g_autofree char *text = NULL;

  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_FATAL (note != NULL);
  CU_ASSERT_STRING_EQUAL (note->snapshot->name, "one");
  CU_ASSERT_EQUAL (note->snapshot->tags->len, 2);
  CU_ASSERT_EQUAL (note->overlay->inode, (guint64)-2);
  CU_ASSERT_EQUAL (note->foreign->len, 1);
  text = engine_note_to_text (note, ENGINE_NOTE_WHOLE);
  CU_ASSERT_STRING_EQUAL (text, GOOD);
}

static void
a_path_that_is_no_utf_8_comes_through (void)
{
  g_autofree char *odd = replaced ("\"/d/base.one.qcow2\"", "\"shown\",\"path_b64\":\"L2Qv/w==\"");
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineNote) note = parse (odd, &error);
  g_autoptr (EngineNote) again = NULL;
  g_autofree char *text = NULL;

  CU_ASSERT_FATAL (note != NULL);
  CU_ASSERT_STRING_EQUAL (note->overlay->path, "/d/\xff");
  text = engine_note_to_text (note, ENGINE_NOTE_WHOLE);
  CU_ASSERT (g_utf8_validate (text, -1, NULL));
  again = parse (text, &error);
  CU_ASSERT_FATAL (again != NULL);
  CU_ASSERT_STRING_EQUAL (again->overlay->path, "/d/\xff");
}

static void
what_is_active_stands_in_a_whole_note_alone (void)
{
  g_autofree char *odd = replaced ("\"overlay\":", "\"active\":\"/d/base\",\"overlay\":");
  g_autofree char *wrong = replaced ("\"overlay\":", "\"active\":null,\"overlay\":");
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineNote) note = parse (odd, &error);
  g_autoptr (EngineNote) none = parse (wrong, NULL);
  g_autofree char *whole = NULL;
  g_autofree char *lasting = NULL;

  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_FATAL (note != NULL && none == NULL);
  CU_ASSERT_STRING_EQUAL (note->active, "/d/base");
  whole = engine_note_to_text (note, ENGINE_NOTE_WHOLE);
  lasting = engine_note_to_text (note, ENGINE_NOTE_LASTING);
  CU_ASSERT (g_str_has_suffix (whole, ",\"active\":\"/d/base\"}"));
  CU_ASSERT (strstr (lasting, "\"active\"") == NULL && strstr (lasting, "\"vm\"") == NULL);
}

static void
a_note_that_is_cut_short_anywhere_is_an_error (void)
{
  for (gsize length = 0; length < strlen (GOOD); length++) {
    g_autofree char *cut = g_strndup (GOOD, length); /* its own block: a sanitizer sees one byte too far */
    g_autoptr (GError) error = NULL;
    g_autoptr (EngineNote) note = parse (cut, &error);

    CU_ASSERT (note == NULL);
    SUPPORT_ASSERT_ERROR (error, ENGINE_ERROR, ENGINE_ERROR_FAILED);
  }
}

static void
assert_refused (const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineNote) note = parse (text, &error);

  if (note != NULL)
    g_printerr ("taken: %.200s\n", text);
  CU_ASSERT (note == NULL);
  SUPPORT_ASSERT_ERROR (error, ENGINE_ERROR, ENGINE_ERROR_FAILED);
}

static void
wrong_types_and_ranges_are_errors (void)
{
  static const struct {
    const char *what;
    const char *with;
  } changes[] = {
      {"\"chainctl_note\":1", "\"chainctl_note\":2"},
      {"\"chainctl_note\":1", "\"chainctl_note\":0"},
      {"\"chainctl_note\":1", "\"chainctl_note\":\"1\""},
      {"\"chainctl_note\":1,", ""},
      {"\"name\":\"web\"", "\"name\":7"},
      {"\"name\":\"web\"", "\"name\":null"},
      {"\"name\":\"web\"", "\"name\":\"../web\""},
      {"\"name\":\"web\"", "\"name\":\"latest\""},
      {"\"qmp\":\"/run/web.qmp\"", "\"qmp\":\"\""},
      {"\"quiesce\":\"auto\"", "\"quiesce\":\"maybe\""},
      {"\"created_us\":5", "\"created_us\":-5"},
      {"\"created_us\":5", "\"created_us\":5.5"},
      {"\"created_us\":5", "\"created_us\":99999999999999999999999"},
      {"\"name\":\"vda\"", "\"name\":\"\""},
      {"\"name\":\"vda\"", "\"name\":\"vdb\""},
      {"\"position\":0", "\"position\":-1"},
      {"\"position\":0", "\"position\":4294967296"},
      {"\"ignored\":false", "\"ignored\":0"},
      {"\"foreign\":[", "\"foreign\":[7,"},
      {"\"id\":\"" ID "\"", "\"id\":\"01234567-89AB-CDEF-0123-456789ABCDEF\""},
      {"\"id\":\"" ID "\"", "\"id\":\"x\""},
      {"\"name\":\"one\"", "\"name\":\"a/b\""},
      {"\"tags\":[\"a\"", "\"tags\":[{}"},
      {"\"tags\":[\"a\"", "\"tags\":[\"\""},
      {"\"consistency\":\"crash\"", "\"consistency\":\"none\""},
      {"\"frozen_us\":-1", "\"frozen_us\":-2"},
      {"\"sequence\":3", "\"sequence\":9223372036854775807"},
      {"\"disks\":[\"vda\"]", "\"disks\":\"vda\""},
      {"\"disks\":[\"vda\"]", "\"disks\":[]"},
      {"\"path\":\"/d/base.one.qcow2\"", "\"path\":\"base.one.qcow2\""},
      {"\"path\":\"/d/base.one.qcow2\"", "\"path\":\"/d/base\""},
      {"\"path\":\"/d/base.one.qcow2\"", "\"path\":\"/d/x\",\"path_b64\":\"L2QA\""},
      {"\"path\":\"/d/base.one.qcow2\"", "\"path\":\"/d/x\",\"path_b64\":7"},
      {"\"virtual_size\":1024", "\"virtual_size\":0"},
      {"\"options\":null", "\"options\":\"[]\""},
      {"\"options\":null", "\"options\":\"{\""},
      {"\"options\":null", "\"options\":{}"},
      {"\"frozen\":null", "\"frozen\":7"},
      {"\"frozen\":null", "\"frozen\":{\"size\":0,\"mtime_ns\":0,\"header\":null}"},
      {"\"format\":\"qcow2\"", "\"format\":\"\""},
      {"\"format\":\"qcow2\"", "\"format\":\"raw,file.driver=nbd\""},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (changes); i++) {
    g_autofree char *text = replaced (changes[i].what, changes[i].with);

    assert_refused (text);
  }
}

/* The JSON parser recurses, and takes comments and other quotes for more than JSON has. */
static void
hostile_texts_are_errors_and_never_a_crash (void)
{
  static const char *const starts[] = {"[",     "{\"a\":", "{\"chainctl_note\":1,\"vm\":[", "// \"\n[", "/* \" */[",
                                       "'\"'[", "# \"\n["};
  g_autofree char *brackets = g_strnfill (500000, '[');
  g_autofree char *openings = g_strnfill (500000, '{');

  for (gsize i = 0; i < G_N_ELEMENTS (starts); i++) {
    g_autofree char *deep = g_strconcat (starts[i], brackets, NULL);
    g_autofree char *objects = g_strconcat (starts[i], openings, NULL);

    assert_refused (deep);
    assert_refused (objects);
  }
  assert_refused ("");
  assert_refused ("null");
  assert_refused ("[][]");
  assert_refused (GOOD GOOD);
  assert_refused ("[]");
  assert_refused ("\"chainctl_note\"");
  assert_refused ("{\"chainctl_note\":1}");
  assert_refused ("\xff\xfe{}");
  assert_refused ("{\"\\ud800\":1}");
}

/* A folder with an overlay in it, and a note that tells of it. */
static void
a_note_of_what_was_the_base_once_says_what_lies_below_it (void)
{
  g_autofree char *good = replaced (",\"overlay\":", ",\"below\":[" IMAGE ("/d/golden", "") "],\"overlay\":");
  g_autofree char *bare = replaced (",\"overlay\":", ",\"below\":[],\"overlay\":");
  g_autofree char *wrong = replaced (",\"overlay\":", ",\"below\":[7],\"overlay\":");
  g_autoptr (EngineNote) note = parse (good, NULL);
  g_autoptr (EngineNote) alone = parse (bare, NULL);
  g_autofree char *text = NULL;

  CU_ASSERT_FATAL (note != NULL && alone != NULL);
  CU_ASSERT_EQUAL (note->below->len, 1);
  CU_ASSERT_EQUAL (alone->below->len, 0);
  text = engine_note_to_text (note, ENGINE_NOTE_WHOLE);
  CU_ASSERT_STRING_EQUAL (text, good);
  CU_ASSERT (parse (wrong, NULL) == NULL);
}

static void
a_note_without_an_overlay_says_what_is_active_and_lies_beside_its_image (void)
{
  const char *overlay = ",\"overlay\":" IMAGE ("/d/base.one.qcow2", "");
  g_autofree char *good = replaced (overlay, ",\"overlay\":null,\"active\":\"/d/top\"");
  g_autofree char *silent = replaced (overlay, ",\"overlay\":null");
  g_autofree char *lying = replaced (overlay, ",\"overlay\":null,\"active\":\"/d/top\",\"parent\":\"/d/x\"");
  g_autofree char *missing = replaced (overlay, ",\"active\":\"/d/top\"");
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineNote) note = parse (good, &error);
  g_autofree char *text = NULL;
  g_autofree char *place = NULL;

  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_FATAL (note != NULL);
  CU_ASSERT (note->overlay == NULL);
  text = engine_note_to_text (note, ENGINE_NOTE_WHOLE);
  CU_ASSERT_STRING_EQUAL (text, good);
  place = engine_note_place (note);
  CU_ASSERT_STRING_EQUAL (place, "/d/base.01234567.chainctl");
  CU_ASSERT (parse (silent, NULL) == NULL && parse (lying, NULL) == NULL && parse (missing, NULL) == NULL);
}

typedef struct {
  char *folder;
  char *overlay;
  char *path;
  EngineNote *note;
} Place;

static void
place_init (Place *place)
{
  place->folder = g_dir_make_tmp ("note-XXXXXX", NULL);
  place->overlay = g_build_filename (place->folder, "overlay", NULL);
  place->path = engine_note_path (place->overlay);
  place->note = parse (GOOD, NULL);
  CU_ASSERT_FATAL (place->folder != NULL && place->note != NULL);
  CU_ASSERT_FATAL (g_file_set_contents (place->overlay, "image", -1, NULL) && g_chmod (place->overlay, 0640) == 0);
  g_free (place->note->overlay->path);
  place->note->overlay->path = g_strdup (place->overlay);
}

static guint
count_files (const Place *place)
{
  g_autoptr (GDir) folder = g_dir_open (place->folder, 0, NULL);
  guint count = 0;

  while (g_dir_read_name (folder) != NULL)
    count++;
  return count;
}

static void
place_clear (Place *place)
{
  g_unlink (place->path);
  g_unlink (place->overlay);
  CU_ASSERT_EQUAL (g_rmdir (place->folder), 0);
  g_free (place->folder);
  g_free (place->overlay);
  g_free (place->path);
  engine_note_free (place->note);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Place, place_clear)

static void
a_note_is_written_whole_over_a_note_and_read_back (void)
{
  g_auto (Place) place = {0};
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineNote) read = NULL;
  GStatBuf status;

  place_init (&place);
  for (int i = 0; i < 2; i++)
    CU_ASSERT (engine_notefile_write (place.note, i == 1, &error));
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_EQUAL (count_files (&place), 2);
  CU_ASSERT (g_stat (place.path, &status) == 0 && (status.st_mode & 0777) == 0640);
  read = engine_notefile_read (place.path, &error);
  CU_ASSERT_FATAL (read != NULL);
  CU_ASSERT_STRING_EQUAL (read->overlay->path, place.overlay);
  CU_ASSERT_STRING_EQUAL (read->path, place.path);
}

static void
what_a_dead_writer_left_is_no_obstacle (void)
{
  g_auto (Place) place = {0};
  g_autofree char *draft = NULL;

  place_init (&place);
  draft = g_strconcat (place.path, ".new", NULL);
  CU_ASSERT (g_file_set_contents (draft, "{\"chain", -1, NULL));
  CU_ASSERT (engine_notefile_write (place.note, FALSE, NULL));
  CU_ASSERT_EQUAL (count_files (&place), 2);
}

static void
a_file_that_is_no_note_is_neither_replaced_nor_removed (void)
{
  g_auto (Place) place = {0};
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;

  place_init (&place);
  CU_ASSERT (g_file_set_contents (place.path, "mine", -1, NULL));
  CU_ASSERT (!engine_notefile_write (place.note, FALSE, &error));
  SUPPORT_ASSERT_ERROR (error, ENGINE_ERROR, ENGINE_ERROR_EXISTS);
  CU_ASSERT (engine_notefile_remove (place.overlay, ID, NULL));
  CU_ASSERT (g_file_get_contents (place.path, &text, NULL, NULL));
  CU_ASSERT_STRING_EQUAL (text, "mine");
}

static void
only_the_note_of_that_snapshot_is_removed (void)
{
  g_auto (Place) place = {0};

  place_init (&place);
  CU_ASSERT (engine_notefile_write (place.note, FALSE, NULL));
  CU_ASSERT (engine_notefile_remove (place.overlay, "another", NULL));
  CU_ASSERT_EQUAL (count_files (&place), 2);
  CU_ASSERT (engine_notefile_remove (place.overlay, ID, NULL));
  CU_ASSERT_EQUAL (count_files (&place), 1);
  CU_ASSERT (engine_notefile_remove (place.overlay, ID, NULL));
}

static void
links_fifos_and_huge_files_are_not_read (void)
{
  g_auto (Place) place = {0};
  g_autoptr (GError) link = NULL;
  g_autoptr (GError) fifo = NULL;
  g_autoptr (GError) huge = NULL;

  place_init (&place);
  CU_ASSERT (symlink (place.overlay, place.path) == 0);
  CU_ASSERT (engine_notefile_read (place.path, &link) == NULL);
  SUPPORT_ASSERT_ERROR (link, ENGINE_ERROR, ENGINE_ERROR_FAILED);
  g_unlink (place.path);
  CU_ASSERT (mkfifo (place.path, 0600) == 0);
  CU_ASSERT (engine_notefile_read (place.path, &fifo) == NULL);
  SUPPORT_ASSERT_ERROR (fifo, ENGINE_ERROR, ENGINE_ERROR_FAILED);
  g_unlink (place.path);
  CU_ASSERT (g_file_set_contents (place.path, GOOD, -1, NULL) && truncate (place.path, 1 << 30) == 0);
  CU_ASSERT (engine_notefile_read (place.path, &huge) == NULL);
  SUPPORT_ASSERT_ERROR (huge, ENGINE_ERROR, ENGINE_ERROR_FAILED);
}

static void
a_note_beside_an_image_is_removed_with_it_and_no_other_file (void)
{
  static const char *const left[] = {"image.0123456.chainctl", "image.0123456g.chainctl", "image2.01234567.chainctl",
                                     "image.89abcdef.chainctl"};
  g_auto (Place) place = {0};
  g_autofree char *image = NULL;
  g_autofree char *path = NULL;
  g_autoptr (EngineContext) context = engine_context_new ("/d");

  place_init (&place);
  image = g_build_filename (place.folder, "image", NULL);
  path = engine_note_path_beside (image, ID);
  g_clear_pointer (&place.note->overlay, chains_image_free);
  g_free (place.note->image->path);
  place.note->image->path = g_strdup (image);
  place.note->active = g_strdup (place.overlay);
  for (gsize i = 0; i < G_N_ELEMENTS (left); i++) {
    g_autofree char *other = g_build_filename (place.folder, left[i], NULL);

    CU_ASSERT (g_file_set_contents (other, "no note", -1, NULL));
  }
  CU_ASSERT (engine_notefile_write (place.note, FALSE, NULL) && g_file_test (path, G_FILE_TEST_EXISTS));
  CU_ASSERT (engine_notefile_remove_beside (image, "89abcdef", NULL) && g_file_test (path, G_FILE_TEST_EXISTS));
  engine_notefile_forget (context, image);
  CU_ASSERT (!g_file_test (path, G_FILE_TEST_EXISTS));
  CU_ASSERT_EQUAL (count_files (&place), G_N_ELEMENTS (left) + 1);
  CU_ASSERT (engine_notefile_write (place.note, FALSE, NULL) && engine_notefile_remove_beside (image, ID, NULL));
  CU_ASSERT (!g_file_test (path, G_FILE_TEST_EXISTS));
  for (gsize i = 0; i < G_N_ELEMENTS (left); i++) {
    g_autofree char *other = g_build_filename (place.folder, left[i], NULL);

    g_unlink (other);
  }
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (a_note_of_what_was_the_base_once_says_what_lies_below_it),
      SUPPORT_TEST (a_note_without_an_overlay_says_what_is_active_and_lies_beside_its_image),
      SUPPORT_TEST (a_note_beside_an_image_is_removed_with_it_and_no_other_file),
      SUPPORT_TEST (a_good_note_comes_through_byte_for_byte),
      SUPPORT_TEST (a_path_that_is_no_utf_8_comes_through),
      SUPPORT_TEST (what_is_active_stands_in_a_whole_note_alone),
      SUPPORT_TEST (a_note_that_is_cut_short_anywhere_is_an_error),
      SUPPORT_TEST (wrong_types_and_ranges_are_errors),
      SUPPORT_TEST (hostile_texts_are_errors_and_never_a_crash),
      SUPPORT_TEST (a_note_is_written_whole_over_a_note_and_read_back),
      SUPPORT_TEST (what_a_dead_writer_left_is_no_obstacle),
      SUPPORT_TEST (a_file_that_is_no_note_is_neither_replaced_nor_removed),
      SUPPORT_TEST (only_the_note_of_that_snapshot_is_removed),
      SUPPORT_TEST (links_fifos_and_huge_files_are_not_read),
  };

  return support_suite_run ("note", tests, G_N_ELEMENTS (tests), argc, argv);
}
