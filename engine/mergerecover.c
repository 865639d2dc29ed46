/*
 * Recovers merges. A commit overwrites from its start, so it is never undone: it
 * is done, or it is unmerged, with the snapshots that it overwrites gone.
 */
#include "engine/mergerecover.h"

#include "chains/images.h"
#include "engine/error.h"
#include "engine/inflight.h"
#include "engine/mergeend.h"
#include "engine/mergelive.h"
#include "engine/mergeseal.h"
#include "engine/nodeflush.h"
#include "engine/pivot.h"
#include "engine/qcow2.h"
#include "qmp/error.h"

typedef struct {
  EngineVm *vm;
  const ChainsOp *row;
  EngineMergeIntent *intent;
  GPtrArray *jobs;
  GPtrArray *merged;
  gboolean begun;
  gboolean started;
} Run;

static void
run_clear (Run *run)
{
  g_clear_pointer (&run->intent, engine_mergeintent_free);
  g_clear_pointer (&run->jobs, g_ptr_array_unref);
  g_clear_pointer (&run->merged, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

static gboolean
init (Run *run, EngineVm *vm, const ChainsOp *row, GError **error)
{
  run->vm = vm;
  run->row = row;
  run->intent = engine_mergeintent_from_json (row->intent, error);
  if (run->intent == NULL)
    return FALSE;
  run->jobs = engine_mergeintent_jobs (run->intent);
  run->merged = g_ptr_array_new ();
  return engine_op_find_step (vm->context, row->id, "merge", &run->begun, NULL, error);
}

/* ---- QEMU is there ---- */

/* A concluded stream that was left behind kills QEMU 7.2 at the next question for its nodes: jobs come first. */
static gboolean
end_jobs (Run *run, GError **error)
{
  gboolean pivoting;

  if (!engine_job_refresh (run->vm, run->jobs, error))
    return FALSE;
  for (guint i = 0; i < run->jobs->len; i++)
    run->started = run->started || engine_job_is_listed (g_ptr_array_index (run->jobs, i));
  if (!engine_pivot_settle_jobs (run->vm, run->row->id, run->jobs, &pivoting, error) ||
      (!pivoting && !engine_job_cancel (run->vm, run->row->id, run->jobs, error)))
    return FALSE;
  return engine_job_refresh (run->vm, run->jobs, error) && engine_job_dismiss (run->vm, run->jobs, error);
}

static gboolean
end_flushes (Run *run, GError **error)
{
  for (guint i = 0; run->vm->daemon && i < run->intent->parts->len; i++) {
    g_autofree char *name = engine_mergeintent_flush_node (run->row->id, i);

    if (!engine_nodeflush_end (run->vm, name, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
find_in_qemu (Run *run, GError **error)
{
  return end_jobs (run, error) && end_flushes (run, error) &&
         engine_mergelive_find (run->vm, run->intent, run->merged, error);
}

/* ---- QEMU is gone ---- */

static gboolean
names_below (const char *path, const EngineMergeImage *below, gboolean *names, GError **error)
{
  g_autoptr (EngineQcow2) header = engine_qcow2_read (path, error);

  if (header == NULL)
    return FALSE;
  *names = below == NULL ? header->backing == NULL
                         : header->backing != NULL && engine_imagefile_names (path, header->backing, below->path);
  return TRUE;
}

/* Nothing on disk tells whether a guest was moved: what is not recorded was not written to since it was paused. */
static gboolean
find_in_headers (Run *run, GError **error)
{
  for (guint i = 0; i < run->intent->parts->len; i++) {
    EngineMergePart *part = g_ptr_array_index (run->intent->parts, i);
    gboolean commit = run->intent->kind == ENGINE_MERGE_COMMIT, merged = FALSE;

    if (commit && engine_mergeintent_is_active (part))
      continue;
    if (!(commit ? names_below (part->above->path, part->receiver, &merged, error)
                 : names_below (part->receiver->path, part->below, &merged, error)))
      return FALSE;
    if (merged)
      g_ptr_array_add (run->merged, part);
  }
  return TRUE;
}

/* ---- what it came to ---- */

/* Those that were recorded before count too. */
static gboolean
add_recorded (Run *run, GError **error)
{
  for (guint i = 0; i < run->intent->parts->len; i++) {
    EngineMergePart *part = g_ptr_array_index (run->intent->parts, i);
    gboolean recorded;

    if (!engine_mergeend_is_recorded (run->vm, run->intent, part, &recorded, error))
      return FALSE;
    if (recorded && !g_ptr_array_find (run->merged, part, NULL))
      g_ptr_array_add (run->merged, part);
  }
  return TRUE;
}

static gboolean
was_never_started (const Run *run)
{
  /* What was written before the machine's own death may have lost its time. */
  if (run->started || run->merged->len > 0 || !engine_op_is_of_this_boot (run->row))
    return FALSE;
  for (guint i = 0; i < run->intent->parts->len; i++)
    if (!engine_mergeend_is_untouched (g_ptr_array_index (run->intent->parts, i)))
      return FALSE;
  return TRUE;
}

static gboolean
finish (Run *run, GError **error)
{
  gboolean all = run->merged->len == run->intent->parts->len;
  ChainsOpState state = all ? CHAINS_OP_DONE : run->merged->len > 0 ? CHAINS_OP_FAILED : CHAINS_OP_UNDONE;

  if (!engine_mergeend_record (run->vm, run->intent, run->merged, error))
    return FALSE;
  for (guint i = 0; i < run->merged->len; i++)
    if (!engine_mergeend_clear_up (run->vm, run->intent, g_ptr_array_index (run->merged, i), NULL, NULL, error))
      return FALSE;
  engine_mergeend_forget_notes (run->vm, run->intent);
  return chains_journal_end (run->vm->context->db, run->row->id, state, all ? NULL : "interrupted", error);
}

static char *
describe (const Run *run)
{
  g_autoptr (GString) names = g_string_new (NULL);

  for (guint i = 0; i < run->intent->destroyed->len; i++)
    g_string_append_printf (names, "%s'%s'", i > 0 ? ", " : "",
                            ((const ChainsSnapshot *)g_ptr_array_index (run->intent->destroyed, i))->name);
  if (run->merged->len == run->intent->parts->len)
    return g_strdup_printf ("the %s had been done, and is recorded now", run->row->verb);
  if (run->merged->len > 0)
    return g_strdup_printf ("the %s had been done on some disks, and is recorded for these", run->row->verb);
  return g_strdup_printf ("the %s had not been done%s%s%s", run->row->verb,
                          names->len > 0 ? "; what it overwrites is gone: snapshot" : "",
                          run->intent->destroyed->len > 1 ? "s "
                          : names->len > 0                ? " "
                                                          : "",
                          names->str);
}

static gboolean
settle (Run *run, gboolean *finished, char **message, GError **error)
{
  if (!run->begun || was_never_started (run)) {
    *finished = FALSE;
    if (!engine_mergeseal_close (run->vm, run->intent, NULL, error) ||
        !engine_mergeend_restore (run->vm, run->row->id, run->intent, "interrupted before it was begun", error))
      return FALSE;
    *message = g_strdup_printf ("the %s had not been begun", run->row->verb);
    return TRUE;
  }
  if (!finish (run, error))
    return FALSE;
  *finished = run->merged->len == run->intent->parts->len;
  *message = describe (run);
  return TRUE;
}

gboolean
engine_mergerecover_run (EngineVm *vm, const ChainsOp *row, gboolean *finished, char **message, GError **error)
{
  g_auto (Run) run = {0};

  if (!init (&run, vm, row, error))
    return FALSE;
  if (run.begun && !(engine_inflight_is_same_qemu (vm, run.intent->qemu) ? find_in_qemu (&run, error)
                                                                         : find_in_headers (&run, error)))
    return FALSE;
  return (!run.begun || add_recorded (&run, error)) && settle (&run, finished, message, error);
}

gboolean
engine_mergerecover_is_over (EngineVm *vm, const ChainsOp *row, gboolean *over, GError **error)
{
  g_auto (Run) run = {0};

  return init (&run, vm, row, error) && engine_inflight_is_over (vm, run.intent->qemu, run.jobs, over, error);
}
