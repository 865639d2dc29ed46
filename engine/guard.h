/*
 * The guard around the one moment that matters: freezes the guest, lets the
 * body switch what the guest writes to, thaws it again whatever happens.
 *
 *   status thawed -> freeze -> status frozen -> [stop ->] body [-> cont] -> thaw -> status thawed
 *
 * A watchdog process stands by from before the freeze until after the thaw.
 */
#pragma once

#include "chains/model.h"
#include "engine/watchdog.h"

/** From frozen to thaw is never more than this. */
#define ENGINE_GUARD_MAX_FROZEN_US (5 * G_USEC_PER_SEC)

/**
 * EngineGuardPolicy:
 * @freeze_timeout_us: how long the agent may take to freeze
 * @stops: the VM is paused around the body, frozen or not, where it runs: a frozen guest still writes to raw devices
 *     and to swap
 */
typedef struct {
  ChainsQuiesce quiesce;
  gint64 freeze_timeout_us;
  gboolean stops;
} EngineGuardPolicy;

/**
 * EngineGuard:
 * @consistency, @reason: what the moment was worth, and (nullable) why it was not worth more
 * @frozen_us: from the agent's freeze reply until it says that the guest is thawed, -1 where there was no freeze
 * @thawed_at_us: that moment, on g_get_monotonic_time()'s clock
 * @stops: it will be paused
 * @paused_us: from QEMU's answer to `stop` until its answer to `cont`, -1 where it was not paused
 * @was_reset: set by the body: the guest was reset, and there is nothing to thaw
 * @stays_paused: set by the body: it is not certain what the guest is to write to; the watchdog, or recovery, decides
 *     that before it runs again
 * @still_frozen: the guest could not be shown to be thawed; the watchdog goes on trying
 * @overtaken: (nullable): while it is being thawed; cancelled where the watchdog has acted, and may have read an answer
 *     that was ours
 */
typedef struct {
  EngineVm *vm;
  EngineGuardPolicy policy;
  EngineWatchdog *watchdog;
  GCancellable *overtaken;
  gboolean wanted;
  ChainsConsistency consistency;
  char *reason;
  gint64 frozen_us;
  gint64 thawed_at_us;
  gboolean stops;
  gint64 paused_us;
  gboolean was_reset;
  gboolean stays_paused;
  gboolean still_frozen;
} EngineGuard;

/** The switch. Must not wait past @deadline_us for anything. */
typedef gboolean (*EngineGuardBody) (gpointer data, gint64 deadline_us, GError **error);

/**
 * engine_guard_new:
 * Decides, outside the freeze, whether there will be one: asks the agent, starts the watchdog.
 * Under `require` raises %ENGINE_ERROR_NOT_QUIESCED or %ENGINE_ERROR_QUIESCE_TIMEOUT where there cannot be; under
 * `auto` that is a warning. A guest that someone else froze raises %ENGINE_ERROR_FROZEN_BY_OTHER.
 * @vm's agent session must have been started. Returns: (transfer full)
 */
EngineGuard *engine_guard_new (EngineVm *vm, const EngineGuardPolicy *policy, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** For a guard that is run later: until the process that stands by does, so that its start takes no time from what
 * is begun next. */
void engine_guard_await (EngineGuard *guard);

/**
 * engine_guard_look_again:
 * For a guard that was made some time before it is run: asks whether the VM runs or is paused now, and decides anew
 * what that decides. Raises what engine_guard_new() raises.
 */
gboolean engine_guard_look_again (EngineGuard *guard, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether @failure is one of engine_guard_new()'s: then the body was not run, and nothing was switched. */
gboolean engine_guard_is_refusal (const GError *failure);

/**
 * engine_guard_run:
 * Runs @body once, frozen if that was decided. Under `require` a freeze that fails raises what
 * engine_guard_new() raises, and @body is not run; under `auto` it is run without.
 * Returns: what @body returned. @guard's members tell the rest in either case.
 */
gboolean engine_guard_run (EngineGuard *guard, EngineGuardBody body, gpointer data, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_guard_reconnect:
 * For a body that has lost the monitor: opens it again, unless it was the watchdog that cut it, which then has brought
 * the guest back, or is about to: QEMU serves one client alone, and that has to be it. Raises %ENGINE_ERROR_FAILED
 * then, and what engine_vm_reconnect() raises.
 */
gboolean engine_guard_reconnect (EngineGuard *guard, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether the guest may still be frozen or paused by us: the operation then stays open. */
gboolean engine_guard_is_unsettled (const EngineGuard *guard);

/**
 * The same as an error, %ENGINE_ERROR_NOT_THAWED. @done: what is done all the same, in words; @hint
 * (nullable): what to run instead of a thaw by hand
 */
gboolean engine_guard_check_settled (const EngineGuard *guard, const char *done, const char *hint, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** In a dry run: what engine_guard_run() would say to agent and QEMU, before and after what the caller plans. */
void engine_guard_plan_before (EngineGuard *guard);
void engine_guard_plan_after (EngineGuard *guard);

void engine_guard_free (EngineGuard *guard);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineGuard, engine_guard_free)
