/*
 * Merges whose process is dead: brought to an end, as QEMU, headers and journal
 * tell what they came to.
 */
#pragma once

#include "engine/mergeintent.h"

/**
 * engine_mergerecover_run:
 * @row: open, or detached with nobody to go on with it
 * @finished: (out): every disk is merged; else none, or not all, are
 * @message: (out) (transfer full): for a person
 * Before the pivot, jobs that still run are cancelled; from there on it rolls forward. What was never started is as if
 * it had never been asked for. Raises QMP_ERROR's, %ENGINE_ERROR_REFUSED where headers cannot be read.
 */
gboolean engine_mergerecover_run (EngineVm *vm, const ChainsOp *row, gboolean *finished, char **message, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_mergerecover_is_over:
 * Whether nobody will go on with the detached operation @row by itself: its QEMU is gone, or none of its jobs is there.
 */
gboolean engine_mergerecover_is_over (EngineVm *vm, const ChainsOp *row, gboolean *over, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
