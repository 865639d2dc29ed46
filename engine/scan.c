/*
 * Walks folders and reads what it knows: files whose names end as notes' do,
 * and files that begin as qcow2 does. Promises to end: it follows no link to a
 * folder, sees each file once, and goes so deep and so far. Changes nothing.
 */
#include "engine/scan.h"

#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/notefile.h"
#include "engine/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH 32
#define MAX_FILES 1000000
#define QCOW2_MAGIC "QFI\xfb"

typedef struct {
  EngineContext *context;
  EngineScan *scan;
  GHashTable *seen; /* "device:inode" of files and folders */
  guint files;
} Walk;

static void
image_free (EngineScanImage *image)
{
  g_free (image->path);
  g_free (image->backing);
  g_free (image);
}

void
engine_scan_free (EngineScan *scan)
{
  if (scan == NULL)
    return;
  g_clear_pointer (&scan->notes, g_ptr_array_unref);
  g_clear_pointer (&scan->images, g_ptr_array_unref);
  g_free (scan);
}

static gboolean
is_new (Walk *walk, const struct stat *st)
{
  char *identity =
      g_strdup_printf ("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT, (guint64)st->st_dev, (guint64)st->st_ino);

  return g_hash_table_add (walk->seen, identity);
}

static gboolean
begins_as_qcow2 (const char *path)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  char start[sizeof QCOW2_MAGIC - 1] = {0};
  gboolean does = fd >= 0 && pread (fd, start, sizeof start, 0) == (ssize_t)sizeof start &&
                  memcmp (start, QCOW2_MAGIC, sizeof start) == 0;

  if (fd >= 0)
    close (fd);
  return does;
}

static void
see_image (Walk *walk, const char *path)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (EngineQcow2) header = NULL;
  EngineScanImage *image;

  if (!begins_as_qcow2 (path))
    return;
  header = engine_qcow2_read (path, &failure);
  if (header == NULL) {
    engine_context_warn (walk->context, "image-unreadable", "%s", failure->message);
    return;
  }
  image = g_new0 (EngineScanImage, 1);
  image->path = g_strdup (path);
  image->backing = header->backing != NULL ? engine_imagefile_resolve (path, header->backing) : NULL;
  g_ptr_array_add (walk->scan->images, image);
}

static gboolean
see_note (Walk *walk, const char *path, GError **error)
{
  g_autoptr (GError) failure = NULL;
  EngineNote *note = engine_notefile_read (path, &failure);

  if (note != NULL) {
    g_ptr_array_add (walk->scan->notes, note);
    return TRUE;
  }
  engine_error_set (error, ENGINE_ERROR_REFUSED, "bring a sound copy of it back, or move it away to go on without it",
                    "%s", failure->message);
  return FALSE;
}

static gboolean walk_folder (Walk *walk, const char *folder, guint depth, GError **error);

static gboolean
see_entry (Walk *walk, const char *path, guint depth, GError **error)
{
  struct stat st;

  if (lstat (path, &st) != 0 || (!S_ISDIR (st.st_mode) && !S_ISREG (st.st_mode)) || !is_new (walk, &st))
    return TRUE;
  if (++walk->files > MAX_FILES || depth > MAX_DEPTH) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "name the folders of the images themselves",
                      "'%s': more than %d files, or folders more than %d deep", path, MAX_FILES, MAX_DEPTH);
    return FALSE;
  }
  if (S_ISDIR (st.st_mode))
    return walk_folder (walk, path, depth, error);
  if (g_str_has_suffix (path, ENGINE_NOTE_SUFFIX))
    return see_note (walk, path, error);
  see_image (walk, path);
  return TRUE;
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

/* In the order of their names, so that what is said is the same from run to run. */
static GPtrArray *
list_folder (const char *folder, GError **error)
{
  g_autoptr (GDir) open = g_dir_open (folder, 0, error);
  GPtrArray *names;
  const char *name;

  if (open == NULL)
    return NULL;
  names = g_ptr_array_new_with_free_func (g_free);
  while ((name = g_dir_read_name (open)) != NULL && names->len <= MAX_FILES)
    g_ptr_array_add (names, g_strdup (name));
  g_ptr_array_sort (names, compare_names);
  return names;
}

static gboolean
walk_folder (Walk *walk, const char *folder, guint depth, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GPtrArray) names = list_folder (folder, &failure);

  if (names == NULL && depth == 0) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "%s", failure->message);
    return FALSE;
  }
  if (names == NULL)
    engine_context_warn (walk->context, "folder-skipped", "%s", failure->message);
  for (guint i = 0; names != NULL && i < names->len; i++) {
    g_autofree char *path = g_build_filename (folder, g_ptr_array_index (names, i), NULL);

    if (g_cancellable_set_error_if_cancelled (walk->context->cancellable, error) ||
        !see_entry (walk, path, depth + 1, error))
      return FALSE;
  }
  return TRUE;
}

EngineScan *
engine_scan_folders (EngineContext *context, const char *const *folders, GError **error)
{
  g_autoptr (EngineScan) scan = g_new0 (EngineScan, 1);
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  Walk walk = {context, scan, seen, 0};

  scan->notes = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_note_free);
  scan->images = g_ptr_array_new_with_free_func ((GDestroyNotify)image_free);
  for (gsize i = 0; folders[i] != NULL; i++) {
    g_autofree char *absolute = g_canonicalize_filename (folders[i], NULL);

    if (!walk_folder (&walk, absolute, 0, error))
      return NULL;
  }
  return g_steal_pointer (&scan);
}
