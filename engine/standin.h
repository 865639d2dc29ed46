/*
 * A stand-in for a QEMU that does not run: a throw-away qemu-storage-daemon that
 * has the images of a shut-off VM open, and locked, so that a verb does to it
 * what it would do to QEMU. It ends with us, however we end.
 */
#pragma once

#include "engine/standindisk.h"

typedef struct _EngineStandin EngineStandin;

/**
 * engine_standin_start:
 * @disks: (nullable) (element-type EngineStandinDisk): %NULL: those that are registered and not ignored, after a look
 *     at their images
 * Starts it for @vm, which is shut off and whose lock is ours, and shakes hands: @vm's monitor is its own from now on.
 * In a dry run it has the images open for reading only.
 * Raises %ENGINE_ERROR_DRIFT where an image is not as it is remembered, %ENGINE_ERROR_UNSUPPORTED where there is no
 * such program, %ENGINE_ERROR_FAILED with its own words where it cannot open an image.
 */
gboolean engine_standin_start (EngineVm *vm, const GPtrArray *disks, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Ends it and waits until it has let go of the images; one that does not end in time is killed. */
void engine_standin_stop (EngineStandin *standin);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineStandin, engine_standin_stop)

/** The disk that node @node is the lowest named one of, or %NULL. Borrowed. */
const char *engine_standin_name_of (const EngineStandin *standin, const char *node);
