/*
 * Walks the two levels of tables of a qcow2 file, one L2 table at a time, never
 * trusting an offset in them. L1 [entry …] -> L2 [entry …] -> cluster.
 */
#include "engine/qcow2map.h"

#include "engine/error.h"
#include "engine/imagefile.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0x514649fb
#define HEADER_LENGTH 104
#define LEAST_CLUSTER_BITS 9
#define MOST_CLUSTER_BITS 21
#define MOST_L1_ENTRIES (32 * 1024 * 1024 / 8)
#define OFFSET_MASK 0x00fffffffffffe00ULL
#define COMPRESSED (1ULL << 62)
#define READS_ZEROES 1ULL
#define EXTENDED_L2 (1ULL << 4)
#define SUBCLUSTERS_ALLOCATED 0xffffffffULL
/* Of what a byte that is written anew costs in tables and refcounts. */
#define METADATA_SHARE 512
#define METADATA_LEAST (G_GINT64_CONSTANT (1) << 20)

G_DEFINE_AUTO_CLEANUP_FREE_FUNC (int, close, -1)

/* One image while it is walked. */
typedef struct {
  const char *path;
  int fd;
  guint cluster_bits;
  guint32 l1_entries;
  guint64 l1_offset;
  gsize entry_size;
} Tables;

EngineQcow2Map *
engine_qcow2map_new (gint64 unit, gint64 size)
{
  EngineQcow2Map *map = g_new0 (EngineQcow2Map, 1);

  map->unit = unit;
  map->count = (guint64)((size + unit - 1) / unit);
  map->bits = g_malloc0 (map->count / 8 + 1);
  return map;
}

void
engine_qcow2map_free (EngineQcow2Map *map)
{
  if (map == NULL)
    return;
  g_free (map->bits);
  g_free (map);
}

static void
mark (EngineQcow2Map *map, guint64 offset, guint64 length)
{
  guint64 unit = (guint64)map->unit, last = (offset + length - 1) / unit;

  for (guint64 i = offset / unit; length > 0 && i <= last && i < map->count; i++)
    map->bits[i / 8] |= (guint8)(1u << (i % 8));
}

static gboolean
read_at (const Tables *tables, void *buffer, gsize length, guint64 offset, GError **error)
{
  gsize done = 0;

  while (done < length) {
    ssize_t got = pread (tables->fd, (guint8 *)buffer + done, length - done, (off_t)(offset + done));

    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0) {
      engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "the tables of '%s' cannot be read: %s", tables->path,
                        got < 0 ? g_strerror (errno) : "it is cut short");
      return FALSE;
    }
    done += (gsize)got;
  }
  return TRUE;
}

static guint64
be (const guint8 *at, gsize bytes)
{
  guint64 value = 0;

  for (gsize i = 0; i < bytes; i++)
    value = value << 8 | at[i];
  return value;
}

static gboolean
read_header (Tables *tables, GError **error)
{
  guint8 header[HEADER_LENGTH];

  if (!read_at (tables, header, sizeof header, 0, error))
    return FALSE;
  tables->cluster_bits = (guint)be (header + 20, 4);
  tables->l1_entries = (guint32)be (header + 36, 4);
  tables->l1_offset = be (header + 40, 8);
  tables->entry_size = be (header + 4, 4) >= 3 && (be (header + 72, 8) & EXTENDED_L2) != 0 ? 16 : 8;
  if (be (header, 4) == MAGIC && tables->cluster_bits >= LEAST_CLUSTER_BITS &&
      tables->cluster_bits <= MOST_CLUSTER_BITS && tables->l1_entries <= MOST_L1_ENTRIES)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "'%s' is no sound qcow2 image", tables->path);
  return FALSE;
}

static gboolean
holds_data (const guint8 *entry, gsize entry_size)
{
  guint64 value = be (entry, 8);

  if ((value & COMPRESSED) != 0)
    return TRUE;
  if (entry_size == 16)
    return (value & OFFSET_MASK) != 0 && (be (entry + 8, 8) & SUBCLUSTERS_ALLOCATED) != 0;
  return (value & OFFSET_MASK) != 0 && (value & READS_ZEROES) == 0;
}

