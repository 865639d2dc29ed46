/*
 * A part of `state rebuild`: one disk, its images put together from its notes.
 */
#pragma once

#include "engine/context.h"
#include "engine/note.h"

/**
 * EngineRebuildDisk: one that is being made again
 * @vm: its name; @newest: the note that is believed of the disk itself. Borrowed.
 * @notes: (element-type EngineNote): oldest first. Borrowed.
 * @overlays, @frozen: (element-type utf8 EngineNote): by the path of the overlay, and of the image below it
 * @rows: (element-type utf8 gint64): images that are added, by path
 */
typedef struct {
  const char *vm;
  ChainsDisk *record;
  EngineNote *newest;
  GPtrArray *notes;
  GHashTable *overlays;
  GHashTable *frozen;
  GHashTable *rows;
} EngineRebuildDisk;

/** The disk of @note. Returns: (transfer full) */
EngineRebuildDisk *engine_rebuilddisk_new (const EngineNote *note);
void engine_rebuilddisk_free (EngineRebuildDisk *disk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineRebuildDisk, engine_rebuilddisk_free)

/** @note tells of this disk, and is newer than those before it. Borrowed. */
void engine_rebuilddisk_learn (EngineRebuildDisk *disk, EngineNote *note);

/**
 * engine_rebuilddisk_store:
 * @owned: (element-type utf8 EngineRebuildDisk): each owned image is added, as "device:inode"
 * Writes disk and images, inside the caller's transaction; the active image is the one that the newest note calls
 * so. Raises %ENGINE_ERROR_NO_SUCH_IMAGE, %ENGINE_ERROR_REFUSED where notes and headers do not agree, or an image that
 * is not active was written to since it was frozen, CHAINS_ERROR's.
 */
gboolean engine_rebuilddisk_store (EngineRebuildDisk *disk, EngineContext *context, GHashTable *owned, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The path of the active image, as the newest note has it. Borrowed. */
const char *engine_rebuilddisk_active (const EngineRebuildDisk *disk);

/** Warns of the snapshots that the active image spoils: it is one that they froze. They are in the database already. */
gboolean engine_rebuilddisk_warn_of_spoiled (const EngineRebuildDisk *disk, EngineContext *context, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The row of the image at @path, 0 where there is none. */
gint64 engine_rebuilddisk_get_row (const EngineRebuildDisk *disk, const char *path);
