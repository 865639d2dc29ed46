/*
 * Groups and modes of the state folder's files. By path: to close a descriptor of
 * the database would drop the locks of every connection that this process has.
 * The folder is its owner's to write to, so nobody puts a link in a file's place.
 */
#include "chains/sharing.h"

#include "chains/error.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_MODE 0750
#define FILE_MODE 0660

static gboolean
cannot_give (const char *path, GError **error)
{
  g_autofree char *shown = g_filename_display_name (path);
  int saved = errno;

  g_set_error (error, CHAINS_ERROR, chains_error_from_errno (saved), "cannot give '%s' to the group: %s", shown,
               g_strerror (saved));
  return FALSE;
}

gboolean
chains_sharing_give (const char *path, gid_t group, mode_t mode, GError **error)
{
  struct stat now;

  /* Root does not open up what is a user's. */
  if (lstat (path, &now) != 0 || now.st_uid != geteuid () || S_ISLNK (now.st_mode))
    return TRUE;
  if (now.st_gid == group && (now.st_mode & mode) == mode)
    return TRUE;
  /* In this order: a change of the group takes set-group-ID away. */
  if (lchown (path, (uid_t)-1, group) != 0 || chmod (path, (now.st_mode | mode) & 07777) != 0)
    return cannot_give (path, error);
  return TRUE;
}

gboolean
chains_sharing_apply (const char *folder, gid_t group, GError **error)
{
  g_autofree char *real = realpath (folder, NULL);
  static const char *const names[] = {"chainctl.db", "chainctl.db-wal", "chainctl.db-shm"};

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *path = g_build_filename (folder, names[i], NULL);

    if (!chains_sharing_give (path, group, FILE_MODE, error))
      return FALSE;
  }
  /* Last: whoever may look into the folder finds the files open to them. */
  return real == NULL || chains_sharing_give (real, group, FOLDER_MODE, error);
}
