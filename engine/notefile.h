/*
 * The files in which notes lie: read, written whole, removed; never another file.
 */
#pragma once

#include "engine/context.h"
#include "engine/note.h"

/** The note in the file @path. Raises also %ENGINE_ERROR_NO_SUCH_IMAGE. Returns: (transfer full) */
EngineNote *engine_notefile_read (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_notefile_write:
 * @durable: it is on the disk before this returns; else it costs no more than it must
 * At its place, whole or not at all, with mode and owner of the image that it is beside; in the place of a note that is
 * there, of nothing else. Raises %ENGINE_ERROR_FAILED, %ENGINE_ERROR_EXISTS where something else has the name.
 */
gboolean engine_notefile_write (const EngineNote *note, gboolean durable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Removes the note of the overlay at @overlay, where there is one and it tells of the snapshot @id. */
gboolean engine_notefile_remove (const char *overlay, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** The same of the note that lies beside @image. */
gboolean engine_notefile_remove_beside (const char *image, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether any note lies beside the image at @path, whole or not. */
gboolean engine_notefile_is_beside (const char *path);

/** Removes whatever notes lie beside the image at @overlay, which nothing needs any more; one that stays is a
 * warning. */
void engine_notefile_forget (EngineContext *context, const char *overlay);
