/*
 * Reads, writes and removes the files of notes. Promises that a note is whole, and that
 * no other file is overwritten or removed for one. What stands in them is note's.
 */
#include "engine/notefile.h"

#include "base/point.h"
#include "engine/error.h"
#include "engine/imagefile.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SIZE (1024 * 1024)
#define DRAFT_SUFFIX ".new"

G_DEFINE_AUTO_CLEANUP_FREE_FUNC (int, close, -1)

static gboolean
cannot (GError **error, const char *doing, const char *path)
{
  engine_error_set (error, errno == ENOENT ? ENGINE_ERROR_NO_SUCH_IMAGE : ENGINE_ERROR_FAILED, NULL,
                    "cannot %s note '%s': %s", doing, path, g_strerror (errno));
  return FALSE;
}

/* All that @fd holds, and a NUL. */
static char *
read_all (int fd, gsize *length)
{
  g_autofree char *text = g_malloc (MAX_SIZE + 1);
  gsize done = 0;
  ssize_t got = 1;

  while (got > 0 && done < MAX_SIZE) {
    got = read (fd, text + done, MAX_SIZE - done);
    if (got < 0)
      return NULL;
    done += (gsize)got;
  }
  text[done] = '\0';
  *length = done;
  return g_steal_pointer (&text);
}

EngineNote *
engine_notefile_read (const char *path, GError **error)
{
  g_auto (int) fd = open (path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  g_autofree char *text = NULL;
  EngineNote *note;
  struct stat st;
  gsize length = 0;

  if (fd < 0 || fstat (fd, &st) != 0) {
    cannot (error, "read", path);
    return NULL;
  }
  if (!S_ISREG (st.st_mode) || st.st_size > MAX_SIZE) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "'%s' is no note: it is no file, or too large", path);
    return NULL;
  }
  text = read_all (fd, &length);
  if (text == NULL) {
    cannot (error, "read", path);
    return NULL;
  }
  note = engine_note_parse (text, length, error);
  if (note != NULL)
    note->path = g_strdup (path);
  else
    g_prefix_error (error, "note '%s': ", path);
  return note;
}

static gboolean
write_all (int fd, const char *text)
{
  gsize left = strlen (text);

  while (left > 0) {
    ssize_t put = write (fd, text, left);

    if (put < 0 && errno != EINTR)
      return FALSE;
    text += put > 0 ? put : 0;
    left -= put > 0 ? (gsize)put : 0;
  }
  return TRUE;
}

/* Whoever may read the image may read its note. Where the owner cannot be given, it was not given to the image. */
static void
take_owner (int fd, const char *image)
{
  EngineImagefile file;

  if (!engine_imagefile_stat (image, &file, NULL))
    return;
  if (fchown (fd, file.uid, file.gid) != 0 && fchown (fd, (uid_t)-1, file.gid) != 0)
    g_debug ("owner of the note of '%s': %s", image, g_strerror (errno));
  if (fchmod (fd, file.mode & 0666) != 0)
    g_debug ("mode of the note of '%s': %s", image, g_strerror (errno));
}

/* What a writer that died has left is in the way, and of no use. */
static int
open_draft (const char *draft)
{
  int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
  int fd = open (draft, flags, 0600);

  if (fd >= 0 || errno != EEXIST)
    return fd;
  g_unlink (draft);
  return open (draft, flags, 0600);
}

static gboolean
sync_folder (const char *path)
{
  g_autofree char *folder = g_path_get_dirname (path);
  g_auto (int) fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  return fd >= 0 && fsync (fd) == 0;
}

static gboolean
put (const EngineNote *note, const char *path, const char *draft, gboolean durable)
{
  g_autofree char *text = engine_note_to_text (note, ENGINE_NOTE_WHOLE);
  g_autofree char *line = g_strconcat (text, "\n", NULL);
  g_auto (int) fd = open_draft (draft);

  if (fd < 0)
    return FALSE;
  take_owner (fd, note->overlay != NULL ? note->overlay->path : note->image->path);
  if (strlen (line) > MAX_SIZE) {
    errno = EFBIG;
    return FALSE;
  }
  return write_all (fd, line) && (!durable || fsync (fd) == 0) && rename (draft, path) == 0 &&
         (!durable || sync_folder (path));
}

