/*
 * The file of a new overlay, whole before QEMU sees it.
 */
#pragma once

#include "engine/overlay.h"

/**
 * engine_overlayfile_reserve:
 * Makes each file without a name, where the file system can (O_TMPFILE): it is written, has owner and mode, and its
 * identity is known, before the journal has the intent; a death before then leaves nothing. Raises
 * %ENGINE_ERROR_FAILED where the folder cannot be written, or has no room for it.
 */
gboolean engine_overlayfile_reserve (EngineVm *vm, const GPtrArray *overlays, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Gives @overlay's file its name; one that could not be made without a name is made now. Raises %ENGINE_ERROR_EXISTS,
 * %ENGINE_ERROR_FAILED. */
gboolean engine_overlayfile_make (EngineVm *vm, EngineOverlay *overlay, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Files and their folders are on the disk after this, and the files closed. Raises %ENGINE_ERROR_FAILED. */
gboolean engine_overlayfile_sync (const GPtrArray *overlays, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Names that were made or removed in @folder are on the disk after this. Raises %ENGINE_ERROR_FAILED. */
gboolean engine_overlayfile_sync_folder (const char *folder, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Closes @overlay's file, where it is open; one that has no name yet is gone then. */
void engine_overlayfile_close (EngineOverlay *overlay);
