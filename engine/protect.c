/*
 * Protects snapshots, and lets go of them. The operation that `log` shows and what
 * it changed are one commit; the notes beside the images follow it.
 */
#include "engine/protect.h"

#include "chains/snapshots.h"
#include "chains/transaction.h"
#include "engine/notebook.h"
#include "engine/op.h"

#define VERB "protect"

/* Each once, however often and in whatever way it was named. */
static gboolean
is_among (const GPtrArray *snapshots, const ChainsSnapshot *snapshot)
{
  for (guint i = 0; i < snapshots->len; i++)
    if (g_str_equal (((const ChainsSnapshot *)g_ptr_array_index (snapshots, i))->id, snapshot->id))
      return TRUE;
  return FALSE;
}

static GPtrArray *
check (EngineVm *vm, const EngineProtectRequest *request, GError **error)
{
  g_autoptr (GPtrArray) chosen = g_ptr_array_new_with_free_func ((GDestroyNotify)chains_snapshot_free);

  if (!engine_op_check_finished (vm, error))
    return NULL;
  for (gsize i = 0; request->snapshots[i] != NULL; i++) {
    g_autoptr (ChainsSnapshot) snapshot =
        chains_snapshots_find (vm->context->db, vm->record->id, request->snapshots[i], error);

    if (snapshot == NULL)
      return NULL;
    if (!is_among (chosen, snapshot))
      g_ptr_array_add (chosen, g_steal_pointer (&snapshot));
  }
  return g_steal_pointer (&chosen);
}

/* Changes the flags. Returns: (transfer full): the names of those that it changed, for the journal */
static JsonArray *
change (const GPtrArray *snapshots, gboolean protected)
{
  JsonArray *changed = json_array_new ();

  for (guint i = 0; i < snapshots->len; i++) {
    ChainsSnapshot *snapshot = g_ptr_array_index (snapshots, i);

    if (snapshot->protected == protected)
      continue;
    snapshot->protected = protected;
    json_array_add_string_element (changed, snapshot->name);
  }
  return changed;
}

static gboolean
record (EngineVm *vm, const GPtrArray *snapshots, JsonObject *intent, GError **error)
{
  ChainsDb *db = vm->context->db;
  g_autoptr (EngineOp) op = engine_op_new (vm);
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (db, error);

  if (transaction == NULL || !engine_op_begin (op, VERB, intent, error))
    return FALSE;
  for (guint i = 0; i < snapshots->len; i++)
    if (!chains_snapshots_update (db, g_ptr_array_index (snapshots, i), error))
      return FALSE;
  return chains_journal_end (db, op->id, CHAINS_OP_DONE, NULL, error) && chains_transaction_commit (transaction, error);
}

GPtrArray *
engine_protect_run (EngineContext *context, const EngineProtectRequest *request, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, request->vm, VERB, error);
  g_autoptr (GPtrArray) snapshots = vm != NULL ? check (vm, request, error) : NULL;
  g_autoptr (JsonObject) intent = json_object_new ();
  JsonArray *changed;

  if (snapshots == NULL)
    return NULL;
  changed = change (snapshots, !request->off);
  json_object_set_boolean_member (intent, "protected", !request->off);
  json_object_set_array_member (intent, "snapshots", changed);
  if (json_array_get_length (changed) == 0)
    return g_steal_pointer (&snapshots);
  if (context->dry_run)
    engine_context_plan (context, "database", VERB, intent);
  if (!record (vm, snapshots, intent, error))
    return NULL;
  engine_notebook_follow (vm);
  return g_steal_pointer (&snapshots);
}
