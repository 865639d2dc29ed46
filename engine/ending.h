/*
 * The two ways in which an operation that puts overlays on disks ends: recorded,
 * or undone; and what is left to clear up once it is recorded.
 */
#pragma once

#include "engine/intent.h"

/**
 * engine_ending_is_ours:
 * Whether @file, which is at the overlay's path now, is the one that the operation made, by inode and birth. Never so
 * where the file system gave it no identity beforehand.
 */
gboolean engine_ending_is_ours (const EngineIntentOverlay *overlay, const EngineImagefile *file);

/**
 * engine_ending_record:
 * @intent: its snapshot with consistency, reason, frozen_us and created_us filled in
 * @end: end the operation too; else it stays open for something that is still to be done
 * The overlays are active now: one commit writes images, snapshot and outcome, and forgets what is discarded.
 */
gboolean engine_ending_record (EngineVm *vm, const char *op, EngineIntent *intent, gboolean end, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Adds the overlays that are their disks' active images, as engine_ending_record() makes them, to @recorded
 * (element-type EngineIntentOverlay). */
gboolean engine_ending_find_recorded (EngineVm *vm, const EngineIntent *intent, GPtrArray *recorded, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The files alone of engine_ending_clear_up(). In a dry run they stay, and are only added to @removed. */
gboolean engine_ending_remove (EngineVm *vm, const EngineIntent *intent, GPtrArray *removed, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_ending_clear_up:
 * @removed: (nullable) (element-type utf8): files that were removed are added here
 * It happened and is recorded: closes the nodes, and removes the files, that nothing needs any more. May be run again.
 * What QEMU does not let go is a warning.
 */
gboolean engine_ending_clear_up (EngineVm *vm, const EngineIntent *intent, GPtrArray *removed, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Closes the nodes that were opened for @intent: those of its overlays and further ones. May be run again. */
gboolean engine_ending_close_nodes (EngineVm *vm, const EngineIntent *intent, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_ending_undo:
 * @why: (nullable): what undid it, for the log
 * @end: as for engine_ending_record()
 * The overlays never became active: closes their nodes where QEMU runs, removes the files that we made, and ends the
 * operation. May be run again after a death in the middle. A file that cannot be shown to be ours, that somebody uses,
 * that another VM's note lies beside, or whose header is not the one that was written (of a raw file that cannot be
 * told), stays, with a warning.
 */
gboolean engine_ending_undo (EngineVm *vm, const char *op, const EngineIntent *intent, const char *why, gboolean end,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
