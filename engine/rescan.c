/*
 * Looks at the live graph once more, and brings the database after it: all in one
 * commit, together with the operation that `log` shows. Never touches an image
 * or QEMU.
 */
#include "engine/rescan.h"

#include "chains/images.h"
#include "chains/snapshots.h"
#include "chains/transaction.h"
#include "engine/drift.h"
#include "engine/error.h"
#include "engine/intake.h"
#include "engine/nodeoptions.h"
#include "engine/notebook.h"
#include "engine/op.h"
#include "engine/preflight.h"

#define VERB "vm rescan"

typedef struct {
  EngineVm *vm;
  EngineGraph *graph;
  EngineOp *op;
  char **arguments;
  gboolean accept;
  GPtrArray *changes;
} Run;

static void
run_clear (Run *run)
{
  g_clear_pointer (&run->arguments, g_strfreev);
  g_clear_pointer (&run->op, engine_op_free);
  g_clear_pointer (&run->graph, engine_graph_free);
  g_clear_pointer (&run->vm, engine_vm_free);
  g_clear_pointer (&run->changes, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

static void
change_free (EngineRescanChange *change)
{
  g_free (change->disk);
  g_free (change->what);
  g_free (change);
}

void
engine_rescan_result_free (EngineRescanResult *result)
{
  if (result == NULL)
    return;
  g_clear_pointer (&result->view, engine_vmview_free);
  g_clear_pointer (&result->changes, g_ptr_array_unref);
  g_free (result);
}

G_GNUC_PRINTF (3, 4)
static void
note (Run *run, const char *disk, const char *format, ...)
{
  EngineRescanChange *change = g_new0 (EngineRescanChange, 1);
  va_list arguments;

  va_start (arguments, format);
  change->what = g_strdup_vprintf (format, arguments);
  va_end (arguments);
  change->disk = g_strdup (disk);
  g_ptr_array_add (run->changes, change);
}

/* ---- look ---- */

static gboolean
look (Run *run, EngineContext *context, const char *name, GError **error)
{
  run->vm = engine_vm_open (context, name, VERB, error);
  if (run->vm == NULL || !engine_op_check_finished (run->vm, error) || !engine_vm_connect (run->vm, error))
    return FALSE;
  if (run->vm->monitor == NULL) {
    engine_error_set (error, ENGINE_ERROR_SHUT_OFF, "start it first",
                      "VM '%s' is shut off: there is nothing to look at", name);
    return FALSE;
  }
  if (!engine_preflight_check_vm (run->vm, error))
    return FALSE;
  run->graph = engine_graph_read (run->vm, error);
  run->arguments = engine_nodeoptions_read_arguments (run->vm->qemu);
  return run->graph != NULL;
}

/* ---- judge ---- */

/* A node that another chainctl made cannot be made right by believing QEMU. */
static gboolean
is_acceptable (const EngineProblem *problem)
{
  return !g_str_equal (problem->code, "node-left-over");
}

static gboolean
refuse (Run *run, const GPtrArray *problems, GError **error)
{
  const char *name = run->vm->record->name;
  g_autoptr (GString) text = g_string_new (NULL);
  g_autofree char *hint = g_strdup_printf ("if QEMU is right: `chainctl vm rescan %s --accept`", name);
  const char *repair = hint;

  for (guint i = 0; i < problems->len; i++) {
    const EngineProblem *problem = g_ptr_array_index (problems, i);

    if (!problem->is_error || (run->accept && is_acceptable (problem)))
      continue;
    g_string_append_printf (text, "%s%s", text->len > 0 ? "; " : "", problem->message);
    if (!is_acceptable (problem))
      repair = problem->repair;
  }
  if (text->len > 0)
    engine_error_set (error, ENGINE_ERROR_DRIFT, repair, "VM '%s': %s; nothing was changed", name, text->str);
  return text->len == 0;
}

static gboolean
judge (Run *run, GError **error)
{
  g_autoptr (GPtrArray) problems = engine_problem_list_new ();

  return engine_drift_find (run->vm, run->graph, problems, error) && refuse (run, problems, error);
}

/* ---- take over ---- */

static gboolean
take_uuid (Run *run, GError **error)
{
  ChainsVm *record = run->vm->record;
  const char *uuid = run->vm->uuid;

  if (g_strcmp0 (record->uuid, uuid) == 0)
    return TRUE;
  note (run, NULL, "UUID is %s, no more %s", uuid != NULL ? uuid : "none",
        record->uuid != NULL ? record->uuid : "none");
  g_free (record->uuid);
  record->uuid = g_strdup (uuid);
  return chains_registry_update_vm (run->vm->context->db, record, error);
}

static gboolean
has_part (const GPtrArray *snapshots, const ChainsDisk *disk)
{
  for (guint i = 0; i < snapshots->len; i++) {
    const ChainsSnapshot *snapshot = g_ptr_array_index (snapshots, i);

    for (guint j = 0; j < snapshot->disks->len; j++)
      if (((const ChainsSnapshotDisk *)g_ptr_array_index (snapshot->disks, j))->disk == disk->id)
        return TRUE;
  }
  return FALSE;
}

/* Forgotten, unless a snapshot has a part on it: then the images must stay known. %FALSE in @keep: it is gone. */
static gboolean
take_loss (Run *run, ChainsDisk *record, gboolean *keep, GError **error)
{
  ChainsDb *db = run->vm->context->db;
  g_autoptr (GPtrArray) snapshots = chains_snapshots_list (db, run->vm->record->id, error);

  if (snapshots == NULL)
    return FALSE;
  *keep = has_part (snapshots, record);
  if (!*keep) {
    note (run, record->name, "gone: forgotten");
    return chains_registry_remove_disk (db, record->id, error);
  }
  note (run, record->name, "gone: ignored from now on, since snapshots have a part on it");
  record->ignored = TRUE;
  return chains_registry_update_disk (db, record, error);
}

static gboolean
take_chain (Run *run, ChainsDisk *record, const EngineGraphDisk *disk, GError **error)
{
  g_autoptr (GPtrArray) whats = g_ptr_array_new_with_free_func (g_free);

  if (!engine_intake_follow (run->vm, record, disk, run->arguments, whats, error))
    return FALSE;
  for (guint i = 0; i < whats->len; i++)
    note (run, record->name, "%s", (const char *)g_ptr_array_index (whats, i));
  return TRUE;
}

static const EngineGraphDisk *
find_live (Run *run, const ChainsDisk *record)
{
  const EngineGraphDisk *disk = engine_graph_find (run->graph, record->name);

  return disk != NULL && disk->skipped == NULL ? disk : NULL;
}

/* First those that are gone: what they had may be another disk's now. */
static gboolean
take_losses (Run *run, GError **error)
{
  GPtrArray *disks = run->vm->disks;

  for (guint i = disks->len; i > 0; i--) {
    ChainsDisk *record = g_ptr_array_index (disks, i - 1);
    gboolean keep = TRUE;

    if (!record->ignored && find_live (run, record) == NULL && !take_loss (run, record, &keep, error))
      return FALSE;
    if (!keep)
      g_ptr_array_remove_index (disks, i - 1);
  }
  return TRUE;
}

static gboolean
take_chains (Run *run, GError **error)
{
  for (guint i = 0; i < run->vm->disks->len; i++) {
    ChainsDisk *record = g_ptr_array_index (run->vm->disks, i);

    if (!record->ignored && !take_chain (run, record, find_live (run, record), error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
is_registered (Run *run, const char *name)
{
  for (guint i = 0; i < run->vm->disks->len; i++)
    if (g_str_equal (((const ChainsDisk *)g_ptr_array_index (run->vm->disks, i))->name, name))
      return TRUE;
  return FALSE;
}

/* One that `vm add` would refuse stays out, and that is said. */
static gboolean
take_new (Run *run, GError **error)
{
  for (guint i = 0; i < run->graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (run->graph->disks, i);
    g_autoptr (GError) refused = NULL;

    if (disk->skipped != NULL || is_registered (run, disk->name))
      continue;
    if (!engine_intake_check (run->vm, disk, 0, &refused)) {
      engine_context_warn (run->vm->context, "disk-left-out", "VM '%s': not registered: %s", run->vm->record->name,
                           refused->message);
      continue;
    }
    if (!engine_intake_add (run->vm, disk, FALSE, run->arguments, error))
      return FALSE;
    note (run, disk->name, "added: registered with base '%s'", engine_graph_head (disk)->path);
  }
  return TRUE;
}

/* A disk that is where it should be, resized. */
static gboolean
take_size (Run *run, ChainsDisk *record, const EngineGraphDisk *disk, GError **error)
{
  ChainsDb *db = run->vm->context->db;
  g_autoptr (ChainsImage) image = chains_images_get (db, record->active, error);
  gint64 size;

  if (image == NULL)
    return FALSE;
  size = engine_graph_head (disk)->node->virtual_size;
  if (size == image->virtual_size)
    return TRUE;
  note (run, record->name, "resized from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT " bytes", image->virtual_size,
        size);
  image->virtual_size = size;
  return chains_images_update (db, image, error);
}

static gboolean
take_sizes (Run *run, GError **error)
{
  for (guint i = 0; i < run->vm->disks->len; i++) {
    ChainsDisk *record = g_ptr_array_index (run->vm->disks, i);
    const EngineGraphDisk *disk = find_live (run, record);

    if (!record->ignored && disk != NULL && !take_size (run, record, disk, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
take_over (Run *run, GError **error)
{
  gboolean known = run->accept ? take_uuid (run, error) && take_losses (run, error) && take_chains (run, error)
                               : take_sizes (run, error);

  return known && take_new (run, error) && engine_intake_sort (run->vm, run->graph, error);
}

/* ---- all of it ---- */

static JsonObject *
intent_new (const Run *run)
{
  JsonObject *intent = json_object_new ();

  json_object_set_boolean_member (intent, "accept", run->accept);
  return intent;
}

/* The operation and what came of it are one commit: a death leaves neither. */
static gboolean
record (Run *run, GError **error)
{
  ChainsDb *db = run->vm->context->db;
  g_autoptr (JsonObject) intent = intent_new (run);
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (db, error);

  run->op = engine_op_new (run->vm);
  return transaction != NULL && engine_op_begin (run->op, VERB, intent, error) && take_over (run, error) &&
         chains_journal_end (db, run->op->id, CHAINS_OP_DONE, NULL, error) &&
         chains_transaction_commit (transaction, error);
}

EngineRescanResult *
engine_rescan_run (EngineContext *context, const char *name, gboolean accept, GError **error)
{
  g_auto (Run) run = {.accept = accept};
  g_autoptr (EngineRescanResult) result = g_new0 (EngineRescanResult, 1);

  run.changes = g_ptr_array_new_with_free_func ((GDestroyNotify)change_free);
  if (!look (&run, context, name, error) || !judge (&run, error) || !record (&run, error))
    return NULL;
  engine_notebook_follow (run.vm);
  result->view = engine_vmview_new (run.vm, run.graph, error);
  if (result->view == NULL)
    return NULL;
  result->changes = g_steal_pointer (&run.changes);
  return g_steal_pointer (&result);
}