static gboolean
walk_l2 (const Tables *tables, EngineQcow2Map *map, guint64 l1_index, guint8 *table, guint64 at, gint64 *mapped,
         GError **error)
{
  gsize cluster = (gsize)1 << tables->cluster_bits, entries = cluster / tables->entry_size;

  if (!read_at (tables, table, cluster, at, error))
    return FALSE;
  for (gsize i = 0; i < entries; i++) {
    if (!holds_data (table + i * tables->entry_size, tables->entry_size))
      continue;
    mark (map, (l1_index * entries + i) << tables->cluster_bits, cluster);
    *mapped += (gint64)cluster;
  }
  return TRUE;
}

/* Returns: (transfer full): the L1 table */
static guint8 *
read_l1 (Tables *tables, GError **error)
{
  g_autofree guint8 *l1 = NULL;

  if (!read_header (tables, error))
    return NULL;
  l1 = g_malloc (MAX (8, (gsize)tables->l1_entries * 8));
  if (!read_at (tables, l1, (gsize)tables->l1_entries * 8, tables->l1_offset, error))
    return NULL;
  return g_steal_pointer (&l1);
}

static gboolean
add_qcow2 (EngineQcow2Map *map, Tables *tables, gint64 *mapped, GError **error)
{
  g_autofree guint8 *l1 = read_l1 (tables, error), *l2 = NULL;

  if (l1 == NULL)
    return FALSE;
  l2 = g_malloc ((gsize)1 << tables->cluster_bits);
  for (guint32 i = 0; i < tables->l1_entries; i++) {
    guint64 at = be (l1 + (gsize)i * 8, 8) & OFFSET_MASK;

    if (at != 0 && !walk_l2 (tables, map, i, l2, at, mapped, error))
      return FALSE;
  }
  return TRUE;
}

/* What the file system cannot tell is all data. */
static gboolean
add_raw (EngineQcow2Map *map, const Tables *tables, gint64 *mapped)
{
  off_t end = lseek (tables->fd, 0, SEEK_END), data = lseek (tables->fd, 0, SEEK_DATA);

  if (data < 0 && errno == ENXIO)
    return TRUE;
  for (data = MAX (data, 0); data < end;) {
    off_t hole = lseek (tables->fd, data, SEEK_HOLE);

    hole = hole > data ? hole : end;
    mark (map, (guint64)data, (guint64)(hole - data));
    *mapped += hole - data;
    data = lseek (tables->fd, hole, SEEK_DATA);
    if (data < 0)
      return TRUE;
  }
  return TRUE;
}

gboolean
engine_qcow2map_add (EngineQcow2Map *map, const char *path, gboolean qcow2, gint64 *mapped, GError **error)
{
  g_auto (int) fd = engine_imagefile_open (path);
  Tables tables = {.path = path, .fd = fd};

  *mapped = 0;
  if (fd >= 0)
    return qcow2 ? add_qcow2 (map, &tables, mapped, error) : add_raw (map, &tables, mapped);
  engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "cannot open '%s': %s", path, g_strerror (errno));
  return FALSE;
}

gboolean
engine_qcow2map_is_blank (const char *path, gboolean *blank, GError **error)
{
  g_auto (int) fd = engine_imagefile_open (path);
  Tables tables = {.path = path, .fd = fd};
  g_autofree guint8 *l1 = NULL;

  if (fd < 0) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "cannot open '%s': %s", path, g_strerror (errno));
    return FALSE;
  }
  l1 = read_l1 (&tables, error);
  if (l1 == NULL)
    return FALSE;
  *blank = TRUE;
  for (guint32 i = 0; i < tables.l1_entries; i++)
    if (be (l1 + (gsize)i * 8, 8) != 0)
      *blank = FALSE;
  return TRUE;
}

gint64
engine_qcow2map_unit_of (const char *path)
{
  g_auto (int) fd = engine_imagefile_open (path);
  Tables tables = {.path = path, .fd = fd};

  return fd >= 0 && read_header (&tables, NULL) ? G_GINT64_CONSTANT (1) << tables.cluster_bits : 0;
}

gint64
engine_qcow2map_beyond (const EngineQcow2Map *map, const EngineQcow2Map *other)
{
  guint64 count = 0;

  for (guint64 i = 0; i < map->count; i++) {
    gboolean has = i < other->count && (other->bits[i / 8] >> (i % 8) & 1) != 0;

    count += (map->bits[i / 8] >> (i % 8) & 1) != 0 && !has ? 1 : 0;
  }
  return (gint64)count * map->unit;
}

gint64
engine_qcow2map_with_metadata (gint64 bytes)
{
  return bytes + bytes / METADATA_SHARE + METADATA_LEAST;
}
