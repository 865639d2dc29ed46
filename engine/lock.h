/*
 * One operation per VM: a file per VM in the state directory, held by flock(2)
 * so that the kernel lets go at any death, with the holder's story in it.
 */
#pragma once

#include "engine/context.h"

#include <sys/types.h>

typedef struct _EngineLock EngineLock;

/**
 * engine_lock_take:
 * @verb: what the lock is for, told to whoever is refused
 *
 * Takes @vm's lock, waiting as the context says; for a watchdog that outlived its
 * parent, which ends by itself, it waits in any case. A dry run only looks.
 * Raises %ENGINE_ERROR_HELD naming the holder's pid, verb and since when.
 *
 * Returns: (transfer full)
 */
EngineLock *engine_lock_take (EngineContext *context, const char *vm, const char *verb, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
void engine_lock_release (EngineLock *lock);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineLock, engine_lock_release)

/** Makes the folder of the locks, and gives it to the group of the configuration (mode 2770). */
gboolean engine_lock_share (const EngineContext *context, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Lets go, and removes the file: for a VM that is forgotten. */
void engine_lock_retire (EngineLock *lock);

/** Notes that process @helper (the watchdog) shares the lock, and may keep it for a while after we are gone. */
void engine_lock_note_helper (EngineLock *lock, pid_t helper);

/** The descriptor, for the guard's helper to hold too; -1 in a dry run. Stays the lock's. */
int engine_lock_get_fd (const EngineLock *lock);
