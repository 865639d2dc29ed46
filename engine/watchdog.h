/*
 * A process of ours that outlives us: it holds the monitor, the agent and the
 * VM's lock, and should we die, or a deadline pass, while it is armed, it
 * brings the guest back: runs it again if we paused it, once it is certain what
 * it is to write to, and thaws it.
 */
#pragma once

#include "engine/vm.h"

/** First argument of the program when it is started as a watchdog; `main` hands over to engine_watchdog_main(). */
#define ENGINE_WATCHDOG_ARGUMENT "--watchdog"

typedef struct _EngineWatchdog EngineWatchdog;

/**
 * EngineWatchdogRescue:
 * @vm: paused, connected; the lock is held by the caller
 * @was_reset: (out): the guest was reset: nothing of it is frozen
 * Makes certain, and writes down, what the guest is to write to. %FALSE: it must not run again.
 */
typedef gboolean (*EngineWatchdogRescue) (EngineVm *vm, gboolean *was_reset, GError **error);

/**
 * engine_watchdog_start:
 * Starts the process and returns at once. @vm's sessions must be open, and stay so until it is stopped.
 * Returns: (transfer full)
 */
EngineWatchdog *engine_watchdog_start (const EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Until it stands by, or it is known that it does not, which arming raises. */
void engine_watchdog_await (EngineWatchdog *watchdog);

/**
 * engine_watchdog_arm:
 * @deadline_us: on g_get_monotonic_time()'s clock
 * @resume: the VM is about to be paused by us: to be rescued, and `cont`, before the thaw
 * Returns when the watchdog has answered; raises %ENGINE_ERROR_FAILED where it is not alive, is at work, or has acted.
 * May be called again with a new deadline.
 */
gboolean engine_watchdog_arm (EngineWatchdog *watchdog, gint64 deadline_us, gboolean resume, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_watchdog_extend:
 * A new deadline for one that is armed, without waiting for its answer: for the moment in which the guest stands still.
 * That it had acted meanwhile, or is gone, shows at the next order. Raises %ENGINE_ERROR_FAILED where it is gone
 * already.
 */
gboolean engine_watchdog_extend (EngineWatchdog *watchdog, gint64 deadline_us, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_watchdog_disarm:
 * The guest is back. %FALSE where the watchdog had acted already (the deadline had passed) or is gone. One that acted
 * in the place of a parent which had the VM paused, and hung, has cut the parent's monitor and marked the operation as
 * overtaken (engine_op_refuse_overtaken()): engine_vm_reconnect(), and see what is true now.
 */
gboolean engine_watchdog_disarm (EngineWatchdog *watchdog);

/** Ends the process where it is not armed; where it is, lets go of it: it then acts. */
void engine_watchdog_stop (EngineWatchdog *watchdog);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineWatchdog, engine_watchdog_stop)

/** The process itself. @words: (array zero-terminated=1): its arguments, as they were given by us. Returns its exit
 * status. */
int engine_watchdog_main (char **words, EngineWatchdogRescue rescue);
