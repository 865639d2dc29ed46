/*
 * Adds VMs to the registry, and forgets them. Who answers at a monitor is made
 * sure of before anything is stored; the rows of a disk are engine/intake's.
 */
#include "engine/registration.h"

#include "base/nearest.h"
#include "chains/error.h"
#include "chains/transaction.h"
#include "engine/address.h"
#include "engine/adopt.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/intake.h"
#include "engine/libvirt.h"
#include "engine/nodeoptions.h"
#include "engine/notebook.h"
#include "engine/op.h"
#include "engine/preflight.h"
#include "engine/standin.h"
#include "qmp/error.h"
#include "qmp/transport.h"

/* ---- add ---- */

static gboolean
check_disk_names (const EngineRegistrationRequest *request, GError **error)
{
  for (guint i = 0; request->disks != NULL && i < request->disks->len; i++)
    if (!chains_model_check_disk_name (((const EngineRegistrationDisk *)g_ptr_array_index (request->disks, i))->name,
                                       error))
      return FALSE;
  return TRUE;
}

static gboolean
check_request (EngineContext *context, const EngineRegistrationRequest *request, GError **error)
{
  g_autoptr (ChainsVm) taken = NULL;
  g_autofree char *hint = NULL;

  if (!chains_model_check_name ("VM", request->name, error) || !check_disk_names (request, error) ||
      !qmp_transport_check_address (request->qmp, error))
    return FALSE;
  if (request->agent != NULL && !qmp_transport_check_address (request->agent, error))
    return FALSE;
  taken = chains_registry_get_vm (context->db, request->name, NULL);
  if (taken == NULL)
    return TRUE;
  hint = g_strdup_printf ("`chainctl vm set %s` changes what is remembered of it; a second VM needs another name",
                          request->name);
  engine_error_set (error, ENGINE_ERROR_EXISTS, hint, "a VM '%s' is registered already", request->name);
  return FALSE;
}

static gboolean
is_used (EngineContext *context, const EngineRegistrationRequest *request, const EngineGraph *graph)
{
  for (guint i = 0; i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);
    gboolean ignored = request->ignore != NULL && g_strv_contains (request->ignore, disk->name);
    g_autofree char *user = NULL;

    if (disk->skipped == NULL && !ignored &&
        engine_intake_find_user (context, engine_graph_head (disk)->path, 0, &user, NULL) && user != NULL)
      return TRUE;
  }
  return FALSE;
}

/* The same monitor and the same images: a VM that is here already, by another name. */
static gboolean
check_unknown (const EngineVm *vm, const EngineRegistrationRequest *request, const EngineGraph *graph, GError **error)
{
  g_autoptr (GPtrArray) vms = chains_registry_list_vms (vm->context->db, error);

  for (guint i = 0; vms != NULL && i < vms->len; i++) {
    const ChainsVm *other = g_ptr_array_index (vms, i);
    g_autofree char *hint = g_strdup_printf ("`chainctl vm set %s` changes what is remembered of it", other->name);

    if (!g_str_equal (other->qmp, vm->record->qmp) || !is_used (vm->context, request, graph))
      continue;
    engine_error_set (error, ENGINE_ERROR_REFUSED, hint, "the monitor '%s' is that of VM '%s'", other->qmp,
                      other->name);
    return FALSE;
  }
  return vms != NULL;
}

static ChainsVm *
record_new (const EngineRegistrationRequest *request)
{
  ChainsVm *record = chains_vm_new ();

  record->name = g_strdup (request->name);
  record->qmp = engine_address_absolute (request->qmp);
  record->agent = request->agent != NULL ? engine_address_absolute (request->agent) : NULL;
  record->guest = request->guest != NULL ? g_strdup (request->guest) : NULL;
  record->quiesce = request->quiesce;
  record->created_us = g_get_real_time ();
  return record;
}

static gboolean
check_ignored (const EngineRegistrationRequest *request, const EngineGraph *graph, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();

  for (guint i = 0; i < graph->disks->len; i++)
    g_ptr_array_add (names, ((const EngineGraphDisk *)g_ptr_array_index (graph->disks, i))->name);
  g_ptr_array_add (names, NULL);
  for (gsize i = 0; request->ignore != NULL && request->ignore[i] != NULL; i++) {
    const char *wanted = request->ignore[i];
    const char *nearest = base_nearest_find (wanted, (const char *const *)names->pdata);
    g_autofree char *hint = nearest != NULL ? g_strdup_printf ("did you mean '%s'?", nearest) : NULL;

    if (engine_graph_find (graph, wanted) != NULL)
      continue;
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_DISK, hint, "VM '%s' has no disk '%s' to ignore", request->name,
                      wanted);
    return FALSE;
  }
  return TRUE;
}

