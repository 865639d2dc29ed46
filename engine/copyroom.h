/*
 * Whether there is room for whole copies, before they are begun: what their disks
 * hold now, image by image, and what tables and refcounts of that take.
 */
#pragma once

#include "engine/mirrorintent.h"

/**
 * engine_copyroom_check:
 * @files: (element-type EngineOverlay): copies to files
 * Raises %ENGINE_ERROR_REFUSED with the bytes that are missing. Where an image cannot be looked into, nothing is said.
 */
gboolean engine_copyroom_check (EngineVm *vm, const EngineMirrorIntent *intent, const GPtrArray *files, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