/* A file of that name that is no note is somebody's: it stays. A damaged note is none. */
static gboolean
check_free (const char *path, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (EngineNote) there = NULL;
  struct stat st;

  if (lstat (path, &st) != 0 || (S_ISREG (st.st_mode) && st.st_size == 0))
    return TRUE;
  there = engine_notefile_read (path, &failure);
  if (there != NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_EXISTS, "move that file away, then run `chainctl recover VM`",
                    "'%s' is in the way of the note: %s", path, failure->message);
  return FALSE;
}

gboolean
engine_notefile_write (const EngineNote *note, gboolean durable, GError **error)
{
  g_autofree char *path = engine_note_place (note);
  g_autofree char *draft = g_strconcat (path, DRAFT_SUFFIX, NULL);

  if (!base_point_before ("file", "note", error) || !check_free (path, error))
    return FALSE;
  if (!put (note, path, draft, durable)) {
    cannot (error, "write", path);
    g_unlink (draft);
    return FALSE;
  }
  base_point_after ("file", "note");
  return TRUE;
}

static gboolean
remove_at (const char *path, const char *id, GError **error)
{
  g_autofree char *draft = g_strconcat (path, DRAFT_SUFFIX, NULL);
  g_autoptr (EngineNote) note = engine_notefile_read (path, NULL);

  g_unlink (draft);
  if (note == NULL || (id != NULL && !g_str_equal (note->snapshot->id, id)))
    return TRUE;
  if (!base_point_before ("file", "remove-note", error))
    return FALSE;
  if (g_unlink (path) != 0)
    return cannot (error, "remove", path);
  base_point_after ("file", "remove-note");
  return TRUE;
}

gboolean
engine_notefile_remove (const char *overlay, const char *id, GError **error)
{
  g_autofree char *path = engine_note_path (overlay);

  return remove_at (path, id, error);
}

gboolean
engine_notefile_remove_beside (const char *image, const char *id, GError **error)
{
  g_autofree char *path = engine_note_path_beside (image, id);

  return remove_at (path, id, error);
}

static void
forget (EngineContext *context, const char *path)
{
  g_autoptr (GError) failure = NULL;

  if (!remove_at (path, NULL, &failure))
    engine_context_warn (context, "note-left", "%s", failure->message);
}

/* "IMAGE.xxxxxxxx.chainctl" */
static gboolean
is_beside (const char *name, const char *image)
{
  gsize length = strlen (image);

  return strlen (name) == length + strlen (".01234567" ENGINE_NOTE_SUFFIX) && strncmp (name, image, length) == 0 &&
         name[length] == '.' && strspn (name + length + 1, "0123456789abcdef") == 8 &&
         g_str_has_suffix (name, ENGINE_NOTE_SUFFIX);
}

gboolean
engine_notefile_is_beside (const char *path)
{
  g_autofree char *note = engine_note_path (path);
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *image = g_path_get_basename (path);
  g_autoptr (GDir) directory = g_dir_open (folder, 0, NULL);
  const char *name = directory != NULL ? g_dir_read_name (directory) : NULL;
  struct stat st;

  while (name != NULL && !is_beside (name, image))
    name = g_dir_read_name (directory);
  return name != NULL || lstat (note, &st) == 0;
}

void
engine_notefile_forget (EngineContext *context, const char *overlay)
{
  g_autofree char *path = engine_note_path (overlay);
  g_autofree char *folder = g_path_get_dirname (overlay);
  g_autofree char *image = g_path_get_basename (overlay);
  g_autoptr (GDir) directory = g_dir_open (folder, 0, NULL);
  g_autoptr (GPtrArray) beside = g_ptr_array_new_with_free_func (g_free);

  for (const char *name = directory != NULL ? g_dir_read_name (directory) : NULL; name != NULL;
       name = g_dir_read_name (directory))
    if (is_beside (name, image))
      g_ptr_array_add (beside, g_build_filename (folder, name, NULL));
  forget (context, path);
  for (guint i = 0; i < beside->len; i++)
    forget (context, g_ptr_array_index (beside, i));
}
