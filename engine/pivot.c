/*
 * Moves the guest. Success is what the graph shows, never that a job ended without
 * an error: one that was cancelled says that too.
 */
#include "engine/pivot.h"

#include "base/point.h"
#include "qmp/error.h"

/* A VM that was paused before us has not flushed what was copied since. */
static gboolean
flush (const EnginePivot *pivot, gint64 deadline_us, GError **error)
{
  const EngineVm *vm = pivot->op->vm;
  const QmpWait wait = {deadline_us, NULL};

  return pivot->guard->stops || vm->standin != NULL || vm->daemon || qmp_commands_stop (vm->monitor, wait, error);
}

static GPtrArray *
find_obedient (const GPtrArray *jobs)
{
  GPtrArray *obedient = g_ptr_array_new ();

  for (guint i = 0; i < jobs->len; i++)
    if (!((const EngineJob *)g_ptr_array_index (jobs, i))->refused)
      g_ptr_array_add (obedient, g_ptr_array_index (jobs, i));
  return obedient;
}

/* One that QEMU refuses to end has not moved; the others end, and what became of them shows. */
static gboolean
end_jobs (const EnginePivot *pivot, gint64 deadline_us, GError **error)
{
  EngineOp *op = pivot->op;
  g_autoptr (GPtrArray) obedient = NULL;
  GError *failure = NULL;

  if (!engine_job_tell_all (op->vm, pivot->jobs, pivot->word, deadline_us, &failure) &&
      !qmp_error_forgive_refusal (failure, error))
    return FALSE;
  obedient = find_obedient (pivot->jobs);
  return engine_job_wait_until (op->vm, op->id, obedient, ENGINE_JOB_OVER, deadline_us, error);
}

/* The connection was lost and QEMU was not: what was said may not have been heard, and is said again. */
static gboolean
end_jobs_again (const EnginePivot *pivot, GError **error)
{
  EngineOp *op = pivot->op;
  gboolean pivoting;

  if (!engine_guard_reconnect (pivot->guard, error))
    return FALSE;
  if (op->vm->monitor != NULL)
    return engine_pivot_settle_jobs (op->vm, op->id, pivot->jobs, &pivoting, error);
  g_set_error (error, QMP_ERROR, QMP_ERROR_CLOSED, "VM '%s': QEMU is gone", op->vm->record->name);
  return FALSE;
}

static gboolean
end_and_record (const EnginePivot *pivot, gint64 deadline_us, GError **error)
{
  g_autoptr (GError) lost = NULL;

  if (!end_jobs (pivot, deadline_us, &lost) && (!engine_vm_is_gone (pivot->op->vm) || !end_jobs_again (pivot, NULL))) {
    g_propagate_error (error, g_steal_pointer (&lost));
    return FALSE;
  }
  return pivot->record (pivot->data, error);
}

/* The body of the guard: the VM is paused. From the step on, a death is settled by whoever comes next. */
static gboolean
move_guest (gpointer data, gint64 deadline_us, GError **error)
{
  const EnginePivot *pivot = data;

  if (!flush (pivot, deadline_us, error) ||
      (!base_point_is_mutant ("pivot-not-journalled") && !engine_op_step_durable (pivot->op, "pivoting", NULL, error)))
    return FALSE;
  if (end_and_record (pivot, deadline_us, error))
    return TRUE;
  pivot->guard->stays_paused = !engine_vm_is_gone (pivot->op->vm);
  return FALSE;
}

gboolean
engine_pivot_announce (EngineOp *op, const EngineGuard *guard, GError **error)
{
  g_autoptr (JsonObject) detail = json_object_new ();

  json_object_set_boolean_member (detail, "pauses", guard->stops);
  json_object_set_boolean_member (detail, "freezes", guard->wanted);
  return engine_op_step_durable (op, "switch", detail, error);
}

gboolean
engine_pivot_run (const EnginePivot *pivot, GError **error)
{
  /* Before anything stands still: whoever is told may be slow. */
  engine_job_tell_switch (pivot->op->vm, pivot->op->id, pivot->jobs);
  return engine_pivot_announce (pivot->op, pivot->guard, error) &&
         engine_guard_run (pivot->guard, move_guest, (gpointer)pivot, error);
}

void
engine_pivot_read_step (JsonObject *detail, gboolean *pauses, gboolean *freezes)
{
  *pauses = detail != NULL && json_object_get_boolean_member_with_default (detail, "pauses", FALSE);
  *freezes = detail != NULL && json_object_get_boolean_member_with_default (detail, "freezes", FALSE);
}

/* ---- by whoever comes next ---- */

static gboolean
say_last_word (EngineVm *vm, const EngineJob *job, GError **error)
{
  const char *command = g_str_equal (job->status, "ready")     ? "job-complete"
                        : g_str_equal (job->status, "pending") ? "job-finalize"
                                                               : NULL;
  GError *failure = NULL;

  return command == NULL || qmp_jobs_execute (vm->monitor, engine_vm_wait (vm), command, job->id, &failure) ||
         qmp_error_forgive_refusal (failure, error);
}

gboolean
engine_pivot_settle_jobs (EngineVm *vm, const char *op, GPtrArray *jobs, gboolean *pivoting, GError **error)
{
  if (!engine_op_find_step (vm->context, op, "pivoting", pivoting, NULL, error))
    return FALSE;
  if (!*pivoting)
    return TRUE;
  if (!engine_job_refresh (vm, jobs, error))
    return FALSE;
  for (guint i = 0; i < jobs->len; i++)
    if (!say_last_word (vm, g_ptr_array_index (jobs, i), error))
      return FALSE;
  return engine_job_wait_until (vm, op, jobs, ENGINE_JOB_OVER, engine_context_deadline (vm->context), error);
}
