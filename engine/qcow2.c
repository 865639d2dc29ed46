/*
 * qcow2 without QEMU: reads headers, never trusting a length in them, and lays
 * out overlays that hold nothing.
 *
 * A blank one: [header, backing name] [refcount table] [refcount blocks] [L1]
 * in whole clusters, each counted once; the L1 table is all zeroes, which a
 * file that was only made longer reads as.
 */
#include "engine/qcow2.h"

#include "engine/error.h"
#include "engine/imagefile.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define QCOW2_MAGIC 0x514649fb
#define QCOW2_HEADER_V2 72
#define QCOW2_INCOMPATIBLE_MARKS 3u
#define QCOW2_INCOMPATIBLE_DATA_FILE (1u << 2)
#define QCOW2_INCOMPATIBLE_EXTENDED_L2 (1u << 4)
#define QCOW2_EXTENSION_END 0x00000000
#define QCOW2_EXTENSION_BACKING_FORMAT 0xe2792aca
#define QCOW2_USUAL_HEADER 4096
#define QCOW2_MAX_CLUSTER_BITS 21
#define QCOW2_MAX_L1 (32 * 1024 * 1024 / 8)
#define QCOW2_L1_OFFSET_MASK 0x00fffffffffffe00ULL

G_DEFINE_AUTO_CLEANUP_FREE_FUNC (int, close, -1)

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

  if (offset != 0 && (length > ENGINE_QCOW2_MAX_BACKING || length > size || offset > size - length))
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

/* Tables move as they grow; "dirty" and "corrupt" are marks; autoclear features go where a writer does not know them.
 * Source: QEMU docs/interop/qcow2.txt, "Header". */
static char *
stamp_of (const guint8 *cluster, gsize length)
{
  g_autofree guint8 *steady = g_memdup2 (cluster, length);

  memset (steady + 36, 0, QCOW2_HEADER_V2 - 36);
  if (be32 (cluster + 4) >= 3) {
    steady[79] &= (guint8)~QCOW2_INCOMPATIBLE_MARKS;
    memset (steady + 88, 0, 8);
  }
  return g_compute_checksum_for_data (G_CHECKSUM_SHA256, steady, length);
}

static gboolean
parse_header (int fd, EngineQcow2 *header, const char *path, GError **error)
{
  guint8 start[104] = {0};
  g_autofree guint8 *cluster = NULL;
  guint64 incompatible;
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
  incompatible = be32 (cluster + 4) >= 3 ? be64 (cluster + 72) : 0;
  header->extended_l2 = (incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0;
  header->data_file = (incompatible & QCOW2_INCOMPATIBLE_DATA_FILE) != 0;
  header->digest = g_compute_checksum_for_data (G_CHECKSUM_SHA256, cluster, length_of_header (cluster, size));
  header->stamp = stamp_of (cluster, length_of_header (cluster, size));
  return read_backing (header, cluster, size, path, error) && read_l1 (fd, header, cluster, path, error);
}

gboolean
engine_qcow2_is (const char *path, gboolean *qcow2, GError **error)
{
  guint8 magic[4];
  g_auto (int) fd = engine_imagefile_open (path);

  if (fd < 0) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "image '%s': %s", path, g_strerror (errno));
    return FALSE;
  }
  *qcow2 = pread (fd, magic, sizeof magic, 0) == sizeof magic && be32 (magic) == QCOW2_MAGIC;
  return TRUE;
}

gboolean
engine_qcow2_read_size (const char *path, gint64 *size, GError **error)
{
  guint8 start[QCOW2_HEADER_V2];
  g_auto (int) fd = engine_imagefile_open (path);

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
engine_qcow2_read (const char *path, GError **error)
{
  g_autoptr (EngineQcow2) header = g_new0 (EngineQcow2, 1);
  g_auto (int) fd = engine_imagefile_open (path);

  if (fd < 0) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "image '%s': %s", path, g_strerror (errno));
    return NULL;
  }
  return parse_header (fd, header, path, error) ? g_steal_pointer (&header) : NULL;
}

char *
engine_qcow2_read_stamp (int fd)
{
  g_autoptr (EngineQcow2) header = g_new0 (EngineQcow2, 1);

  return parse_header (fd, header, "", NULL) ? g_steal_pointer (&header->stamp) : NULL;
}

void
engine_qcow2_free (EngineQcow2 *header)
{
  if (header == NULL)
    return;
  g_free (header->backing);
  g_free (header->backing_format);
  g_free (header->digest);
  g_free (header->stamp);
  g_free (header);
}

/* ---- a blank overlay ---- */

#define BLANK_CLUSTER 65536
#define BLANK_HEADER 112
#define BLANK_VERSION 3
#define REFCOUNT_ORDER 4
#define REFCOUNT_BYTES 2
#define ENTRY_BYTES 8
#define L2_BYTES 8
#define L2_BYTES_EXTENDED 16
#define EXTENSION_HEAD 8

/* In clusters, but for @cluster, bytes, and @l1_entries. */
typedef struct {
  guint64 cluster;
  guint64 table;
  guint64 blocks;
  guint64 l1;
  guint64 l1_entries;
} Layout;

static guint64
divide_up (guint64 number, guint64 by)
{
  return number / by + (number % by != 0);
}

static guint64
count_clusters (const Layout *layout)
{
  return 1 + layout->table + layout->blocks + layout->l1;
}

