/*
 * Recovery. The order for each operation: the guest is brought back, what
 * happened is decided, then recorded or undone. Each part may be run again, so
 * a recovery that dies is recovered like anything else. The only file that
 * knows all verbs.
 */
#include "engine/recover.h"

#include "base/fiber.h"
#include "base/point.h"
#include "chains/error.h"
#include "chains/journal.h"
#include "chains/snapshots.h"
#include "engine/drift.h"
#include "engine/ending.h"
#include "engine/error.h"
#include "engine/inflight.h"
#include "engine/mergeintent.h"
#include "engine/mergelive.h"
#include "engine/mergerecover.h"
#include "engine/mirrorend.h"
#include "engine/mirrorrecover.h"
#include "engine/notebook.h"
#include "engine/outcome.h"
#include "engine/pivot.h"
#include "engine/rewind.h"
#include "qmp/error.h"

#define VERB "recover"
#define SNAPSHOT "snapshot"
#define ROLLBACK "rollback"
#define MIRROR "mirror"
#define REASON "its operation was interrupted; whether the guest was frozen throughout is not known"

static void
recovered_free (EngineRecovered *recovered)
{
  g_free (recovered->op);
  g_free (recovered->verb);
  g_free (recovered->vm);
  g_free (recovered->message);
  g_free (recovered);
}

GPtrArray *
engine_recover_list_new (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)recovered_free);
}

static void note (GPtrArray *recovered, const ChainsOp *op, gboolean finished, const char *format, ...)
    G_GNUC_PRINTF (4, 5);

static void
note (GPtrArray *recovered, const ChainsOp *op, gboolean finished, const char *format, ...)
{
  EngineRecovered *entry = g_new0 (EngineRecovered, 1);
  va_list arguments;

  va_start (arguments, format);
  entry->message = g_strdup_vprintf (format, arguments);
  va_end (arguments);
  entry->op = g_strdup (op->id);
  entry->verb = g_strdup (op->verb);
  entry->vm = g_strdup (op->vm_name);
  entry->finished = finished;
  g_ptr_array_add (recovered, entry);
}

/* ---- the guest ---- */

static gboolean
thaw (EngineVm *vm, GError **error)
{
  QmpWait wait = engine_vm_wait (vm);
  QmpQgaFreezeState state;
  gint64 count;

  if (!qmp_qga_fsfreeze_status (vm->agent, wait.deadline_us, wait.cancellable, &state, error))
    return FALSE;
  if (state == QMP_QGA_THAWED || base_point_is_mutant ("recover-does-not-thaw"))
    return TRUE;
  if (!qmp_qga_fsfreeze_thaw (vm->agent, wait.deadline_us, wait.cancellable, &count, error) ||
      !qmp_qga_fsfreeze_status (vm->agent, wait.deadline_us, wait.cancellable, &state, error))
    return FALSE;
  if (state == QMP_QGA_THAWED)
    return TRUE;
  g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "it says that it is frozen after the thaw");
  return FALSE;
}

/* Whether the guest that the operation may have frozen can still be there, and frozen. */
static gboolean
may_be_frozen (const EngineVm *vm, const EngineIntent *intent, gboolean switch_begun)
{
  return switch_begun && intent->freezes && vm->record->agent != NULL &&
         engine_inflight_is_same_qemu (vm, intent->qemu);
}

/* The operation may have frozen the guest, and nobody may have thawed it since. %FALSE where that cannot be seen. */
static gboolean
bring_back (EngineVm *vm, GError **error)
{
  g_autofree char *hint =
      g_strdup_printf ("see `chainctl guest %s status`; the next command on the VM tries again", vm->record->name);
  g_autoptr (GError) failure = NULL;

  if (vm->context->dry_run)
    return TRUE;
  engine_vm_start_agent (vm);
  if (vm->state == ENGINE_VM_PAUSED)
    failure = g_error_new (QMP_ERROR, QMP_ERROR_TIMEOUT, "the VM is paused");
  else if (!engine_vm_finish_agent (vm))
    failure = g_error_copy (vm->agent_failure);
  else if (thaw (vm, &failure))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_AGENT, hint,
                    "VM '%s': the guest may still be frozen, and its agent does not say (%s)", vm->record->name,
                    failure->message);
  return FALSE;
}