static gboolean
add_disks (EngineVm *vm, const EngineRegistrationRequest *request, const EngineGraph *graph, GError **error)
{
  g_auto (GStrv) arguments = vm->standin == NULL ? engine_nodeoptions_read_arguments (vm->qemu) : NULL;

  for (guint i = 0; i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);
    gboolean ignored = request->ignore != NULL && g_strv_contains (request->ignore, disk->name);

    if (disk->skipped == NULL && !engine_intake_add (vm, disk, ignored, arguments, error))
      return FALSE;
  }
  if (vm->disks->len > 0)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, NULL, "VM '%s' has no disk", request->name);
  return FALSE;
}

/* What libvirt looks after stays with it. */
static gboolean
check_heads (EngineVm *vm, const EngineGraph *graph, GError **error)
{
  for (guint i = 0; i < vm->disks->len; i++) {
    const ChainsDisk *record = g_ptr_array_index (vm->disks, i);
    const EngineGraphDisk *disk = engine_graph_find (graph, record->name);

    if (!record->ignored && disk != NULL &&
        !engine_libvirt_check_image (record->name, engine_graph_head (disk)->path, error))
      return FALSE;
  }
  return TRUE;
}

/* All rows or none. */
static gboolean
store (EngineVm *vm, const EngineRegistrationRequest *request, const EngineGraph *graph, GPtrArray *adopted,
       GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (vm->context->db, error);

  return transaction != NULL && chains_registry_add_vm (vm->context->db, vm->record, error) &&
         add_disks (vm, request, graph, error) && check_heads (vm, graph, error) &&
         engine_adopt_own (vm, request->own, error) &&
         (!request->adopt || engine_adopt_overlays (vm, graph, request->own, adopted, error)) &&
         chains_transaction_commit (transaction, error);
}

/* ---- shut off ---- */

/* Each of the images named, with all that its header says lies below it. Returns: (transfer full) */
static GPtrArray *
read_chains (const EngineRegistrationRequest *request, GError **error)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_standindisk_free);

  for (guint i = 0; i < request->disks->len; i++) {
    const EngineRegistrationDisk *wanted = g_ptr_array_index (request->disks, i);
    EngineStandinDisk *disk = engine_standindisk_new (wanted->name);

    g_ptr_array_add (disks, disk);
    if (!engine_standindisk_read (disk, wanted->path, error))
      return NULL;
  }
  return g_steal_pointer (&disks);
}

/* By device and inode: a link is the same image, too. */
static gboolean
check_once (const EngineRegistrationDisk *disk, const EngineRegistrationDisk *other, GError **error)
{
  EngineImagefile file, other_file;

  if (!engine_imagefile_stat (disk->path, &file, error) || !engine_imagefile_stat (other->path, &other_file, error))
    return FALSE;
  if (file.device != other_file.device || file.inode != other_file.inode)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "name each disk with its own image",
                    "'%s' is named as the image of two disks, '%s' and '%s'", disk->path, other->name, disk->name);
  return FALSE;
}

static gboolean
check_files (const EngineRegistrationRequest *request, GError **error)
{
  for (guint i = 0; i < request->disks->len; i++) {
    const EngineRegistrationDisk *disk = g_ptr_array_index (request->disks, i);
    EngineImagefile file;

    if (!engine_imagefile_stat (disk->path, &file, error))
      return FALSE;
    if (!file.regular && !file.block) {
      engine_error_set (error, ENGINE_ERROR_REFUSED, "name the image that the disk starts from",
                        "disk '%s': '%s' is no image file", disk->name, disk->path);
      return FALSE;
    }
    for (guint j = 0; j < i; j++)
      if (!check_once (disk, g_ptr_array_index (request->disks, j), error))
        return FALSE;
  }
  return TRUE;
}

