/*
 * Streams: what is asked for becomes a plan, which engine/merge carries out. No
 * guest is frozen for it, since none is moved.
 */
#include "engine/stream.h"

#include "engine/opening.h"

#define VERB "stream"

gboolean
engine_stream_run (EngineContext *context, const EngineStreamRequest *request, EngineMergeResult **result,
                   GError **error)
{
  const EngineMergePlanRequest asked = {ENGINE_MERGE_STREAM, request->disks, request->top, request->base};
  const EngineInflightManner manner = {.guard = {.quiesce = CHAINS_QUIESCE_OFF, .stops = TRUE},
                                       .detach = request->detach};
  g_autoptr (EngineVm) vm = engine_vm_open (context, request->vm, VERB, error);
  g_autoptr (EngineGraph) graph = NULL;
  g_autoptr (EngineOp) op = NULL;
  g_autoptr (EngineMergeIntent) intent = NULL;

  graph = vm != NULL ? engine_opening_run (vm, error) : NULL;
  if (graph == NULL || !engine_inflight_check_outlives (vm, request->detach, "copy", "without --detach", error))
    return FALSE;
  op = engine_op_new (vm);
  intent = engine_mergeplan_new (op, graph, &asked, error);
  if (intent == NULL)
    return FALSE;
  intent->speed = request->speed;
  if (context->dry_run)
    return engine_merge_pretend (op, intent, &manner, result, error);
  return engine_merge_run (op, intent, &manner, result, error);
}
