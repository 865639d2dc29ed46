/*
 * Recovery of mirrors whose process is dead, or that went on in QEMU and are over.
 * Called by engine/recover alone, which has brought the guest back.
 */
#pragma once

#include "chains/journal.h"
#include "engine/vm.h"

/**
 * engine_mirrorrecover_run:
 * @finished: (out): it had been done
 * @message: (out) (transfer full)
 * Where the guest is on the copies, that is recorded; copies that had been ended in step, or were followed until QEMU
 * died, are kept; all others are taken back. May be run again.
 */
gboolean engine_mirrorrecover_run (EngineVm *vm, const ChainsOp *row, gboolean *finished, char **message,
                                   GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether the detached operation @row does not go on any more: its QEMU, or all of its jobs, are gone. */
gboolean engine_mirrorrecover_is_over (EngineVm *vm, const ChainsOp *row, gboolean *over, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
