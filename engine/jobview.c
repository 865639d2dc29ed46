/*
 * Makes views of jobs. They own what they say, and outlive VM and operation: a tool
 * shows them last.
 */
#include "engine/jobview.h"

static void
view_free (EngineJobView *view)
{
  g_free (view->vm);
  g_free (view->disk);
  g_free (view->job);
  g_free (view->op);
  g_free (view->type);
  g_free (view->status);
  g_free (view);
}

GPtrArray *
engine_jobview_list_new (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)view_free);
}

void
engine_jobview_list_add (GPtrArray *views, const EngineOp *op, const char *type, gint64 speed, const GPtrArray *jobs)
{
  for (guint i = 0; i < jobs->len; i++) {
    const EngineJob *job = g_ptr_array_index (jobs, i);
    EngineJobView *view = g_new0 (EngineJobView, 1);

    view->vm = g_strdup (op->vm->record->name);
    view->disk = g_strdup (job->disk);
    view->job = g_strdup (job->id);
    view->op = g_strdup (op->id);
    view->type = g_strdup (type);
    view->status = g_strdup (job->status);
    view->current = job->current;
    view->total = job->total;
    view->speed = speed;
    view->ours = TRUE;
    g_ptr_array_add (views, view);
  }
}
