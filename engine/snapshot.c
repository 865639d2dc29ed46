/*
 * Takes a snapshot. The order is the promise: check (nothing begun), intent
 * (journalled), prepare (the guest runs on as before), switch (one transaction,
 * frozen where possible), record (one commit). A death at any point leaves the
 * journal's intent, from which it can be finished or undone.
 */
#include "engine/snapshot.h"

#include "base/point.h"
#include "chains/images.h"
#include "chains/snapshots.h"
#include "engine/drift.h"
#include "engine/ending.h"
#include "engine/error.h"
#include "engine/inspect.h"
#include "engine/known.h"
#include "engine/outcome.h"
#include "engine/overlayfile.h"
#include "engine/preflight.h"
#include "engine/seal.h"
#include "engine/standin.h"
#include "qmp/error.h"

#include <string.h>

#define VERB "snapshot"

typedef struct {
  EngineContext *context;
  const EngineSnapshotRequest *request;
  EngineVm *vm;
  EngineKnown *known;
  EngineGraph *graph;
  EngineOp *op;
  EngineGuard *guard;
  EngineIntent *intent;
  GPtrArray *overlays;
  gboolean outcome_unknown;
} Run;

static void
run_clear (Run *run)
{
  g_clear_pointer (&run->guard, engine_guard_free);
  g_clear_pointer (&run->overlays, g_ptr_array_unref);
  g_clear_pointer (&run->op, engine_op_free);
  g_clear_pointer (&run->graph, engine_graph_free);
  g_clear_pointer (&run->known, engine_known_free);
  g_clear_pointer (&run->intent, engine_intent_free);
  g_clear_pointer (&run->vm, engine_vm_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

void
engine_snapshot_result_free (EngineSnapshotResult *result)
{
  if (result == NULL)
    return;
  g_clear_pointer (&result->snapshot, chains_snapshot_free);
  g_clear_pointer (&result->active, g_ptr_array_unref);
  g_free (result);
}

/* ---- check: what is asked, and what is there ---- */

/* NAME as given, if free; else the time, with -2 … where taken. */
static gboolean
choose_name (Run *run, GError **error)
{
  g_autoptr (GDateTime) now = g_date_time_new_now_utc ();
  g_autofree char *stamp = g_date_time_format (now, "%Y%m%dT%H%M%SZ");
  const char *wanted = run->request->name != NULL ? run->request->name : stamp;
  ChainsSnapshot *snapshot = run->intent->snapshot;
  gboolean taken = TRUE;

  if (!chains_model_check_name ("snapshot", wanted, error))
    return FALSE;
  for (int i = 1; taken; i++) {
    g_free (snapshot->name);
    snapshot->name = i == 1 ? g_strdup (wanted) : g_strdup_printf ("%s-%d", stamp, i);
    if (!chains_snapshots_has (run->context->db, run->vm->record->id, snapshot->name, &taken, error))
      return FALSE;
    if (taken && run->request->name != NULL) {
      engine_error_set (error, ENGINE_ERROR_EXISTS, "choose another name", "VM '%s' already has a snapshot '%s'",
                        run->vm->record->name, wanted);
      return FALSE;
    }
  }
  snapshot->vm = run->vm->record->id;
  return chains_snapshots_check (run->context->db, snapshot, error);
}

static gboolean
check_names (Run *run, const char *const *names, GError **error)
{
  for (gsize i = 0; names != NULL && names[i] != NULL; i++)
    if (engine_vm_find_disk (run->vm, names[i], error) == NULL)
      return FALSE;
  return TRUE;
}

/* Where overlays go; %NULL: beside the active images. */
static const char *
overlay_folder (const Run *run)
{
  return run->request->directory != NULL ? run->request->directory : run->context->config->overlay_dir;
}

static gboolean
check_request (Run *run, GError **error)
{
  const char *directory = overlay_folder (run);

  if (!check_names (run, run->request->disks, error) || !check_names (run, run->request->excludes, error))
    return FALSE;
  if (run->request->reuse != NULL) {
    g_autofree const char **names = (const char **)g_hash_table_get_keys_as_array (run->request->reuse, NULL);

    if (!check_names (run, names, error))
      return FALSE;
  }
  if (directory != NULL && !g_file_test (directory, G_FILE_TEST_IS_DIR)) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, NULL, "%s '%s' is no folder",
                      run->request->directory != NULL ? "--dir" : "dir in [overlay] of the configuration:", directory);
    return FALSE;
  }
  return choose_name (run, error);
}

/* QEMU's monitor, or a stand-in's where the VM is shut off. */
static gboolean
open_monitor (Run *run, GError **error)
{
  if (!engine_vm_connect (run->vm, error))
    return FALSE;
  return run->vm->monitor != NULL || engine_standin_start (run->vm, NULL, error);
}

