/*
 * Whether QEMU may write to the files that a merge writes to: the receiver's, and
 * that of the image above, whose header names it then. Sealed ones are opened up,
 * and sealed again.
 */
#pragma once

#include "engine/mergeintent.h"

/** The mode that the sealed file at @path is to have meanwhile: that of the file at @active where it had that before,
 * else its own with a right for its owner. 0: it is not sealed. */
guint engine_mergeseal_mode_of (const char *path, const char *active);

/**
 * engine_mergeseal_check:
 * Raises %ENGINE_ERROR_REFUSED where QEMU's user could not write to a file that @part has to change. QEMU 7.2 and 10.0
 * die of a header that they cannot change at the end of a block-commit.
 */
gboolean engine_mergeseal_check (EngineVm *vm, const EngineMergePart *part, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** QEMU may write to them. Raises %ENGINE_ERROR_REFUSED where one does not let itself be changed. */
gboolean engine_mergeseal_open (EngineVm *vm, const EngineMergeIntent *intent, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** They are as before, but the receivers of those of @merged (nullable) that are active now. May be done again. */
gboolean engine_mergeseal_close (EngineVm *vm, const EngineMergeIntent *intent, GPtrArray *merged, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
