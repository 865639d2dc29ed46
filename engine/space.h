/*
 * Whether there is room: what new overlays need at once, beside what
 * operations that are under way have promised themselves and what the
 * administrator wants left free.
 */
#pragma once

#include "engine/overlay.h"

/**
 * engine_space_qcow2:
 * @cluster_size: bytes, 0: QEMU's own
 * Bytes of an empty qcow2 of @virtual_size: header, refcount table and blocks, L1 table. -1 where its L1 table would be
 * larger than QEMU allows. Source: QEMU docs/interop/qcow2.txt; block/qcow2.h, QCOW_MAX_L1_SIZE.
 */
gint64 engine_space_qcow2 (gint64 virtual_size, gint64 cluster_size, gboolean extended_l2);

/**
 * engine_space_check:
 * @overlays: (element-type EngineOverlay): planned; those on one file system are added up
 * Raises %ENGINE_ERROR_REFUSED with the bytes that are missing.
 */
gboolean engine_space_check (EngineVm *vm, const GPtrArray *overlays, GError **error) G_GNUC_WARN_UNUSED_RESULT;
