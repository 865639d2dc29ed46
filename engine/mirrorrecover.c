/*
 * Recovers mirrors. The source was never written to: so what is not known to have
 * happened has not, but for what the guest is on by now.
 */
#include "engine/mirrorrecover.h"

#include "base/point.h"
#include "engine/ending.h"
#include "engine/inflight.h"
#include "engine/mirrorend.h"
#include "engine/notebook.h"
#include "engine/pivot.h"

typedef struct {
  EngineVm *vm;
  const ChainsOp *row;
  EngineMirrorIntent *intent;
  EngineIntent *left;
  GPtrArray *jobs;
  GPtrArray *moved;
  gboolean finished;
  gboolean following;
  gboolean same;
} Run;

static void
run_clear (Run *run)
{
  g_clear_pointer (&run->intent, engine_mirrorintent_free);
  g_clear_pointer (&run->left, engine_intent_free);
  g_clear_pointer (&run->jobs, g_ptr_array_unref);
  g_clear_pointer (&run->moved, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

static gboolean
init (Run *run, EngineVm *vm, const ChainsOp *row, GError **error)
{
  run->vm = vm;
  run->row = row;
  run->intent = engine_mirrorintent_from_json (row->intent, error);
  if (run->intent == NULL)
    return FALSE;
  run->jobs = engine_mirrorintent_jobs (run->intent, row->id);
  run->moved = g_ptr_array_new ();
  run->same = engine_inflight_is_same_qemu (vm, run->intent->copies->qemu);
  return engine_op_find_step (vm->context, row->id, "finished", &run->finished, NULL, error) &&
         engine_op_find_step (vm->context, row->id, "following", &run->following, NULL, error);
}

/* A pivot that was begun is ended; any other job is given up. */
static gboolean
end_jobs (Run *run, GError **error)
{
  gboolean pivoting;

  if (!engine_pivot_settle_jobs (run->vm, run->row->id, run->jobs, &pivoting, error) ||
      (!pivoting && !run->finished && !engine_mirrorend_cut (run->vm, run->intent->copies, error)) ||
      (!pivoting && !engine_job_cancel (run->vm, run->row->id, run->jobs, error)))
    return FALSE;
  return engine_job_refresh (run->vm, run->jobs, error) && engine_job_dismiss (run->vm, run->jobs, error);
}

/* In any QEMU that is there: it may have been started on the copies by hand. */
static gboolean
find_moved (Run *run, GError **error)
{
  if (run->intent->goal != ENGINE_MIRROR_PIVOT)
    return TRUE;
  if (run->vm->monitor != NULL && !engine_mirrorend_find (run->vm, run->intent, run->moved, error))
    return FALSE;
  return run->moved->len > 0 || engine_ending_find_recorded (run->vm, run->intent->copies, run->moved, error);
}

static gboolean
record (Run *run, GError **error)
{
  g_autoptr (GPtrArray) recorded = g_ptr_array_new ();

  return engine_ending_find_recorded (run->vm, run->intent->copies, recorded, error) &&
         (recorded->len > 0 || engine_mirrorend_record (run->vm, run->row->id, run->intent->copies, error)) &&
         engine_ending_clear_up (run->vm, run->intent->copies, NULL, error);
}

/* Whether the copies are worth something though the guest is not on them. */
static gboolean
are_kept (const Run *run)
{
  return run->finished || (run->following && !run->same && !base_point_is_mutant ("followed-copy-removed"));
}

static gboolean
settle (Run *run, GError **error)
{
  run->left = engine_mirrorend_split (run->intent, run->moved);
  if (run->moved->len > 0 && !record (run, error))
    return FALSE;
  if (are_kept (run))
    return run->vm->monitor == NULL || engine_ending_close_nodes (run->vm, run->left, error);
  return engine_ending_undo (run->vm, run->row->id, run->left, NULL, FALSE, error);
}

static char *
describe (const Run *run)
{
  if (run->moved->len > 0 && run->left->overlays->len > 0)
    return g_strdup ("the guest had been moved to the copies of some disks, and that is recorded");
  if (run->moved->len > 0)
    return g_strdup ("the guest had been moved to the copies, and that is recorded");
  if (run->finished)
    return g_strdup ("the copies had been finished, and are kept");
  if (are_kept (run))
    return g_strdup ("QEMU ended while the copies were kept in step: they are kept, and may lack its last writes");
  return g_strdup ("the copies had not been finished, and are taken back");
}

gboolean
engine_mirrorrecover_run (EngineVm *vm, const ChainsOp *row, gboolean *finished, char **message, GError **error)
{
  g_auto (Run) run = {0};
  ChainsOpState state;

  if (!init (&run, vm, row, error) || (run.same && !end_jobs (&run, error)) || !find_moved (&run, error) ||
      !settle (&run, error) || (run.same && !engine_mirrorend_forget_credentials (vm, run.intent, error)))
    return FALSE;
  *finished = run.moved->len > 0 || are_kept (&run);
  *message = describe (&run);
  state = !*finished                                          ? CHAINS_OP_UNDONE
          : run.moved->len > 0 && run.left->overlays->len > 0 ? CHAINS_OP_FAILED
                                                              : CHAINS_OP_DONE;
  engine_notebook_follow (vm);
  return chains_journal_end (vm->context->db, row->id, state, *finished ? NULL : "interrupted", error);
}

gboolean
engine_mirrorrecover_is_over (EngineVm *vm, const ChainsOp *row, gboolean *over, GError **error)
{
  g_auto (Run) run = {0};

  return init (&run, vm, row, error) && engine_inflight_is_over (vm, run.intent->copies->qemu, run.jobs, over, error);
}
