/*
 * Looks at image files without QEMU and without touching them. Knows stat(2),
 * QEMU's byte-range locks, and as much of qcow2 as a header holds.
 */
#include "engine/imagefile.h"

#include "engine/error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define QEMU_LOCK_BASE 100
#define QEMU_LOCK_BYTES 200

#define QCOW2_MAGIC 0x514649fb
#define QCOW2_HEADER_V2 72
#define QCOW2_INCOMPATIBLE_EXTENDED_L2 (1u << 4)
#define QCOW2_EXTENSION_END 0x00000000
#define QCOW2_EXTENSION_BACKING_FORMAT 0xe2792aca
#define QCOW2_MAX_BACKING 1023
#define QCOW2_USUAL_HEADER 4096
#define QCOW2_MAX_CLUSTER_BITS 21
#define QCOW2_MAX_L1 (32 * 1024 * 1024 / 8)
#define QCOW2_L1_OFFSET_MASK 0x00fffffffffffe00ULL

G_DEFINE_AUTO_CLEANUP_FREE_FUNC (int, close, -1)

/* A FIFO in an image's place must not make us wait for whoever writes to it. */
static int
open_to_read (const char *path)
{
  return open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static gint64
to_ns (struct statx_timestamp time)
{
  return time.tv_sec * 1000000000 + time.tv_nsec;
}

static gboolean
look (int fd, const char *path, EngineImagefile *out, GError **error)
{
  int flags = *path == '\0' ? AT_EMPTY_PATH : 0;
  struct statx st;

  if (statx (fd, path, flags, STATX_BASIC_STATS | STATX_BTIME, &st) != 0) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "image '%s': %s", path, g_strerror (errno));
    return FALSE;
  }
  *out = (EngineImagefile){
      .device = makedev (st.stx_dev_major, st.stx_dev_minor),
      .inode = st.stx_ino,
      .size = (gint64)st.stx_size,
      .allocated = (gint64)st.stx_blocks * 512,
      .mtime_ns = to_ns (st.stx_mtime),
      .ctime_ns = to_ns (st.stx_ctime),
      .born_ns = (st.stx_mask & STATX_BTIME) != 0 ? to_ns (st.stx_btime) : 0,
      .regular = S_ISREG (st.stx_mode),
      .block = S_ISBLK (st.stx_mode),
      .uid = st.stx_uid,
      .gid = st.stx_gid,
      .mode = st.stx_mode & 07777,
  };
  return TRUE;
}

gboolean
engine_imagefile_stat (const char *path, EngineImagefile *out, GError **error)
{
  if (*path == '\0') {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "an image without a path");
    return FALSE;
  }
  return look (AT_FDCWD, path, out, error);
}

gboolean
engine_imagefile_stat_fd (int fd, EngineImagefile *out, GError **error)
{
  return look (fd, "", out, error);
}

gboolean
engine_imagefile_is_locked (const char *path)
{
  int fd = open_to_read (path);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = QEMU_LOCK_BASE, .l_len = QEMU_LOCK_BYTES};
  gboolean locked;

  if (fd < 0)
    return errno != ENOENT;
  locked = fcntl (fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
  close (fd);
  return locked;
}

char *
engine_imagefile_resolve (const char *path, const char *name)
{
  g_autofree char *folder = g_path_get_dirname (path);

  return g_canonicalize_filename (g_str_has_prefix (name, "file:") ? name + strlen ("file:") : name, folder);
}

gboolean
engine_imagefile_names (const char *path, const char *name, const char *target)
{
  g_autofree char *absolute = NULL;
  EngineImagefile named, meant;

  if (name == NULL || target == NULL)
    return name == target;
  absolute = engine_imagefile_resolve (path, name);
  if (engine_imagefile_stat (absolute, &named, NULL) && engine_imagefile_stat (target, &meant, NULL))
    return named.device == meant.device && named.inode == meant.inode;
  return g_str_equal (name, target) || g_str_equal (absolute, target);
}

static guint32
be32 (const guint8 *at)
{
  guint32 value;

  memcpy (&value, at, sizeof value);
  return GUINT32_FROM_BE (value);
}

static guint64
be64 (const guint8 *at)
{
  guint64 value;

  memcpy (&value, at, sizeof value);
  return GUINT64_FROM_BE (value);
}

static gboolean
damaged (const char *path, const char *what, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "'%s' is no sound qcow2 image: %s", path, what);
  return FALSE;
}

/* All of @length bytes, or an error. */
static gboolean
read_at (int fd, const char *path, guint8 *buffer, gsize length, guint64 offset, GError **error)
{
  gsize done = 0;

  while (done < length) {
    ssize_t got = pread (fd, buffer + done, length - done, (off_t)(offset + done));

    if (got == 0)
      return damaged (path, "it is cut short", error);
    if (got < 0 && errno != EINTR) {
      engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "cannot read '%s': %s", path, g_strerror (errno));
      return FALSE;
    }
    done += got > 0 ? (gsize)got : 0;
  }
  return TRUE;
}

/* Header extensions lie between the header and the backing name; each is padded to 8 bytes. */
static void
read_extensions (EngineQcow2 *header, const guint8 *cluster, gsize start, gsize end)
{
  gsize at = start;

  while (at + 8 <= end) {
    guint32 type = be32 (cluster + at);
    gsize length = be32 (cluster + at + 4);

    if (type == QCOW2_EXTENSION_END || length > end - at - 8)
      return;
    if (type == QCOW2_EXTENSION_BACKING_FORMAT && header->backing_format == NULL)
      header->backing_format = g_strndup ((const char *)cluster + at + 8, length);
    at += 8 + (length + 7) / 8 * 8;
  }
}

