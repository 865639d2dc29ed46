/*
 * Freeze, switch, thaw. Believes no single answer of the agent: each step is
 * checked by asking for the status, and what cannot be shown to have been
 * frozen throughout is called crash-consistent.
 */
#include "engine/guard.h"

#include "base/fiber.h"
#include "base/point.h"
#include "engine/error.h"
#include "qmp/error.h"

/* How long the agent may take to say "frozen" or "thawed" around the switch. */
#define STATUS_US (G_USEC_PER_SEC)
#define THAW_US (10 * G_USEC_PER_SEC)
#define BEAT_MS 1000
/* How long the runs on other VMs stand back for one whose guest is frozen. */
#define URGENT_US (250 * 1000)
#define THAW_PAUSE_US (50 * 1000)

/* ---- before the freeze ---- */

static void
set_reason (EngineGuard *guard, const char *reason)
{
  guard->wanted = FALSE;
  guard->consistency = CHAINS_CONSISTENCY_CRASH;
  g_free (guard->reason);
  guard->reason = g_strdup (reason);
}

/* There will be no freeze: an error under `require`, under `auto` a warning (@code nullable: not worth one). */
static gboolean
do_without (EngineGuard *guard, const char *code, const char *reason, gboolean silent, GError **error)
{
  const char *name = guard->vm->record->name;
  g_autofree char *hint = g_strdup_printf ("see `chainctl guest %s ping`; --quiesce auto goes on without", name);

  set_reason (guard, reason);
  if (guard->policy.quiesce == CHAINS_QUIESCE_REQUIRE) {
    engine_error_set (error, silent ? ENGINE_ERROR_QUIESCE_TIMEOUT : ENGINE_ERROR_NOT_QUIESCED, hint,
                      "VM '%s' cannot be quiesced: %s; nothing was changed", name, reason);
    return FALSE;
  }
  if (code != NULL)
    engine_context_warn (guard->vm->context, code, "VM '%s' is not quiesced: %s", name, reason);
  return TRUE;
}

/* What a failed call to the agent means to a person. Returns: (transfer full) */
static char *
explain (const GError *failure, const char *doing)
{
  if (g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND))
    return g_strdup_printf ("the agent does not allow %s (%s); allow it in the guest, in the [general] section of "
                            "/etc/qemu/qemu-ga.conf: take it off the line 'block-rpcs=' (older: 'blacklist=')",
                            doing, failure->message);
  return g_strdup_printf ("%s: %s", doing, failure->message);
}

static gboolean
is_silence (const GError *failure)
{
  return g_error_matches (failure, QMP_ERROR, QMP_ERROR_TIMEOUT) ||
         g_error_matches (failure, QMP_ERROR, QMP_ERROR_BUSY);
}

static gboolean
do_without_agent (EngineGuard *guard, const GError *failure, const char *doing, GError **error)
{
  g_autofree char *reason = explain (failure, doing);
  gboolean silent = is_silence (failure);

  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_propagate_error (error, g_error_copy (failure));
    return FALSE;
  }

  return do_without (guard, silent ? "agent-silent" : "agent-failed", reason, silent, error);
}

/* The guest has to be thawed now, or somebody else is at work in it. */
static gboolean
check_thawed (EngineGuard *guard, GError **error)
{
  EngineVm *vm = guard->vm;
  QmpQgaFreezeState state;
  g_autoptr (GError) failure = NULL;
  g_autofree char *hint = NULL;

  if (!qmp_qga_fsfreeze_status (vm->agent, engine_context_deadline (vm->context), vm->cancellable, &state, &failure))
    return do_without_agent (guard, failure, "guest-fsfreeze-status", error);
  if (state == QMP_QGA_THAWED)
    return TRUE;
  hint =
      g_strdup_printf ("wait for whoever froze it, or end it by hand with `chainctl guest %s thaw`", vm->record->name);
  engine_error_set (error, ENGINE_ERROR_FROZEN_BY_OTHER, hint,
                    "VM '%s': its file systems are frozen, and not by us; left so", vm->record->name);
  return FALSE;
}

static gboolean
do_without_paused (EngineGuard *guard, GError **error)
{
  return do_without (guard, "not-quiesced", "it is paused, so its agent cannot answer", FALSE, error);
}

