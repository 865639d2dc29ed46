/*
 * Rolls back. The order is the promise: check (nothing begun), begin (journalled),
 * prepare (the branch is opened beside the live chain, the guest runs on), switch
 * (frozen where possible, paused: the devices move, and that is a step on the disk
 * before the guest runs again), record (the rows), clear up (what was left is
 * closed). Whoever dies before the step has not rolled back; the devices go back.
 */
#include "engine/rollback.h"

#include "base/point.h"
#include "chains/images.h"
#include "chains/snapshots.h"
#include "engine/ending.h"
#include "engine/error.h"
#include "engine/notebook.h"
#include "engine/opening.h"
#include "engine/overlayfile.h"
#include "engine/preflight.h"
#include "engine/rewind.h"
#include "engine/rewindplan.h"

#define VERB "rollback"
#define FOLDER "dir in [overlay] of the configuration"

typedef struct {
  EngineContext *context;
  const EngineRollbackRequest *request;
  EngineVm *vm;
  EngineGraph *graph;
  EngineOp *op;
  EngineGuard *guard;
  EngineRewindPlan *plan;
  gboolean happened;
} Run;

static void
run_clear (Run *run)
{
  g_clear_pointer (&run->guard, engine_guard_free);
  g_clear_pointer (&run->plan, engine_rewindplan_free);
  g_clear_pointer (&run->op, engine_op_free);
  g_clear_pointer (&run->graph, engine_graph_free);
  g_clear_pointer (&run->vm, engine_vm_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

void
engine_rollback_result_free (EngineRollbackResult *result)
{
  if (result == NULL)
    return;
  g_free (result->to);
  g_free (result->automatic);
  g_clear_pointer (&result->active, g_ptr_array_unref);
  g_clear_pointer (&result->removed, g_ptr_array_unref);
  g_free (result);
}

/* ---- check ---- */

static gboolean
check_live (Run *run, GError **error)
{
  EngineVm *vm = run->vm;

  run->graph = engine_opening_run (vm, error);
  if (run->graph == NULL)
    return FALSE;
  if (!vm->daemon || vm->standin != NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_UNSUPPORTED, "stop it, and roll back then",
                    "VM '%s' is a storage daemon: what it exports cannot be put on other images", vm->record->name);
  return FALSE;
}

/* Whether the guest is to be reset: it would go on with what it remembers of file systems that are others now. */
static gboolean
decide_reset (Run *run, GError **error)
{
  EngineMounts mounts = run->vm->standin != NULL ? ENGINE_MOUNTS_NONE : engine_rewindplan_mounts (run->plan, run->vm);
  EngineIntent *intent = run->plan->intent;

  intent->resets =
      run->vm->standin == NULL && (run->request->reset == ENGINE_ROLLBACK_RESET_ALWAYS ||
                                   (run->request->reset == ENGINE_ROLLBACK_RESET_AUTO && mounts != ENGINE_MOUNTS_NONE));
  if (run->request->reset != ENGINE_ROLLBACK_RESET_NEVER || mounts == ENGINE_MOUNTS_NONE)
    return TRUE;
  if (mounts == ENGINE_MOUNTS_SOME) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "unmount them first, or let the guest be reset (--reset auto)",
                      "VM '%s': the guest has file systems of these disks mounted, and would write what it remembers "
                      "of them over what they are now",
                      run->vm->record->name);
    return FALSE;
  }
  engine_context_warn (run->context, "mounts-unknown",
                       "VM '%s': whether the guest has file systems of these disks mounted is not known; it is not "
                       "reset",
                       run->vm->record->name);
  return TRUE;
}

static gboolean
check (Run *run, GError **error)
{
  const EngineRollbackRequest *request = run->request;
  EngineGuardPolicy policy = {.freeze_timeout_us = request->freeze_timeout_us, .stops = TRUE};

  run->vm = engine_vm_open (run->context, request->vm, VERB, error);
  if (run->vm == NULL || !check_live (run, error))
    return FALSE;
  run->op = engine_op_new (run->vm);
  run->plan = engine_rewindplan_new (run->op, run->graph, request->snapshot, request->disks, request->discard, error);
  if (run->plan == NULL || !engine_preflight_check_overlays (run->vm, run->plan->overlays, FOLDER, error) ||
      !decide_reset (run, error))
    return FALSE;
  policy.quiesce = request->quiesce != NULL ? *request->quiesce : run->vm->record->quiesce;
  run->guard = engine_guard_new (run->vm, &policy, error);
  return run->guard != NULL;
}