/* ---- snapshot, rollback ---- */

/* What it was about, for a person. Returns: (transfer full) */
static char *
describe (const ChainsOp *op, const EngineIntent *intent)
{
  if (g_str_equal (op->verb, ROLLBACK))
    return g_strdup ("the rollback");
  return g_strdup_printf ("snapshot '%s'", intent->snapshot != NULL ? intent->snapshot->name : "");
}

/* It happened, and is recorded: what is left over is cleared up. */
static gboolean
end_recorded (EngineVm *vm, const ChainsOp *op, const EngineIntent *intent, gboolean end, GError **error)
{
  if (vm->context->dry_run)
    return TRUE;
  if (intent->resets && engine_inflight_is_same_qemu (vm, intent->qemu))
    engine_rewind_end_reset (vm);
  return engine_ending_clear_up (vm, intent, NULL, error) &&
         (!end || chains_journal_end (vm->context->db, op->id, CHAINS_OP_DONE, NULL, error));
}

static gboolean
finish_switch (EngineVm *vm, const ChainsOp *op, EngineIntent *intent, gboolean end, GPtrArray *recovered,
               GError **error)
{
  ChainsSnapshot *snapshot = intent->snapshot;
  g_autofree char *what = describe (op, intent);
  gboolean leaves = intent->retired->len > 0 || intent->discards->len > 0 || intent->resets;

  if (snapshot != NULL) {
    snapshot->created_us = op->started_us;
    snapshot->frozen_us = -1;
    snapshot->consistency = CHAINS_CONSISTENCY_CRASH;
    snapshot->reason = g_strdup (REASON);
  }
  /* Where nothing is left over, the record is the end. */
  if (!engine_ending_record (vm, op->id, intent, end && !leaves, error) ||
      (leaves && !end_recorded (vm, op, intent, end, error)))
    return FALSE;
  note (recovered, op, TRUE, "%s had %s, and is recorded now", what, snapshot != NULL ? "been taken" : "happened");
  return TRUE;
}

static gboolean
undo_switch (EngineVm *vm, const ChainsOp *op, const EngineIntent *intent, gboolean end, GPtrArray *recovered,
             GError **error)
{
  g_autofree char *what = describe (op, intent);

  if (!vm->context->dry_run && !engine_ending_undo (vm, op->id, intent, "interrupted before the switch", end, error))
    return FALSE;
  note (recovered, op, FALSE, "%s had not been taken, and what it had begun is taken back", what);
  return TRUE;
}

/* It was recorded, and only its guest was not seen to thaw, or not all was cleared up. */
static gboolean
settle_recorded (EngineVm *vm, const ChainsOp *op, const EngineIntent *intent, gboolean end, GPtrArray *recovered,
                 GError **error)
{
  g_autofree char *what = describe (op, intent);

  if (!end_recorded (vm, op, intent, end, error))
    return FALSE;
  if (end)
    note (recovered, op, TRUE, "%s was recorded already; its guest was looked after", what);
  return TRUE;
}

/* A rollback has a step for it; else the images have to tell, and QEMU always, where it lives. */
static gboolean
has_happened (EngineVm *vm, const ChainsOp *op, const EngineIntent *intent, gboolean switch_begun, gboolean *happened,
              GError **error)
{
  if (!engine_rewind_is_written (vm, op->id, happened, error))
    return FALSE;
  return (*happened && vm->monitor == NULL) ||
         engine_outcome_find (vm, intent, switch_begun || !engine_op_is_of_this_boot (op), happened, error);
}