static gboolean
check_unlocked (const EngineRegistrationRequest *request, const GError *failure, GError **error)
{
  for (guint i = 0; i < request->disks->len; i++) {
    const EngineRegistrationDisk *disk = g_ptr_array_index (request->disks, i);

    if (!engine_imagefile_is_locked (disk->path))
      continue;
    engine_error_set (error, ENGINE_ERROR_UNREACHABLE, "was QEMU started with another monitor socket?",
                      "VM '%s' is not shut off: nobody answers at '%s', but '%s' is in use (%s)", request->name,
                      request->qmp, disk->path, failure->message);
    return FALSE;
  }
  return TRUE;
}

/* Nobody answers at the monitor: then the images that were named are all there is to go by. */
static gboolean
open_shut_off (EngineVm *vm, const EngineRegistrationRequest *request, const GError *failure, GError **error)
{
  g_autoptr (GPtrArray) disks = NULL;

  if (!check_files (request, error))
    return FALSE;
  /* What may not be read is not "in use". */
  disks = read_chains (request, error);
  if (disks == NULL || !check_unlocked (request, failure, error))
    return FALSE;
  vm->state = ENGINE_VM_SHUT_OFF;
  return engine_standin_start (vm, disks, error);
}

static gboolean
refuse_disks (const EngineRegistrationRequest *request, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_USAGE, "leave --disk out", "VM '%s' runs, and its disks are what QEMU says",
                    request->name);
  return FALSE;
}

static gboolean
explain_silence (GError *failure, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_UNREACHABLE,
                    "is the VM shut off? Then name each of its disks: --disk NAME=PATH", "%s", failure->message);
  return FALSE;
}

/* ---- the monitor ---- */

/* A monitor that libvirt holds is busy, or gives no greeting: why it does so is what is to be said. */
static gboolean
connect_own (EngineVm *vm, const EngineRegistrationRequest *request, GError **error)
{
  g_autoptr (GError) failure = NULL;
  gboolean connected;
  g_auto (GStrv) arguments = NULL;

  if (!engine_libvirt_check_monitor (vm->record->qmp, error))
    return FALSE;
  connected = engine_vm_connect (vm, &failure);
  arguments = engine_nodeoptions_read_arguments (vm->qemu);
  if (!engine_libvirt_check_arguments (vm->record->name, arguments, error))
    return FALSE;
  if (connected)
    return request->disks == NULL || refuse_disks (request, error);
  if (!g_error_matches (failure, QMP_ERROR, QMP_ERROR_CONNECT)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  return request->disks != NULL ? open_shut_off (vm, request, failure, error) : explain_silence (failure, error);
}

EngineVmView *
engine_registration_add (EngineContext *context, const EngineRegistrationRequest *request, GError **error)
{
  g_autoptr (EngineVm) vm = NULL;
  g_autoptr (EngineGraph) graph = NULL;
  g_autoptr (GPtrArray) adopted = g_ptr_array_new_with_free_func (g_free);
  EngineVmView *view;

  if (!check_request (context, request, error))
    return NULL;
  vm = engine_vm_new (context, record_new (request));
  vm->lock = engine_lock_take (context, request->name, "vm add", error);
  if (vm->lock == NULL || !connect_own (vm, request, error) || !engine_preflight_check_features (vm, error))
    return NULL;
  vm->record->uuid = g_strdup (vm->uuid);
  graph = engine_graph_read (vm, error);
  if (graph == NULL || !check_ignored (request, graph, error) || !check_unknown (vm, request, graph, error))
    return NULL;
  engine_vm_try_agent (vm);
  if (!store (vm, request, graph, adopted, error))
    return NULL;
  engine_notebook_follow (vm);
  view = engine_vmview_new (vm, graph, error);
  if (view != NULL)
    g_ptr_array_extend_and_steal (view->adopted, g_steal_pointer (&adopted));
  return view;
}

/* ---- remove ---- */

EngineVmView *
engine_registration_remove (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, "vm remove", error);
  g_autoptr (EngineGraph) graph = NULL;
  g_autoptr (EngineVmView) view = NULL;
  gint64 row;

  if (vm == NULL || !engine_op_check_finished (vm, error) || !engine_vmview_look (vm, &graph, error))
    return NULL;
  row = vm->record->id;
  view = engine_vmview_new (vm, graph, error);
  if (view == NULL || context->dry_run)
    return g_steal_pointer (&view);
  if (!chains_registry_remove_vm (context->db, row, error))
    return NULL;
  engine_lock_retire (g_steal_pointer (&vm->lock));
  return g_steal_pointer (&view);
}