/* Refcount blocks count themselves and their table: more of them are asked for until they do. */
static Layout
lay_out (const EngineQcow2Blank *blank)
{
  Layout layout = {.cluster = blank->cluster_size != 0 ? (guint64)blank->cluster_size : BLANK_CLUSTER, .table = 1};
  guint64 entries = layout.cluster / (blank->extended_l2 ? L2_BYTES_EXTENDED : L2_BYTES);
  guint64 needed;

  layout.l1_entries = divide_up ((guint64)blank->virtual_size, entries * layout.cluster);
  layout.l1 = divide_up (layout.l1_entries * ENTRY_BYTES, layout.cluster);
  while ((needed = divide_up (count_clusters (&layout), layout.cluster / REFCOUNT_BYTES)) > layout.blocks) {
    layout.blocks = needed;
    layout.table = divide_up (needed, layout.cluster / ENTRY_BYTES);
  }
  return layout;
}

gint64
engine_qcow2_blank_size (const EngineQcow2Blank *blank)
{
  Layout layout = lay_out (blank);

  return layout.l1_entries > QCOW2_MAX_L1 ? -1 : (gint64)(count_clusters (&layout) * layout.cluster);
}

static gsize
padded (gsize length)
{
  return divide_up (length, 8) * 8;
}

/* Behind the header, the extension with the format, and the one that ends them. */
static gsize
backing_offset (const EngineQcow2Blank *blank)
{
  if (blank->backing == NULL)
    return BLANK_HEADER + EXTENSION_HEAD;
  return BLANK_HEADER + EXTENSION_HEAD + padded (strlen (blank->backing_format)) + EXTENSION_HEAD;
}

gsize
engine_qcow2_blank_max_backing (const EngineQcow2Blank *blank)
{
  return MIN (ENGINE_QCOW2_MAX_BACKING, lay_out (blank).cluster - backing_offset (blank));
}

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

static gboolean
write_at (int fd, const guint8 *bytes, gsize length, guint64 offset)
{
  gsize done = 0;

  while (done < length) {
    ssize_t put = pwrite (fd, bytes + done, length - done, (off_t)(offset + done));

    if (put < 0 && errno != EINTR)
      return FALSE;
    done += put > 0 ? (gsize)put : 0;
  }
  return TRUE;
}

/* The name goes to offset @name of @header, behind the extensions. */
static void
put_backing (guint8 *header, const EngineQcow2Blank *blank, gsize name)
{
  gsize format_length = strlen (blank->backing_format), name_length = strlen (blank->backing);

  put64 (header + 8, name);
  put32 (header + 16, (guint32)name_length);
  put32 (header + BLANK_HEADER, QCOW2_EXTENSION_BACKING_FORMAT);
  put32 (header + BLANK_HEADER + 4, (guint32)format_length);
  memcpy (header + BLANK_HEADER + EXTENSION_HEAD, blank->backing_format, format_length);
  memcpy (header + name, blank->backing, name_length);
}

static gboolean
write_header (int fd, const EngineQcow2Blank *blank, const Layout *layout)
{
  gsize name = backing_offset (blank), end = name + (blank->backing != NULL ? strlen (blank->backing) : 0);
  gsize room = MIN (layout->cluster, QCOW2_USUAL_HEADER) - MIN (end, QCOW2_USUAL_HEADER);
  gsize mark = blank->mark != NULL && strlen (blank->mark) <= room ? strlen (blank->mark) : 0;
  g_autofree guint8 *header = g_malloc0 (end + mark);

  put32 (header, QCOW2_MAGIC);
  put32 (header + 4, BLANK_VERSION);
  put32 (header + 20, (guint32)g_bit_nth_msf (layout->cluster, -1));
  put64 (header + 24, (guint64)blank->virtual_size);
  put32 (header + 36, (guint32)layout->l1_entries);
  put64 (header + 40, (1 + layout->table + layout->blocks) * layout->cluster);
  put64 (header + 48, layout->cluster);
  put32 (header + 56, (guint32)layout->table);
  put64 (header + 72, blank->extended_l2 ? QCOW2_INCOMPATIBLE_EXTENDED_L2 : 0);
  put32 (header + 96, REFCOUNT_ORDER);
  put32 (header + 100, BLANK_HEADER);
  if (blank->backing != NULL)
    put_backing (header, blank, name);
  if (mark > 0)
    memcpy (header + end, blank->mark, mark);
  return write_at (fd, header, end + mark, 0);
}

static gboolean
write_refcounts (int fd, const Layout *layout)
{
  guint64 first = 1 + layout->table, count = count_clusters (layout);
  g_autofree guint8 *table = g_malloc0 (layout->blocks * ENTRY_BYTES);
  g_autofree guint8 *counts = g_malloc0 (count * REFCOUNT_BYTES);

  for (guint64 i = 0; i < layout->blocks; i++)
    put64 (table + i * ENTRY_BYTES, (first + i) * layout->cluster);
  for (guint64 i = 0; i < count; i++)
    counts[i * REFCOUNT_BYTES + 1] = 1;
  return write_at (fd, table, layout->blocks * ENTRY_BYTES, layout->cluster) &&
         write_at (fd, counts, count * REFCOUNT_BYTES, first * layout->cluster);
}

gboolean
engine_qcow2_write_blank (int fd, const EngineQcow2Blank *blank)
{
  Layout layout = lay_out (blank);
  guint64 end = (1 + layout.table + layout.blocks) * layout.cluster + layout.l1_entries * ENTRY_BYTES;

  if ((blank->backing != NULL && strlen (blank->backing) > engine_qcow2_blank_max_backing (blank)) ||
      layout.l1_entries > QCOW2_MAX_L1) {
    errno = EINVAL;
    return FALSE;
  }
  return ftruncate (fd, (off_t)end) == 0 && write_header (fd, blank, &layout) && write_refcounts (fd, &layout);
}