/* ---- begin, prepare; and taking it back ---- */

static gboolean
begin (Run *run, GError **error)
{
  EngineIntent *intent = run->plan->intent;
  g_autoptr (JsonObject) document = NULL;

  if (!engine_overlayfile_reserve (run->vm, run->plan->overlays, error))
    return FALSE;
  intent->freezes = run->guard->wanted;
  intent->pauses = run->guard->stops;
  intent->qemu = run->vm->qemu;
  document = engine_intent_to_json (intent);
  return engine_op_begin (run->op, VERB, document, error);
}

static gboolean
prepare (Run *run, GError **error)
{
  return engine_rewindplan_open (run->plan, run->vm, error) &&
         engine_overlay_prepare (run->vm, run->plan->overlays, error);
}

static gboolean
set_interrupted (Run *run, GError *why, const char *what, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_INTERRUPTED, "run `chainctl recover` once QEMU answers, or is gone",
                    "%s; %s; it is journalled as operation %s", why->message, what, run->op->id);
  g_error_free (why);
  return FALSE;
}

/* A monitor that was lost meanwhile, or cut by the watchdog, is opened anew. Where the VM is found paused by us then,
 * what it is on is settled before it goes on. */
static gboolean
catch_up (Run *run, GError **error)
{
  EngineVm *vm = run->vm;
  gboolean was_reset = FALSE;

  if (!engine_vm_reconnect (vm, error))
    return FALSE;
  if (!run->guard->stops || vm->monitor == NULL || vm->state != ENGINE_VM_PAUSED)
    return TRUE;
  if (!(run->happened ? engine_rewind_settle (run->op, run->plan->intent, &was_reset, error)
                      : engine_rewind_put_back (run->op, run->plan->intent, error)) ||
      !qmp_commands_cont (vm->monitor, engine_vm_wait (vm), error))
    return FALSE;
  vm->state = ENGINE_VM_RUNNING;
  run->guard->was_reset = run->guard->was_reset || was_reset;
  return TRUE;
}

/* The watchdog may have found it done, and gone on in our place. */
static gboolean
refuse_done (Run *run, GError **error)
{
  gboolean written;

  if (!engine_rewind_is_written (run->vm, run->op->id, &written, error))
    return FALSE;
  if (written)
    engine_error_set (error, ENGINE_ERROR_INTERRUPTED, NULL, "it is done, by the process that stands by");
  return !written;
}

/* It has not happened: takes back what was prepared. Ctrl-C does not cut it short. */
static gboolean
undo (Run *run, GError *why, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autofree char *what = NULL;

  run->vm->cancellable = NULL;
  if (run->guard->stays_paused)
    return set_interrupted (run, why, "the VM is paused, and what it is on is not certain", error);
  if (catch_up (run, &failure) && refuse_done (run, &failure) &&
      engine_ending_undo (run->vm, run->op->id, run->plan->intent, why->message,
                          !engine_guard_is_unsettled (run->guard), &failure)) {
    g_propagate_error (error, why);
    return FALSE;
  }
  what = g_strdup_printf ("what had been begun could not all be taken back (%s)", failure->message);
  return set_interrupted (run, why, what, error);
}

/* ---- switch ---- */

/* The guest must not go on with what it has in memory of other file systems. */
static void
reset (Run *run)
{
  g_autoptr (GError) failure = NULL;

  run->guard->was_reset = engine_rewind_reset (run->vm, &failure);
  run->guard->stays_paused = !run->guard->was_reset && !engine_vm_is_gone (run->vm);
  /* Where the monitor is lost, whoever opens it again sees to that: the watchdog, or catch_up(). */
  if (run->guard->stays_paused)
    engine_context_warn (run->context, "not-reset", "VM '%s' could not be reset: %s", run->vm->record->name,
                         failure->message);
}