static gboolean
read_backing (EngineQcow2 *header, const guint8 *cluster, gsize size, const char *path, GError **error)
{
  guint32 version = be32 (cluster + 4);
  guint64 offset = be64 (cluster + 8);
  gsize length = be32 (cluster + 16);
  gsize start = version >= 3 ? be32 (cluster + 100) : QCOW2_HEADER_V2;

  if (offset != 0 && (length > QCOW2_MAX_BACKING || length > size || offset > size - length))
    return damaged (path, "its backing file name lies outside the header", error);
  if (offset != 0)
    header->backing = g_strndup ((const char *)cluster + offset, length);
  if (start >= QCOW2_HEADER_V2 && start <= size)
    read_extensions (header, cluster, start, offset != 0 ? offset : size);
  return TRUE;
}

/* Whether no L1 entry points to a table: then no guest cluster is mapped. */
static gboolean
read_l1 (int fd, EngineQcow2 *header, const guint8 *cluster, const char *path, GError **error)
{
  guint32 entries = be32 (cluster + 36);
  g_autofree guint8 *table = NULL;

  if (entries > QCOW2_MAX_L1)
    return damaged (path, "its L1 table is too large", error);
  table = g_malloc (MAX (8, (gsize)entries * 8));
  if (!read_at (fd, path, table, (gsize)entries * 8, be64 (cluster + 40), error))
    return FALSE;
  header->empty = TRUE;
  for (guint32 i = 0; i < entries && header->empty; i++)
    header->empty = (be64 (table + (gsize)i * 8) & QCOW2_L1_OFFSET_MASK) == 0;
  return TRUE;
}

/* As much of the first cluster as QEMU puts header, extensions and backing name into. */
static gsize
length_of_header (const guint8 *cluster, gsize size)
{
  guint64 offset = be64 (cluster + 8), length = be32 (cluster + 16);
  gsize end = offset < size && length < size - offset ? (gsize)(offset + length) : size;

  return MIN (size, MAX (end, QCOW2_USUAL_HEADER));
}

static gboolean
parse_header (int fd, EngineQcow2 *header, const char *path, GError **error)
{
  guint8 start[104] = {0};
  g_autofree guint8 *cluster = NULL;
  guint32 bits;
  gsize size;

  if (!read_at (fd, path, start, QCOW2_HEADER_V2, 0, error))
    return FALSE;
  bits = be32 (start + 20);
  if (be32 (start) != QCOW2_MAGIC || be32 (start + 4) < 2 || be32 (start + 4) > 3)
    return damaged (path, "wrong magic or version", error);
  if (bits < 9 || bits > QCOW2_MAX_CLUSTER_BITS)
    return damaged (path, "an impossible cluster size", error);
  size = (gsize)1 << bits;
  cluster = g_malloc0 (size);
  if (!read_at (fd, path, cluster, size, 0, error))
    return FALSE;
  header->virtual_size = (gint64)be64 (cluster + 24);
  header->encrypted = be32 (cluster + 32) != 0;
  header->extended_l2 = be32 (cluster + 4) >= 3 && (be64 (cluster + 72) & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0;
  header->digest = g_compute_checksum_for_data (G_CHECKSUM_SHA256, cluster, length_of_header (cluster, size));
  return read_backing (header, cluster, size, path, error) && read_l1 (fd, header, cluster, path, error);
}

gboolean
engine_imagefile_is_qcow2 (const char *path, gboolean *qcow2, GError **error)
{
  guint8 magic[4];
  g_auto (int) fd = open_to_read (path);

  if (fd < 0) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "image '%s': %s", path, g_strerror (errno));
    return FALSE;
  }
  *qcow2 = pread (fd, magic, sizeof magic, 0) == sizeof magic && be32 (magic) == QCOW2_MAGIC;
  return TRUE;
}

gboolean
engine_imagefile_read_size (const char *path, gint64 *size, GError **error)
{
  guint8 start[QCOW2_HEADER_V2];
  g_auto (int) fd = open_to_read (path);

  if (fd < 0) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "image '%s': %s", path, g_strerror (errno));
    return FALSE;
  }
  if (!read_at (fd, path, start, sizeof start, 0, error))
    return FALSE;
  if (be32 (start) != QCOW2_MAGIC)
    return damaged (path, "wrong magic", error);
  *size = (gint64)be64 (start + 24);
  return TRUE;
}

EngineQcow2 *
engine_imagefile_read_qcow2 (const char *path, GError **error)
{
  g_autoptr (EngineQcow2) header = g_new0 (EngineQcow2, 1);
  g_auto (int) fd = open_to_read (path);

  if (fd < 0) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "image '%s': %s", path, g_strerror (errno));
    return NULL;
  }
  return parse_header (fd, header, path, error) ? g_steal_pointer (&header) : NULL;
}

void
engine_imagefile_qcow2_free (EngineQcow2 *header)
{
  if (header == NULL)
    return;
  g_free (header->backing);
  g_free (header->backing_format);
  g_free (header->digest);
  g_free (header);
}
