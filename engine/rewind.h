/*
 * Devices moved from the nodes that they are on to others, and back: all of them
 * or none. The VM is paused meanwhile.
 */
#pragma once

#include "engine/intent.h"

/**
 * engine_rewind_switch:
 * @stuck: (out): some device was moved and could not be moved back
 * Every device of @intent goes on its overlay's node, and those that might only say so are looked at; that is a step of
 * @op on the disk by the time that this returns. QAPI: qom-set, query-block. Raises QMP_ERROR's,
 * %ENGINE_ERROR_UNSUPPORTED where a device says yes and does nothing, %ENGINE_ERROR_INTERRUPTED where the watchdog has
 * taken @op over; then each is where it was.
 */
gboolean engine_rewind_switch (EngineOp *op, const EngineIntent *intent, gint64 deadline_us, gboolean *stuck,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_rewind_is_written:
 * Whether operation @op has that step, and has not taken it back. Without it, it has not happened. With it, it has
 * where QEMU is gone, since nothing was written to either image before all was known; while QEMU lives, its devices
 * tell.
 */
gboolean engine_rewind_is_written (EngineVm *vm, const char *op, gboolean *written, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The way back, for those that are not where they were; the step is taken back before that. May be run again. */
gboolean engine_rewind_put_back (EngineOp *op, const EngineIntent *intent, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_rewind_reset:
 * Resets the paused guest, also where QEMU was told to end at a reboot, and returns once it was. It runs from its
 * firmware on with the next `cont`. QAPI: system_reset, set-action.
 */
gboolean engine_rewind_reset (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_rewind_end_reset:
 * Behind engine_rewind_reset(), once the VM runs: a reboot ends QEMU again where it was told so; firmware may reset a
 * second time before that. What does not succeed is a warning. QAPI: set-action
 */
void engine_rewind_end_reset (EngineVm *vm);

/**
 * engine_rewind_settle:
 * @op: of which @intent is; its process died, or hangs, with the VM paused
 * @was_reset: (out)
 * Where it is written, and each device is on its overlay's node, it has happened, and the guest is reset if that was to
 * be; else the devices go back. Then the guest may run again. May be run again itself.
 */
gboolean engine_rewind_settle (EngineOp *op, const EngineIntent *intent, gboolean *was_reset, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