/* The body of the guard. The VM is paused, or has no QEMU. */
static gboolean
switch_disks (gpointer data, gint64 deadline_us, GError **error)
{
  Run *run = data;
  EngineIntent *intent = run->plan->intent;
  gboolean stuck = FALSE;

  if (intent->snapshot != NULL)
    intent->snapshot->created_us = g_get_real_time ();
  if (!engine_rewind_switch (run->op, intent, deadline_us, &stuck, error)) {
    run->guard->stays_paused = stuck;
    return FALSE;
  }
  run->happened = TRUE;
  if (intent->resets)
    reset (run);
  return TRUE;
}

static gboolean
switch_over (Run *run, GError **error)
{
  if (!base_point_is_mutant ("rollback-not-journalled") && !engine_op_step (run->op, "switch", error))
    return FALSE;
  return engine_guard_run (run->guard, switch_disks, run, error);
}

/* ---- record, clear up ---- */

static gboolean
record (Run *run, GError **error)
{
  ChainsSnapshot *snapshot = run->plan->intent->snapshot;

  if (snapshot != NULL) {
    snapshot->consistency = run->guard->consistency;
    snapshot->reason = g_strdup (run->guard->reason);
    snapshot->frozen_us = run->guard->frozen_us;
  }
  return engine_ending_record (run->vm, run->op->id, run->plan->intent, FALSE, error);
}

/* A guest that may still stand still keeps the operation open: whoever comes next brings it back. */
static gboolean
finish (Run *run, GPtrArray *removed, GError **error)
{
  gboolean end = !engine_guard_is_unsettled (run->guard);

  run->vm->cancellable = NULL;
  if (!record (run, error) || !catch_up (run, error) ||
      !engine_ending_clear_up (run->vm, run->plan->intent, removed, error))
    return FALSE;
  if (run->guard->was_reset)
    engine_rewind_end_reset (run->vm);
  engine_notebook_follow (run->vm);
  return !end || chains_journal_end (run->context->db, run->op->id, CHAINS_OP_DONE, NULL, error);
}

/* ---- all of it ---- */

static EngineRollbackResult *
result_new (Run *run, GPtrArray *removed)
{
  EngineRollbackResult *result = g_new0 (EngineRollbackResult, 1);
  const EngineIntent *intent = run->plan->intent;

  result->to = g_strdup (run->plan->to->name);
  result->automatic = intent->snapshot != NULL ? g_strdup (intent->snapshot->name) : NULL;
  result->reset = run->context->dry_run ? intent->resets : run->guard->was_reset;
  result->active = engine_switched_list_new ();
  result->removed = removed;
  result->frozen_us = run->guard->frozen_us;
  result->paused_us = run->guard->paused_us;
  for (guint i = 0; i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);

    engine_switched_list_add (result->active, overlay->disk, overlay->head, overlay->path);
  }
  return result;
}

/* Says what would be done, and records it in the dry run's own database. */
static gboolean
pretend (Run *run, GPtrArray *removed, GError **error)
{
  engine_rewindplan_plan (run->plan, run->vm);
  engine_guard_plan_before (run->guard);
  engine_rewindplan_plan_switch (run->plan, run->vm);
  engine_guard_plan_after (run->guard);
  if (run->plan->intent->snapshot != NULL)
    run->plan->intent->snapshot->created_us = g_get_real_time ();
  return record (run, error) && engine_ending_remove (run->vm, run->plan->intent, removed, error);
}

static gboolean
act (Run *run, GPtrArray *removed, GError **error)
{
  GError *failure = NULL;

  if (!begin (run, error))
    return FALSE;
  if (!prepare (run, &failure) || !switch_over (run, &failure)) {
    if (!run->happened)
      return undo (run, failure, error);
    return set_interrupted (run, failure, "it is rolled back, and not all is recorded", error);
  }
  if (finish (run, removed, &failure))
    return TRUE;
  return set_interrupted (run, failure, "it is rolled back, and not all is recorded or cleared up", error);
}

gboolean
engine_rollback_run (EngineContext *context, const EngineRollbackRequest *request, EngineRollbackResult **result,
                     GError **error)
{
  g_auto (Run) run = {.context = context, .request = request};
  g_autoptr (GPtrArray) removed = g_ptr_array_new_with_free_func (g_free);

  if (!check (&run, error))
    return FALSE;
  if (!(context->dry_run ? pretend (&run, removed, error) : act (&run, removed, error)))
    return FALSE;
  *result = result_new (&run, g_steal_pointer (&removed));
  return engine_guard_check_settled (run.guard, "rolled back", "run `chainctl recover`", error);
}