/* What is recorded is settled in any case; the operation ends only once its guest is known to be thawed. */
static gboolean
settle_switch (EngineVm *vm, const ChainsOp *op, EngineIntent *intent, gboolean switch_begun, gboolean end,
               GPtrArray *recovered, GError **error)
{
  g_autoptr (GPtrArray) recorded = g_ptr_array_new ();
  gboolean happened;

  if (!engine_ending_find_recorded (vm, intent, recorded, error))
    return FALSE;
  if (recorded->len == intent->overlays->len)
    return settle_recorded (vm, op, intent, end, recovered, error);
  if (!has_happened (vm, op, intent, switch_begun, &happened, error))
    return FALSE;
  if (happened && !base_point_is_mutant ("recover-always-undoes"))
    return finish_switch (vm, op, intent, end, recovered, error);
  return undo_switch (vm, op, intent, end, recovered, error);
}

/* It died with the VM paused by it, and nobody was there to bring it back; or the VM had been paused before. */
static gboolean
bring_back_paused (EngineVm *vm, const char *id, const EngineIntent *intent, gboolean *was_reset, GError **error)
{
  g_autoptr (EngineOp) op = engine_op_new_of (vm, id);

  if (vm->context->dry_run)
    return TRUE;
  if (!engine_rewind_settle (op, intent, was_reset, error))
    return FALSE;
  if (!intent->pauses)
    return TRUE;
  if (!qmp_commands_cont (vm->monitor, engine_vm_wait (vm), error))
    return FALSE;
  vm->state = ENGINE_VM_RUNNING;
  return TRUE;
}

static gboolean
recover_switch (EngineVm *vm, const ChainsOp *op, GPtrArray *recovered, GError **error)
{
  g_autoptr (EngineIntent) intent = engine_intent_from_json (op->intent, error);
  g_autoptr (GError) frozen = NULL;
  gboolean switch_begun, thawed, was_reset = FALSE;

  if (intent == NULL || !engine_op_find_step (vm->context, op->id, "switch", &switch_begun, NULL, error))
    return FALSE;
  if (switch_begun && g_str_equal (op->verb, ROLLBACK) && vm->state == ENGINE_VM_PAUSED &&
      engine_inflight_is_same_qemu (vm, intent->qemu) && !bring_back_paused (vm, op->id, intent, &was_reset, error))
    return FALSE;
  thawed = was_reset || !may_be_frozen (vm, intent, switch_begun) || bring_back (vm, &frozen);
  if (!settle_switch (vm, op, intent, switch_begun, thawed, recovered, error))
    return FALSE;
  if (!thawed)
    g_propagate_error (error, g_steal_pointer (&frozen));
  return thawed;
}

/* ---- commit, stream, mirror ---- */

static gboolean
is_copying (const char *verb)
{
  return engine_mergeintent_is_verb (verb) || g_str_equal (verb, MIRROR);
}

/* The process of the QEMU that it began in; 0 where unknown. */
static gboolean
find_qemu (const ChainsOp *op, gint64 *qemu, GError **error)
{
  g_autoptr (EngineMergeIntent) merge = NULL;
  g_autoptr (EngineMirrorIntent) mirror = NULL;

  if (engine_mergeintent_is_verb (op->verb))
    merge = engine_mergeintent_from_json (op->intent, error);
  else
    mirror = engine_mirrorintent_from_json (op->intent, error);
  *qemu = merge != NULL ? merge->qemu : mirror != NULL ? mirror->copies->qemu : 0;
  return merge != NULL || mirror != NULL;
}

/* With the VM paused: what the guest is on is made certain, and recorded. */
static gboolean
settle_copying (EngineVm *vm, const ChainsOp *op, GError **error)
{
  g_autoptr (EngineMergeIntent) merge = NULL;
  g_autoptr (EngineMirrorIntent) mirror = NULL;

  if (g_str_equal (op->verb, MIRROR)) {
    mirror = engine_mirrorintent_from_json (op->intent, error);
    return mirror != NULL && engine_mirrorend_settle (vm, op->id, mirror, error);
  }
  merge = engine_mergeintent_from_json (op->intent, error);
  return merge != NULL && engine_mergelive_settle (vm, op->id, merge, error);
}

