/*
 * Opens a VM for a verb that asks for all of its graph. The order matters: jobs are
 * asked for before nodes.
 */
#include "engine/opening.h"

#include "engine/drift.h"
#include "engine/op.h"
#include "engine/preflight.h"
#include "engine/standin.h"

EngineGraph *
engine_opening_run (EngineVm *vm, GError **error)
{
  g_autoptr (EngineGraph) graph = NULL;

  if (!engine_op_check_finished (vm, error) || !engine_vm_connect (vm, error) ||
      (vm->monitor == NULL && !engine_standin_start (vm, NULL, error)))
    return NULL;
  if (vm->standin == NULL)
    engine_vm_start_agent (vm);
  if (!engine_preflight_check_vm (vm, error))
    return NULL;
  graph = engine_graph_read (vm, error);
  return graph != NULL && engine_drift_refuse (vm, graph, error) ? g_steal_pointer (&graph) : NULL;
}
