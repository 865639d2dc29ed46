/*
 * The verb `check`: connects where the VM runs, and tells what engine/findings
 * finds. A VM that cannot be reached is an error here.
 */
#include "engine/check.h"

#include "engine/findings.h"

GPtrArray *
engine_check_run (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, NULL, error);
  g_autoptr (GPtrArray) problems = engine_problem_list_new ();
  g_autoptr (EngineGraph) graph = NULL;

  if (vm == NULL || !engine_vm_connect (vm, error))
    return NULL;
  graph = vm->monitor != NULL ? engine_graph_read (vm, error) : NULL;
  if ((vm->monitor != NULL && graph == NULL) || !engine_findings_add (vm, graph, problems, error))
    return NULL;
  return g_steal_pointer (&problems);
}
