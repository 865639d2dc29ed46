/*
 * What would go wrong, found out while nothing is begun: is the VM busy, can
 * this disk have an overlay, may QEMU open it where it is to lie, is there room.
 */
#pragma once

#include "engine/overlay.h"
#include "engine/problem.h"

/**
 * engine_preflight_check_vm:
 * That @vm, connected, neither migrates nor has a job. To be asked before its block graph: QEMU 7.2 dies of that
 * question while a concluded stream is left. QAPI: query-migrate, query-jobs.
 * Raises %ENGINE_ERROR_HELD for a job of an operation of ours, %ENGINE_ERROR_REFUSED else.
 */
gboolean engine_preflight_check_vm (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The same, of jobs apart: that @vm neither migrates nor is in a state in which its disks are another's. QAPI:
 * query-migrate */
gboolean engine_preflight_check_state (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** That @vm's QEMU, connected, has what snapshots need. QAPI: query-qmp-schema. Raises %ENGINE_ERROR_UNSUPPORTED. */
gboolean engine_preflight_check_features (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_preflight_check_disk:
 * @placed: where the overlay goes was said: --dir, overlay.dir, --reuse
 * That an overlay could stand for the active image of @disk. Filters above the image are kept, and are no obstacle.
 * Raises %ENGINE_ERROR_REFUSED.
 */
gboolean engine_preflight_check_disk (EngineVm *vm, const EngineGraphDisk *disk, gboolean placed, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_preflight_check_overlays:
 * @overlays: (element-type EngineOverlay): planned
 * @chosen_by: the option by which the user says where they go, for hints
 * That QEMU sees these files and folders as we do, that their file systems outlive a power cut (tmpfs and the like only
 * where the active image is on one too), that we and QEMU may write there, and that there is room.
 * Access is judged by owner, mode and ACL: what a security module adds shows only when QEMU opens the file.
 * Raises %ENGINE_ERROR_REFUSED.
 */
gboolean engine_preflight_check_overlays (EngineVm *vm, const GPtrArray *overlays, const char *chosen_by,
                                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_preflight_find_obstacle:
 * @active: path of the active image of @disk; @folder: where an overlay on it would go
 * @problems: (element-type EngineProblem)
 * What of engine_preflight_check_overlays(), room aside, would refuse an overlay in @folder: added as a problem of
 * severity error. @vm need not be connected: what only QEMU's process can tell is then not asked.
 */
void engine_preflight_find_obstacle (const EngineVm *vm, const char *disk, const char *active, const char *folder,
                                     GPtrArray *problems);