static gboolean
decide (EngineGuard *guard, GError **error)
{
  EngineVm *vm = guard->vm;

  if (vm->standin != NULL) {
    guard->consistency = CHAINS_CONSISTENCY_OFFLINE;
    return TRUE;
  }
  if (guard->policy.quiesce == CHAINS_QUIESCE_OFF) {
    set_reason (guard, "quiescing is off");
    return TRUE;
  }
  if (vm->record->agent == NULL)
    return do_without (guard, NULL, "no agent is registered", FALSE, error);
  if (vm->state == ENGINE_VM_PAUSED)
    return do_without_paused (guard, error);
  if (!engine_vm_finish_agent (vm))
    return do_without_agent (guard, vm->agent_failure, "its agent does not answer", error);
  guard->wanted = TRUE;
  return check_thawed (guard, error);
}

static gboolean
will_stop (const EngineGuard *guard)
{
  const EngineVm *vm = guard->vm;

  return guard->policy.stops && vm->standin == NULL && !vm->daemon && vm->state == ENGINE_VM_RUNNING;
}

/* No guest stands still by us without one. */
static gboolean
ensure_watchdog (EngineGuard *guard, GError **error)
{
  if ((!guard->wanted && !guard->stops) || guard->watchdog != NULL || guard->vm->context->dry_run)
    return TRUE;
  guard->watchdog = engine_watchdog_start (guard->vm, error);
  return guard->watchdog != NULL;
}

EngineGuard *
engine_guard_new (EngineVm *vm, const EngineGuardPolicy *policy, GError **error)
{
  g_autoptr (EngineGuard) guard = g_new0 (EngineGuard, 1);

  guard->vm = vm;
  guard->policy = *policy;
  guard->frozen_us = -1;
  guard->paused_us = -1;
  guard->stops = will_stop (guard);
  return decide (guard, error) && ensure_watchdog (guard, error) ? g_steal_pointer (&guard) : NULL;
}

void
engine_guard_await (EngineGuard *guard)
{
  if (guard->watchdog != NULL)
    engine_watchdog_await (guard->watchdog);
}

gboolean
engine_guard_look_again (EngineGuard *guard, GError **error)
{
  EngineVm *vm = guard->vm;

  if (!engine_vm_refresh_state (vm, error))
    return FALSE;
  guard->stops = will_stop (guard);
  if (guard->wanted && vm->state == ENGINE_VM_PAUSED && !do_without_paused (guard, error))
    return FALSE;
  return ensure_watchdog (guard, error);
}

gboolean
engine_guard_is_refusal (const GError *failure)
{
  return g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_NOT_QUIESCED) ||
         g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_QUIESCE_TIMEOUT) ||
         g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_FROZEN_BY_OTHER);
}

void
engine_guard_free (EngineGuard *guard)
{
  if (guard == NULL)
    return;
  g_clear_pointer (&guard->watchdog, engine_watchdog_stop);
  g_free (guard->reason);
  g_free (guard);
}

/* ---- the heart ---- */

static gboolean
beat (gpointer data)
{
  EngineGuard *guard = data;
  gint64 until_us = g_get_monotonic_time () + ENGINE_GUARD_MAX_FROZEN_US - BEAT_MS * 1000;

  if (engine_watchdog_arm (guard->watchdog, until_us, FALSE, NULL))
    return G_SOURCE_CONTINUE;
  if (guard->overtaken != NULL)
    g_cancellable_cancel (guard->overtaken);
  return G_SOURCE_REMOVE;
}

/* While the agent freezes or thaws we show the watchdog that we live: only one of us may talk to the agent, and should
 * we hang, it has to be the watchdog, in time. Should we wake up then, we wait for it before we read what the agent
 * says: hence the priority. */
static GSource *
start_heart (EngineGuard *guard)
{
  GSource *heart = g_timeout_source_new (BEAT_MS);

  g_source_set_priority (heart, G_PRIORITY_HIGH);
  g_source_set_callback (heart, beat, guard, NULL);
  g_source_attach (heart, g_main_context_get_thread_default ());
  return heart;
}

static void
stop_heart (GSource *heart)
{
  g_source_destroy (heart);
  g_source_unref (heart);
}

/* ---- after the freeze, whatever it did ---- */

