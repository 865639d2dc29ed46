/*
 * The verb `path`: which image a disk is to be started on. In doubt, none.
 */
#pragma once

#include "engine/startup.h"

/**
 * engine_path_find:
 * The active image of @disk. Raises %ENGINE_ERROR_DRIFT where QEMU runs on another or its chain is not as it was,
 * %ENGINE_ERROR_REFUSED while an operation is unfinished. Returns: (transfer full)
 */
EngineStartup *engine_path_find (EngineContext *context, const char *vm, const char *disk, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
