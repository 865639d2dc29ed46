/*
 * The verb `path`: which image a disk is to be started on. In doubt, none.
 */
#pragma once

#include "engine/vm.h"

/** @blockdev: as the value of a -blockdev option */
typedef struct {
  char *path;
  char *format;
  char *blockdev;
} EnginePath;

void engine_path_free (EnginePath *path);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EnginePath, engine_path_free)

/**
 * engine_path_find:
 * The active image of @disk. Raises %ENGINE_ERROR_DRIFT where QEMU runs on another, %ENGINE_ERROR_NO_SUCH_IMAGE
 * where its file is missing, %ENGINE_ERROR_REFUSED while an operation is unfinished. Returns: (transfer full)
 */
EnginePath *engine_path_find (EngineContext *context, const char *vm, const char *disk, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
