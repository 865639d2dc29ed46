/*
 * The qcow2 header as engine/qcow2 reads it, from images that the test
 * writes byte by byte after the specification; and blank overlays as it
 * writes them, whose layout the test follows from the header on.
 */
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/qcow2.h"
#include "tests/support/suite.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLUSTER 65536
#define BACKING "/images/base.raw"

static void
put32 (guint8 *at, guint32 value)
{
  value = GUINT32_TO_BE (value);
  memcpy (at, &value, sizeof value);
}

static void
put64 (guint8 *at, guint64 value)
{
  value = GUINT64_TO_BE (value);
  memcpy (at, &value, sizeof value);
}

/* A version 3 image of two clusters: the header with a backing format extension, and an L1 table of four entries. */
static guint8 *
new_image (void)
{
  guint8 *image = g_malloc0 (2 * CLUSTER);

  put32 (image, 0x514649fb);
  put32 (image + 4, 3);
  put64 (image + 8, 1024);
  put32 (image + 16, sizeof BACKING - 1);
  put32 (image + 20, 16);
  put64 (image + 24, 1 << 30);
  put32 (image + 36, 4);
  put64 (image + 40, CLUSTER);
  put32 (image + 100, 104);
  put32 (image + 104, 0xe2792aca);
  put32 (image + 108, 3);
  memcpy (image + 112, "raw", 3);
  memcpy (image + 1024, BACKING, sizeof BACKING - 1);
  return image;
}

static EngineQcow2 *
read_image (const guint8 *image, gsize length, GError **error)
{
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "qcow2-XXXXXX", NULL);
  int fd = g_mkstemp (path);
  EngineQcow2 *header;

  CU_ASSERT_FATAL (fd >= 0 && write (fd, image, length) == (ssize_t)length);
  close (fd);
  header = engine_qcow2_read (path, error);
  g_unlink (path);
  return header;
}

static void
a_header_gives_size_backing_name_and_format (void)
{
  g_autofree guint8 *image = new_image ();
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineQcow2) header = read_image (image, 2 * CLUSTER, &error);

  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_FATAL (header != NULL);
  CU_ASSERT_STRING_EQUAL (header->backing, BACKING);
  CU_ASSERT_STRING_EQUAL (header->backing_format, "raw");
  CU_ASSERT_EQUAL (header->virtual_size, 1 << 30);
  CU_ASSERT_TRUE (header->empty);
  CU_ASSERT_FALSE (header->encrypted);
  CU_ASSERT_FALSE (header->extended_l2);
  CU_ASSERT_FALSE (header->data_file);
}

static void
an_external_data_file_is_seen (void)
{
  g_autofree guint8 *image = new_image ();
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineQcow2) header = NULL;

  put64 (image + 72, 1u << 2);
  header = read_image (image, 2 * CLUSTER, &error);
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_FATAL (header != NULL);
  CU_ASSERT_TRUE (header->data_file);
  CU_ASSERT_FALSE (header->extended_l2);
}

static void
a_mapped_cluster_is_not_empty (void)
{
  g_autofree guint8 *image = new_image ();
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineQcow2) header = NULL;

  put64 (image + CLUSTER + 16, 0x8000000000020000);
  header = read_image (image, 2 * CLUSTER, &error);
  CU_ASSERT_FATAL (header != NULL);
  CU_ASSERT_FALSE (header->empty);
}

static void
the_digest_follows_the_header_and_not_the_data (void)
{
  g_autofree guint8 *image = new_image ();
  g_autoptr (EngineQcow2) first = read_image (image, 2 * CLUSTER, NULL);
  g_autoptr (EngineQcow2) with_data = NULL;
  g_autoptr (EngineQcow2) with_other_name = NULL;

  put64 (image + CLUSTER, 0x8000000000020000);
  with_data = read_image (image, 2 * CLUSTER, NULL);
  image[1030]++;
  with_other_name = read_image (image, 2 * CLUSTER, NULL);
  CU_ASSERT_FATAL (first != NULL && with_data != NULL && with_other_name != NULL);
  CU_ASSERT_STRING_EQUAL (first->digest, with_data->digest);
  CU_ASSERT_STRING_NOT_EQUAL (first->digest, with_other_name->digest);
}

typedef struct {
  const char *what;
  gsize at;
  guint32 value;
} Damage;

