/*
 * What the live graph tells of a merge: which of its images have gone from it.
 * QEMU's word that a job ended counts for nothing beside that.
 */
#pragma once

#include "engine/mergeintent.h"

/** Adds those of @intent's parts whose images the live graph has no more to @merged (element-type EngineMergePart). */
gboolean engine_mergelive_find (EngineVm *vm, const EngineMergeIntent *intent, GPtrArray *merged, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_mergelive_settle:
 * In the place of a process that died, or hangs, with the VM paused: a pivot that was begun is ended, and what the
 * guest is on is found out and recorded. May be run again.
 */
gboolean engine_mergelive_settle (EngineVm *vm, const char *op, const EngineMergeIntent *intent, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
