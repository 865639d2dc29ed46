/*
 * Moves the guest. Success is what the graph shows, never that a job ended without
 * an error: one that was cancelled says that too.
 */
#include "engine/pivot.h"

#include "base/point.h"
#include "engine/drift.h"
#include "engine/error.h"
#include "engine/mergeend.h"
#include "qmp/error.h"

typedef struct {
  EngineOp *op;
  EngineVm *vm;
  EngineMergeIntent *intent;
  GPtrArray *jobs;
  EngineGuard *guard;
  GPtrArray *merged;
} Run;

/* ---- what the graph says ---- */

static gboolean
is_layer (const EngineLayer *layer, const EngineMergeImage *image)
{
  if (layer->inode != 0 && image->inode != 0)
    return layer->inode == image->inode && layer->device == image->device;
  return g_str_equal (layer->path, image->path);
}

static gboolean
is_in_chain (const EngineGraphDisk *disk, const EngineMergeImage *image)
{
  for (guint i = 0; i < disk->layers->len; i++)
    if (is_layer (g_ptr_array_index (disk->layers, i), image))
      return TRUE;
  return FALSE;
}

static gboolean
has_merged (const EngineGraphDisk *disk, const EngineMergePart *part)
{
  if (disk == NULL || !is_in_chain (disk, part->receiver))
    return FALSE;
  for (guint i = 0; i < part->images->len; i++)
    if (is_in_chain (disk, g_ptr_array_index (part->images, i)))
      return FALSE;
  return TRUE;
}

gboolean
engine_pivot_find (EngineVm *vm, const EngineMergeIntent *intent, GPtrArray *merged, GError **error)
{
  g_autoptr (EngineGraph) graph = engine_graph_read (vm, error);

  for (guint i = 0; graph != NULL && i < intent->parts->len; i++) {
    EngineMergePart *part = g_ptr_array_index (intent->parts, i);

    if (has_merged (engine_graph_find (graph, part->disk), part))
      g_ptr_array_add (merged, part);
  }
  return graph != NULL;
}

gboolean
engine_pivot_complete (EngineVm *vm, const char *op, GPtrArray *jobs, GError **error)
{
  if (!engine_job_refresh (vm, jobs, error))
    return FALSE;
  for (guint i = 0; i < jobs->len; i++) {
    const EngineJob *job = g_ptr_array_index (jobs, i);
    const char *command = g_str_equal (job->status, "ready")     ? "job-complete"
                          : g_str_equal (job->status, "pending") ? "job-finalize"
                                                                 : NULL;
    g_autoptr (GError) failure = NULL;

    if (command == NULL || qmp_jobs_execute (vm->monitor, engine_vm_wait (vm), command, job->id, &failure) ||
        g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND))
      continue;
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  return engine_job_wait_until (vm, op, jobs, ENGINE_JOB_OVER, engine_context_deadline (vm->context), error);
}

gboolean
engine_pivot_settle (EngineVm *vm, const char *op, const EngineMergeIntent *intent, GPtrArray *jobs, GError **error)
{
  g_autoptr (GPtrArray) merged = g_ptr_array_new ();
  gboolean pivoting;

  if (base_point_is_mutant ("rescue-records-nothing"))
    return TRUE;
  if (!engine_op_find_step (vm->context, op, "pivoting", &pivoting, NULL, error) ||
      (pivoting && !engine_pivot_complete (vm, op, jobs, error)))
    return FALSE;
  return engine_pivot_find (vm, intent, merged, error) && engine_mergeend_record (vm, intent, merged, error);
}

/* ---- the moment ---- */

static gboolean
is_stream (const Run *run)
{
  return run->intent->kind == ENGINE_MERGE_STREAM;
}