static void
damaged_headers_are_errors_and_never_a_crash (void)
{
  static const Damage damages[] = {
      {"magic", 0, 0x12345678},
      {"version", 4, 7},
      {"backing offset beyond the header", 8, 0xffffffff},
      {"backing length", 16, 0x7fffffff},
      {"cluster bits too small", 20, 3},
      {"cluster bits too large", 20, 63},
      {"L1 size", 36, 0xffffffff},
      {"L1 offset", 40, 0x7fffffff},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (damages); i++) {
    g_autofree guint8 *image = new_image ();
    g_autoptr (GError) error = NULL;
    g_autoptr (EngineQcow2) header = NULL;

    put32 (image + damages[i].at, damages[i].value);
    header = read_image (image, 2 * CLUSTER, &error);
    CU_ASSERT_PTR_NULL (header);
    SUPPORT_ASSERT_ERROR (error, ENGINE_ERROR, ENGINE_ERROR_FAILED);
  }
}

static void
an_extension_that_claims_too_much_is_left_alone (void)
{
  g_autofree guint8 *image = new_image ();
  g_autoptr (EngineQcow2) header = NULL;

  put32 (image + 108, 0xfffffff0);
  header = read_image (image, 2 * CLUSTER, NULL);
  CU_ASSERT_FATAL (header != NULL);
  CU_ASSERT_PTR_NULL (header->backing_format);
}

static void
a_file_cut_short_anywhere_is_an_error (void)
{
  static const gsize lengths[] = {0, 1, 71, 104, CLUSTER - 1, CLUSTER, CLUSTER + 8};

  for (gsize i = 0; i < G_N_ELEMENTS (lengths); i++) {
    g_autofree guint8 *image = new_image ();
    g_autoptr (GError) error = NULL;
    g_autoptr (EngineQcow2) header = read_image (image, lengths[i], &error);

    CU_ASSERT_PTR_NULL (header);
    SUPPORT_ASSERT_ERROR (error, ENGINE_ERROR, ENGINE_ERROR_FAILED);
  }
}

static void
a_missing_image_is_told_apart (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineQcow2) header = engine_qcow2_read ("/nonexistent/image", &error);

  CU_ASSERT_PTR_NULL (header);
  SUPPORT_ASSERT_ERROR (error, ENGINE_ERROR, ENGINE_ERROR_NO_SUCH_IMAGE);
}

static void
a_lock_of_another_open_file_is_seen_and_our_look_leaves_none (void)
{
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "qcow2-XXXXXX", NULL);
  int fd = g_mkstemp (path);
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};

  CU_ASSERT_FATAL (fd >= 0);
  CU_ASSERT_FALSE (engine_imagefile_is_locked (path));
  CU_ASSERT_FATAL (fcntl (fd, F_OFD_SETLK, &lock) == 0);
  CU_ASSERT_TRUE (engine_imagefile_is_locked (path));
  close (fd);
  CU_ASSERT_FALSE (engine_imagefile_is_locked (path));
  g_unlink (path);
}

static void
a_fifo_in_an_images_place_is_not_waited_for (void)
{
  g_autofree char *folder = g_dir_make_tmp ("qcow2-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "fifo", NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineQcow2) header = NULL;

  CU_ASSERT_FATAL (mkfifo (path, 0600) == 0);
  CU_ASSERT_FALSE (engine_imagefile_is_locked (path));
  header = engine_qcow2_read (path, &error);
  CU_ASSERT_PTR_NULL (header);
  SUPPORT_ASSERT_ERROR (error, ENGINE_ERROR, ENGINE_ERROR_FAILED);
  g_unlink (path);
  g_rmdir (folder);
}

/* ---- blank images ---- */

static guint32
get32 (const guint8 *at)
{
  guint32 value;

  memcpy (&value, at, sizeof value);
  return GUINT32_FROM_BE (value);
}

static guint64
get64 (const guint8 *at)
{
  guint64 value;

  memcpy (&value, at, sizeof value);
  return GUINT64_FROM_BE (value);
}

/* Returns: (transfer full): the path of a file that holds @blank, or %NULL where it could not be written */
static char *
write_blank (const EngineQcow2Blank *blank)
{
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "qcow2-XXXXXX", NULL);
  int fd = g_mkstemp (path);
  gboolean written;

  CU_ASSERT_FATAL (fd >= 0);
  written = engine_qcow2_write_blank (fd, blank);
  close (fd);
  if (!written)
    g_unlink (path);
  return written ? g_steal_pointer (&path) : NULL;
}

