/*
 * What lies in folders of images: notes, and qcow2 images with what each hangs
 * on by its header.
 */
#pragma once

#include "engine/context.h"
#include "engine/note.h"

/** EngineScanImage: a qcow2 image. @backing: (nullable): what its header names, as an absolute path */
typedef struct {
  char *path;
  char *backing;
} EngineScanImage;

/**
 * EngineScan:
 * @notes: (element-type EngineNote)
 * @images: (element-type EngineScanImage)
 * Each file once, in the order of their paths.
 */
typedef struct {
  GPtrArray *notes;
  GPtrArray *images;
} EngineScan;

/**
 * engine_scan_folders:
 * @folders: (array zero-terminated=1)
 * Looks into them and the folders below, through no link to a folder, so deep and at so many files at most. A folder or
 * an image that cannot be read is a warning. Raises %ENGINE_ERROR_NO_SUCH_IMAGE for a folder of @folders that is none,
 * %ENGINE_ERROR_REFUSED for a note that is damaged or newer than this program, and where there is more than it looks
 * at.
 *
 * Returns: (transfer full)
 */
EngineScan *engine_scan_folders (EngineContext *context, const char *const *folders, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
void engine_scan_free (EngineScan *scan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineScan, engine_scan_free)
