/*
 * Whether there is room: what new overlays need at once, beside what
 * operations that are under way have promised themselves and what the
 * administrator wants left free.
 */
#pragma once

#include "engine/overlay.h"

/**
 * engine_space_check:
 * @overlays: (element-type EngineOverlay): planned; those on one file system are added up
 * Raises %ENGINE_ERROR_REFUSED with the bytes that are missing.
 */
gboolean engine_space_check (EngineVm *vm, const GPtrArray *overlays, GError **error) G_GNUC_WARN_UNUSED_RESULT;