static const EngineQcow2Blank blanks[] = {
    {BACKING, "raw", 512, 0, FALSE, NULL},
    {BACKING, "qcow2", 512, 512, FALSE, NULL},
    {BACKING, "qcow2", 65536 + 512, 65536, FALSE, NULL},
    {BACKING, "raw", G_GINT64_CONSTANT (7) << 30, 512, FALSE, NULL},
    {BACKING, "raw", (G_GINT64_CONSTANT (3) << 40) + 512, 4096, FALSE, NULL},
    {BACKING, "raw", G_GINT64_CONSTANT (9) << 40, 0, TRUE, NULL},
    {BACKING, "qcow2", G_GINT64_CONSTANT (1) << 50, 2 << 20, FALSE, NULL},
    {BACKING, "qcow2", G_GINT64_CONSTANT (1) << 30, 16384, TRUE, NULL},
    {NULL, NULL, G_GINT64_CONSTANT (1) << 30, 0, FALSE, NULL},
    {NULL, NULL, 512, 512, TRUE, NULL},
    {BACKING, "qcow2", 1 << 20, 512, FALSE, "a-mark"},
    {NULL, NULL, 1 << 20, 0, FALSE, "a-mark"},
};

static void
a_blank_overlay_is_read_as_it_was_meant (void)
{
  for (gsize i = 0; i < G_N_ELEMENTS (blanks); i++) {
    g_autofree char *path = write_blank (&blanks[i]);
    g_autoptr (GError) error = NULL;
    g_autoptr (EngineQcow2) header = NULL;
    gint64 size = 0;

    CU_ASSERT_FATAL (path != NULL);
    header = engine_qcow2_read (path, &error);
    SUPPORT_ASSERT_CLEAR (error);
    CU_ASSERT_FATAL (header != NULL && engine_qcow2_read_size (path, &size, NULL));
    CU_ASSERT_TRUE (g_strcmp0 (header->backing, blanks[i].backing) == 0);
    CU_ASSERT_TRUE (g_strcmp0 (header->backing_format, blanks[i].backing_format) == 0);
    CU_ASSERT_EQUAL (header->virtual_size, blanks[i].virtual_size);
    CU_ASSERT_EQUAL (size, blanks[i].virtual_size);
    CU_ASSERT_EQUAL (header->extended_l2, blanks[i].extended_l2);
    CU_ASSERT_TRUE (header->empty && !header->encrypted);
    g_unlink (path);
  }
}

