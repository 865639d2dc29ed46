/*
 * Merges: what `commit` and `stream` are made of. A merge moves the data of a
 * run of images of one disk into one of them; an operation does so on one or
 * several disks, and changes their graphs at one moment.
 *
 *   commit   [A] <- [B] <- [C] <- [D]   B..C into A:   [A'] <- [D]
 *   stream   [A] <- [B] <- [C] <- [D]   B..C into D:   [A] <- [D']
 */
#pragma once

#include "engine/inflight.h"
#include "engine/mergeplan.h"
#include "engine/mergeresult.h"

/**
 * engine_merge_run:
 * @intent: (transfer none): planned; nothing is begun
 * The whole operation, from its journal row to its end, or until it goes on without us.
 * @result: (out) (nullable) (transfer full): set where anything was begun
 * Raises %ENGINE_ERROR_INTERRUPTED where Ctrl-C let it go on in QEMU, %ENGINE_ERROR_PARTLY where it was begun and not
 * done, or on some disks alone; QMP_ERROR's and CHAINS_ERROR's.
 */
gboolean engine_merge_run (EngineOp *op, EngineMergeIntent *intent, const EngineInflightManner *manner,
                           EngineMergeResult **result, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** In a dry run: what it would send, and what would be then. */
gboolean engine_merge_pretend (EngineOp *op, EngineMergeIntent *intent, const EngineInflightManner *manner,
                               EngineMergeResult **result, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Goes on with the operation @row of @vm, which is detached; @vm is connected, and its lock ours. */
gboolean engine_merge_continue (EngineVm *vm, const ChainsOp *row, EngineInflightAim aim,
                                const EngineInflightManner *manner, EngineMergeResult **result, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