/* What a thaw came to. @GONE: QEMU is gone, and its guest. */
typedef enum { THAWED, STILL_FROZEN, GONE } Thawed;

/* One thaw and one look. %TRUE once the agent says that it is thawed. @count is what the first thaw had to thaw. */
static gboolean
thaw_once (QmpQga *agent, gint64 until_us, GCancellable *overtaken, gint64 *count, GError **error)
{
  QmpQgaFreezeState state;
  gint64 thawed = 0;

  if (!qmp_qga_fsfreeze_thaw (agent, until_us, overtaken, &thawed, error))
    return FALSE;
  *count = MAX (*count, thawed);
  return qmp_qga_fsfreeze_status (agent, until_us, overtaken, &state, error) && state == QMP_QGA_THAWED;
}

/* A channel that closed is opened again: the guest behind it may well be there. */
static void
reopen (EngineVm *vm, gint64 until_us)
{
  if (!engine_vm_reopen_agent (vm, until_us))
    g_debug ("agent: %s", vm->agent_failure->message);
}

/* Ctrl-C must not keep us from thawing; @overtaken makes us begin again. */
static Thawed
thaw (EngineVm *vm, GCancellable *overtaken, gint64 *count)
{
  gint64 until_us = g_get_monotonic_time () + THAW_US;

  for (;;) {
    g_autoptr (GError) failure = NULL;

    if (vm->agent != NULL && thaw_once (vm->agent, until_us, overtaken, count, &failure))
      return THAWED;
    g_cancellable_reset (overtaken);
    if (engine_vm_is_gone (vm))
      return GONE;
    if (g_get_monotonic_time () > until_us)
      return STILL_FROZEN;
    base_fiber_sleep (THAW_PAUSE_US);
    if (vm->agent == NULL || g_error_matches (failure, QMP_ERROR, QMP_ERROR_CLOSED))
      reopen (vm, until_us);
  }
}

/* Thaws; where that cannot be shown, the watchdog stays armed and goes on when we are gone. */
static gboolean
bring_back (EngineGuard *guard, gint64 *count)
{
  GCancellable *cancellable = guard->vm->cancellable;
  GSource *heart;
  Thawed thawed;

  *count = 0;
  if (base_point_is_mutant ("thaw-skipped"))
    return engine_watchdog_disarm (guard->watchdog);
  guard->vm->cancellable = NULL;
  guard->overtaken = g_cancellable_new ();
  heart = start_heart (guard);
  thawed = thaw (guard->vm, guard->overtaken, count);
  stop_heart (heart);
  g_clear_object (&guard->overtaken);
  base_fiber_set_urgent (0);
  guard->vm->cancellable = cancellable;
  guard->thawed_at_us = g_get_monotonic_time ();
  guard->still_frozen = thawed == STILL_FROZEN;
  if (guard->still_frozen)
    engine_context_warn (guard->vm->context, "still-frozen",
                         "VM '%s': its agent does not say that it is thawed; a process of ours goes on trying for two "
                         "minutes, then see `chainctl guest %s thaw`",
                         guard->vm->record->name, guard->vm->record->name);
  return !guard->still_frozen && engine_watchdog_disarm (guard->watchdog) && thawed == THAWED;
}

/* ---- the freeze ---- */

static gboolean
freeze (EngineGuard *guard, gint64 *frozen_at_us, GError **error)
{
  EngineVm *vm = guard->vm;
  gint64 deadline_us = g_get_monotonic_time () + guard->policy.freeze_timeout_us;
  GSource *heart = start_heart (guard);
  QmpQgaFreezeState state;
  gint64 count = 0;
  gboolean frozen = qmp_qga_fsfreeze_freeze (vm->agent, deadline_us, vm->cancellable, &count, error);

  stop_heart (heart);
  if (!frozen)
    return FALSE;
  *frozen_at_us = g_get_monotonic_time ();
  base_fiber_set_urgent (URGENT_US);
  if (!engine_watchdog_extend (guard->watchdog, *frozen_at_us + ENGINE_GUARD_MAX_FROZEN_US, error) ||
      !qmp_qga_fsfreeze_status (vm->agent, *frozen_at_us + STATUS_US, vm->cancellable, &state, error))
    return FALSE;
  if (state == QMP_QGA_FROZEN && count > 0)
    return TRUE;
  g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "%s",
               state == QMP_QGA_FROZEN ? "the agent found no file system to freeze"
                                       : "the agent said that it froze, and then that it had not");
  return FALSE;
}

