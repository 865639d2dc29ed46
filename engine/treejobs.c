/*
 * Holds the journal's unfinished merges against a VM's trees. Only looks: takes no
 * lock, and does without what QEMU does not tell.
 */
#include "engine/treejobs.h"

#include "chains/journal.h"
#include "engine/mergeintent.h"
#include "qmp/jobs.h"

#define PATIENCE_US (G_USEC_PER_SEC)

static EngineTreeImage *
find_image (const GPtrArray *trees, const char *disk, gint64 row)
{
  for (guint i = 0; i < trees->len; i++) {
    const EngineTree *tree = g_ptr_array_index (trees, i);

    if (g_str_equal (tree->disk->name, disk))
      return engine_tree_find (tree, row);
  }
  return NULL;
}

/* @marked: (element-type EngineTreeJob): borrowed from the trees */
static void
mark (const GPtrArray *trees, const ChainsOp *op, GPtrArray *marked)
{
  g_autoptr (EngineMergeIntent) intent = engine_mergeintent_from_json (op->intent, NULL);

  for (guint i = 0; intent != NULL && i < intent->parts->len; i++) {
    const EngineMergePart *part = g_ptr_array_index (intent->parts, i);
    EngineTreeImage *image = find_image (trees, part->disk, part->receiver->row);

    if (image == NULL || image->job != NULL)
      continue;
    image->job = g_new0 (EngineTreeJob, 1);
    image->job->op = g_strdup (op->id);
    image->job->verb = g_strdup (op->verb);
    image->job->id = g_strdup (part->job);
    g_ptr_array_add (marked, image->job);
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

  for (guint i = 0; ops != NULL && i < ops->len; i++)
    mark (trees, g_ptr_array_index (ops, i), marked);
  if (marked->len > 0)
    ask (context, vm->name, marked);
  return ops != NULL;
}
