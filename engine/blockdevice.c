/*
 * Reads the kernel's stack of block devices from sysfs, where all of it is links and
 * one-line files. Opens no device.
 */
#include "engine/blockdevice.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#define MAX_DEPTH 16

/* What a file or device is, by whatever name (a loop device and its file), and what it lies on besides. */
typedef struct {
  GPtrArray *same;
  GPtrArray *below;
} Place;

static void
place_clear (Place *place)
{
  g_clear_pointer (&place->same, g_ptr_array_unref);
  g_clear_pointer (&place->below, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Place, place_clear)

static char *
sysfs_of (guint64 device)
{
  return g_strdup_printf ("/sys/dev/block/%u:%u", major (device), minor (device));
}

/* The line in the file @name of @folder, or %NULL. */
static char *
read_line (const char *folder, const char *name)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  char *line = NULL;

  if (!g_file_get_contents (path, &line, NULL, NULL))
    return NULL;
  line[strcspn (line, "\n")] = '\0';
  return line;
}

static void add_device (Place *place, guint64 device, gboolean same, guint depth);

static void
add_file (Place *place, const char *path, gboolean same, guint depth)
{
  EngineImagefile file;

  if (!engine_imagefile_stat (path, &file, NULL))
    return;
  if (file.block)
    add_device (place, file.inode, same, depth);
  else
    g_ptr_array_add (same ? place->same : place->below,
                     g_strdup_printf ("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT, file.device, file.inode));
}

/* The device whose number stands in the file @name of @folder. */
static void
add_numbered (Place *place, const char *folder, const char *name, guint depth)
{
  g_autofree char *line = read_line (folder, name);
  guint high, low;

  if (line != NULL && sscanf (line, "%u:%u", &high, &low) == 2)
    add_device (place, makedev (high, low), FALSE, depth);
}

static void
add_slaves (Place *place, const char *folder, guint depth)
{
  g_autofree char *slaves = g_build_filename (folder, "slaves", NULL);
  g_autoptr (GDir) directory = g_dir_open (slaves, 0, NULL);

  for (const char *name = directory != NULL ? g_dir_read_name (directory) : NULL; name != NULL;
       name = g_dir_read_name (directory)) {
    g_autofree char *slave = g_build_filename (slaves, name, NULL);

    add_numbered (place, slave, "dev", depth);
  }
}

static void
add_device (Place *place, guint64 device, gboolean same, guint depth)
{
  g_autofree char *folder = sysfs_of (device);
  g_autofree char *partition = read_line (folder, "partition");
  g_autofree char *backing = read_line (folder, "loop/backing_file");

  g_ptr_array_add (same ? place->same : place->below, g_strdup_printf ("0:%" G_GUINT64_FORMAT, device));
  if (depth >= MAX_DEPTH)
    return;
  if (backing != NULL)
    add_file (place, backing, same, depth + 1);
  if (partition != NULL)
    add_numbered (place, folder, "../dev", depth + 1);
  add_slaves (place, folder, depth + 1);
}

static void
look (Place *place, const char *path)
{
  place->same = g_ptr_array_new_with_free_func (g_free);
  place->below = g_ptr_array_new_with_free_func (g_free);
  add_file (place, path, TRUE, 0);
}

static gboolean
have_common (const GPtrArray *some, const GPtrArray *others)
{
  for (guint i = 0; i < some->len; i++)
    if (g_ptr_array_find_with_equal_func ((GPtrArray *)others, g_ptr_array_index (some, i), g_str_equal, NULL))
      return TRUE;
  return FALSE;
}

gboolean
engine_blockdevice_overlap (const char *path, const char *other)
{
  g_auto (Place) one = {0};
  g_auto (Place) two = {0};

  look (&one, path);
  look (&two, other);
  return have_common (one.same, two.same) || have_common (one.same, two.below) || have_common (one.below, two.same);
}

char *
engine_blockdevice_holder (const EngineImagefile *file)
{
  g_autofree char *folder = file->block ? sysfs_of (file->inode) : NULL;
  g_autofree char *holders = folder != NULL ? g_build_filename (folder, "holders", NULL) : NULL;
  g_autoptr (GDir) directory = holders != NULL ? g_dir_open (holders, 0, NULL) : NULL;

  return directory != NULL ? g_strdup (g_dir_read_name (directory)) : NULL;
}