/* ---- the pause ---- */

static QmpWait
wait_for_qemu (void)
{
  return (QmpWait){g_get_monotonic_time () + ENGINE_GUARD_MAX_FROZEN_US, NULL};
}

gboolean
engine_guard_reconnect (EngineGuard *guard, GError **error)
{
  gint64 until_us = g_get_monotonic_time () + ENGINE_GUARD_MAX_FROZEN_US;

  return (guard->watchdog == NULL || engine_watchdog_arm (guard->watchdog, until_us, guard->stops, error)) &&
         engine_vm_reconnect (guard->vm, error);
}

/* A connection that is lost is opened again: QEMU may live on without it. Where QEMU is gone, so is the pause. */
static gboolean
let_go_on (EngineGuard *guard, GError **error)
{
  EngineVm *vm = guard->vm;

  for (guint attempt = 0;; attempt++) {
    g_autoptr (GError) failure = NULL;

    if (engine_vm_is_gone (vm) && !engine_guard_reconnect (guard, error))
      return FALSE;
    if (vm->monitor == NULL || qmp_commands_cont (vm->monitor, wait_for_qemu (), &failure))
      return TRUE;
    if (attempt == 0 && engine_vm_is_gone (vm))
      continue;
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
}

/* A `stop` that was not answered may have happened all the same. */
static gboolean
pause_vm (EngineGuard *guard, gint64 deadline_us, GError **error)
{
  QmpWait wait = wait_for_qemu ();

  if (!engine_watchdog_arm (guard->watchdog, deadline_us, TRUE, error))
    return FALSE;
  if (qmp_commands_stop (guard->vm->monitor, wait, error))
    return TRUE;
  guard->stays_paused = !let_go_on (guard, NULL) && !engine_vm_is_gone (guard->vm);
  return FALSE;
}

/* QEMU may have gone meanwhile, which the body or whoever comes next learns by itself. */
static void
resume_vm (EngineGuard *guard)
{
  g_autoptr (GError) failure = NULL;
  gint64 until_us = g_get_monotonic_time () + ENGINE_GUARD_MAX_FROZEN_US;

  if (!engine_watchdog_extend (guard->watchdog, until_us, &failure) || !let_go_on (guard, &failure))
    guard->stays_paused = !engine_vm_is_gone (guard->vm);
  if (guard->stays_paused)
    engine_context_warn (guard->vm->context, "still-paused",
                         "VM '%s' could not be made to go on (%s); see `chainctl "
                         "recover %s`",
                         guard->vm->record->name, failure != NULL ? failure->message : "no watchdog",
                         guard->vm->record->name);
}

/* The body, the VM paused around it where that was decided. */
static gboolean
run_body (EngineGuard *guard, EngineGuardBody body, gpointer data, gint64 deadline_us, GError **error)
{
  gint64 paused_at_us;
  gboolean done;

  if (!guard->stops)
    return body (data, deadline_us, error);
  if (!pause_vm (guard, deadline_us + STATUS_US, error))
    return FALSE;
  paused_at_us = g_get_monotonic_time ();
  done = body (data, deadline_us, error);
  if (!guard->stays_paused)
    resume_vm (guard);
  guard->paused_us = g_get_monotonic_time () - paused_at_us;
  return done;
}

/* Without a freeze, or not frozen at all. */
static gboolean
run_unfrozen (EngineGuard *guard, EngineGuardBody body, gpointer data, GError **error)
{
  gint64 deadline_us = guard->stops ? g_get_monotonic_time () + ENGINE_GUARD_MAX_FROZEN_US - STATUS_US
                                    : engine_context_deadline (guard->vm->context);
  gboolean done = run_body (guard, body, data, deadline_us, error);

  if (guard->stops && !guard->stays_paused && !engine_watchdog_disarm (guard->watchdog))
    engine_context_warn (guard->vm->context, "watchdog-acted",
                         "VM '%s' was paused for so long that the process that "
                         "stands by made it go on",
                         guard->vm->record->name);
  return done;
}

static gboolean
freeze_failed (EngineGuard *guard, const GError *failure, GError **error)
{
  gint64 count;

  /* A freeze that failed or was not answered may have frozen all the same. */
  bring_back (guard, &count);
  return do_without_agent (guard, failure, "guest-fsfreeze-freeze", error);
}

/* After a reset nothing of the guest is frozen; paused, its agent could not be told. */
static void
leave_frozen (EngineGuard *guard, gint64 frozen_at_us)
{
  base_fiber_set_urgent (0);
  guard->thawed_at_us = g_get_monotonic_time ();
  guard->frozen_us = guard->thawed_at_us - frozen_at_us;
  guard->consistency = CHAINS_CONSISTENCY_FILESYSTEM;
  if (guard->stays_paused || !engine_watchdog_disarm (guard->watchdog))
    set_reason (guard, "the guest had to be brought back before the switch was known to be done");
}

static gboolean
run_frozen (EngineGuard *guard, EngineGuardBody body, gpointer data, gint64 frozen_at_us, GError **error)
{
  gint64 deadline_us = frozen_at_us + ENGINE_GUARD_MAX_FROZEN_US - STATUS_US;
  gboolean switched = run_body (guard, body, data, deadline_us, error);
  gboolean in_time = g_get_monotonic_time () < frozen_at_us + ENGINE_GUARD_MAX_FROZEN_US;
  gint64 thawed_count = 0;
  gboolean undisturbed;

  if (guard->stays_paused || guard->was_reset) {
    leave_frozen (guard, frozen_at_us);
    return switched;
  }
  undisturbed = bring_back (guard, &thawed_count);
  guard->frozen_us = guard->thawed_at_us - frozen_at_us;
  guard->consistency = CHAINS_CONSISTENCY_FILESYSTEM;
  if (guard->still_frozen)
    return switched;
  if (!switched || !undisturbed || !in_time)
    set_reason (guard, "the guest had to be thawed before the switch was known to be done");
  else if (thawed_count == 0)
    set_reason (guard, "the guest had thawed by itself before it was told to");
  return switched;
}

gboolean
engine_guard_run (EngineGuard *guard, EngineGuardBody body, gpointer data, GError **error)
{
  g_autoptr (GError) failure = NULL;
  gint64 frozen_at_us = 0;
  gint64 armed_until_us = g_get_monotonic_time () + ENGINE_GUARD_MAX_FROZEN_US;

  if (!guard->wanted && !guard->stops)
    return run_unfrozen (guard, body, data, error);
  if (!base_point_is_mutant ("watchdog-armed-late") &&
      !engine_watchdog_arm (guard->watchdog, armed_until_us, FALSE, error))
    return FALSE;
  if (!guard->wanted)
    return run_unfrozen (guard, body, data, error);
  if (freeze (guard, &frozen_at_us, &failure))
    return run_frozen (guard, body, data, frozen_at_us, error);
  if (!freeze_failed (guard, failure, error))
    return FALSE;
  return run_unfrozen (guard, body, data, error);
}

gboolean
engine_guard_is_unsettled (const EngineGuard *guard)
{
  return guard->still_frozen || guard->stays_paused;
}

gboolean
engine_guard_check_settled (const EngineGuard *guard, const char *done, const char *hint, GError **error)
{
  const char *name = guard->vm->record->name;
  g_autofree char *thaw = g_strdup_printf ("run `chainctl guest %s thaw`", name);

  if (!engine_guard_is_unsettled (guard))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_NOT_THAWED, hint != NULL ? hint : thaw,
                    "VM '%s': it is %s, but the guest may still stand still", name, done);
  return FALSE;
}

void
engine_guard_plan_before (EngineGuard *guard)
{
  if (guard->wanted)
    engine_context_plan (guard->vm->context, "agent", "guest-fsfreeze-freeze", NULL);
  if (guard->stops)
    engine_context_plan (guard->vm->context, "qemu", "stop", NULL);
}

void
engine_guard_plan_after (EngineGuard *guard)
{
  if (guard->stops)
    engine_context_plan (guard->vm->context, "qemu", "cont", NULL);
  if (guard->wanted)
    engine_context_plan (guard->vm->context, "agent", "guest-fsfreeze-thaw", NULL);
}