static gboolean
is_among (const char *const *names, const char *name)
{
  return names != NULL && g_strv_contains (names, name);
}

static gboolean
is_named (const Run *run, const char *name)
{
  return is_among (run->request->disks, name) ||
         (run->request->reuse != NULL && g_hash_table_contains (run->request->reuse, name));
}

/* %TRUE where @record is to be part of the snapshot. */
static gboolean
is_chosen (const Run *run, const ChainsDisk *record, const EngineGraphDisk *disk)
{
  if (disk == NULL || disk->skipped != NULL || is_among (run->request->excludes, record->name))
    return FALSE;
  if (run->request->disks != NULL)
    return is_among (run->request->disks, record->name);
  return !record->ignored && !engine_graph_is_read_only (run->vm, disk);
}

static gboolean
plan_overlay (Run *run, const ChainsDisk *record, const EngineGraphDisk *disk, char **arguments, GError **error)
{
  ChainsDb *db = run->context->db;
  const char *directory = overlay_folder (run);
  const char *reuse = run->request->reuse != NULL ? g_hash_table_lookup (run->request->reuse, record->name) : NULL;
  g_autoptr (ChainsImage) base = chains_images_get (db, record->base, error);
  g_autoptr (ChainsImage) active = base != NULL ? chains_images_get (db, record->active, error) : NULL;
  EngineNodeOptions *options;
  EngineOverlay *overlay;

  if (active == NULL || !engine_preflight_check_disk (run->vm, disk, directory != NULL || reuse != NULL, error) ||
      !engine_inspect_chain (run->vm, record, ENGINE_INSPECT_FILES, error))
    return FALSE;
  options = engine_nodeoptions_find (disk, arguments, active->options);
  if (options->guessed)
    engine_context_warn (run->context, "options-unknown",
                         "disk '%s': how QEMU opened '%s' cannot be seen; its overlay gets aio=%s, discard=%s",
                         disk->name, active->path, options->aio, options->discard);
  overlay = engine_overlay_plan (
      run->op, run->intent, disk, options,
      &(EngineOverlayPlace){
          .directory = directory, .stem_of = base->path, .name = run->intent->snapshot->name, .reuse = reuse},
      error);
  if (overlay == NULL)
    return FALSE;
  overlay->intent->head_mode = engine_seal_plan (run->context, active);
  g_ptr_array_add (run->overlays, overlay);
  return TRUE;
}

static gboolean
plan_overlays (Run *run, GError **error)
{
  g_auto (GStrv) arguments = engine_nodeoptions_read_arguments (run->vm->qemu);

  for (guint i = 0; i < run->vm->disks->len; i++) {
    const ChainsDisk *record = g_ptr_array_index (run->vm->disks, i);
    const EngineGraphDisk *disk = engine_graph_find (run->graph, record->name);

    if (is_named (run, record->name) && (disk == NULL || disk->skipped != NULL)) {
      engine_error_set (error, ENGINE_ERROR_NO_SUCH_DISK, NULL, "VM '%s': disk '%s' has no medium now, or is gone",
                        run->vm->record->name, record->name);
      return FALSE;
    }
    if (is_chosen (run, record, disk) && !plan_overlay (run, record, disk, arguments, error))
      return FALSE;
  }
  if (run->overlays->len > 0)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_USAGE, "see `chainctl vm show VM`", "VM '%s': no disk is left to snapshot",
                    run->vm->record->name);
  return FALSE;
}

static gboolean
check_live (Run *run, GError **error)
{
  EngineVm *vm = run->vm;

  if (!open_monitor (run, error))
    return FALSE;
  if (vm->standin == NULL)
    engine_vm_start_agent (vm);
  if (!engine_preflight_check_vm (vm, error))
    return FALSE;
  run->known = engine_known_ask (vm, error);
  if (run->known == NULL)
    return FALSE;
  run->graph = engine_known_recall (vm, run->known);
  if (run->graph == NULL)
    run->graph = engine_graph_read (vm, error);
  return run->graph != NULL && engine_drift_refuse (vm, run->graph, error);
}

static gboolean
check (Run *run, GError **error)
{
  const EngineSnapshotRequest *request = run->request;
  EngineGuardPolicy policy = {.freeze_timeout_us = request->freeze_timeout_us};

  run->vm = engine_vm_open (run->context, request->vm, VERB, error);
  if (run->vm == NULL || !check_request (run, error) || !check_live (run, error))
    return FALSE;
  run->op = engine_op_new (run->vm);
  if (!plan_overlays (run, error) || !engine_preflight_check_overlays (run->vm, run->overlays, "--dir", error))
    return FALSE;
  policy.quiesce = request->quiesce != NULL ? *request->quiesce : run->vm->record->quiesce;
  run->guard = engine_guard_new (run->vm, &policy, error);
  return run->guard != NULL;
}

