/*
 * Holds the journal's unfinished merges and mirrors, and QEMU's own list of jobs, against a
 * VM's trees. Only looks: takes no lock, and does without what QEMU does not tell.
 */
#include "engine/treejobs.h"

#include "chains/journal.h"
#include "engine/imagefile.h"
#include "engine/jobplace.h"
#include "engine/mergeintent.h"
#include "engine/mirrorintent.h"

#define PATIENCE_US (G_USEC_PER_SEC)

static const EngineTree *
find_tree (const GPtrArray *trees, const char *disk)
{
  for (guint i = 0; i < trees->len; i++)
    if (g_str_equal (((const EngineTree *)g_ptr_array_index (trees, i))->disk->name, disk))
      return g_ptr_array_index (trees, i);
  return NULL;
}

/* @marked: (element-type EngineTreeJob): borrowed from the trees */
static void
mark_image (EngineTreeImage *image, const ChainsOp *op, const char *job, GPtrArray *marked)
{
  if (image == NULL || image->job != NULL)
    return;
  image->job = g_new0 (EngineTreeJob, 1);
  image->job->op = g_strdup (op->id);
  image->job->verb = g_strdup (op->verb);
  image->job->id = g_strdup (job);
  g_ptr_array_add (marked, image->job);
}

static void
mark_mirror (const GPtrArray *trees, const ChainsOp *op, GPtrArray *marked)
{
  g_autoptr (EngineMirrorIntent) intent = engine_mirrorintent_from_json (op->intent, NULL);

  for (guint i = 0; intent != NULL && i < intent->copies->overlays->len; i++) {
    const EngineIntentOverlay *copy = g_ptr_array_index (intent->copies->overlays, i);
    const EngineTree *tree = find_tree (trees, copy->disk);
    g_autofree char *job = engine_mirrorintent_job (op->id, i);

    if (tree != NULL)
      mark_image (engine_tree_active (tree), op, job, marked);
  }
}

static void
mark_merge (const GPtrArray *trees, const ChainsOp *op, GPtrArray *marked)
{
  g_autoptr (EngineMergeIntent) intent = engine_mergeintent_from_json (op->intent, NULL);

  for (guint i = 0; intent != NULL && i < intent->parts->len; i++) {
    const EngineMergePart *part = g_ptr_array_index (intent->parts, i);
    const EngineTree *tree = find_tree (trees, part->disk);

    if (tree != NULL)
      mark_image (engine_tree_find (tree, part->receiver->row), op, part->job, marked);
  }
}

static void
learn (GPtrArray *marked, const EngineJobView *told)
{
  for (guint i = 0; i < marked->len; i++) {
    EngineTreeJob *job = g_ptr_array_index (marked, i);

    if (job->status != NULL || !g_str_equal (told->job, job->id))
      continue;
    job->status = g_strdup (told->status);
    job->current = told->current;
    job->total = told->total;
    return;
  }
}

/* QEMU may spell a path in another way than the database does. */
static void
take_over_spelling (const GPtrArray *trees, EngineJobView *view)
{
  const EngineTree *tree = view->path != NULL ? find_tree (trees, view->disk) : NULL;

  for (guint i = 0; tree != NULL && i < tree->images->len; i++) {
    const char *path = ((const EngineTreeImage *)g_ptr_array_index (tree->images, i))->image->path;

    if (!engine_imagefile_names ("/", view->path, path))
      continue;
    g_free (view->path);
    view->path = g_strdup (path);
    return;
  }
}

/* That the graph is not to be had leaves the place of a job unknown. */
static void
find_places (EngineVm *vm, const GPtrArray *trees, GPtrArray *others)
{
  g_autoptr (EngineGraph) graph = others->len > 0 ? engine_graph_read (vm, NULL) : NULL;

  if (graph != NULL)
    engine_jobplace_find (vm, graph, others);
  for (guint i = 0; i < others->len; i++)
    take_over_spelling (trees, g_ptr_array_index (others, i));
}

/* That it cannot be asked now is no error: whoever is at work may have its monitor. */
static void
ask (EngineContext *context, const char *name, const GPtrArray *trees, GPtrArray *marked, GPtrArray *others)
{
  g_autoptr (EngineContext) hasty = engine_context_new_sharing (context);
  g_autoptr (EngineVm) vm = engine_vm_open (hasty, name, NULL, NULL);
  g_autoptr (GPtrArray) views = engine_jobview_list_new ();

  hasty->timeout_us = MIN (hasty->timeout_us, PATIENCE_US);
  if (vm == NULL || !engine_vm_connect (vm, NULL) || vm->monitor == NULL || !engine_jobview_list_all (vm, views, NULL))
    return;
  while (views->len > 0) {
    EngineJobView *view = g_ptr_array_steal_index (views, 0);

    learn (marked, view);
    if (view->ours)
      engine_jobview_free (view);
    else
      g_ptr_array_add (others, view);
  }
  find_places (vm, trees, others);
}

gboolean
engine_treejobs_mark (EngineContext *context, const ChainsVm *vm, GPtrArray *trees, GPtrArray *others, GError **error)
{
  g_autoptr (GPtrArray) ops = chains_journal_list_unfinished (context->db, vm->id, error);
  g_autoptr (GPtrArray) marked = g_ptr_array_new ();

  for (guint i = 0; ops != NULL && i < ops->len; i++) {
    const ChainsOp *op = g_ptr_array_index (ops, i);

    if (g_str_equal (op->verb, "mirror"))
      mark_mirror (trees, op, marked);
    else
      mark_merge (trees, op, marked);
  }
  if (ops != NULL)
    ask (context, vm->name, trees, marked, others);
  return ops != NULL;
}
