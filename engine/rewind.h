/*
 * Devices moved from the nodes that they are on to others, and back: all of them
 * or none. The VM is paused meanwhile.
 */
#pragma once

#include "engine/intent.h"

/**
 * engine_rewind_switch:
 * @stuck: (out): some device was moved and could not be moved back
 * Every device of @intent goes on its overlay's node, and each is asked for afterwards.
 * QAPI: qom-set, query-block. Raises QMP_ERROR's, %ENGINE_ERROR_UNSUPPORTED where a device says yes and does nothing.
 */
gboolean engine_rewind_switch (EngineVm *vm, const EngineIntent *intent, gint64 deadline_us, gboolean *stuck,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The way back, for those that are not where they were. May be run again. */
gboolean engine_rewind_put_back (EngineVm *vm, const EngineIntent *intent, GError **error) G_GNUC_WARN_UNUSED_RESULT;

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
 * @op: of which @intent is; died, or hangs, with @vm paused
 * @was_reset: (out)
 * What is recorded has happened: the guest is reset where that was to be. What is not has not: the devices go back.
 * Then the guest may run again. May be run again itself.
 */
gboolean engine_rewind_settle (EngineVm *vm, const EngineIntent *intent, gboolean *was_reset, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
