/*
 * Lists jobs and steers them. A job of an operation of ours is waited for,
 * completed and cancelled with the whole operation; one of somebody else's only
 * where it is named.
 */
#include "engine/jobs.h"

#include "base/fiber.h"
#include "chains/journal.h"
#include "engine/error.h"
#include "qmp/error.h"

#include <string.h>

#define VERB "job"
#define MIRROR "mirror"
#define SHORTEST_PREFIX 4
#define EFFECT_US (2 * G_USEC_PER_SEC)

/* ---- listed ---- */

static gboolean
list_one (EngineContext *context, const char *name, GPtrArray *views, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, NULL, error);

  if (vm == NULL || !engine_vm_connect (vm, error))
    return FALSE;
  return vm->monitor == NULL || engine_jobview_list_all (vm, views, error);
}

GPtrArray *
engine_jobs_list (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (GPtrArray) views = engine_jobview_list_new ();
  g_autoptr (GPtrArray) vms = NULL;

  if (name != NULL)
    return list_one (context, name, views, error) ? g_steal_pointer (&views) : NULL;
  vms = chains_registry_list_vms (context->db, error);
  for (guint i = 0; vms != NULL && i < vms->len; i++) {
    const char *one = ((const ChainsVm *)g_ptr_array_index (vms, i))->name;
    g_autoptr (GError) failure = NULL;

    if (!list_one (context, one, views, &failure))
      engine_context_warn (context, "not-asked", "%s", failure->message);
  }
  return vms != NULL ? g_steal_pointer (&views) : NULL;
}

/* ---- steered ---- */

static gboolean
is_meant (const EngineJobView *view, const char *reference)
{
  if (g_str_equal (view->job, reference))
    return TRUE;
  return view->op != NULL && strlen (reference) >= SHORTEST_PREFIX && g_str_has_prefix (view->op, reference);
}

/* Those that are meant, as they are now. */
static GPtrArray *
list_meant (EngineVm *vm, const char *reference, GError **error)
{
  g_autoptr (GPtrArray) views = engine_jobview_list_new ();

  if (vm->monitor != NULL && !engine_jobview_list_all (vm, views, error))
    return NULL;
  for (guint i = 0; i < views->len;)
    if (is_meant (g_ptr_array_index (views, i), reference))
      i++;
    else
      g_ptr_array_remove_index (views, i);
  return g_steal_pointer (&views);
}

static gboolean
are_all_paused (const GPtrArray *views)
{
  for (guint i = 0; i < views->len; i++)
    if (!qmp_jobs_stands_still (((const EngineJobView *)g_ptr_array_index (views, i))->status))
      return FALSE;
  return TRUE;
}

static ChainsOp *
get_operation (EngineVm *vm, const GPtrArray *chosen, const char *reference, GError **error)
{
  g_autoptr (GPtrArray) ops = chains_journal_list_unfinished (vm->context->db, vm->record->id, error);

  for (guint i = 0; ops != NULL && i < ops->len; i++) {
    const ChainsOp *op = g_ptr_array_index (ops, i);
    gboolean named = strlen (reference) >= SHORTEST_PREFIX && g_str_has_prefix (op->id, reference);

    for (guint j = 0; j < chosen->len; j++)
      named = named || g_strcmp0 (((const EngineJobView *)g_ptr_array_index (chosen, j))->op, op->id) == 0;
    if (named)
      return g_ptr_array_steal_index (ops, i);
  }
  if (ops != NULL)
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_JOB, "see `chainctl jobs`", "VM '%s' has no job or operation '%s'",
                      vm->record->name, reference);
  return NULL;
}

/* One that is over, and that whoever began it has left, is cancelled by being forgotten. */
static const char *
command_of (EngineJobsAction action, const EngineJobView *view)
{
  static const char *const commands[] = {NULL,         "job-pause",    "job-resume",
                                         "job-cancel", "job-complete", "block-job-set-speed"};

  return action == ENGINE_JOBS_CANCEL && g_str_equal (view->status, "concluded") ? "job-dismiss" : commands[action];
}

static void
plan_steps (EngineVm *vm, const EngineJobsRequest *request, const GPtrArray *chosen)
{
  for (guint i = 0; i < chosen->len && request->action != ENGINE_JOBS_WAIT; i++) {
    const EngineJobView *view = g_ptr_array_index (chosen, i);
    const char *command = command_of (request->action, view);
    g_autoptr (JsonObject) arguments = qmp_jobs_name (command, view->job);

    if (request->action == ENGINE_JOBS_SPEED)
      json_object_set_int_member (arguments, "speed", request->speed);
    engine_context_plan (vm->context, "qemu", command, arguments);
  }
}

