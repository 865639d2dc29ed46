/*
 * What verbs that copy have in common: what they began may outlive the process that
 * began it.
 */
#include "engine/inflight.h"

#include "base/fiber.h"
#include "engine/error.h"

#include <unistd.h>

/* How long after the first Ctrl-C a second one still cancels. */
#define SECOND_THOUGHT_US (2 * G_USEC_PER_SEC)
#define SECOND_THOUGHT_STEP_US (20 * 1000)

gboolean
engine_inflight_check_outlives (const EngineVm *vm, gboolean goes_on, const char *what, const char *hint,
                                GError **error)
{
  if (vm->standin == NULL || !goes_on)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_USAGE, hint,
                    "VM '%s' is shut off: there is no QEMU in which the %s could go on", vm->record->name, what);
  return FALSE;
}

gboolean
engine_inflight_lose (const EngineOp *op, GError *why, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_INTERRUPTED, "run `chainctl recover` once QEMU answers, or is gone",
                    "%s; it is journalled as operation %s", why->message, op->id);
  g_error_free (why);
  return FALSE;
}

gboolean
engine_inflight_detach (EngineOp *op, GPtrArray *jobs, GError **error)
{
  return engine_job_refresh (op->vm, jobs, error) &&
         chains_journal_end (op->vm->context->db, op->id, CHAINS_OP_DETACHED, NULL, error);
}

static char *
hint_to_go_on (const EngineOp *op)
{
  const char *name = op->vm->record->name;

  return g_strdup_printf ("`chainctl job wait %s %.8s` goes on with it, `chainctl job cancel %s %.8s` ends it", name,
                          op->id, name, op->id);
}

gboolean
engine_inflight_is_same_qemu (const EngineVm *vm, gint64 qemu)
{
  return vm->monitor != NULL && (qemu == 0 || vm->qemu == 0 || vm->qemu == qemu);
}

gboolean
engine_inflight_is_over (EngineVm *vm, gint64 qemu, GPtrArray *jobs, gboolean *over, GError **error)
{
  *over = TRUE;
  if (!engine_inflight_is_same_qemu (vm, qemu))
    return TRUE;
  if (!engine_job_refresh (vm, jobs, error))
    return FALSE;
  for (guint i = 0; i < jobs->len; i++)
    *over = *over && !engine_job_is_listed (g_ptr_array_index (jobs, i));
  return TRUE;
}

EngineOp *
engine_inflight_take_over (EngineVm *vm, const ChainsOp *row, GError **error)
{
  g_autoptr (EngineOp) op = engine_op_new_of (vm, row->id);

  return chains_journal_take_over (vm->context->db, row->id, getpid (), row->boot, error) && engine_op_own (op, error)
             ? g_steal_pointer (&op)
             : NULL;
}

gboolean
engine_inflight_foresee_guard (EngineVm *vm, const EngineGuardPolicy *policy, EngineGuard **guard, GError **error)
{
  gboolean freezes = policy->quiesce != CHAINS_QUIESCE_OFF && vm->record->agent != NULL;

  if (freezes && policy->quiesce != CHAINS_QUIESCE_REQUIRE)
    return TRUE;
  *guard = engine_guard_new (vm, policy, error);
  if (*guard == NULL)
    return FALSE;
  if (freezes)
    g_clear_pointer (guard, engine_guard_free);
  else
    engine_guard_await (*guard);
  return TRUE;
}

gboolean
engine_inflight_prepare_guard (EngineVm *vm, const EngineGuardPolicy *policy, EngineGuard **guard, GError **error)
{
  if (*guard != NULL)
    return engine_guard_look_again (*guard, error);
  if (!engine_vm_refresh_state (vm, error))
    return FALSE;
  *guard = engine_guard_new (vm, policy, error);
  return *guard != NULL;
}

