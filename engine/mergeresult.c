/*
 * Makes results of merges, and fills them as the operation goes. Owns the lists in
 * them; knows nothing of how to merge.
 */
#include "engine/mergeresult.h"

static void
merged_free (EngineMerged *merged)
{
  g_free (merged->disk);
  g_free (merged->job);
  g_free (merged->top);
  g_free (merged->base);
  g_ptr_array_unref (merged->removed);
  g_free (merged);
}

void
engine_mergeresult_free (EngineMergeResult *result)
{
  if (result == NULL)
    return;
  g_free (result->op);
  g_ptr_array_unref (result->merges);
  g_ptr_array_unref (result->snapshots_removed);
  g_ptr_array_unref (result->active);
  g_ptr_array_unref (result->jobs);
  g_free (result);
}

static EngineMerged *
merged_new (const EngineMergeIntent *intent, const EngineMergePart *part)
{
  const EngineMergeImage *top = g_ptr_array_index (part->images, 0);
  EngineMerged *merged = g_new0 (EngineMerged, 1);
  gboolean commit = intent->kind == ENGINE_MERGE_COMMIT;

  merged->disk = g_strdup (part->disk);
  merged->job = g_strdup (part->job);
  merged->top = g_strdup (commit ? top->path : part->receiver->path);
  merged->base = g_strdup (commit ? part->receiver->path : part->below != NULL ? part->below->path : "");
  merged->removed = g_ptr_array_new_with_free_func (g_free);
  return merged;
}

EngineMergeResult *
engine_mergeresult_new (const EngineOp *op, const EngineMergeIntent *intent)
{
  EngineMergeResult *result = g_new0 (EngineMergeResult, 1);

  result->op = g_strdup (op->id);
  result->kind = intent->kind;
  result->moves = engine_mergeintent_moves (intent);
  result->merges = g_ptr_array_new_with_free_func ((GDestroyNotify)merged_free);
  result->snapshots_removed = g_ptr_array_new_with_free_func (g_free);
  result->active = engine_switched_list_new ();
  result->jobs = engine_jobview_list_new ();
  result->frozen_us = result->paused_us = -1;
  for (guint i = 0; i < intent->parts->len; i++)
    g_ptr_array_add (result->merges, merged_new (intent, g_ptr_array_index (intent->parts, i)));
  for (guint i = 0; i < intent->destroyed->len; i++)
    g_ptr_array_add (result->snapshots_removed,
                     g_strdup (((const ChainsSnapshot *)g_ptr_array_index (intent->destroyed, i))->name));
  return result;
}

void
engine_mergeresult_detach (EngineMergeResult *result, const EngineOp *op, const EngineMergeIntent *intent,
                           const GPtrArray *jobs)
{
  result->detached = TRUE;
  engine_jobview_list_add (result->jobs, op, engine_mergeintent_verb (intent), intent->speed, jobs);
}

void
engine_mergeresult_describe (EngineMergeResult *result, const EngineMergeIntent *intent, GPtrArray *merged,
                             const GPtrArray *jobs)
{
  for (guint i = 0; i < intent->parts->len; i++) {
    EngineMergePart *part = g_ptr_array_index (intent->parts, i);
    EngineMerged *one = g_ptr_array_index (result->merges, i);

    one->merged = g_ptr_array_find (merged, part, NULL);
    one->pivoted = one->merged && result->moves;
    if (jobs != NULL && i < jobs->len)
      one->bytes = ((const EngineJob *)g_ptr_array_index (jobs, i))->current;
    if (one->pivoted)
      engine_switched_list_add (result->active, part->disk, one->top, one->base);
  }
}