/* ---- intent, and taking it back ---- */

static gboolean
begin (Run *run, GError **error)
{
  g_autoptr (JsonObject) intent = NULL;

  if (!engine_overlayfile_reserve (run->vm, run->overlays, error))
    return FALSE;
  run->intent->freezes = run->guard->wanted;
  run->intent->qemu = run->vm->qemu;
  intent = engine_intent_to_json (run->intent);
  return engine_op_begin (run->op, VERB, intent, error);
}

/* Nothing was switched: takes back what was prepared, and says so in the journal. Ctrl-C does not cut it short. */
static void
undo (Run *run, GError *why, GError **error)
{
  g_autoptr (GError) failure = NULL;

  run->vm->cancellable = NULL;
  if (engine_vm_reconnect (run->vm, &failure) &&
      engine_ending_undo (run->vm, run->op->id, run->intent, why->message, !run->guard->still_frozen, &failure)) {
    g_propagate_error (error, why);
    return;
  }
  engine_error_set (error, ENGINE_ERROR_INTERRUPTED, "run `chainctl recover` once QEMU answers, or is gone",
                    "%s; what had been begun could not all be taken back (%s); it is journalled as operation %s",
                    why->message, failure->message, run->op->id);
  g_error_free (why);
}

/* ---- switch ---- */

static GPtrArray *
snapshot_actions (const Run *run)
{
  GPtrArray *actions = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 0; i < run->overlays->len; i++) {
    const EngineOverlay *overlay = g_ptr_array_index (run->overlays, i);
    QmpSnapshotAction *action = g_new0 (QmpSnapshotAction, 1);

    action->node = engine_graph_head (overlay->disk)->node->name;
    action->overlay = overlay->intent->node;
    g_ptr_array_add (actions, action);
  }
  return actions;
}

static void
switch_first_alone (Run *run, GPtrArray *actions, gint64 deadline_us)
{
  g_autoptr (GPtrArray) one = g_ptr_array_new_with_free_func (g_free);
  JsonNode *reply;

  g_ptr_array_add (one, g_ptr_array_steal_index (actions, 0));
  reply = qmp_call_finish (qmp_commands_start_snapshot (run->vm->monitor, deadline_us, one), NULL, NULL);
  g_clear_pointer (&reply, json_node_unref);
}

/* The body of the guard: nothing in here but the one transaction. */
static gboolean
switch_disks (gpointer data, gint64 deadline_us, GError **error)
{
  Run *run = data;
  g_autoptr (GPtrArray) actions = snapshot_actions (run);
  GError *failure = NULL;
  g_autoptr (JsonNode) reply = NULL;

  run->intent->snapshot->created_us = g_get_real_time ();
  /* The seeded bug leaves only the last disk to the transaction that counts. */
  while (base_point_is_mutant ("switch-disk-by-disk") && actions->len > 1)
    switch_first_alone (run, actions, deadline_us);
  reply = qmp_call_finish (qmp_commands_start_snapshot (run->vm->monitor, deadline_us, actions), NULL, &failure);
  if (reply != NULL)
    return TRUE;
  run->outcome_unknown = !qmp_error_is_refusal (failure);
  g_propagate_prefixed_error (error, failure, "VM '%s': the switch: ", run->vm->record->name);
  return FALSE;
}

/* QEMU answers in order, so what it says of its graph now is the truth; and if it vanished, the files tell. */
static gboolean
ask_whether_switched (Run *run, gboolean *switched, GError **error)
{
  run->vm->cancellable = NULL;
  return engine_vm_reconnect (run->vm, error) && engine_outcome_find (run->vm, run->intent, TRUE, switched, error);
}

static gboolean
settle_unknown (Run *run, GError *failure, GError **error)
{
  g_autoptr (GError) silence = NULL;
  gboolean switched = FALSE;

  if (ask_whether_switched (run, &switched, &silence)) {
    run->outcome_unknown = FALSE;
    if (!switched) {
      g_propagate_error (error, failure);
      return FALSE;
    }
    g_error_free (failure);
    return TRUE;
  }
  engine_error_set (error, ENGINE_ERROR_INTERRUPTED, "run `chainctl recover` once QEMU answers, or is gone",
                    "%s; whether it happened cannot be seen now (%s); it is journalled as operation %s",
                    failure->message, silence->message, run->op->id);
  g_error_free (failure);
  return FALSE;
}

static gboolean
switch_over (Run *run, GError **error)
{
  GError *failure = NULL;

  if (!engine_overlay_match_sizes (run->vm, run->overlays, error))
    return FALSE;
  if (!base_point_is_mutant ("switch-not-journalled") && !engine_op_step (run->op, "switch", error))
    return FALSE;
  if (engine_guard_run (run->guard, switch_disks, run, &failure))
    return TRUE;
  if (run->outcome_unknown)
    return settle_unknown (run, failure, error);
  g_propagate_error (error, failure);
  return FALSE;
}

