/*
 * One new overlay on one disk, from its name to an opened node that waits to
 * be switched to: [base] <- [active]   [overlay]. The file is made by us,
 * never overwrites one, and is on disk (synced) before QEMU opens it.
 */
#pragma once

#include "engine/intent.h"
#include "engine/nodeoptions.h"
#include "engine/qcow2.h"

/**
 * EngineOverlay:
 * @disk: the live disk. Borrowed.
 * @intent: its part of the operation's intent: path, names, identity. Borrowed.
 * @options: taken over from the active image's nodes
 * @on_node: (nullable): what it is opened on; else on nothing, and the switch gives it the live node
 * @cluster_size: of the new qcow2, 0: QEMU's own
 * @extended_l2: whether it gets subclusters
 * @fd: of the file until it is synced, else -1
 */
typedef struct {
  const EngineGraphDisk *disk;
  EngineIntentOverlay *intent;
  EngineNodeOptions *options;
  char *on_node;
  gint64 cluster_size;
  gboolean extended_l2;
  int fd;
} EngineOverlay;

/** What the file names of the overlays on the base at @path begin with. Returns: (transfer full) */
char *engine_overlay_stem (const char *path);

/**
 * EngineOverlayPlace: where an overlay goes, and on what
 * @directory: (nullable): its folder; else beside the active image
 * @stem_of: path of the disk's base, whose stem its name begins with
 * @name: the snapshot's name, which its own goes on with
 * @reuse: (nullable): the user's own file
 * @on: (nullable): the image that it goes on; else the active one
 * @on_node: (nullable): the node that this image is open as, where the overlay is to be opened on it
 */
typedef struct {
  const char *directory;
  const char *stem_of;
  const char *name;
  const char *reuse;
  const ChainsImage *on;
  const char *on_node;
} EngineOverlayPlace;

/**
 * engine_overlay_plan:
 * Chooses path and names, and adds them to @intent; makes nothing. @options: (transfer full).
 * Raises %ENGINE_ERROR_REFUSED where the path could not stand in a qcow2 header or in QMP.
 *
 * Returns: (transfer full)
 */
EngineOverlay *engine_overlay_plan (EngineOp *op, EngineIntent *intent, const EngineGraphDisk *disk,
                                    EngineNodeOptions *options, const EngineOverlayPlace *place, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
void engine_overlay_free (EngineOverlay *overlay);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineOverlay, engine_overlay_free)

/** What is to stand in @overlay's file. Borrows from it. */
EngineQcow2Blank engine_overlay_blank (const EngineOverlay *overlay);

/**
 * engine_overlay_prepare:
 * @overlays: (element-type EngineOverlay)
 * Gives the files their names, syncs files and folders, opens the nodes, of several disks at once. What a failure
 * leaves is engine_ending_undo()'s to take back.
 */
gboolean engine_overlay_prepare (EngineVm *vm, const GPtrArray *overlays, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** In a dry run: what engine_overlay_prepare() would do. */
void engine_overlay_plan_prepare (EngineVm *vm, const GPtrArray *overlays);

/**
 * engine_overlay_match_sizes:
 * A disk may have been resized since its overlay was made: gives the overlay the disk's size of now (block_resize),
 * since QEMU would silently shrink the disk to a smaller overlay.
 */
gboolean engine_overlay_match_sizes (EngineVm *vm, const GPtrArray *overlays, GError **error) G_GNUC_WARN_UNUSED_RESULT;
