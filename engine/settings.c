/*
 * Changes a VM's record and what of its disks is ours. The operation that `log`
 * shows, and all that it changed, are one commit. Never touches an image or QEMU.
 */
#include "engine/settings.h"

#include "chains/transaction.h"
#include "engine/address.h"
#include "engine/adopt.h"
#include "engine/drift.h"
#include "engine/error.h"
#include "engine/intake.h"
#include "engine/libvirt.h"
#include "engine/nodeoptions.h"
#include "engine/notebook.h"
#include "engine/op.h"
#include "qmp/error.h"
#include "qmp/transport.h"

#define VERB "vm set"
#define NONE "none"

typedef struct {
  const EngineSettingsRequest *request;
  EngineVm *vm;
  EngineGraph *graph;
  char **arguments;
} Run;

static void
run_clear (Run *run)
{
  g_clear_pointer (&run->arguments, g_strfreev);
  g_clear_pointer (&run->graph, engine_graph_free);
  g_clear_pointer (&run->vm, engine_vm_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

/* ---- what is asked ---- */

static gboolean
is_none (const char *const *words)
{
  return words != NULL && words[0] != NULL && words[1] == NULL && g_str_equal (words[0], NONE);
}

static gboolean
check_address (const char *address, gboolean may_be_none, GError **error)
{
  return address == NULL || (may_be_none && g_str_equal (address, NONE)) ||
         qmp_transport_check_address (address, error);
}

/* A disk may be called "none"; then it can be ignored together with another, but not alone. */
static gboolean
check_ignored (EngineVm *vm, const char *const *names, GError **error)
{
  if (is_none (names))
    return TRUE;
  for (gsize i = 0; names != NULL && names[i] != NULL; i++)
    if (engine_vm_find_disk (vm, names[i], error) == NULL)
      return FALSE;
  return TRUE;
}

static gboolean
check (const EngineSettingsRequest *request, GError **error)
{
  return check_address (request->qmp, FALSE, error) && check_address (request->agent, TRUE, error);
}

static void
replace (char **member, const char *address)
{
  if (address == NULL)
    return;
  g_free (*member);
  *member = g_str_equal (address, NONE) ? NULL : engine_address_absolute (address);
}

/* The guest's own channel is only remembered, and may be a word. */
static void
replace_guest (char **member, const char *guest)
{
  if (guest == NULL)
    return;
  g_free (*member);
  *member = g_str_equal (guest, NONE) ? NULL : g_strdup (guest);
}

static void
change_record (Run *run)
{
  const EngineSettingsRequest *request = run->request;
  ChainsVm *record = run->vm->record;

  replace (&record->qmp, request->qmp);
  replace (&record->agent, request->agent);
  replace_guest (&record->guest, request->guest);
  if (request->quiesce != NULL)
    record->quiesce = *request->quiesce;
}

/* ---- who answers ---- */

/* A new monitor: somebody who answers there must be this VM; nobody there is said, and no error. */
static gboolean
meet (Run *run, GError **error)
{
  EngineVm *vm = run->vm;
  g_autoptr (GError) failure = NULL;

  if (engine_vm_connect (vm, &failure)) {
    run->graph = vm->monitor != NULL ? engine_graph_read (vm, &failure) : NULL;
    if (failure == NULL)
      return engine_drift_refuse_another (vm, error);
  }
  if (!g_error_matches (failure, QMP_ERROR, QMP_ERROR_CONNECT) &&
      !g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_UNREACHABLE)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  vm->state = ENGINE_VM_UNREACHABLE;
  engine_context_warn (vm->context, "unreachable", "%s", failure->message);
  return TRUE;
}

static gboolean
look (Run *run, GError **error)
{
  EngineVm *vm = run->vm;
  gboolean known = run->request->qmp != NULL
                       ? engine_libvirt_check_monitor (vm->record->qmp, error) && meet (run, error)
                       : engine_vmview_look (vm, &run->graph, error);

  run->arguments = engine_nodeoptions_read_arguments (vm->qemu);
  return known && engine_libvirt_check_arguments (vm->record->name, run->arguments, error);
}

/* ---- disks ---- */

/* Whether an overlay could stand on it shows only while it runs; and it may have moved on while it was ignored. */
static gboolean
use_again (Run *run, ChainsDisk *record, GError **error)
{
  const EngineGraphDisk *disk = run->graph != NULL ? engine_graph_find (run->graph, record->name) : NULL;
  g_autoptr (GPtrArray) changes = g_ptr_array_new_with_free_func (g_free);

  if (run->graph == NULL) {
    engine_error_set (error, ENGINE_ERROR_SHUT_OFF, "start it first",
                      "VM '%s', disk '%s': whether it can be snapshotted is seen only while the VM runs",
                      run->vm->record->name, record->name);
    return FALSE;
  }
  if (disk == NULL || disk->skipped != NULL) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "leave it ignored",
                      "VM '%s': disk '%s' has no medium now, or is gone", run->vm->record->name, record->name);
    return FALSE;
  }
  if (!engine_intake_check (run->vm, disk, record->id, error) ||
      !engine_libvirt_check_image (disk->name, engine_graph_head (disk)->path, error))
    return FALSE;
  record->ignored = FALSE;
  return engine_intake_follow (run->vm, record, disk, run->arguments, changes, error);
}

