/*
 * Holds the journal's unfinished merges and mirrors against a VM's trees. Only looks: takes no
 * lock, and does without what QEMU does not tell.
 */
#include "engine/treejobs.h"

#include "chains/journal.h"
#include "engine/mergeintent.h"
#include "engine/mirrorintent.h"
#include "qmp/jobs.h"

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
learn (GPtrArray *marked, const GPtrArray *listed)
{
  for (guint i = 0; i < marked->len; i++) {
    EngineTreeJob *job = g_ptr_array_index (marked, i);

    for (guint j = 0; j < listed->len; j++) {
      const QmpJob *told = g_ptr_array_index (listed, j);

      if (!g_str_equal (told->id, job->id))
        continue;
      job->status = g_strdup (told->status);
      job->current = told->current;
      job->total = told->total;
      break;
    }
  }
}

/* That it cannot be asked now is no error: whoever is at work may have its monitor. */
static void
ask (EngineContext *context, const char *name, GPtrArray *marked)
{
  g_autoptr (EngineContext) hasty = engine_context_new_sharing (context);
  g_autoptr (EngineVm) vm = engine_vm_open (hasty, name, NULL, NULL);
  g_autoptr (GPtrArray) listed = NULL;

  hasty->timeout_us = MIN (hasty->timeout_us, PATIENCE_US);
  if (vm == NULL || !engine_vm_connect (vm, NULL) || vm->monitor == NULL)
    return;
  listed = qmp_commands_query_jobs (vm->monitor, engine_vm_wait (vm), NULL);
  if (listed != NULL)
    learn (marked, listed);
}

gboolean
engine_treejobs_mark (EngineContext *context, const ChainsVm *vm, GPtrArray *trees, GError **error)
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
  if (marked->len > 0)
    ask (context, vm->name, marked);
  return ops != NULL;
}
