/*
 * Frozen images made read-only for everybody, so that a QEMU that is started on
 * one by mistake fails instead of spoiling it; and writable again.
 */
#pragma once

#include "chains/model.h"
#include "engine/context.h"

/**
 * engine_seal_plan:
 * The mode that @image has now, where it is to be sealed once it is frozen: a regular file of ours, `overlay.seal` on,
 * and somebody may write to it. Else 0. For the journal, before anything is begun.
 */
guint engine_seal_plan (const EngineContext *context, const ChainsImage *image);

/** The image of @disk at @path, and which file that is. Borrowed. */
typedef struct {
  const char *disk;
  const char *path;
  guint64 device;
  guint64 inode;
} EngineSealFile;

/**
 * engine_seal_close:
 * @mode: as engine_seal_plan() gave it; 0 does nothing
 * Takes from everybody the right to write to @sealed. May be done again. Another file in its place is left alone; a
 * file that does not let itself be changed is a warning. Raises only what a test build makes it raise.
 */
gboolean engine_seal_close (EngineContext *context, const EngineSealFile *sealed, guint mode, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_seal_open:
 * @mode: what it had before, from the journal or from the overlay above it; 0 does nothing
 * The way back: a file that is sealed and would otherwise have @mode gets it again. Any other is left alone: somebody
 * has changed it meanwhile. A file that does not let itself be changed is a warning.
 */
gboolean engine_seal_open (EngineContext *context, const EngineSealFile *sealed, guint mode, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