static gboolean
change_disk (Run *run, ChainsDisk *record, gboolean ignored, GError **error)
{
  if (record->ignored == ignored)
    return TRUE;
  if (!ignored)
    return use_again (run, record, error);
  record->ignored = TRUE;
  return chains_registry_update_disk (run->vm->context->db, record, error);
}

static gboolean
change_ignored (Run *run, GError **error)
{
  const char *const *names = run->request->ignore;

  for (guint i = 0; names != NULL && i < run->vm->disks->len; i++) {
    ChainsDisk *record = g_ptr_array_index (run->vm->disks, i);
    gboolean ignored = !is_none (names) && g_strv_contains (names, record->name);

    if (!change_disk (run, record, ignored, error))
      return FALSE;
  }
  return TRUE;
}

/* ---- all of it ---- */

static void
set_words (JsonObject *object, const char *key, const char *const *words)
{
  JsonArray *array;

  if (words == NULL)
    return;
  array = json_array_new ();
  for (gsize i = 0; words[i] != NULL; i++) {
    g_autofree char *word = g_filename_display_name (words[i]);

    json_array_add_string_element (array, word);
  }
  json_object_set_array_member (object, key, array);
}

static void
set_word (JsonObject *object, const char *key, const char *word)
{
  g_autofree char *shown = word != NULL ? g_filename_display_name (word) : NULL;

  if (shown != NULL)
    json_object_set_string_member (object, key, shown);
}

/* What was asked, for whoever reads the journal. */
static JsonObject *
intent_new (const EngineSettingsRequest *request)
{
  JsonObject *intent = json_object_new ();

  set_word (intent, "qmp", request->qmp);
  set_word (intent, "agent", request->agent);
  set_word (intent, "guest", request->guest);
  set_word (intent, "quiesce", request->quiesce != NULL ? chains_quiesce_to_string (*request->quiesce) : NULL);
  set_words (intent, "ignore-disk", request->ignore);
  set_words (intent, "own", request->own);
  return intent;
}

static gboolean
record (Run *run, GError **error)
{
  EngineVm *vm = run->vm;
  ChainsDb *db = vm->context->db;
  g_autoptr (EngineOp) op = engine_op_new (vm);
  g_autoptr (JsonObject) intent = intent_new (run->request);
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (db, error);

  return transaction != NULL && engine_op_begin (op, VERB, intent, error) &&
         chains_registry_update_vm (db, vm->record, error) && change_ignored (run, error) &&
         engine_adopt_own (vm, run->request->own, error) &&
         chains_journal_end (db, op->id, CHAINS_OP_DONE, NULL, error) && chains_transaction_commit (transaction, error);
}

EngineVmView *
engine_settings_change (EngineContext *context, const EngineSettingsRequest *request, GError **error)
{
  g_auto (Run) run = {.request = request};

  if (!check (request, error))
    return NULL;
  run.vm = engine_vm_open (context, request->name, VERB, error);
  if (run.vm == NULL || !engine_op_check_finished (run.vm, error) || !check_ignored (run.vm, request->ignore, error))
    return NULL;
  change_record (&run);
  if (!look (&run, error))
    return NULL;
  if (request->agent != NULL)
    engine_vm_try_agent (run.vm);
  if (!record (&run, error))
    return NULL;
  engine_notebook_follow (run.vm);
  return engine_vmview_new (run.vm, run.graph, error);
}
