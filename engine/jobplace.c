/*
 * Goes from a job to a node that it holds, and on downwards through filters to an
 * image of a disk. A QEMU that does not tell leaves the place unknown: never a guess.
 */
#include "engine/jobplace.h"

#include "qmp/edges.h"

/* By the job's type, which of its nodes says most about it. */
static const QmpVertex *
find_start (const QmpEdges *edges, const EngineJobView *view)
{
  static const char *const of_commit[] = {"base", "target", "main node", NULL};
  static const char *const of_others[] = {"main node", "source", "target", NULL};
  const char *const *roles = g_str_equal (view->type, "commit") ? of_commit : of_others;

  for (guint i = 0; roles[i] != NULL; i++) {
    const QmpVertex *held = qmp_edges_find_held (edges, view->job, roles[i]);

    if (held != NULL)
      return held;
  }
  return NULL;
}

/* %FALSE where @node is no image of a disk. */
static gboolean
place (const EngineGraph *graph, const char *node, EngineJobView *view)
{
  for (guint i = 0; i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);

    for (guint j = 0; disk->skipped == NULL && j < disk->layers->len; j++) {
      const EngineLayer *layer = g_ptr_array_index (disk->layers, j);

      if (!g_str_equal (layer->node->name, node))
        continue;
      view->disk = g_strdup (disk->name);
      view->path = g_strdup (layer->path);
      return TRUE;
    }
  }
  return FALSE;
}

/* A graph that bites its own tail has an end here all the same. */
static void
find_place (const EngineGraph *graph, const QmpEdges *edges, EngineJobView *view)
{
  const QmpVertex *at = find_start (edges, view);
  guint left = qmp_edges_get_all (edges)->len;

  for (; at != NULL && left > 0; left--) {
    if (place (graph, at->name, view))
      return;
    at = at->file != NULL ? at->file : at->backing;
  }
}

static gboolean
is_sought (const EngineJobView *view)
{
  return !view->ours && view->path == NULL;
}

static void
find_places (EngineVm *vm, const EngineGraph *graph, GPtrArray *views)
{
  g_autoptr (JsonNode) reply = qmp_client_execute (vm->monitor, "x-debug-query-block-graph", NULL,
                                                   engine_context_deadline (vm->context), vm->cancellable, NULL);
  g_autoptr (QmpEdges) edges = reply != NULL ? qmp_edges_parse (reply, NULL) : NULL;

  for (guint i = 0; edges != NULL && i < views->len; i++) {
    EngineJobView *view = g_ptr_array_index (views, i);

    if (is_sought (view))
      find_place (graph, edges, view);
  }
}

void
engine_jobplace_find (EngineVm *vm, const EngineGraph *graph, GPtrArray *views)
{
  gboolean any = FALSE;

  for (guint i = 0; i < views->len; i++)
    any = any || is_sought (g_ptr_array_index (views, i));
  if (any)
    find_places (vm, graph, views);
}
