/*
 * A live disk taken into the registry, and a registered one made to follow what
 * QEMU really has. For `vm add`, `vm set` and `vm rescan`; each call happens
 * inside the caller's transaction. Writes rows and nothing else.
 */
#pragma once

#include "engine/graph.h"

/**
 * engine_intake_check:
 * @row: the disk's row, 0 where it has none yet
 * That snapshots of @disk are possible and ours to take: its active image can be named, is there, and no other
 * registered disk needs it. Raises %ENGINE_ERROR_REFUSED.
 */
gboolean engine_intake_check (EngineVm *vm, const EngineGraphDisk *disk, gint64 row, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_intake_find_user:
 * @user: (out) (nullable) (transfer full): such as "disk 'vda' of VM 'web'"; %NULL where there is none
 * The registered disk other than row @disk that has an image at @path in its tree.
 */
gboolean engine_intake_find_user (EngineContext *context, const char *path, gint64 disk, char **user, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_intake_add:
 * @arguments: (nullable): QEMU's command line
 * Registers @disk as the last of @vm: its active image becomes its base, what lies below is foreign. One that is not
 * @ignored is checked first. Raises those of engine_intake_check(), CHAINS_ERROR's.
 */
gboolean engine_intake_add (EngineVm *vm, const EngineGraphDisk *disk, gboolean ignored, char **arguments,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_intake_follow:
 * @changes: (element-type utf8): what was changed is added here, in words
 * Makes the tree of @record say what @disk shows: the active image, its chain, sizes, identities. What is not known
 * comes in: owned where it is the active image or stands on an owned one, else foreign. Images that are nowhere any
 * more and that nothing needs are forgotten. The base becomes the lowest owned image of the chain.
 * Snapshots that cannot be relied on any more are named in a warning. Raises as engine_intake_add().
 */
gboolean engine_intake_follow (EngineVm *vm, ChainsDisk *record, const EngineGraphDisk *disk, char **arguments,
                               GPtrArray *changes, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Puts the disks of @vm into @graph's order, those that it lacks behind; reads them anew. */
gboolean engine_intake_sort (EngineVm *vm, const EngineGraph *graph, GError **error) G_GNUC_WARN_UNUSED_RESULT;
