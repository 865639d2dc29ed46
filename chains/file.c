/*
 * The database seen as a file: header, size, folder, birth and copies. Promises
 * that a file which is refused was not written to, and that a file appears under
 * its name whole or not at all. Versions are left to schema, SQL to db.
 *
 * The header is read through SQLite's own file handle: closing a descriptor of
 * ours would drop the POSIX locks of every connection that this process has.
 */
#include "chains/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "chains/error.h"

/* SQLite's file format, section 1.3 "The Database Header" */
#define HEADER_SIZE 100
#define MAGIC "SQLite format 3" /* with its NUL */
#define OFFSET_PAGE_SIZE 16
#define OFFSET_CHANGE_COUNTER 24
#define OFFSET_PAGE_COUNT 28
#define OFFSET_USER_VERSION 60
#define OFFSET_APPLICATION_ID 68
#define OFFSET_VALID_FOR 92

/* How long a copy waits for whoever is just opening or closing the database. */
#define BUSY_MS 5000

typedef struct {
  guint8 bytes[HEADER_SIZE];
  sqlite3_int64 file_size;
} Header;

static void
set_errno_error (GError **error, int saved_errno, const char *doing, const char *path)
{
  g_autofree char *shown = g_filename_display_name (path);

  g_set_error (error, CHAINS_ERROR, chains_error_from_errno (saved_errno), "cannot %s '%s': %s", doing, shown,
               g_strerror (saved_errno));
}

static void
set_damage_error (GError **error, const char *path, const char *what)
{
  g_autofree char *shown = g_filename_display_name (path);

  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_CORRUPT,
               "database '%s' %s; it was left as it is: move it away, and put a copy of it in its place", shown, what);
}

gboolean
chains_file_exists (const char *path, gboolean *exists, GError **error)
{
  g_autofree char *shown = g_filename_display_name (path);
  GStatBuf status;

  if (g_stat (path, &status) != 0) {
    if (errno != ENOENT) {
      g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_IO, "cannot look for database '%s': %s", shown,
                   g_strerror (errno));
      return FALSE;
    }
    *exists = FALSE;
    return TRUE;
  }
  /* Opening a FIFO would wait for ever. */
  if (!S_ISREG (status.st_mode)) {
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_CORRUPT, "'%s' is no regular file, so no database", shown);
    return FALSE;
  }
  *exists = TRUE;
  return TRUE;
}

gint64
chains_file_get_wal_size (const char *path)
{
  g_autofree char *wal = g_strconcat (path, "-wal", NULL);
  GStatBuf status;

  return g_stat (wal, &status) == 0 ? (gint64)status.st_size : 0;
}

gboolean
chains_file_is_in_writable_folder (const char *path)
{
  g_autofree char *folder = g_path_get_dirname (path);

  return faccessat (AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0;
}

static guint32
get_uint32 (const Header *header, gsize offset)
{
  guint32 value = 0;

  memcpy (&value, header->bytes + offset, sizeof value);
  return GUINT32_FROM_BE (value);
}

static gint64
get_page_size (const Header *header)
{
  gint64 size = header->bytes[OFFSET_PAGE_SIZE] << 8 | header->bytes[OFFSET_PAGE_SIZE + 1];

  return size == 1 ? 65536 : size;
}

/* Of a header whose page count is valid; otherwise SQLite goes by the size as well. */
static gboolean
is_shorter_than_it_says (const Header *header)
{
  return get_uint32 (header, OFFSET_CHANGE_COUNTER) == get_uint32 (header, OFFSET_VALID_FOR) &&
         header->file_size < get_uint32 (header, OFFSET_PAGE_COUNT) * get_page_size (header);
}

static sqlite3_file *
get_file (ChainsDb *db)
{
  sqlite3_file *file = NULL;

  sqlite3_file_control (chains_db_get_handle (db), "main", SQLITE_FCNTL_FILE_POINTER, &file);
  return file != NULL && file->pMethods != NULL ? file : NULL;
}

static gboolean
read_header (ChainsDb *db, sqlite3_file *file, Header *header, GError **error)
{
  int result = SQLITE_ERROR;

  memset (header, 0, sizeof *header);
  if (file != NULL)
    result = file->pMethods->xFileSize (file, &header->file_size);
  if (result == SQLITE_OK)
    result = file->pMethods->xRead (file, header->bytes, HEADER_SIZE, 0);
  if (result == SQLITE_OK || result == SQLITE_IOERR_SHORT_READ)
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_IO, "cannot read the header of database '%s': %s",
               chains_db_get_path (db), sqlite3_errstr (result));
  return FALSE;
}

/*
 * A checkpoint writes page 1 first, so that a live file may be short for a moment, or for long if its process died.
 * Then there is a log: under a shared lock nobody takes that away.
 */
static gboolean
is_truncated (ChainsDb *db, sqlite3_file *file)
{
  Header header;
  gboolean truncated = FALSE;

  if (file->pMethods->xLock (file, SQLITE_LOCK_SHARED) != SQLITE_OK)
    return FALSE; /* someone is just closing it, so it was sound enough to work with */
  truncated = read_header (db, file, &header, NULL) && is_shorter_than_it_says (&header) &&
              chains_file_get_wal_size (chains_db_get_path (db)) == 0;
  file->pMethods->xUnlock (file, SQLITE_LOCK_NONE);
  return truncated;
}

