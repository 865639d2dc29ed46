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
 * @chosen_by: the option by which the user says where they go, for hints
 * Raises %ENGINE_ERROR_REFUSED with the bytes that are missing.
 */
gboolean engine_space_check (EngineVm *vm, const GPtrArray *overlays, const char *chosen_by, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
