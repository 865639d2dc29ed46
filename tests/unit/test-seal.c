/*
 * Sealing changes the file that it was told of, and nothing that has come into
 * its place.
 */
#include "engine/imagefile.h"
#include "engine/seal.h"
#include "tests/support/suite.h"

#include <glib/gstdio.h>
#include <unistd.h>

/* A folder with an image, somebody else's file, and a place for a link. */
typedef struct {
  char *folder;
  char *image;
  char *other;
  EngineContext *context;
  EngineSealFile sealed;
} Place;

static char *
make_file (const char *folder, const char *name)
{
  char *path = g_build_filename (folder, name, NULL);

  CU_ASSERT_FATAL (g_file_set_contents (path, name, -1, NULL) && g_chmod (path, 0664) == 0);
  return path;
}

static void
place_init (Place *place)
{
  EngineImagefile file;

  place->folder = g_dir_make_tmp ("seal-XXXXXX", NULL);
  place->image = make_file (place->folder, "image");
  place->other = make_file (place->folder, "other");
  place->context = engine_context_new (place->folder);
  CU_ASSERT_FATAL (engine_imagefile_stat (place->image, &file, NULL));
  place->sealed = (EngineSealFile){.disk = "vda", .path = place->image, .device = file.device, .inode = file.inode};
}

static void
place_clear (Place *place)
{
  g_unlink (place->image);
  g_unlink (place->other);
  CU_ASSERT_EQUAL (g_rmdir (place->folder), 0);
  g_free (place->folder);
  g_free (place->image);
  g_free (place->other);
  engine_context_free (place->context);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Place, place_clear)

static guint
mode_of (const char *path)
{
  EngineImagefile file;

  CU_ASSERT_FATAL (engine_imagefile_stat (path, &file, NULL));
  return file.mode;
}

static void
an_image_is_sealed_and_gets_its_mode_again (void)
{
  g_auto (Place) place = {0};

  place_init (&place);
  CU_ASSERT (engine_seal_close (place.context, &place.sealed, 0664, NULL));
  CU_ASSERT_EQUAL (mode_of (place.image), 0444);
  CU_ASSERT (engine_seal_open (place.context, &place.sealed, 0664, NULL));
  CU_ASSERT_EQUAL (mode_of (place.image), 0664);
}

static void
a_devices_number_may_change_and_the_file_is_the_same (void)
{
  g_auto (Place) place = {0};

  place_init (&place);
  place.sealed.device++;
  CU_ASSERT (engine_seal_close (place.context, &place.sealed, 0664, NULL));
  CU_ASSERT_EQUAL (mode_of (place.image), 0444);
}

static void
a_link_in_an_images_place_leads_nowhere (void)
{
  g_auto (Place) place = {0};

  place_init (&place);
  CU_ASSERT_FATAL (g_unlink (place.image) == 0 && symlink (place.other, place.image) == 0);
  CU_ASSERT (engine_seal_close (place.context, &place.sealed, 0664, NULL));
  CU_ASSERT_EQUAL (mode_of (place.other), 0664);
  CU_ASSERT_FATAL (g_chmod (place.other, 0444) == 0);
  CU_ASSERT (engine_seal_open (place.context, &place.sealed, 0664, NULL));
  CU_ASSERT_EQUAL (mode_of (place.other), 0444);
}

int
main (int argc, char **argv)
{
  const SupportTest tests[] = {
      SUPPORT_TEST (an_image_is_sealed_and_gets_its_mode_again),
      SUPPORT_TEST (a_devices_number_may_change_and_the_file_is_the_same),
      SUPPORT_TEST (a_link_in_an_images_place_leads_nowhere),
  };

  return support_suite_run ("seal", tests, G_N_ELEMENTS (tests), argc, argv);
}
