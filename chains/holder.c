/*
 * Asks the kernel for the holder of SQLite's locks, which SQLite itself does not
 * tell. Where they lie is part of its file formats: walformat.html (2.3.1) and
 * fileformat2.html (1.3).
 */
#include "chains/holder.h"

#include "chains/db.h"

#include <fcntl.h>
#include <unistd.h>

/* In the log's index: WAL_WRITE_LOCK. */
#define WRITE_LOCK_AT 120
#define WRITE_LOCK_LENGTH 1
/* In the database: whoever has all of it to itself, as where the disk is nearly full, write-locks bytes of these. */
#define FILE_LOCKS_AT 0x40000000
#define FILE_LOCKS_LENGTH 512

/* The process whose lock would keep us from one like @type, or 0. */
static pid_t
find_holder (const char *path, short type, off_t start, off_t length)
{
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  int fd = open (path, O_RDWR | O_CLOEXEC);
  gboolean held = fd >= 0 && fcntl (fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;

  if (fd >= 0)
    close (fd);
  return held ? lock.l_pid : 0;
}

gboolean
chains_holder_is (const char *folder, pid_t pid)
{
  g_autofree char *database = g_build_filename (folder, "chainctl.db", NULL);
  g_autofree char *index = g_strconcat (database, "-shm", NULL);

  return pid > 0 && (find_holder (index, F_WRLCK, WRITE_LOCK_AT, WRITE_LOCK_LENGTH) == pid ||
                     find_holder (database, F_RDLCK, FILE_LOCKS_AT, FILE_LOCKS_LENGTH) == pid);
}