void
engine_inflight_plan_ending (EngineGuard *guard, const GPtrArray *jobs, const char *command)
{
  engine_guard_plan_before (guard);
  engine_job_plan_all (guard->vm, jobs, command);
  engine_guard_plan_after (guard);
}

gboolean
engine_inflight_set_refused (const EngineOp *op, const GError *refused, const char *stays, GError **error)
{
  g_autofree char *hint =
      g_strdup_printf ("`chainctl job complete %s %s`, with --quiesce auto if need be", op->vm->record->name, op->id);

  engine_error_set (error, (EngineError)refused->code, hint, "%s; all is copied, and operation %s %s", refused->message,
                    op->id, stays);
  return FALSE;
}

/* A second Ctrl-C, soon after the first; and a stand-in ends with us. */
static gboolean
is_to_be_cancelled (const EngineVm *vm)
{
  return vm->standin != NULL || g_cancellable_is_cancelled (vm->context->again);
}

/* The first Ctrl-C lets the jobs go on, where there is a QEMU in which they can; else it cancels them. */
static EngineInflight
interrupted (EngineOp *op, GPtrArray *jobs, GError **error)
{
  gint64 until_us = g_get_monotonic_time () + SECOND_THOUGHT_US;
  g_autofree char *hint = hint_to_go_on (op);
  gboolean cancel;
  GError *failure = NULL;

  op->vm->cancellable = NULL;
  while (!is_to_be_cancelled (op->vm) && g_get_monotonic_time () < until_us)
    base_fiber_sleep (SECOND_THOUGHT_STEP_US);
  cancel = is_to_be_cancelled (op->vm);
  if (!(cancel ? engine_job_cancel (op->vm, op->id, jobs, &failure) : engine_inflight_detach (op, jobs, &failure))) {
    engine_inflight_lose (op, failure, error);
    return ENGINE_INFLIGHT_LOST;
  }
  if (cancel)
    return ENGINE_INFLIGHT_CANCELLED;
  engine_error_set (error, ENGINE_ERROR_INTERRUPTED, hint, "VM '%s': interrupted; the operation %.8s goes on in QEMU",
                    op->vm->record->name, op->id);
  return ENGINE_INFLIGHT_LEFT;
}

/* QEMU lives, and its jobs go on, or it is gone: the next command sees which, and goes on with them, or recovers. */
static EngineInflight
lose_sight (EngineOp *op, GError *why, GError **error)
{
  g_autoptr (GError) lost = why;
  g_autofree char *hint = hint_to_go_on (op);
  GError *failure = NULL;

  if (op->vm->standin != NULL) {
    engine_inflight_lose (op, g_steal_pointer (&lost), error);
    return ENGINE_INFLIGHT_LOST;
  }
  if (!chains_journal_end (op->vm->context->db, op->id, CHAINS_OP_DETACHED, NULL, &failure)) {
    engine_inflight_lose (op, failure, error);
    return ENGINE_INFLIGHT_LOST;
  }
  if (engine_vm_has_died (op->vm->qemu))
    engine_error_set (error, ENGINE_ERROR_INTERRUPTED, "the next command puts that in order, or `chainctl recover`",
                      "VM '%s': QEMU is gone, and operation %.8s is interrupted", op->vm->record->name, op->id);
  else
    engine_error_set (error, ENGINE_ERROR_INTERRUPTED, hint,
                      "VM '%s': %s; where QEMU lives, operation %.8s goes on in it", op->vm->record->name,
                      lost->message, op->id);
  return ENGINE_INFLIGHT_LEFT;
}

EngineInflight
engine_inflight_wait (EngineOp *op, GPtrArray *jobs, EngineJobGoal goal, GError **error)
{
  GError *failure = NULL;

  if (engine_job_wait (op->vm, op->id, jobs, goal, &failure))
    return ENGINE_INFLIGHT_REACHED;
  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_error_free (failure);
    return interrupted (op, jobs, error);
  }
  return lose_sight (op, failure, error);
}
