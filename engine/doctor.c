/*
 * Goes from the monitor outwards: QEMU, the agent, the images, the host. Each part
 * looks at what it can see, whatever another one could not: this is for the
 * moment in which something does not work.
 */
#include "engine/doctor.h"

#include "engine/agentadvice.h"
#include "engine/error.h"
#include "engine/findings.h"
#include "engine/hostadvice.h"
#include "engine/imageadvice.h"
#include "engine/jobadvice.h"
#include "engine/preflight.h"
#include "engine/qemuadvice.h"
#include "engine/tree.h"
#include "qmp/error.h"

/* One run. @graph: (nullable): where it cannot be had */
typedef struct {
  EngineVm *vm;
  EngineGraph *graph;
  GPtrArray *problems;
} Visit;

/* ---- the monitor ---- */

/* What the database or Ctrl-C has to say is no finding about the VM. */
static gboolean
is_about_vm (const GError *failure)
{
  return failure->domain == QMP_ERROR || failure->domain == ENGINE_ERROR;
}

static void
add_unreachable (const Visit *visit, const GError *failure)
{
  const char *then = "until then nothing can be done with this VM";

  if (g_error_matches (failure, QMP_ERROR, QMP_ERROR_BUSY))
    engine_problem_add (visit->problems, "monitor-held", TRUE, NULL, NULL,
                        "end the other program that is connected to it, or start QEMU with another monitor for one of "
                        "the two: `-qmp unix:PATH,server=on,wait=off`, and `chainctl vm set VM --qmp PATH`",
                        "%s: a monitor serves one program at a time, and another one has it, or QEMU hangs; %s",
                        failure->message, then);
  else
    engine_problem_add (visit->problems, "unreachable", TRUE, NULL, NULL, engine_error_get_hint (failure), "%s; %s",
                        failure->message, then);
}

/* %FALSE with an error only for what is no finding. */
static gboolean
connect_monitor (const Visit *visit, GError **error)
{
  GError *failure = NULL;

  if (engine_vm_connect (visit->vm, &failure))
    return TRUE;
  if (!is_about_vm (failure)) {
    g_propagate_error (error, failure);
    return FALSE;
  }
  add_unreachable (visit, failure);
  g_error_free (failure);
  g_clear_pointer (&visit->vm->monitor, qmp_client_free);
  visit->vm->state = ENGINE_VM_UNREACHABLE;
  return TRUE;
}

/* QEMU 7.2 dies of the question for its nodes while a concluded stream is left. */
static gboolean
is_deadly_to_ask (const Visit *visit)
{
  g_autoptr (GPtrArray) jobs = qmp_commands_query_jobs (visit->vm->monitor, engine_vm_wait (visit->vm), NULL);

  for (guint i = 0; jobs != NULL && i < jobs->len; i++) {
    const QmpJob *job = g_ptr_array_index (jobs, i);

    if (g_str_equal (job->type, "stream") && g_str_equal (job->status, "concluded"))
      return TRUE;
  }
  return jobs == NULL;
}

static gboolean
read_graph (Visit *visit, GError **error)
{
  g_autoptr (GError) busy = NULL;
  GError *failure = NULL;

  if (visit->vm->monitor == NULL)
    return TRUE;
  if (!engine_preflight_check_state (visit->vm, &busy) && busy->domain == ENGINE_ERROR)
    engine_problem_add (visit->problems, "busy", FALSE, NULL, NULL, engine_error_get_hint (busy),
                        "%s: snapshots are refused until it is over", busy->message);
  if (is_deadly_to_ask (visit))
    return TRUE;
  visit->graph = engine_graph_read (visit->vm, &failure);
  if (visit->graph != NULL)
    return TRUE;
  if (!is_about_vm (failure)) {
    g_propagate_error (error, failure);
    return FALSE;
  }
  engine_problem_add (visit->problems, "no-graph", TRUE, NULL, NULL, NULL,
                      "VM '%s': QEMU's block graph cannot be read: %s", visit->vm->record->name, failure->message);
  g_error_free (failure);
  return TRUE;
}

/* ---- all of it ---- */

static gboolean
look (Visit *visit, GError **error)
{
  EngineVm *vm = visit->vm;
  g_autoptr (GPtrArray) trees = NULL;

  if (!connect_monitor (visit, error) || !read_graph (visit, error) ||
      !engine_findings_add (vm, visit->graph, visit->problems, error))
    return FALSE;
  trees = engine_tree_read (vm->context, vm->record, error);
  if (trees == NULL)
    return FALSE;
  engine_jobadvice_find (vm, visit->graph, visit->problems);
  engine_qemuadvice_find (vm, visit->graph, trees, visit->problems);
  engine_agentadvice_find (vm, visit->problems);
  engine_imageadvice_find (vm, visit->graph, trees, visit->problems);
  engine_hostadvice_find (vm->context, visit->problems);
  return !g_cancellable_set_error_if_cancelled (vm->cancellable, error);
}

GPtrArray *
engine_doctor_run (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, NULL, error);
  g_autoptr (GPtrArray) problems = engine_problem_list_new ();
  Visit visit = {.vm = vm, .problems = problems};
  gboolean seen = vm != NULL && look (&visit, error);

  g_clear_pointer (&visit.graph, engine_graph_free);
  return seen ? g_steal_pointer (&problems) : NULL;
}
