/*
 * Images held against what is remembered of them, without QEMU.
 */
#pragma once

#include "engine/problem.h"
#include "engine/tree.h"
#include "engine/vm.h"

/**
 * EngineInspectDepth:
 * @ENGINE_INSPECT_FILES: presence, size and times: a stat(2) each
 * @ENGINE_INSPECT_HEADERS: the qcow2 headers too
 */
typedef enum { ENGINE_INSPECT_FILES, ENGINE_INSPECT_HEADERS } EngineInspectDepth;

/**
 * engine_inspect_remember:
 * Sets what is remembered of @image as it is now, frozen: whatever differs later was done by somebody else.
 * Raises %ENGINE_ERROR_NO_SUCH_IMAGE.
 */
gboolean engine_inspect_remember (ChainsImage *image, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Adds to @problems (element-type EngineProblem) what is wrong with @image of @disk. */
void engine_inspect_image (const EngineTreeImage *image, const char *disk, EngineInspectDepth depth,
                           GPtrArray *problems);

/**
 * engine_inspect_chain:
 * The image of @disk that is row @row, or its active one, and all below it: what a verb stands on. Raises
 * %ENGINE_ERROR_DRIFT with the first error.
 */
gboolean engine_inspect_from (EngineVm *vm, const ChainsDisk *disk, gint64 row, EngineInspectDepth depth,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean engine_inspect_chain (EngineVm *vm, const ChainsDisk *disk, EngineInspectDepth depth, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
