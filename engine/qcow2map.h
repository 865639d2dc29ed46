/*
 * Which parts of an image hold data of their own, told by its tables: to know what a
 * merge would add to another. Reads files, also while QEMU writes to them; a count,
 * and never a fact.
 */
#pragma once

#include <glib.h>

/**
 * EngineQcow2Map: one bit for each unit of the guest's disk
 * @unit: bytes; @count: how many
 */
typedef struct {
  gint64 unit;
  guint64 count;
  guint8 *bits;
} EngineQcow2Map;

/** None holds data yet. @unit: bytes, @size: of the disk. Returns: (transfer full) */
EngineQcow2Map *engine_qcow2map_new (gint64 unit, gint64 size);
void engine_qcow2map_free (EngineQcow2Map *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineQcow2Map, engine_qcow2map_free)

/** The cluster size of the qcow2 image at @path, in bytes; 0 where it is none. */
gint64 engine_qcow2map_unit_of (const char *path);

/**
 * engine_qcow2map_add:
 * @qcow2: whether it is one; else a raw image, whose holes are told by the file system
 * @mapped: (out): bytes that it maps, in its own clusters
 * Marks what holds data of its own in the image at @path, not in those below. What only reads as zeroes is none.
 * Source: QEMU docs/interop/qcow2.txt, "Cluster mapping". Raises %ENGINE_ERROR_FAILED, %ENGINE_ERROR_NO_SUCH_IMAGE.
 */
gboolean engine_qcow2map_add (EngineQcow2Map *map, const char *path, gboolean qcow2, gint64 *mapped, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Whether the qcow2 image at @path maps nothing at all, not even zeroes. Raises as engine_qcow2map_add() does. */
gboolean engine_qcow2map_is_blank (const char *path, gboolean *blank, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** What @bytes of data that are written anew take at most, with their tables and refcounts. */
gint64 engine_qcow2map_with_metadata (gint64 bytes);

/** Bytes of the units that are marked in @map and not in @other, which has the same unit. */
gint64 engine_qcow2map_beyond (const EngineQcow2Map *map, const EngineQcow2Map *other);
