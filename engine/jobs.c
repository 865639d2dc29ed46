/*
 * Lists jobs and steers them. A job of an operation of ours is waited for,
 * completed and cancelled with the whole operation; one of somebody else's only
 * where it is named.
 */
#include "engine/jobs.h"

#include "chains/journal.h"
#include "engine/error.h"
#include "qmp/error.h"

#include <string.h>

#define VERB "job"
#define MIRROR "mirror"
#define SHORTEST_PREFIX 4

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

/* Of @views only those that are meant. */
static GPtrArray *
choose (GPtrArray *views, const char *reference)
{
  GPtrArray *chosen = engine_jobview_list_new ();

  for (guint i = 0; i < views->len;)
    if (is_meant (g_ptr_array_index (views, i), reference))
      g_ptr_array_add (chosen, g_ptr_array_steal_index (views, i));
    else
      i++;
  return chosen;
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

static const char *
command_of (EngineJobsAction action)
{
  static const char *const commands[] = {NULL, "job-pause", "job-resume", "job-cancel", "job-complete", NULL};

  return commands[action];
}

/* Each job by itself: what changes no graph, and what somebody else's is named for. */
static gboolean
steer (EngineVm *vm, const EngineJobsRequest *request, const GPtrArray *chosen, GError **error)
{
  for (guint i = 0; i < chosen->len; i++) {
    const char *id = ((const EngineJobView *)g_ptr_array_index (chosen, i))->job;
    QmpWait wait = engine_vm_wait (vm);

    if (!(request->action == ENGINE_JOBS_SPEED
              ? qmp_jobs_set_speed (vm->monitor, wait, id, request->speed, error)
              : qmp_jobs_execute (vm->monitor, wait, command_of (request->action), id, error))) {
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
act_on_operation (EngineVm *vm, const EngineJobsRequest *request, const GPtrArray *chosen, EngineJobsResult *result,
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
  g_autoptr (GPtrArray) all = engine_jobview_list_new ();
  g_autoptr (GPtrArray) chosen = NULL;
  gboolean done;

  if (vm == NULL || !engine_vm_connect (vm, error) ||
      (vm->monitor != NULL && !engine_jobview_list_all (vm, all, error)))
    return FALSE;
  chosen = choose (all, request->job);
  if (is_of_whole (request->action) && are_ours (chosen))
    return act_on_operation (vm, request, chosen, result, error);
  if (chosen->len == 0) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_JOB, "see `chainctl jobs`", "VM '%s' has no job '%s'",
                      vm->record->name, request->job);
    return FALSE;
  }
  done = request->action == ENGINE_JOBS_WAIT ? wait_for (vm, chosen, error) : steer (vm, request, chosen, error);
  result->views = g_steal_pointer (&chosen);
  return done;
}