gboolean
chains_file_inspect (ChainsDb *db, int *version, GError **error)
{
  const char *path = chains_db_get_path (db);
  sqlite3_file *file = get_file (db);
  Header header;

  if (!read_header (db, file, &header, error))
    return FALSE;
  if (header.file_size < HEADER_SIZE) {
    set_damage_error (error, path, header.file_size == 0 ? "is empty, so it was truncated" : "is truncated");
    return FALSE;
  }
  if (memcmp (header.bytes, MAGIC, sizeof MAGIC) != 0) {
    set_damage_error (error, path, "is no SQLite database");
    return FALSE;
  }
  if (get_uint32 (&header, OFFSET_APPLICATION_ID) != CHAINS_DB_APPLICATION_ID) {
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_FOREIGN,
                 "'%s' is a database of another program; it was left as it is: choose another state directory", path);
    return FALSE;
  }
  if (is_shorter_than_it_says (&header) && is_truncated (db, file)) {
    set_damage_error (error, path, "is truncated");
    return FALSE;
  }
  *version = (int)get_uint32 (&header, OFFSET_USER_VERSION);
  return TRUE;
}

static gboolean
sync_path (const char *path, GError **error)
{
  int fd = g_open (path, O_RDONLY | O_CLOEXEC, 0);
  gboolean synced = fd >= 0 && fsync (fd) == 0;
  int saved_errno = errno;

  if (fd >= 0)
    close (fd);
  if (!synced)
    set_errno_error (error, saved_errno, "sync", path);
  return synced;
}

static gboolean
sync_folder_of (const char *path, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (path);

  return sync_path (folder, error);
}

gboolean
chains_file_prepare_folder (const char *folder, GError **error)
{
  gboolean missing = !g_file_test (folder, G_FILE_TEST_EXISTS);

  if (g_mkdir_with_parents (folder, 0700) != 0) {
    set_errno_error (error, errno, "make the state directory", folder);
    return FALSE;
  }
  if (faccessat (AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) != 0) {
    set_errno_error (error, errno, "write to the state directory", folder);
    return FALSE;
  }
  return !missing || sync_folder_of (folder, error);
}

char *
chains_file_make_draft (const char *path, GError **error)
{
  g_autofree char *draft = g_strconcat (path, ".new.XXXXXX", NULL);
  int fd = g_mkstemp_full (draft, O_RDWR | O_CLOEXEC, 0600);

  if (fd < 0) {
    set_errno_error (error, errno, "make", draft);
    return NULL;
  }
  close (fd);
  return g_steal_pointer (&draft);
}

gboolean
chains_file_publish (const char *draft, const char *path, GError **error)
{
  if (!sync_path (draft, error))
    return FALSE;
  /* Not rename: another process may have been faster, and its file may be in use. */
  if (link (draft, path) != 0 && errno != EEXIST) {
    set_errno_error (error, errno, "make", path);
    return FALSE;
  }
  return sync_folder_of (path, error);
}

gboolean
chains_file_publish_new (const char *draft, const char *path, GError **error)
{
  if (!sync_path (draft, error))
    return FALSE;
  if (link (draft, path) != 0) {
    set_errno_error (error, errno, "make", path);
    return FALSE;
  }
  return sync_folder_of (path, error);
}

gboolean
chains_file_replace (const char *draft, const char *path, GError **error)
{
  if (!sync_path (draft, error))
    return FALSE;
  if (g_rename (draft, path) != 0) {
    set_errno_error (error, errno, "replace", path);
    return FALSE;
  }
  return sync_folder_of (path, error);
}

gboolean
chains_file_link (const char *path, const char *other)
{
  return link (path, other) == 0;
}

static int
copy_pages (sqlite3 *from, sqlite3 *to)
{
  sqlite3_backup *backup = sqlite3_backup_init (to, "main", from, "main");

  if (backup == NULL)
    return sqlite3_extended_errcode (to);
  sqlite3_backup_step (backup, -1);
  return sqlite3_backup_finish (backup);
}

/* By a connection of its own: that of @db may hold the write lock, and then cannot be copied from. */
static int
copy_from_path (ChainsDb *db, sqlite3 *to)
{
  sqlite3 *from = NULL;
  int result = sqlite3_open_v2 (chains_db_get_path (db), &from, SQLITE_OPEN_READONLY, NULL);

  sqlite3_busy_timeout (from, BUSY_MS);
  if (result == SQLITE_OK)
    result = copy_pages (from, to);
  sqlite3_close (from);
  return result;
}

static gboolean
check_copied (ChainsDb *db, int result, GError **error)
{
  ChainsError code = (result & 0xff) == SQLITE_FULL ? CHAINS_ERROR_FULL : CHAINS_ERROR_IO;

  if (result == SQLITE_OK)
    return TRUE;
  g_set_error (error, CHAINS_ERROR, code, "cannot copy database '%s': %s", chains_db_get_path (db),
               sqlite3_errstr (result));
  return FALSE;
}

gboolean
chains_file_copy_to_memory (ChainsDb *db, sqlite3 *memory, GError **error)
{
  return check_copied (db, copy_pages (chains_db_get_handle (db), memory), error);
}

gboolean
chains_file_copy_pages (ChainsDb *db, const char *draft, GError **error)
{
  sqlite3 *to = NULL;
  int result = sqlite3_open_v2 (draft, &to, SQLITE_OPEN_READWRITE, NULL);

  if (result == SQLITE_OK)
    result = copy_from_path (db, to);
  sqlite3_close (to);
  return check_copied (db, result, error);
}

gboolean
chains_file_copy (ChainsDb *db, const char *target, gboolean *made, GError **error)
{
  g_autofree char *draft = NULL;

  *made = FALSE;
  if (g_file_test (target, G_FILE_TEST_EXISTS))
    return TRUE;
  draft = chains_file_make_draft (target, error);
  if (draft == NULL)
    return FALSE;
  *made = chains_file_copy_pages (db, draft, error) && chains_file_publish (draft, target, error);
  g_unlink (draft);
  return *made;
}