/* Each job by itself: what changes no graph, and what somebody else's is named for. */
static gboolean
steer (EngineVm *vm, const EngineJobsRequest *request, const GPtrArray *chosen, GError **error)
{
  for (guint i = 0; i < chosen->len; i++) {
    const EngineJobView *view = g_ptr_array_index (chosen, i);
    const char *id = view->job;
    QmpWait wait = engine_vm_wait (vm);

    if (!(request->action == ENGINE_JOBS_SPEED
              ? qmp_jobs_set_speed (vm->monitor, wait, id, request->speed, error)
              : qmp_jobs_execute (vm->monitor, wait, command_of (request->action, view), id, error))) {
      g_prefix_error (error, "VM '%s', job '%s': ", vm->record->name, id);
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean
wait_for (EngineVm *vm, const GPtrArray *chosen, GError **error)
{
  g_autoptr (GPtrArray) jobs = engine_job_list_new ();

  for (guint i = 0; i < chosen->len; i++) {
    const EngineJobView *view = g_ptr_array_index (chosen, i);

    engine_job_list_add (jobs, view->disk != NULL ? view->disk : "", view->job, NULL);
  }
  return engine_job_wait (vm, "", jobs, ENGINE_JOB_OVER, error);
}

/* What was told to QEMU has its effect when the job comes to a place where it can stand still, which is soon. */
static gboolean
look_again (EngineVm *vm, const EngineJobsRequest *request, EngineJobsResult *result, GError **error)
{
  gint64 until_us = g_get_monotonic_time () + EFFECT_US;

  for (;;) {
    g_autoptr (GPtrArray) views = list_meant (vm, request->job, error);

    if (views == NULL)
      return FALSE;
    if (request->action != ENGINE_JOBS_PAUSE || are_all_paused (views) || g_get_monotonic_time () > until_us) {
      result->views = g_steal_pointer (&views);
      return TRUE;
    }
    base_fiber_sleep (EFFECT_US / 100);
  }
}

static gboolean
is_of_whole (EngineJobsAction action)
{
  return action == ENGINE_JOBS_WAIT || action == ENGINE_JOBS_CANCEL || action == ENGINE_JOBS_COMPLETE;
}

static EngineInflightAim
aim_of (EngineJobsAction action)
{
  if (action == ENGINE_JOBS_CANCEL)
    return ENGINE_INFLIGHT_CANCEL;
  return action == ENGINE_JOBS_COMPLETE ? ENGINE_INFLIGHT_COMPLETE : ENGINE_INFLIGHT_WAIT;
}

static gboolean
go_on (EngineVm *vm, const ChainsOp *op, EngineInflightAim aim, const EngineInflightManner *manner,
       EngineJobsResult *result, GError **error)
{
  gboolean done = g_str_equal (op->verb, MIRROR)
                      ? engine_mirrorlife_continue (vm, op, aim, manner, &result->mirror, error)
                      : engine_merge_continue (vm, op, aim, manner, &result->merge, error);

  if (result->mirror != NULL)
    result->views = g_ptr_array_ref (result->mirror->jobs);
  if (result->merge != NULL)
    result->views = g_ptr_array_ref (result->merge->jobs);
  return done;
}

static gboolean
act_on_operation (EngineVm *vm, const EngineJobsRequest *request, GPtrArray *chosen, EngineJobsResult *result,
                  GError **error)
{
  g_autoptr (ChainsOp) op = get_operation (vm, chosen, request->job, error);
  EngineInflightManner manner = {.guard = {.freeze_timeout_us = request->freeze_timeout_us, .stops = TRUE}};

  if (op == NULL)
    return FALSE;
  if (vm->monitor == NULL || !(g_str_equal (op->verb, MIRROR) || engine_mergeintent_is_verb (op->verb))) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "run `chainctl recover`",
                      "VM '%s': operation %s does not go on in QEMU", vm->record->name, op->id);
    return FALSE;
  }
  manner.guard.quiesce = request->quiesce != NULL ? *request->quiesce : vm->record->quiesce;
  engine_vm_start_agent (vm);
  if (vm->context->dry_run)
    result->views = g_ptr_array_ref (chosen);
  return go_on (vm, op, aim_of (request->action), &manner, result, error);
}

static gboolean
are_ours (const GPtrArray *chosen)
{
  for (guint i = 0; i < chosen->len; i++)
    if (!((const EngineJobView *)g_ptr_array_index (chosen, i))->ours)
      return FALSE;
  return TRUE;
}

void
engine_jobs_result_clear (EngineJobsResult *result)
{
  g_clear_pointer (&result->views, g_ptr_array_unref);
  g_clear_pointer (&result->merge, engine_mergeresult_free);
  g_clear_pointer (&result->mirror, engine_mirrorresult_free);
}

gboolean
engine_jobs_act (EngineContext *context, const EngineJobsRequest *request, EngineJobsResult *result, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, request->vm, is_of_whole (request->action) ? VERB : NULL, error);
  g_autoptr (GPtrArray) chosen = NULL;

  if (vm == NULL || !engine_vm_connect (vm, error))
    return FALSE;
  chosen = list_meant (vm, request->job, error);
  if (chosen == NULL)
    return FALSE;
  if (is_of_whole (request->action) && are_ours (chosen))
    return act_on_operation (vm, request, chosen, result, error);
  if (chosen->len == 0) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_JOB, "see `chainctl jobs`", "VM '%s' has no job '%s'",
                      vm->record->name, request->job);
    return FALSE;
  }
  if (context->dry_run) {
    plan_steps (vm, request, chosen);
    result->views = g_steal_pointer (&chosen);
    return TRUE;
  }
  return (request->action == ENGINE_JOBS_WAIT ? wait_for (vm, chosen, error) : steer (vm, request, chosen, error)) &&
         look_again (vm, request, result, error);
}