/* It died around its moment with the VM paused by it: once it is certain what the guest is on, it runs. */
static gboolean
run_on (EngineVm *vm, const ChainsOp *op, gboolean paused_by_us, GError **error)
{
  if (!paused_by_us || vm->state != ENGINE_VM_PAUSED || vm->monitor == NULL)
    return TRUE;
  if (!settle_copying (vm, op, error) || !qmp_commands_cont (vm->monitor, engine_vm_wait (vm), error))
    return FALSE;
  vm->state = ENGINE_VM_RUNNING;
  return TRUE;
}

static gboolean
recover_copying (EngineVm *vm, const ChainsOp *op, GPtrArray *recovered, GError **error)
{
  g_autofree char *message = NULL;
  g_autoptr (JsonObject) detail = NULL;
  gboolean finished, begun, pauses, freezes, same;
  gint64 qemu;

  if (!find_qemu (op, &qemu, error) || !engine_op_find_step (vm->context, op->id, "switch", &begun, &detail, error))
    return FALSE;
  if (vm->context->dry_run) {
    note (recovered, op, FALSE, "the %s would be brought to an end", op->verb);
    return TRUE;
  }
  engine_pivot_read_step (detail, &pauses, &freezes);
  same = engine_inflight_is_same_qemu (vm, qemu);
  if (!run_on (vm, op, same && pauses, error) ||
      (same && freezes && vm->record->agent != NULL && !bring_back (vm, error)) ||
      !(g_str_equal (op->verb, MIRROR) ? engine_mirrorrecover_run (vm, op, &finished, &message, error)
                                       : engine_mergerecover_run (vm, op, &finished, &message, error)))
    return FALSE;
  note (recovered, op, finished, "%s", message);
  return TRUE;
}

/* ---- all verbs ---- */

static gboolean
recover_op (EngineVm *vm, const ChainsOp *op, GPtrArray *recovered, GError **error)
{
  if (g_str_equal (op->verb, SNAPSHOT) || g_str_equal (op->verb, ROLLBACK))
    return recover_switch (vm, op, recovered, error);
  if (is_copying (op->verb))
    return recover_copying (vm, op, recovered, error);
  engine_error_set (error, ENGINE_ERROR_REFUSED, "was it begun by a newer version?",
                    "VM '%s': operation %s is a '%s', which this version cannot recover", op->vm_name, op->id,
                    op->verb);
  return FALSE;
}

/* One that goes on in QEMU is nobody's to recover, as long as it does. */
static gboolean
is_due (EngineVm *vm, const ChainsOp *op, gboolean *due, GError **error)
{
  *due = op->state == CHAINS_OP_OPEN;
  if (*due || !is_copying (op->verb))
    return TRUE;
  return g_str_equal (op->verb, MIRROR) ? engine_mirrorrecover_is_over (vm, op, due, error)
                                        : engine_mergerecover_is_over (vm, op, due, error);
}

static gboolean
recover_ops (EngineVm *vm, GPtrArray *recovered, GError **error)
{
  g_autoptr (GPtrArray) ops = chains_journal_list_unfinished (vm->context->db, vm->record->id, error);
  gboolean connected = FALSE, due;

  for (guint i = 0; ops != NULL && i < ops->len; i++) {
    const ChainsOp *op = g_ptr_array_index (ops, i);

    if (!connected && (!engine_vm_connect (vm, error) || !engine_drift_refuse_another (vm, error)))
      return FALSE;
    connected = TRUE;
    if (!is_due (vm, op, &due, error))
      return FALSE;
    if (due && !recover_op (vm, op, recovered, error)) {
      g_prefix_error (error, "operation %s (%s) stays unfinished: ", op->id, op->verb);
      return FALSE;
    }
  }
  return ops != NULL;
}

/* A disk's row may be another one after an operation was finished. */
static gboolean
refresh_notes (EngineContext *context, EngineVm *vm, GError **error)
{
  g_autoptr (GPtrArray) disks = chains_registry_list_disks (context->db, vm->record->id, error);

  if (disks == NULL)
    return FALSE;
  g_ptr_array_unref (vm->disks);
  vm->disks = g_steal_pointer (&disks);
  return engine_notebook_refresh (vm, error);
}