/* The last word to each job, all at once. */
static gboolean
end_all (Run *run, gint64 deadline_us, GError **error)
{
  const char *command = is_stream (run) ? "job-finalize" : "job-complete";
  g_autoptr (GPtrArray) calls = g_ptr_array_new ();
  GError *first = NULL;

  for (guint i = 0; i < run->jobs->len; i++) {
    const EngineJob *job = g_ptr_array_index (run->jobs, i);

    if (!engine_job_is_over (job))
      g_ptr_array_add (calls, qmp_jobs_start (run->vm->monitor, command, job->id, deadline_us));
  }
  for (guint i = 0; i < calls->len; i++) {
    g_autoptr (GError) failure = NULL;
    g_autoptr (JsonNode) reply = qmp_call_finish (g_ptr_array_index (calls, i), NULL, &failure);

    if (reply == NULL && first == NULL)
      first = g_steal_pointer (&failure);
  }
  if (first == NULL)
    return TRUE;
  g_propagate_error (error, first);
  return FALSE;
}

/* A VM that was paused before us has not flushed what was copied since. */
static gboolean
flush (Run *run, gint64 deadline_us, GError **error)
{
  const QmpWait wait = {deadline_us, NULL};

  return run->guard->stops || run->vm->standin != NULL || run->vm->daemon ||
         qmp_commands_stop (run->vm->monitor, wait, error);
}

/* In QEMU the devices tell; in a stand-in there are none, and the job itself has to do. */
static gboolean
find_merged (Run *run, GError **error)
{
  if (run->vm->standin == NULL)
    return engine_pivot_find (run->vm, run->intent, run->merged, error);
  for (guint i = 0; i < run->jobs->len; i++) {
    const EngineJob *job = g_ptr_array_index (run->jobs, i);

    if (engine_job_is_over (job) && !engine_job_has_failed (job))
      g_ptr_array_add (run->merged, g_ptr_array_index (run->intent->parts, i));
  }
  return TRUE;
}

/* The body of the guard: the VM is paused. From the step on, a death is settled by whoever comes next. */
static gboolean
move_guest (gpointer data, gint64 deadline_us, GError **error)
{
  Run *run = data;
  g_autoptr (GError) refused = NULL;

  if (!flush (run, deadline_us, error) ||
      (!base_point_is_mutant ("pivot-not-journalled") && !engine_op_step_durable (run->op, "pivoting", NULL, error)))
    return FALSE;
  if (!end_all (run, deadline_us, &refused) && !g_error_matches (refused, QMP_ERROR, QMP_ERROR_COMMAND)) {
    g_propagate_error (error, g_steal_pointer (&refused));
    run->guard->stays_paused = !engine_vm_is_gone (run->vm);
    return FALSE;
  }
  if ((refused == NULL &&
       !engine_job_wait_until (run->vm, run->op->id, run->jobs, ENGINE_JOB_OVER, deadline_us, error)) ||
      !find_merged (run, error) || !engine_mergeend_record (run->vm, run->intent, run->merged, error)) {
    run->guard->stays_paused = !engine_vm_is_gone (run->vm);
    return FALSE;
  }
  return TRUE;
}

/* From here on a guest that stands still does so by us. */
static gboolean
begin_step (Run *run, GError **error)
{
  g_autoptr (JsonObject) detail = json_object_new ();

  json_object_set_boolean_member (detail, "pauses", run->guard->stops);
  json_object_set_boolean_member (detail, "freezes", run->guard->wanted);
  return engine_op_step_durable (run->op, "switch", detail, error);
}

gboolean
engine_pivot_run (EngineOp *op, EngineMergeIntent *intent, GPtrArray *jobs, EngineGuard *guard, GPtrArray *merged,
                  GError **error)
{
  Run run = {op, op->vm, intent, jobs, guard, merged};

  return begin_step (&run, error) && engine_guard_run (guard, move_guest, &run, error);
}

void
engine_pivot_read_step (JsonObject *detail, gboolean *pauses, gboolean *freezes)
{
  *pauses = detail != NULL && json_object_get_boolean_member_with_default (detail, "pauses", FALSE);
  *freezes = detail != NULL && json_object_get_boolean_member_with_default (detail, "freezes", FALSE);
}