/* The stamp of @blank, with one byte at @offset changed where that is not 0. Returns: (transfer full) */
static char *
stamp_of (const EngineQcow2Blank *blank, goffset offset)
{
  g_autofree char *path = write_blank (blank);
  g_autoptr (EngineQcow2) header = NULL;
  int fd = path != NULL ? g_open (path, O_RDWR | O_CLOEXEC, 0) : -1;

  CU_ASSERT_FATAL (fd >= 0);
  CU_ASSERT_FATAL (offset == 0 || pwrite (fd, "\1", 1, offset) == 1);
  close (fd);
  header = engine_qcow2_read (path, NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (header);
  g_unlink (path);
  return g_strdup (header->stamp);
}

static void
a_stamp_tells_images_apart_and_is_not_changed_by_what_qemu_writes (void)
{
  static const EngineQcow2Blank one = {BACKING, "raw", 1 << 20, 0, FALSE, "one"};
  static const EngineQcow2Blank other = {BACKING, "raw", 1 << 20, 0, FALSE, "other"};
  static const EngineQcow2Blank unmarked = {BACKING, "raw", 1 << 20, 0, FALSE, NULL};
  /* Where the refcount table is and how large, "dirty", an autoclear feature. */
  static const goffset changed[] = {54, 59, 79, 95};
  g_autofree char *stamp = stamp_of (&one, 0), *another = stamp_of (&other, 0), *none = stamp_of (&unmarked, 0);
  g_autofree char *larger = stamp_of (&one, 29);

  CU_ASSERT_STRING_NOT_EQUAL (stamp, another);
  CU_ASSERT_STRING_NOT_EQUAL (stamp, none);
  CU_ASSERT_STRING_NOT_EQUAL (stamp, larger);
  for (gsize i = 0; i < G_N_ELEMENTS (changed); i++) {
    g_autofree char *same = stamp_of (&one, changed[i]);

    CU_ASSERT_STRING_EQUAL (stamp, same);
  }
}

/* What the refcount table at the places that the header names says of @cluster. */
static guint
get_refcount (const guint8 *image, gsize length, guint64 cluster)
{
  guint64 size = (guint64)1 << get32 (image + 20), each = size / 2;
  guint64 block = get64 (image + get64 (image + 48) + cluster / each * 8);

  CU_ASSERT_FATAL (block % size == 0 && block + size <= length);
  return block == 0 ? 0 : (guint)image[block + cluster % each * 2] << 8 | image[block + cluster % each * 2 + 1];
}

static void
each_cluster_of_a_blank_overlay_is_counted_once_and_none_behind_it (void)
{
  for (gsize i = 0; i < G_N_ELEMENTS (blanks); i++) {
    g_autofree char *path = write_blank (&blanks[i]);
    g_autofree guint8 *image = NULL;
    gsize length = 0;
    guint64 size, count, l1;

    CU_ASSERT_FATAL (path != NULL && g_file_get_contents (path, (char **)&image, &length, NULL));
    size = (guint64)1 << get32 (image + 20);
    count = length / size + (length % size != 0);
    l1 = get64 (image + 40);
    CU_ASSERT_EQUAL (l1 + get32 (image + 36) * (guint64)8, length);
    CU_ASSERT_EQUAL (engine_qcow2_blank_size (&blanks[i]), (gint64)(count * size));
    for (guint64 cluster = 0; cluster < count; cluster++)
      CU_ASSERT_EQUAL (get_refcount (image, length, cluster), 1);
    if (count % (size / 2) != 0)
      CU_ASSERT_EQUAL (get_refcount (image, length, count), 0);
    g_unlink (path);
  }
}

static void
a_blank_overlay_that_cannot_be_is_refused (void)
{
  g_autofree char *longest = g_strnfill (ENGINE_QCOW2_MAX_BACKING, 'b');
  g_autofree char *too_long = g_strnfill (ENGINE_QCOW2_MAX_BACKING + 1, 'b');
  const EngineQcow2Blank refused[] = {
      {longest, "raw", 1 << 20, 512, FALSE, NULL},
      {too_long, "raw", 1 << 20, 0, FALSE, NULL},
      {BACKING, "raw", (G_GINT64_CONSTANT (128) << 30) + 512, 512, FALSE, NULL},
  };
  const EngineQcow2Blank just = {longest, "raw", G_GINT64_CONSTANT (8) << 40, 4096, FALSE, NULL};
  g_autofree char *path = write_blank (&just);

  CU_ASSERT_PTR_NOT_NULL (path);
  g_unlink (path);
  for (gsize i = 0; i < G_N_ELEMENTS (refused); i++)
    CU_ASSERT_PTR_NULL (write_blank (&refused[i]));
  CU_ASSERT_EQUAL (engine_qcow2_blank_size (&refused[2]), -1);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (a_header_gives_size_backing_name_and_format),
      SUPPORT_TEST (a_mapped_cluster_is_not_empty),
      SUPPORT_TEST (an_external_data_file_is_seen),
      SUPPORT_TEST (the_digest_follows_the_header_and_not_the_data),
      SUPPORT_TEST (damaged_headers_are_errors_and_never_a_crash),
      SUPPORT_TEST (an_extension_that_claims_too_much_is_left_alone),
      SUPPORT_TEST (a_file_cut_short_anywhere_is_an_error),
      SUPPORT_TEST (a_missing_image_is_told_apart),
      SUPPORT_TEST (a_lock_of_another_open_file_is_seen_and_our_look_leaves_none),
      SUPPORT_TEST (a_fifo_in_an_images_place_is_not_waited_for),
      SUPPORT_TEST (a_blank_overlay_is_read_as_it_was_meant),
      SUPPORT_TEST (a_stamp_tells_images_apart_and_is_not_changed_by_what_qemu_writes),
      SUPPORT_TEST (each_cluster_of_a_blank_overlay_is_counted_once_and_none_behind_it),
      SUPPORT_TEST (a_blank_overlay_that_cannot_be_is_refused),
  };

  return support_suite_run ("qcow2", tests, G_N_ELEMENTS (tests), argc, argv);
}
