/*
 * The life of a merge: journalled with what it overwrites, started, waited for,
 * switched where the guest has to be moved, recorded, cleared up. It rolls
 * forward, or stays unmerged: what it has overwritten never comes back.
 */
#include "engine/merge.h"

#include "base/point.h"
#include "chains/snapshots.h"
#include "engine/error.h"
#include "engine/inflight.h"
#include "engine/mergeend.h"
#include "engine/mergelive.h"
#include "engine/mergeseal.h"
#include "engine/nodeflush.h"
#include "engine/notebook.h"
#include "engine/pivot.h"
#include "qmp/error.h"

#define CANCELLED "it was cancelled"

typedef struct {
  EngineOp *op;
  EngineVm *vm;
  EngineMergeIntent *intent;
  const EngineInflightManner *manner;
  EngineGuard *guard;
  GPtrArray *jobs;
  GPtrArray *merged;
  EngineMergeResult *result;
} Run;

static void
run_clear (Run *run)
{
  g_clear_pointer (&run->guard, engine_guard_free);
  g_clear_pointer (&run->jobs, g_ptr_array_unref);
  g_clear_pointer (&run->merged, g_ptr_array_unref);
  g_clear_pointer (&run->result, engine_mergeresult_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

/* ---- small questions ---- */

static EngineJobGoal
goal_of (const EngineMergeIntent *intent)
{
  return engine_mergeintent_moves (intent) ? ENGINE_JOB_READY : ENGINE_JOB_PENDING;
}

static const char *
command_of (const EngineMergeIntent *intent)
{
  return intent->kind == ENGINE_MERGE_COMMIT ? "block-commit" : "block-stream";
}

static const char *
last_word (const EngineMergeIntent *intent)
{
  return engine_mergeintent_moves (intent) ? "job-complete" : "job-finalize";
}

/* Below a guest that stays where it is nothing is frozen; it is paused, for what was copied to be flushed. */
static const EngineGuardPolicy *
guard_policy (const Run *run)
{
  static const EngineGuardPolicy pause = {.quiesce = CHAINS_QUIESCE_OFF, .stops = TRUE};

  return engine_mergeintent_moves (run->intent) ? &run->manner->guard : &pause;
}

/* One that is over before it was told to end did not do its work, whether or not we heard why. */
static const EngineJob *
first_failed (const EngineMergeIntent *intent, const GPtrArray *jobs)
{
  for (guint i = 0; i < jobs->len; i++) {
    const EngineJob *job = g_ptr_array_index (jobs, i);

    if (engine_job_has_failed (job) || (!engine_mergeintent_moves (intent) && engine_job_is_over (job)))
      return job;
  }
  return NULL;
}

/* ---- record, clear up ---- */

static gboolean
clear_up (Run *run, GError **error)
{
  for (guint i = 0; i < run->intent->parts->len; i++) {
    EngineMerged *merged = g_ptr_array_index (run->result->merges, i);

    if (merged->merged && !engine_mergeend_clear_up (run->vm, run->intent, g_ptr_array_index (run->intent->parts, i),
                                                     merged->removed, &merged->freed, error))
      return FALSE;
  }
  return TRUE;
}

/* What was done is recorded, unless it is already; then what is left over goes, and the operation ends. */
static gboolean
conclude (Run *run, ChainsOpState state, const char *why, GError **error)
{
  run->vm->cancellable = NULL;
  if (!engine_mergeend_record (run->vm, run->intent, run->merged, error))
    return FALSE;
  engine_mergeresult_describe (run->result, run->intent, run->merged, run->jobs);
  if (run->vm->monitor != NULL &&
      (!engine_job_refresh (run->vm, run->jobs, error) || !engine_job_dismiss (run->vm, run->jobs, error)))
    return FALSE;
  if (!clear_up (run, error))
    return FALSE;
  engine_mergeend_forget_notes (run->vm, run->intent);
  engine_notebook_follow (run->vm);
  return chains_journal_end (run->vm->context->db, run->op->id, state, why, error);
}

/* Begun and not done, or not on all disks: what is merged stays so, and what was overwritten is gone. */
static gboolean
give_up (Run *run, const char *why, GError **error)
{
  GError *failure = NULL;
  gboolean some = run->merged->len > 0;

  if (!conclude (run, some ? CHAINS_OP_FAILED : CHAINS_OP_UNDONE, why, &failure))
    return engine_inflight_lose (run->op, failure, error);
  engine_error_set (error, ENGINE_ERROR_PARTLY, "see `chainctl tree`; the same command may be run again",
                    "VM '%s': %s; %s", run->vm->record->name, why,
                    some ? "the other disks are merged" : "nothing is merged, and the guest goes on as before");
  return FALSE;
}

/* In QEMU the devices tell; in a stand-in there are none, and the job itself has to do. */
static gboolean
find_merged (Run *run, GError **error)
{
  g_ptr_array_set_size (run->merged, 0);
  if (run->vm->standin == NULL)
    return engine_mergelive_find (run->vm, run->intent, run->merged, error);
  for (guint i = 0; i < run->jobs->len; i++)
    if (engine_job_has_succeeded (g_ptr_array_index (run->jobs, i)))
      g_ptr_array_add (run->merged, g_ptr_array_index (run->intent->parts, i));
  return TRUE;
}

/* Jobs that are not over are cancelled; an end of its own may overtake that, and then stays. */
static gboolean
end_early (Run *run, const char *why, GError **error)
{
  GError *failure = NULL;

  run->vm->cancellable = NULL;
  if (!engine_job_cancel (run->vm, run->op->id, run->jobs, &failure) || !find_merged (run, &failure))
    return engine_inflight_lose (run->op, failure, error);
  return give_up (run, why, error);
}

/* ---- begin ---- */

/* Nothing was started: what was announced is taken back. */
static gboolean
take_back (Run *run, GError *why, GError **error)
{
  GError *failure = NULL;

  run->vm->cancellable = NULL;
  if (!engine_mergeseal_close (run->vm, run->intent, NULL, &failure) ||
      !engine_mergeend_restore (run->vm, run->op->id, run->intent, why->message, &failure)) {
    g_error_free (why);
    return engine_inflight_lose (run->op, failure, error);
  }
  g_clear_pointer (&run->result, engine_mergeresult_free);
  g_propagate_error (error, why);
  return FALSE;
}

static gboolean
begin (Run *run, GError **error)
{
  g_autoptr (JsonObject) document = NULL;

  run->intent->qemu = run->vm->qemu;
  document = engine_mergeintent_to_json (run->intent);
  return engine_op_begin (run->op, engine_mergeintent_verb (run->intent), document, error);
}

static gboolean
start_job (Run *run, const EngineMergePart *part, GError **error)
{
  g_autoptr (JsonObject) arguments = engine_mergeplan_arguments (run->intent, part);

  return engine_job_begin (run->vm, part->disk, command_of (run->intent), arguments, error);
}

/* A second job that QEMU refuses ends the first, which may have written by then. */
static gboolean
cancel_begun (Run *run, GError *why, GError **error)
{
  g_autoptr (GError) refused = why;

  return end_early (run, refused->message, error);
}

static gboolean
start (Run *run, GError **error)
{
  GError *failure = NULL;

  for (guint i = 0; i < run->intent->parts->len; i++) {
    if (start_job (run, g_ptr_array_index (run->intent->parts, i), &failure))
      continue;
    if (!qmp_error_is_refusal (failure))
      return engine_inflight_lose (run->op, failure, error);
    if (i == 0)
      return take_back (run, failure, error);
    return cancel_begun (run, failure, error);
  }
  return TRUE;
}

/* ---- waiting ---- */

static gboolean
detach (Run *run, GError **error)
{
  if (!engine_inflight_detach (run->op, run->jobs, error))
    return FALSE;
  engine_mergeresult_detach (run->result, run->op, run->intent, run->jobs);
  return TRUE;
}

/* QEMU is gone, or silent: what it did the files tell, but for that is recovery. */
static gboolean
wait (Run *run, EngineJobGoal goal, GError **error)
{
  switch (engine_inflight_wait (run->op, run->jobs, goal, error)) {
  case ENGINE_INFLIGHT_REACHED:
    return TRUE;
  case ENGINE_INFLIGHT_CANCELLED:
    return end_early (run, CANCELLED, error);
  case ENGINE_INFLIGHT_LEFT:
    engine_mergeresult_detach (run->result, run->op, run->intent, run->jobs);
    return FALSE;
  case ENGINE_INFLIGHT_LOST:
  default:
    return FALSE;
  }
}

/* ---- the end of the jobs ---- */

static gboolean
fail (Run *run, const EngineJob *failed, GError **error)
{
  g_autofree char *why = NULL;

  if (failed->error != NULL)
    why = g_strdup_printf ("disk '%s': its job failed: %s", failed->disk, failed->error);
  else
    why = g_strdup_printf ("disk '%s': its job %s", failed->disk,
                           failed->cancelled ? "was cancelled by somebody else" : "ended, and QEMU did not say why");
  return end_early (run, why, error);
}

/* The guest could not be quiesced, which was required: nothing was moved, and what is copied stays ready. */
static gboolean
stay_ready (Run *run, GError *why, GError **error)
{
  g_autoptr (GError) refused = why;
  GError *failure = NULL;

  if (!detach (run, &failure))
    return engine_inflight_lose (run->op, failure, error);
  return engine_inflight_set_refused (run->op, refused, "stays ready in QEMU", error);
}

static gboolean
pivot_failed (Run *run, GError *failure, GError **error)
{
  return engine_guard_is_refusal (failure) ? stay_ready (run, failure, error)
                                           : engine_inflight_lose (run->op, failure, error);
}

static gboolean
record_pivot (gpointer data, GError **error)
{
  Run *run = data;

  return find_merged (run, error) && engine_mergeend_record (run->vm, run->intent, run->merged, error);
}

/* What was copied, before headers let go of where it came from. Where there is a guest to pause, the pause does that.
 */
static gboolean
flush (Run *run, GError **error)
{
  EngineVm *vm = run->vm;

  for (guint i = 0;
       (vm->daemon || vm->standin != NULL) && !engine_mergeintent_moves (run->intent) && i < run->intent->parts->len;
       i++) {
    const EngineMergePart *part = g_ptr_array_index (run->intent->parts, i);
    g_autofree char *name = engine_mergeintent_flush_node (run->op->id, i);

    if (!engine_nodeflush_run (vm, part->receiver->node, name, error))
      return FALSE;
  }
  return TRUE;
}

/* The guest is moved on to the receivers; or lets go of what was pulled up, and is only paused for that. */
static gboolean
pivot (Run *run, GError **error)
{
  const char *word = last_word (run->intent);
  GError *failure = NULL;

  run->vm->cancellable = NULL;
  if (!flush (run, &failure))
    return cancel_begun (run, failure, error);
  if (!engine_inflight_prepare_guard (run->vm, guard_policy (run), &run->guard, &failure))
    return pivot_failed (run, failure, error);
  if (!engine_pivot_run (&(EnginePivot){run->op, run->jobs, run->guard, word, record_pivot, run}, &failure)) {
    run->result->paused_us = run->guard->paused_us;
    return pivot_failed (run, failure, error);
  }
  run->result->frozen_us = run->guard->frozen_us;
  run->result->paused_us = run->guard->paused_us;
  if (run->merged->len < run->intent->parts->len)
    return cancel_begun (run, g_error_new (ENGINE_ERROR, ENGINE_ERROR_FAILED, "QEMU did not move all of the disks"),
                         error);
  if (!conclude (run, CHAINS_OP_DONE, NULL, &failure))
    return engine_inflight_lose (run->op, failure, error);
  return engine_guard_check_settled (run->guard, "merged", NULL, error);
}

/* From running jobs to the end. */
static gboolean
go_on (Run *run, GError **error)
{
  const EngineJob *failed;
  GError *failure = NULL;

  if (!wait (run, goal_of (run->intent), error))
    return FALSE;
  failed = first_failed (run->intent, run->jobs);
  if (failed != NULL)
    return fail (run, failed, error);
  if (!engine_mergeintent_moves (run->intent) || run->intent->pivot)
    return pivot (run, error);
  return detach (run, &failure) || engine_inflight_lose (run->op, failure, error);
}

/* ---- all of it ---- */

static void
run_init (Run *run, EngineOp *op, EngineMergeIntent *intent, const EngineInflightManner *manner)
{
  run->op = op;
  run->vm = op->vm;
  run->intent = intent;
  run->manner = manner;
  run->jobs = engine_mergeintent_jobs (intent);
  run->merged = g_ptr_array_new ();
  run->result = engine_mergeresult_new (op, intent);
}

gboolean
engine_merge_run (EngineOp *op, EngineMergeIntent *intent, const EngineInflightManner *manner,
                  EngineMergeResult **result, GError **error)
{
  g_auto (Run) run = {0};
  GError *failure = NULL;
  gboolean done;

  run_init (&run, op, intent, manner);
  if (engine_mergeintent_moves (intent) && intent->pivot &&
      !engine_inflight_foresee_guard (run.vm, &manner->guard, &run.guard, error))
    return FALSE;
  if (!begin (&run, error))
    return FALSE;
  if (!engine_mergeseal_open (run.vm, intent, &failure) || !engine_mergeend_destroy (op, intent, &failure))
    return take_back (&run, failure, error);
  done = start (&run, error) && (manner->detach ? detach (&run, error) : go_on (&run, error));
  *result = g_steal_pointer (&run.result);
  return done;
}

/* An active commit that is only waited for stays in step. */
static gboolean
pretend_on (Run *run, EngineInflightAim aim, GError **error)
{
  if (aim == ENGINE_INFLIGHT_CANCEL) {
    engine_job_plan_all (run->vm, run->jobs, "block-job-cancel");
    return TRUE;
  }
  if (engine_mergeintent_moves (run->intent) && !run->intent->pivot)
    return TRUE;
  run->guard = engine_guard_new (run->vm, guard_policy (run), error);
  if (run->guard == NULL)
    return FALSE;
  engine_inflight_plan_ending (run->guard, run->jobs, last_word (run->intent));
  return TRUE;
}

gboolean
engine_merge_pretend (EngineOp *op, EngineMergeIntent *intent, const EngineInflightManner *manner,
                      EngineMergeResult **result, GError **error)
{
  g_auto (Run) run = {0};

  run_init (&run, op, intent, manner);
  run.guard = engine_guard_new (op->vm, guard_policy (&run), error);
  if (run.guard == NULL)
    return FALSE;
  for (guint i = 0; i < intent->parts->len; i++) {
    g_autoptr (JsonObject) arguments = engine_mergeplan_arguments (intent, g_ptr_array_index (intent->parts, i));

    engine_context_plan (op->vm->context, "qemu", command_of (intent), arguments);
    g_ptr_array_add (run.merged, g_ptr_array_index (intent->parts, i));
  }
  if (engine_mergeintent_moves (intent) && !intent->pivot) {
    *result = g_steal_pointer (&run.result);
    return TRUE;
  }
  engine_inflight_plan_ending (run.guard, run.jobs, last_word (intent));
  engine_mergeresult_describe (run.result, intent, run.merged, NULL);
  *result = g_steal_pointer (&run.result);
  return TRUE;
}

gboolean
engine_merge_continue (EngineVm *vm, const ChainsOp *row, EngineInflightAim aim, const EngineInflightManner *manner,
                       EngineMergeResult **result, GError **error)
{
  g_autoptr (EngineMergeIntent) intent = engine_mergeintent_from_json (row->intent, error);
  g_autoptr (EngineOp) op = intent != NULL ? engine_inflight_take_over (vm, row, error) : NULL;
  g_auto (Run) run = {0};
  gboolean done;

  if (op == NULL)
    return FALSE;
  intent->pivot = intent->pivot || aim == ENGINE_INFLIGHT_COMPLETE;
  run_init (&run, op, intent, manner);
  if (vm->context->dry_run)
    return pretend_on (&run, aim, error);
  done = aim == ENGINE_INFLIGHT_CANCEL ? end_early (&run, CANCELLED, error) : go_on (&run, error);
  if (aim == ENGINE_INFLIGHT_CANCEL && g_error_matches (*error, ENGINE_ERROR, ENGINE_ERROR_PARTLY)) {
    g_clear_error (error);
    done = TRUE;
  }
  *result = g_steal_pointer (&run.result);
  return done;
}
