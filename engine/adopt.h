/*
 * What lies below the active images made the VM's own: the base moved down
 * (`--own`), and overlays that exist turned into snapshots (`--adopt`). Each call
 * happens inside the caller's transaction. Writes rows and nothing else.
 */
#pragma once

#include "engine/graph.h"

/**
 * engine_adopt_own:
 * @paths: (nullable) (array zero-terminated=1)
 * Moves the base of each disk of @vm down to the lowest image of its chain that @paths name; all images from there up
 * are owned. Raises %ENGINE_ERROR_NO_SUCH_IMAGE for one that is in no disk's chain, %ENGINE_ERROR_REFUSED for one
 * above a base, and where another disk needs an image.
 */
gboolean engine_adopt_own (EngineVm *vm, const char *const *paths, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_adopt_overlays:
 * @own: (nullable) (array zero-terminated=1): as given to engine_adopt_own() before: those disks go no deeper
 * @snapshots: (element-type utf8): the names of the snapshots that were made, oldest first, are added here
 * Takes over the images of every disk of @vm that is not ignored, down to the lowest; stops above one that another
 * disk uses, that its owner may not write to, or that is no plain local file. Each overlay among them becomes a
 * snapshot: the image below it is its frozen image.
 */
gboolean engine_adopt_overlays (EngineVm *vm, const EngineGraph *graph, const char *const *own, GPtrArray *snapshots,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_adopt_name:
 * @base: path of the base, @overlay: path of an image above it
 * The snapshot's name that the overlay's file name holds: `disk.NAME.qcow2` or `disk.NAME` on `disk.qcow2`.
 * Returns: (transfer full) (nullable): %NULL where it holds none that is allowed
 */
char *engine_adopt_name (const char *base, const char *overlay);
