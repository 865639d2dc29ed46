/*
 * Makes results of mirrors, and fills them as the operation goes. Owns the lists in
 * them; knows nothing of how to copy.
 */
#include "engine/mirrorresult.h"

static void
mirrored_free (EngineMirrored *mirrored)
{
  g_free (mirrored->disk);
  g_free (mirrored->job);
  g_free (mirrored->target);
  g_free (mirrored);
}

void
engine_mirrorresult_free (EngineMirrorResult *result)
{
  if (result == NULL)
    return;
  g_free (result->op);
  g_free (result->reason);
  g_free (result->automatic);
  g_ptr_array_unref (result->mirrors);
  g_ptr_array_unref (result->active);
  g_ptr_array_unref (result->jobs);
  g_free (result);
}

EngineMirrorResult *
engine_mirrorresult_new (const EngineOp *op, const EngineMirrorIntent *intent)
{
  EngineMirrorResult *result = g_new0 (EngineMirrorResult, 1);

  result->op = g_strdup (op->id);
  result->goal = intent->goal;
  result->mirrors = g_ptr_array_new_with_free_func ((GDestroyNotify)mirrored_free);
  result->active = engine_switched_list_new ();
  result->jobs = engine_jobview_list_new ();
  result->consistency = CHAINS_CONSISTENCY_CRASH;
  result->frozen_us = result->paused_us = -1;
  for (guint i = 0; i < intent->copies->overlays->len; i++) {
    const EngineIntentOverlay *copy = g_ptr_array_index (intent->copies->overlays, i);
    EngineMirrored *mirrored = g_new0 (EngineMirrored, 1);

    mirrored->disk = g_strdup (copy->disk);
    mirrored->job = engine_mirrorintent_job (op->id, i);
    mirrored->target = g_strdup (copy->path);
    g_ptr_array_add (result->mirrors, mirrored);
  }
  return result;
}

void
engine_mirrorresult_count (EngineMirrorResult *result, const GPtrArray *jobs)
{
  for (guint i = 0; i < jobs->len && i < result->mirrors->len; i++) {
    const EngineJob *job = g_ptr_array_index (jobs, i);
    EngineMirrored *mirrored = g_ptr_array_index (result->mirrors, i);

    mirrored->bytes = job->current;
  }
}

void
engine_mirrorresult_detach (EngineMirrorResult *result, const EngineOp *op, gint64 speed, const GPtrArray *jobs)
{
  result->detached = TRUE;
  engine_mirrorresult_count (result, jobs);
  engine_jobview_list_add (result->jobs, op, "mirror", speed, jobs);
}

void
engine_mirrorresult_switch (EngineMirrorResult *result, const EngineIntent *moved)
{
  if (moved->snapshot != NULL)
    result->automatic = g_strdup (moved->snapshot->name);
  for (guint i = 0; i < moved->overlays->len; i++) {
    const EngineIntentOverlay *copy = g_ptr_array_index (moved->overlays, i);

    engine_switched_list_add (result->active, copy->disk, copy->head, copy->path);
  }
}
