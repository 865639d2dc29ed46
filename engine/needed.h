/*
 * Who else needs an image: another VM of the database, by whatever name it has the
 * file; an export. QEMU itself protects neither.
 */
#pragma once

#include "engine/graph.h"

/**
 * engine_needed_by_disk:
 * @disk: row id of the disk whose own image it is; 0: of none
 * @who: (out) (transfer full) (nullable): who else has the file at @path, or the same file at another: "disk 'vda' of
 *     VM 'web'"; %NULL where nobody has
 */
gboolean engine_needed_by_disk (EngineContext *context, gint64 disk, const char *path, char **who, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_needed_below:
 * @who: as above: whose image lies on what the file or block device @path is, or below it: a loop device and its file,
 *     a partition and its disk (engine/blockdevice)
 */
gboolean engine_needed_below (EngineContext *context, const char *path, char **who, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_needed_by_export:
 * @exports: (element-type QmpExport)
 * The id of the export that serves the image @index (0: the active one) of @disk, or %NULL. A storage daemon's active
 * images are exported anyway: its exports are its disks. Borrowed.
 */
const char *engine_needed_by_export (const EngineVm *vm, const GPtrArray *exports, const EngineGraphDisk *disk,
                                     guint index);