gboolean
engine_recover_vm (EngineContext *context, const char *name, GPtrArray *recovered, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, VERB, error);

  return vm != NULL && recover_ops (vm, recovered, error) && refresh_notes (context, vm, error);
}

/* The recovery of one VM of all. */
typedef struct {
  EngineContext *context;
  const char *name;
  GPtrArray *recovered;
  GError *error;
} One;

static void
one_free (One *one)
{
  g_ptr_array_unref (one->recovered);
  g_clear_error (&one->error);
  g_free (one);
}

static void
recover_one (gpointer item)
{
  One *one = item;

  if (!engine_recover_vm (one->context, one->name, one->recovered, &one->error))
    g_assert (one->error != NULL);
}

gboolean
engine_recover_all (EngineContext *context, GPtrArray *recovered, GError **error)
{
  g_autoptr (GPtrArray) vms = chains_registry_list_vms (context->db, error);
  g_autoptr (GPtrArray) ones = g_ptr_array_new_with_free_func ((GDestroyNotify)one_free);
  g_autoptr (GError) first = NULL;

  if (vms == NULL)
    return FALSE;
  for (guint i = 0; i < vms->len; i++) {
    One *one = g_new0 (One, 1);

    one->context = context;
    one->name = ((const ChainsVm *)g_ptr_array_index (vms, i))->name;
    one->recovered = engine_recover_list_new ();
    g_ptr_array_add (ones, one);
  }
  base_fiber_run_all (ones, recover_one, 0);
  for (guint i = 0; i < ones->len; i++) {
    One *one = g_ptr_array_index (ones, i);

    while (one->recovered->len > 0)
      g_ptr_array_add (recovered, g_ptr_array_steal_index (one->recovered, 0));
    if (first == NULL)
      first = g_steal_pointer (&one->error);
  }
  if (first != NULL)
    g_propagate_error (error, g_steal_pointer (&first));
  return first == NULL;
}

gboolean
engine_recover_is_due (EngineContext *context, const char *name)
{
  g_autoptr (ChainsVm) vm = chains_registry_get_vm (context->db, name, NULL);
  g_autoptr (GPtrArray) ops = vm != NULL ? chains_journal_list_unfinished (context->db, vm->id, NULL) : NULL;

  return !context->dry_run && ops != NULL && ops->len > 0;
}

gboolean
engine_recover_first (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (GPtrArray) recovered = engine_recover_list_new ();
  g_autoptr (GError) failure = NULL;
  g_autoptr (EngineVm) vm = NULL;

  vm = engine_vm_open (context, name, VERB, &failure);
  if ((vm == NULL || !recover_ops (vm, recovered, &failure)) &&
      !g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_HELD)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  for (guint i = 0; i < recovered->len; i++) {
    const EngineRecovered *entry = g_ptr_array_index (recovered, i);

    engine_context_warn (context, "recovered", "VM '%s': an interrupted operation was found: %s", name, entry->message);
  }
  return TRUE;
}

static gboolean
rescue_rollback (EngineVm *vm, const ChainsOp *row, gboolean *was_reset, GError **error)
{
  g_autoptr (EngineIntent) intent = engine_intent_from_json (row->intent, error);
  g_autoptr (EngineOp) op = engine_op_new_of (vm, row->id);

  return intent != NULL && engine_rewind_settle (op, intent, was_reset, error);
}

gboolean
engine_recover_rescue (EngineVm *vm, gboolean *was_reset, GError **error)
{
  g_autoptr (GPtrArray) ops = chains_journal_list_unfinished (vm->context->db, vm->record->id, error);
  const ChainsOp *op = ops != NULL && ops->len > 0 ? g_ptr_array_index (ops, 0) : NULL;

  if (op != NULL && is_copying (op->verb))
    return settle_copying (vm, op, error);
  if (op != NULL && g_str_equal (op->verb, ROLLBACK))
    return rescue_rollback (vm, op, was_reset, error);
  return ops != NULL;
}
