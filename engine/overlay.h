/*
 * One new overlay on one disk, from its name to an opened node that waits to
 * be switched to: [base] <- [active]   [overlay]. The file is made by us and
 * never overwrites one; the qcow2 in it by QEMU; both are on disk (synced)
 * before anybody depends on them.
 */
#pragma once

#include "engine/nodeoptions.h"
#include "engine/op.h"

/**
 * EngineOverlay:
 * @disk: the live disk; @record: the registered one. Borrowed.
 * @path: of the new file, absolute
 * @node, @file_node, @job: the names that it uses in QEMU
 * @options: taken over from the active image's nodes
 * @reused: the file is the user's (--reuse): checked, never made or removed by us
 * @made, @file_open, @open: what was done so far, and so has to be undone
 * @fd: of the file while it is not synced yet, else -1
 * @device, @inode: of the file that was made, so that no other is ever removed in its place
 */
typedef struct {
  const EngineGraphDisk *disk;
  ChainsDisk *record;
  char *path;
  char *node;
  char *file_node;
  char *job;
  EngineNodeOptions *options;
  gboolean reused;
  gboolean made;
  gboolean file_open;
  gboolean open;
  int fd;
  guint64 device;
  guint64 inode;
} EngineOverlay;

/**
 * engine_overlay_plan:
 * @directory: (nullable): where it goes; else beside the active image
 * @base_path: of the disk's base, whose stem the name begins with
 * @planned: (element-type EngineOverlay): those of @op so far, whose paths are taken
 * @reuse: (nullable): the user's own file
 * Chooses path and names; makes nothing. @options: (transfer full).
 * Raises %ENGINE_ERROR_REFUSED where the path could not stand in a qcow2 header or in QMP.
 *
 * Returns: (transfer full)
 */
EngineOverlay *engine_overlay_plan (EngineOp *op, const EngineGraphDisk *disk, ChainsDisk *record,
                                    EngineNodeOptions *options, const char *directory, const char *base_path,
                                    const char *snapshot, const char *reuse, const GPtrArray *planned, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
void engine_overlay_free (EngineOverlay *overlay);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineOverlay, engine_overlay_free)

/** All that recover needs to know of it. Returns: (transfer full) */
JsonObject *engine_overlay_to_json (const EngineOverlay *overlay);

/**
 * engine_overlay_prepare:
 * @overlays: (element-type EngineOverlay)
 * Makes the files, has QEMU write the qcow2 in each, syncs files and folders, opens the nodes. Several
 * disks at once where QEMU allows it. On failure what was done stays marked, for engine_overlay_discard().
 */
gboolean engine_overlay_prepare (EngineVm *vm, const GPtrArray *overlays, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** In a dry run: what engine_overlay_prepare() would do. */
void engine_overlay_plan_prepare (EngineVm *vm, const GPtrArray *overlays);

/** Takes back what was prepared: nodes closed, files of ours removed. Says in warnings what it could not. */
void engine_overlay_discard (EngineVm *vm, const GPtrArray *overlays);

/**
 * engine_overlay_match_sizes:
 * A disk may have been resized since its overlay was made: gives the overlay the disk's size of now (block_resize),
 * since QEMU would silently shrink the disk to a smaller overlay.
 */
gboolean engine_overlay_match_sizes (EngineVm *vm, const GPtrArray *overlays, GError **error) G_GNUC_WARN_UNUSED_RESULT;