/* ---- record ---- */

static gboolean
record_intent (Run *run, GError **error)
{
  ChainsSnapshot *snapshot = run->intent->snapshot;

  for (guint i = 0; i < run->overlays->len; i++) {
    const EngineOverlay *overlay = g_ptr_array_index (run->overlays, i);

    g_free (overlay->intent->live);
    overlay->intent->live = engine_known_after (run->known, run->vm, run->graph, overlay->disk, overlay->intent);
  }
  snapshot->consistency = run->guard->consistency;
  snapshot->reason = g_strdup (run->guard->reason);
  snapshot->frozen_us = run->guard->frozen_us;
  /* A guest that may still be frozen keeps the operation open: whoever comes next thaws it. */
  return engine_ending_record (run->vm, run->op->id, run->intent, !run->guard->still_frozen, error);
}

static gboolean
record (Run *run, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (record_intent (run, &failure))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_INTERRUPTED, "run `chainctl recover`",
                    "VM '%s': the snapshot was taken but could not be recorded (%s); it is journalled as operation %s",
                    run->vm->record->name, failure->message, run->op->id);
  return FALSE;
}

/* ---- all of it ---- */

static EngineSnapshotResult *
result_new (Run *run)
{
  EngineSnapshotResult *result = g_new0 (EngineSnapshotResult, 1);

  result->active = engine_switched_list_new ();
  for (guint i = 0; i < run->overlays->len; i++) {
    const EngineOverlay *overlay = g_ptr_array_index (run->overlays, i);

    engine_switched_list_add (result->active, overlay->disk->name, engine_graph_head (overlay->disk)->path,
                              overlay->intent->path);
  }
  result->snapshot = g_steal_pointer (&run->intent->snapshot);
  return result;
}

static int
compare_words (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

static void
run_init (Run *run, EngineContext *context, const EngineSnapshotRequest *request)
{
  ChainsSnapshot *snapshot;

  run->context = context;
  run->request = request;
  run->overlays = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_overlay_free);
  run->intent = engine_intent_new ();
  snapshot = run->intent->snapshot;
  snapshot->id = g_uuid_string_random ();
  snapshot->description = g_strdup (request->description != NULL ? request->description : "");
  snapshot->protected = request->protected;
  for (gsize i = 0; request->tags != NULL && request->tags[i] != NULL; i++)
    if (!g_ptr_array_find_with_equal_func (snapshot->tags, request->tags[i], g_str_equal, NULL))
      g_ptr_array_add (snapshot->tags, g_strdup (request->tags[i]));
  g_ptr_array_sort (snapshot->tags, compare_words);
}

/* Says what would be done, and records it in the dry run's own database. */
static gboolean
pretend (Run *run, GError **error)
{
  g_autoptr (GPtrArray) actions = snapshot_actions (run);
  g_autoptr (JsonObject) transaction = qmp_commands_snapshot_arguments (actions);

  engine_overlay_plan_prepare (run->vm, run->overlays);
  engine_guard_plan_before (run->guard);
  engine_context_plan (run->context, "qemu", "transaction", transaction);
  engine_guard_plan_after (run->guard);
  run->intent->snapshot->created_us = g_get_real_time ();
  if (run->guard->wanted)
    run->guard->consistency = CHAINS_CONSISTENCY_FILESYSTEM;
  return record_intent (run, error);
}

static gboolean
act (Run *run, GError **error)
{
  GError *failure = NULL;

  if (!begin (run, error))
    return FALSE;
  if (base_point_is_mutant ("record-before-switch") && !record (run, error))
    return FALSE;
  if (!engine_overlay_prepare (run->vm, run->overlays, &failure) || !switch_over (run, &failure)) {
    if (run->outcome_unknown)
      g_propagate_error (error, failure);
    else
      undo (run, failure, error);
    return FALSE;
  }
  return base_point_is_mutant ("record-before-switch") || record (run, error);
}

gboolean
engine_snapshot_take (EngineContext *context, const EngineSnapshotRequest *request, EngineSnapshotResult **result,
                      GError **error)
{
  g_auto (Run) run = {0};
  g_autofree char *hint = NULL;

  run_init (&run, context, request);
  if (!check (&run, error))
    return FALSE;
  if (context->dry_run ? !pretend (&run, error) : !act (&run, error))
    return FALSE;
  *result = result_new (&run);
  if (!run.guard->still_frozen)
    return TRUE;
  hint = g_strdup_printf ("run `chainctl guest %s thaw`", request->vm);
  engine_error_set (error, ENGINE_ERROR_NOT_THAWED, hint,
                    "VM '%s': the snapshot is taken, but the agent does not say that the guest is thawed", request->vm);
  return FALSE;
}
