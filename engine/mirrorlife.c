/*
 * The life of a mirror: journalled, opened, started, waited for; then ended in step,
 * or left in step, or the guest is moved. What is not kept is taken back.
 */
#include "engine/mirrorlife.h"

#include "chains/snapshots.h"
#include "engine/ending.h"
#include "engine/error.h"
#include "engine/inflight.h"
#include "engine/mirrorend.h"
#include "engine/notebook.h"
#include "engine/overlayfile.h"
#include "engine/pivot.h"
#include "qmp/error.h"

#define VERB "mirror"

typedef struct {
  EngineOp *op;
  EngineVm *vm;
  EngineMirrorIntent *intent;
  EngineInflightManner manner;
  EngineGuard *guard;
  GPtrArray *jobs;
  GPtrArray *moved;
  EngineIntent *left;
  EngineMirrorResult *result;
} Run;

static void
run_clear (Run *run)
{
  g_clear_pointer (&run->guard, engine_guard_free);
  g_clear_pointer (&run->jobs, g_ptr_array_unref);
  g_clear_pointer (&run->moved, g_ptr_array_unref);
  g_clear_pointer (&run->left, engine_intent_free);
  g_clear_pointer (&run->result, engine_mirrorresult_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

/* What is to be one point in time of several disks, or to be left, is not written to meanwhile. */
static void
run_init (Run *run, EngineOp *op, EngineMirrorIntent *intent, const EngineInflightManner *manner)
{
  run->op = op;
  run->vm = op->vm;
  run->intent = intent;
  run->manner = *manner;
  run->manner.guard.stops = intent->goal == ENGINE_MIRROR_PIVOT || intent->copies->overlays->len > 1;
  run->jobs = engine_mirrorintent_jobs (intent, op->id);
  run->moved = g_ptr_array_new ();
  run->result = engine_mirrorresult_new (op, intent);
}

static const EngineJob *
first_failed (const GPtrArray *jobs)
{
  for (guint i = 0; i < jobs->len; i++)
    if (engine_job_has_failed (g_ptr_array_index (jobs, i)))
      return g_ptr_array_index (jobs, i);
  return NULL;
}

/* ---- taken back ---- */

/* Nothing of it is kept: jobs end, copies go, the operation is as if it had not been. */
static gboolean
take_back (Run *run, const char *why, GError **error)
{
  g_autoptr (GPtrArray) none = g_ptr_array_new ();
  g_autoptr (EngineIntent) left = engine_mirrorend_split (run->intent, none);

  run->vm->cancellable = NULL;
  return engine_mirrorend_cut (run->vm, left, error) && engine_job_cancel (run->vm, run->op->id, run->jobs, error) &&
         engine_job_dismiss (run->vm, run->jobs, error) &&
         engine_ending_undo (run->vm, run->op->id, left, NULL, FALSE, error) &&
         engine_mirrorend_forget_credentials (run->vm, run->intent, error) &&
         chains_journal_end (run->vm->context->db, run->op->id, CHAINS_OP_UNDONE, why, error);
}

static gboolean
is_loss (const GError *why)
{
  return g_error_matches (why, QMP_ERROR, QMP_ERROR_CLOSED) || g_error_matches (why, QMP_ERROR, QMP_ERROR_TIMEOUT);
}

/* @why: (transfer full): raised, once all is taken back */
static gboolean
fail (Run *run, GError *why, GError **error)
{
  GError *failure = NULL;

  if (is_loss (why))
    return engine_inflight_lose (run->op, why, error);
  if (!take_back (run, why->message, &failure)) {
    g_error_free (why);
    return engine_inflight_lose (run->op, failure, error);
  }
  g_clear_pointer (&run->result, engine_mirrorresult_free);
  g_propagate_error (error, why);
  return FALSE;
}

static GError *
explain_failed (const Run *run, const EngineJob *job)
{
  GError *why = NULL;

  engine_error_set (&why, ENGINE_ERROR_FAILED, "see QEMU's log, and the other end's",
                    "VM '%s', disk '%s': its copy %s%s; nothing was changed", run->vm->record->name, job->disk,
                    job->error != NULL ? "failed: " : "was cancelled by somebody else",
                    job->error != NULL ? job->error : "");
  return why;
}

/* ---- begin, open, start ---- */

static gboolean
begin (Run *run, const EngineTargets *targets, GError **error)
{
  g_autoptr (JsonObject) document = NULL;

  if (!engine_overlayfile_reserve (run->vm, targets->files, error))
    return FALSE;
  run->intent->copies->qemu = run->vm->qemu;
  document = engine_mirrorintent_to_json (run->intent);
  return engine_op_begin (run->op, VERB, document, error);
}

static gboolean
open_targets (Run *run, const EngineMirrorPlan *plan, GError **error)
{
  return (plan->credentials == NULL ||
          qmp_commands_object_add (run->vm->monitor, engine_vm_wait (run->vm), plan->credentials, error)) &&
         engine_target_open (run->vm, run->intent, &plan->targets, error);
}

static gboolean
start_job (Run *run, guint index, GError **error)
{
  const EngineIntentOverlay *copy = g_ptr_array_index (run->intent->copies->overlays, index);
  g_autoptr (JsonObject) arguments = engine_mirrorintent_arguments (run->intent, run->op->id, index);

  return engine_job_begin (run->vm, copy->disk, "blockdev-mirror", arguments, error);
}

static gboolean
start_jobs (Run *run, GError **error)
{
  for (guint i = 0; i < run->intent->copies->overlays->len; i++)
    if (!start_job (run, i, error))
      return FALSE;
  return TRUE;
}

static gboolean
is_any_endless (const Run *run)
{
  for (guint i = 0; i < run->jobs->len; i++) {
    const EngineJob *job = g_ptr_array_index (run->jobs, i);

    if (job != NULL && job->endless)
      return TRUE;
  }
  return FALSE;
}

/* Those that would never end are begun anew, so that the guest's writes wait for them: this QEMU cannot turn a job. */
static gboolean
turn (Run *run, GError **error)
{
  run->intent->blocking = TRUE;
  run->intent->speed = 0;
  for (guint i = 0; i < run->jobs->len; i++) {
    EngineJob *job = g_ptr_array_index (run->jobs, i);
    g_autoptr (GPtrArray) one = engine_job_list_new ();

    if (!job->endless)
      continue;
    engine_job_list_add (one, job->disk, job->id, NULL);
    if (!engine_job_cancel (run->vm, run->op->id, one, error) || !engine_job_dismiss (run->vm, one, error) ||
        !start_job (run, i, error))
      return FALSE;
    job->endless = job->cancelled = FALSE;
  }
  return TRUE;
}

/* ---- waiting ---- */

static gboolean
detach (Run *run, GError **error)
{
  if (!engine_inflight_detach (run->op, run->jobs, error))
    return FALSE;
  engine_mirrorresult_detach (run->result, run->op, run->intent->speed, run->jobs);
  return TRUE;
}

static GError *
explain_cancelled (const Run *run)
{
  GError *why = NULL;

  engine_error_set (&why, ENGINE_ERROR_FAILED, NULL, "VM '%s': the copying was cancelled; nothing was changed",
                    run->vm->record->name);
  return why;
}

/* Until all are in step. */
static gboolean
wait (Run *run, GError **error)
{
  const EngineJob *failed;
  GError *failure = NULL;

  switch (engine_inflight_wait (run->op, run->jobs, ENGINE_JOB_READY, error)) {
  case ENGINE_INFLIGHT_REACHED:
    failed = first_failed (run->jobs);
    if (failed != NULL)
      return fail (run, explain_failed (run, failed), error);
    return !is_any_endless (run) || ((turn (run, &failure) || fail (run, failure, error)) && wait (run, error));
  case ENGINE_INFLIGHT_CANCELLED:
    return fail (run, explain_cancelled (run), error);
  case ENGINE_INFLIGHT_LEFT:
    engine_mirrorresult_detach (run->result, run->op, run->intent->speed, run->jobs);
    return FALSE;
  case ENGINE_INFLIGHT_LOST:
  default:
    return FALSE;
  }
}

/* ---- left in step ---- */

/* From here on the copies are worth something, whatever becomes of QEMU. */
static gboolean
follow (Run *run, GError **error)
{
  GError *failure = NULL;

  run->vm->cancellable = NULL;
  if (!engine_op_step (run->op, "following", &failure) || !detach (run, &failure))
    return engine_inflight_lose (run->op, failure, error);
  run->result->ready = TRUE;
  return TRUE;
}

/* The guest could not be quiesced, which was required: nothing is ended, and the copies stay in step. @why: (transfer
 * full) */
static gboolean
stay_ready (Run *run, GError *why, GError **error)
{
  g_autoptr (GError) refused = why;

  return follow (run, error) && engine_inflight_set_refused (run->op, refused, "stays in step", error);
}

/* ---- the moment ---- */

static gboolean
prepare_guard (Run *run, GError **error)
{
  return engine_inflight_prepare_guard (run->vm, &run->manner.guard, &run->guard, error);
}

static void
describe_moment (Run *run)
{
  run->result->consistency = run->guard->consistency;
  g_free (run->result->reason);
  run->result->reason = g_strdup (run->guard->reason);
  run->result->frozen_us = run->guard->frozen_us;
  run->result->paused_us = run->guard->paused_us;
}

/* What a job is behind when it is ready it catches up with before it ends. A server that died is not waited for. */
static gboolean
end_in_step (gpointer data, gint64 deadline_us, GError **error)
{
  Run *run = data;
  gint64 until_us = run->guard->wanted || run->guard->stops ? deadline_us : QMP_CALL_NO_DEADLINE;

  if (!engine_job_tell_all (run->vm, run->jobs, "block-job-cancel", deadline_us, error) ||
      !engine_job_wait_until (run->vm, run->op->id, run->jobs, ENGINE_JOB_OVER, until_us, error))
    return FALSE;
  if (first_failed (run->jobs) == NULL)
    return TRUE;
  g_propagate_error (error, explain_failed (run, first_failed (run->jobs)));
  return FALSE;
}

/* Devices tell; in a stand-in there are none, and the job itself has to do. */
static gboolean
find_moved (Run *run, GError **error)
{
  if (run->vm->standin == NULL)
    return engine_mirrorend_find (run->vm, run->intent, run->moved, error);
  for (guint i = 0; i < run->jobs->len; i++)
    if (engine_job_has_succeeded (g_ptr_array_index (run->jobs, i)))
      g_ptr_array_add (run->moved, g_ptr_array_index (run->intent->copies->overlays, i));
  return TRUE;
}

/* All of them, or those that QEMU did move: the guest is about to write to these. */
static gboolean
record_moved (gpointer data, GError **error)
{
  Run *run = data;

  if (!find_moved (run, error))
    return FALSE;
  if (run->moved->len == 0)
    return TRUE;
  run->left = engine_mirrorend_split (run->intent, run->moved);
  return engine_mirrorend_record (run->vm, run->op->id, run->intent->copies, error);
}

/* ---- ended in step ---- */

static gboolean
keep (Run *run, GError **error)
{
  return engine_op_step (run->op, "finished", error) && engine_job_dismiss (run->vm, run->jobs, error) &&
         engine_mirrorend_keep (run->vm, run->intent, error) &&
         chains_journal_end (run->vm->context->db, run->op->id, CHAINS_OP_DONE, NULL, error);
}

static gboolean
check_thawed (const Run *run, GError **error)
{
  return engine_guard_check_settled (run->guard, "copied", NULL, error);
}

static gboolean
finish (Run *run, GError **error)
{
  GError *failure = NULL;

  run->vm->cancellable = NULL;
  /* A guest does not stand still for a server that is not there: QEMU would wait for it in `stop` already. */
  if (!engine_target_await (run->vm, run->intent, &failure) || !prepare_guard (run, &failure) ||
      !engine_pivot_announce (run->op, run->guard, &failure) ||
      !engine_guard_run (run->guard, end_in_step, run, &failure)) {
    if (engine_guard_is_refusal (failure))
      return stay_ready (run, failure, error);
    /* It is the copy that did not answer, not QEMU. */
    if (g_error_matches (failure, QMP_ERROR, QMP_ERROR_TIMEOUT) && !engine_vm_is_gone (run->vm))
      failure->code = QMP_ERROR_COMMAND;
    return fail (run, failure, error);
  }
  describe_moment (run);
  engine_mirrorresult_count (run->result, run->jobs);
  return (keep (run, &failure) || engine_inflight_lose (run->op, failure, error)) && check_thawed (run, error);
}

/* ---- moved ---- */

/* What the moment was worth shows only behind it. */
static gboolean
describe_automatic (Run *run, GError **error)
{
  ChainsSnapshot *snapshot = run->intent->copies->snapshot;

  snapshot->consistency = run->guard->consistency;
  g_free (snapshot->reason);
  snapshot->reason = g_strdup (run->guard->reason);
  snapshot->frozen_us = run->guard->frozen_us;
  return chains_snapshots_update (run->vm->context->db, snapshot, error);
}

static gboolean
clear_up (Run *run, GError **error)
{
  return engine_job_refresh (run->vm, run->jobs, error) && engine_job_dismiss (run->vm, run->jobs, error) &&
         engine_ending_clear_up (run->vm, run->intent->copies, NULL, error) &&
         engine_mirrorend_forget_credentials (run->vm, run->intent, error);
}

static gboolean
conclude (Run *run, GError **error)
{
  gboolean end = !engine_guard_is_unsettled (run->guard);

  if (!describe_automatic (run, error) || !clear_up (run, error))
    return FALSE;
  engine_notebook_follow (run->vm);
  return !end || chains_journal_end (run->vm->context->db, run->op->id, CHAINS_OP_DONE, NULL, error);
}

/* QEMU moved some: these stay; the others go on on what they had. */
static gboolean
conclude_partly (Run *run, GError **error)
{
  GError *failure = NULL;
  gboolean done =
      engine_job_cancel (run->vm, run->op->id, run->jobs, &failure) && describe_automatic (run, &failure) &&
      clear_up (run, &failure) && engine_ending_undo (run->vm, run->op->id, run->left, NULL, FALSE, &failure) &&
      chains_journal_end (run->vm->context->db, run->op->id, CHAINS_OP_FAILED, "not all disks were moved", &failure);

  if (!done)
    return engine_inflight_lose (run->op, failure, error);
  engine_mirrorresult_switch (run->result, run->intent->copies);
  engine_error_set (error, ENGINE_ERROR_PARTLY, "see `chainctl tree`; the same command may be run for the others",
                    "VM '%s': QEMU did not move all of the disks to their copies", run->vm->record->name);
  return FALSE;
}

static gboolean
pivot (Run *run, GError **error)
{
  GError *failure = NULL;

  run->vm->cancellable = NULL;
  if (!prepare_guard (run, &failure))
    return engine_guard_is_refusal (failure) ? stay_ready (run, failure, error) : fail (run, failure, error);
  if (!engine_pivot_run (&(EnginePivot){run->op, run->jobs, run->guard, "job-complete", record_moved, run}, &failure))
    return engine_guard_is_refusal (failure) ? stay_ready (run, failure, error)
                                             : engine_inflight_lose (run->op, failure, error);
  describe_moment (run);
  engine_mirrorresult_count (run->result, run->jobs);
  if (run->moved->len == 0)
    return fail (run, g_error_new (ENGINE_ERROR, ENGINE_ERROR_FAILED, "QEMU did not move the disks to their copies"),
                 error);
  if (run->left->overlays->len > 0)
    return conclude_partly (run, error);
  engine_mirrorresult_switch (run->result, run->intent->copies);
  return (conclude (run, &failure) || engine_inflight_lose (run->op, failure, error)) && check_thawed (run, error);
}

/* ---- all of it ---- */

/* From running jobs to the end. */
static gboolean
go_on (Run *run, GError **error)
{
  if (!wait (run, error))
    return FALSE;
  switch (run->intent->goal) {
  case ENGINE_MIRROR_FOLLOW:
    return follow (run, error);
  case ENGINE_MIRROR_PIVOT:
    return pivot (run, error);
  case ENGINE_MIRROR_FINISH:
  default:
    return finish (run, error);
  }
}

gboolean
engine_mirrorlife_run (EngineOp *op, EngineMirrorPlan *plan, const EngineInflightManner *manner,
                       EngineMirrorResult **result, GError **error)
{
  g_auto (Run) run = {0};
  GError *failure = NULL;
  gboolean done;

  run_init (&run, op, plan->intent, manner);
  if (plan->intent->goal != ENGINE_MIRROR_FOLLOW &&
      !engine_inflight_foresee_guard (run.vm, &run.manner.guard, &run.guard, error))
    return FALSE;
  if (!begin (&run, &plan->targets, error))
    return FALSE;
  if (!open_targets (&run, plan, &failure) || !start_jobs (&run, &failure))
    return fail (&run, failure, error);
  if (manner->detach)
    done = detach (&run, &failure) || engine_inflight_lose (op, failure, error);
  else
    done = go_on (&run, error);
  *result = g_steal_pointer (&run.result);
  return done;
}

/* ---- in a dry run ---- */

static void
plan_ending (Run *run)
{
  if (run->intent->goal == ENGINE_MIRROR_FOLLOW)
    return;
  engine_inflight_plan_ending (run->guard, run->jobs,
                               run->intent->goal == ENGINE_MIRROR_PIVOT ? "job-complete" : "block-job-cancel");
}

static gboolean
pretend_on (Run *run, EngineInflightAim aim, GError **error)
{
  if (aim == ENGINE_INFLIGHT_CANCEL) {
    engine_job_plan_all (run->vm, run->jobs, "block-job-cancel");
    return TRUE;
  }
  run->guard = engine_guard_new (run->vm, &run->manner.guard, error);
  if (run->guard == NULL)
    return FALSE;
  plan_ending (run);
  return TRUE;
}

gboolean
engine_mirrorlife_pretend (EngineOp *op, EngineMirrorPlan *plan, const EngineInflightManner *manner,
                           EngineMirrorResult **result, GError **error)
{
  const EngineMirrorIntent *intent = plan->intent;
  g_auto (Run) run = {0};

  run_init (&run, op, plan->intent, manner);
  run.guard = engine_guard_new (op->vm, &run.manner.guard, error);
  if (run.guard == NULL)
    return FALSE;
  if (plan->credentials != NULL)
    engine_context_plan (op->vm->context, "qemu", "object-add", plan->credentials);
  engine_target_plan_open (op->vm, &plan->targets);
  for (guint i = 0; i < intent->copies->overlays->len; i++) {
    g_autoptr (JsonObject) arguments = engine_mirrorintent_arguments (intent, op->id, i);

    engine_context_plan (op->vm->context, "qemu", "blockdev-mirror", arguments);
  }
  plan_ending (&run);
  if (intent->goal == ENGINE_MIRROR_PIVOT)
    engine_mirrorresult_switch (run.result, intent->copies);
  run.result->consistency = run.guard->consistency;
  *result = g_steal_pointer (&run.result);
  return TRUE;
}

/* ---- gone on with ---- */

/* Given up by a person: that is no failure. */
static gboolean
cancel (Run *run, GError **error)
{
  GError *failure = NULL;

  return take_back (run, "it was cancelled", &failure) || engine_inflight_lose (run->op, failure, error);
}

/* One that is only to be kept in step ends in step once it is completed. */
static void
choose_goal (EngineMirrorIntent *intent, EngineInflightAim aim)
{
  if (aim == ENGINE_INFLIGHT_COMPLETE && intent->goal == ENGINE_MIRROR_FOLLOW)
    intent->goal = ENGINE_MIRROR_FINISH;
}

gboolean
engine_mirrorlife_continue (EngineVm *vm, const ChainsOp *row, EngineInflightAim aim,
                            const EngineInflightManner *manner, EngineMirrorResult **result, GError **error)
{
  g_autoptr (EngineMirrorIntent) intent = engine_mirrorintent_from_json (row->intent, error);
  g_autoptr (EngineOp) op = intent != NULL ? engine_inflight_take_over (vm, row, error) : NULL;
  g_auto (Run) run = {0};
  gboolean done;

  if (op == NULL)
    return FALSE;
  choose_goal (intent, aim);
  run_init (&run, op, intent, manner);
  if (vm->context->dry_run)
    return pretend_on (&run, aim, error);
  done = aim == ENGINE_INFLIGHT_CANCEL ? cancel (&run, error) : go_on (&run, error);
  if (aim != ENGINE_INFLIGHT_CANCEL)
    *result = g_steal_pointer (&run.result);
  return done;
}
