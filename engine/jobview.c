/*
 * Makes views of jobs. They own what they say, and outlive VM and operation: a tool
 * shows them last.
 */
#include "engine/jobview.h"

#include "chains/journal.h"
#include "engine/mergeintent.h"
#include "engine/mirrorintent.h"
#include "qmp/jobs.h"

#include <string.h>

#define MIRROR "mirror"

void
engine_jobview_free (EngineJobView *view)
{
  g_free (view->vm);
  g_free (view->disk);
  g_free (view->path);
  g_free (view->error);
  g_free (view->job);
  g_free (view->op);
  g_free (view->type);
  g_free (view->status);
  g_free (view);
}

GPtrArray *
engine_jobview_list_new (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)engine_jobview_free);
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

/* ---- all that QEMU has ---- */

static const ChainsOp *
find_op (const GPtrArray *ops, const char *job)
{
  for (guint i = 0; i < ops->len; i++) {
    const ChainsOp *op = g_ptr_array_index (ops, i);
    g_autofree char *first = engine_op_name_of (op->id, 0, "");
    gsize prefix = strlen (first) - 1;

    if (strncmp (job, first, prefix) == 0)
      return op;
  }
  return NULL;
}

/* Whose @job of @op is. Returns: (transfer full) (nullable) */
static char *
disk_of (const ChainsOp *op, const char *job)
{
  g_autoptr (EngineMirrorIntent) mirror =
      g_str_equal (op->verb, MIRROR) ? engine_mirrorintent_from_json (op->intent, NULL) : NULL;
  g_autoptr (EngineMergeIntent) merge =
      engine_mergeintent_is_verb (op->verb) ? engine_mergeintent_from_json (op->intent, NULL) : NULL;
  g_autoptr (GPtrArray) jobs = mirror != NULL  ? engine_mirrorintent_jobs (mirror, op->id)
                               : merge != NULL ? engine_mergeintent_jobs (merge)
                                               : NULL;

  for (guint i = 0; jobs != NULL && i < jobs->len; i++) {
    const EngineJob *one = g_ptr_array_index (jobs, i);

    if (g_str_equal (one->id, job))
      return g_strdup (one->disk);
  }
  return NULL;
}

static EngineJobView *
view_new (const EngineVm *vm, const QmpJob *job, const QmpBlockJob *block, const ChainsOp *op)
{
  EngineJobView *view = g_new0 (EngineJobView, 1);

  view->vm = g_strdup (vm->record->name);
  view->job = g_strdup (job->id);
  view->type = g_strdup (job->type);
  view->status = g_strdup (job->status);
  view->current = job->current;
  view->total = job->total;
  view->speed = block != NULL ? block->speed : 0;
  view->no_room = block != NULL && block->no_room;
  view->io_failed = block != NULL && block->io_failed;
  view->error = g_strdup (job->error);
  view->ours = op != NULL;
  view->op = op != NULL ? g_strdup (op->id) : NULL;
  view->disk = op != NULL ? disk_of (op, job->id) : NULL;
  return view;
}

gboolean
engine_jobview_list_all (EngineVm *vm, GPtrArray *views, GError **error)
{
  g_autoptr (GPtrArray) ops = chains_journal_list_unfinished (vm->context->db, vm->record->id, error);
  g_autoptr (GPtrArray) jobs = ops != NULL ? qmp_commands_query_jobs (vm->monitor, engine_vm_wait (vm), error) : NULL;
  g_autoptr (GHashTable) blocks = jobs != NULL ? qmp_jobs_query (vm->monitor, engine_vm_wait (vm), error) : NULL;

  for (guint i = blocks != NULL ? jobs->len : 0; i-- > 0;) {
    const QmpJob *job = g_ptr_array_index (jobs, i);

    g_ptr_array_add (views, view_new (vm, job, g_hash_table_lookup (blocks, job->id), find_op (ops, job->id)));
  }
  return blocks != NULL;
}
