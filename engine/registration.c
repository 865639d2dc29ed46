/*
 * Adds VMs to the registry and tells what they are like. What a disk's chain
 * is, is read from the live graph once, here; from then on the verbs keep it.
 */
#include "engine/registration.h"

#include "chains/error.h"
#include "chains/images.h"
#include "chains/journal.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/nodeoptions.h"
#include "qmp/error.h"
#include "qmp/features.h"
#include "qmp/transport.h"

#define NIL_UUID "00000000-0000-0000-0000-000000000000"

/* ---- views ---- */

static void
disk_view_free (EngineVmDisk *disk)
{
  g_free (disk->name);
  g_free (disk->device);
  g_free (disk->node);
  g_free (disk->path);
  g_free (disk->format);
  g_free (disk->base);
  g_free (disk);
}

static void
skipped_free (EngineVmSkipped *skipped)
{
  g_free (skipped->name);
  g_free (skipped->why);
  g_free (skipped);
}

void
engine_registration_view_free (EngineVmView *view)
{
  if (view == NULL)
    return;
  g_clear_pointer (&view->record, chains_vm_free);
  g_clear_pointer (&view->disks, g_ptr_array_unref);
  g_clear_pointer (&view->skipped, g_ptr_array_unref);
  g_free (view);
}

static gboolean
view_disk (EngineVmView *view, EngineVm *vm, const ChainsDisk *record, const EngineGraph *graph, GError **error)
{
  ChainsDb *db = vm->context->db;
  g_autoptr (ChainsImage) active = chains_images_get (db, record->active, error);
  g_autoptr (ChainsImage) base = active != NULL ? chains_images_get (db, record->base, error) : NULL;
  const EngineGraphDisk *live = graph != NULL ? engine_graph_find (graph, record->name) : NULL;
  EngineVmDisk *disk;

  if (base == NULL)
    return FALSE;
  disk = g_new0 (EngineVmDisk, 1);
  disk->name = g_strdup (record->name);
  disk->device = g_strdup (record->device);
  disk->node = live != NULL && live->skipped == NULL ? g_strdup (engine_graph_head (live)->node->name) : NULL;
  disk->path = g_strdup (active->path);
  disk->format = g_strdup (active->format);
  disk->virtual_size = active->virtual_size;
  disk->base = g_strdup (base->path);
  disk->ignored = record->ignored;
  g_ptr_array_add (view->disks, disk);
  return TRUE;
}

static void
view_skipped (EngineVmView *view, const EngineGraph *graph)
{
  for (guint i = 0; graph != NULL && i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);
    EngineVmSkipped *skipped;

    if (disk->skipped == NULL)
      continue;
    skipped = g_new0 (EngineVmSkipped, 1);
    skipped->name = g_strdup (disk->name);
    skipped->why = g_strdup (disk->skipped);
    g_ptr_array_add (view->skipped, skipped);
  }
}

/* Takes @vm's record. */
static EngineVmView *
view_new (EngineVm *vm, const EngineGraph *graph, GError **error)
{
  g_autoptr (EngineVmView) view = g_new0 (EngineVmView, 1);

  view->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)disk_view_free);
  view->skipped = g_ptr_array_new_with_free_func ((GDestroyNotify)skipped_free);
  view->state = vm->state;
  for (guint i = 0; i < vm->disks->len; i++)
    if (!view_disk (view, vm, g_ptr_array_index (vm->disks, i), graph, error))
      return NULL;
  view_skipped (view, graph);
  view->record = g_steal_pointer (&vm->record);
  return g_steal_pointer (&view);
}

/* ---- add ---- */

static gboolean
check_request (EngineContext *context, const EngineRegistrationRequest *request, GError **error)
{
  g_autoptr (ChainsVm) taken = NULL;

  if (!chains_model_check_name ("VM", request->name, error) || !qmp_transport_check_address (request->qmp, error))
    return FALSE;
  if (request->agent != NULL && !qmp_transport_check_address (request->agent, error))
    return FALSE;
  taken = chains_registry_get_vm (context->db, request->name, NULL);
  if (taken == NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_EXISTS, "choose another name, or `chainctl vm remove` it first",
                    "a VM '%s' is registered already", request->name);
  return FALSE;
}

/* A path means the same from every folder and at every later run. */
static char *
absolute_address (const char *address)
{
  const char *path = g_str_has_prefix (address, "unix:") ? address + strlen ("unix:") : address;
  g_autofree char *absolute = NULL;

  if (g_str_has_prefix (address, "vsock:"))
    return g_strdup (address);
  absolute = g_canonicalize_filename (path, NULL);
  return path == address ? g_steal_pointer (&absolute) : g_strconcat ("unix:", absolute, NULL);
}

static ChainsVm *
record_new (const EngineRegistrationRequest *request)
{
  ChainsVm *record = chains_vm_new ();

  record->name = g_strdup (request->name);
  record->qmp = absolute_address (request->qmp);
  record->agent = request->agent != NULL ? absolute_address (request->agent) : NULL;
  record->guest = request->guest != NULL ? g_strdup (request->guest) : NULL;
  record->quiesce = request->quiesce;
  record->created_us = g_get_real_time ();
  return record;
}

static gboolean
check_features (EngineVm *vm, GError **error)
{
  static const struct {
    const char *command;
    const char *argument;
  } needed[] = {
      {"blockdev-create", "options.=qcow2.backing-fmt"},
      {"transaction", "actions.=blockdev-snapshot"},
      {"blockdev-add", "=qcow2.backing"},
      {"query-named-block-nodes", "flat"},
      {"job-dismiss", "id"},
  };
  QmpWait wait = engine_vm_wait (vm);
  g_autoptr (QmpFeatures) features = qmp_features_query (vm->monitor, wait.deadline_us, wait.cancellable, error);

  for (gsize i = 0; features != NULL && i < G_N_ELEMENTS (needed); i++) {
    if (qmp_features_has_argument (features, needed[i].command, needed[i].argument))
      continue;
    engine_error_set (error, ENGINE_ERROR_UNSUPPORTED, "QEMU 5.0 and later have it",
                      "VM '%s': its QEMU has no %s with %s", vm->record->name, needed[i].command, needed[i].argument);
    return FALSE;
  }
  return features != NULL;
}

static gboolean
check_name (const EngineGraphDisk *disk, GError **error)
{
  const EngineLayer *head = engine_graph_head (disk);
  const char *why = engine_graph_why_nameless (head);

  if (why == NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "leave it out with --ignore-disk",
                    "disk '%s': no overlay could name '%s': %s", disk->name, head->path, why);
  return FALSE;
}

static gboolean
is_of_vm (EngineVm *vm, const ChainsImage *image)
{
  for (guint i = 0; i < vm->disks->len; i++)
    if (((const ChainsDisk *)g_ptr_array_index (vm->disks, i))->id == image->disk)
      return TRUE;
  return FALSE;
}

/* What another VM, or another disk of this one, needs is not ours to write to. */
static gboolean
check_unused (EngineVm *vm, const EngineGraphDisk *disk, GError **error)
{
  const EngineLayer *head = engine_graph_head (disk);
  g_autoptr (GPtrArray) users = NULL;

  if (head->local && head->inode == 0) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "is its name not UTF-8 (QMP carries no other), or was it removed?",
                      "disk '%s': QEMU has '%s' open, and there is no such file here", disk->name, head->path);
    return FALSE;
  }
  users = chains_images_find (vm->context->db, head->path, error);
  if (users == NULL)
    return FALSE;
  if (users->len == 0)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "leave it out with --ignore-disk",
                    "disk '%s': its active image '%s' belongs to another %s, or lies below one", disk->name, head->path,
                    is_of_vm (vm, g_ptr_array_index (users, 0)) ? "disk of this VM" : "registered VM's disk");
  return FALSE;
}

static gint64
add_image (EngineVm *vm, const ChainsDisk *record, const EngineLayer *layer, gint64 parent, gboolean owned,
           const char *options, GError **error)
{
  g_autoptr (ChainsImage) image = chains_image_new ();

  image->disk = record->id;
  image->parent = parent;
  image->path = g_strdup (layer->path);
  image->format = g_strdup (layer->format);
  image->virtual_size = layer->node->virtual_size;
  image->owned = owned;
  image->device = layer->device;
  image->inode = layer->inode;
  image->options = g_strdup (options);
  return chains_images_add (vm->context->db, image, error) ? image->id : 0;
}

/* The images from the lowest up; the active one is the base, whatever lies below it is foreign. */
static gboolean
add_images (EngineVm *vm, ChainsDisk *record, const EngineGraphDisk *disk, char **arguments, GError **error)
{
  g_autoptr (EngineNodeOptions) options = engine_nodeoptions_find (disk, arguments, NULL);
  g_autofree char *remembered = options->guessed ? NULL : engine_nodeoptions_to_json (options);
  gint64 row = 0;

  for (guint i = disk->layers->len; i > 0; i--) {
    gboolean active = i == 1;

    row =
        add_image (vm, record, g_ptr_array_index (disk->layers, i - 1), row, active, active ? remembered : NULL, error);
    if (row == 0)
      return FALSE;
  }
  record->base = row;
  record->active = row;
  return chains_registry_update_disk (vm->context->db, record, error);
}

/* What QEMU has below the active image may not be what the header names: then a start from the header differs. */
static void
warn_of_header (EngineVm *vm, const EngineGraphDisk *disk)
{
  const EngineLayer *head = engine_graph_head (disk);
  const EngineLayer *below = disk->layers->len > 1 ? g_ptr_array_index (disk->layers, 1) : NULL;
  const char *live = below != NULL ? below->path : NULL;

  if (head->local && g_str_equal (head->format, "qcow2") &&
      !engine_imagefile_names (head->path, head->node->header_backing, live))
    engine_context_warn (vm->context, "wrong-backing-name",
                         "disk '%s': the header of '%s' names '%s' as its backing image, and QEMU has '%s' there: a "
                         "start without QEMU's options would show other data",
                         disk->name, head->path,
                         head->node->header_backing != NULL ? head->node->header_backing : "none",
                         live != NULL ? live : "none");
}

static gboolean
add_disk (EngineVm *vm, const EngineGraphDisk *disk, gboolean ignored, char **arguments, GError **error)
{
  ChainsDisk *record = chains_disk_new ();

  record->vm = vm->record->id;
  record->position = (int)vm->disks->len;
  record->name = g_strdup (disk->name);
  record->device = g_strdup (disk->device);
  record->ignored = ignored;
  g_ptr_array_add (vm->disks, record);
  if (!ignored)
    warn_of_header (vm, disk);
  return (ignored || (check_name (disk, error) && check_unused (vm, disk, error))) &&
         chains_registry_add_disk (vm->context->db, record, error) && add_images (vm, record, disk, arguments, error);
}

static gboolean
check_ignored (const EngineRegistrationRequest *request, const EngineGraph *graph, GError **error)
{
  for (gsize i = 0; request->ignore != NULL && request->ignore[i] != NULL; i++) {
    if (engine_graph_find (graph, request->ignore[i]) != NULL)
      continue;
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_DISK, NULL, "VM '%s' has no disk '%s' to ignore", request->name,
                      request->ignore[i]);
    return FALSE;
  }
  return TRUE;
}

static gboolean
add_disks (EngineVm *vm, const EngineRegistrationRequest *request, const EngineGraph *graph, GError **error)
{
  g_auto (GStrv) arguments = engine_nodeoptions_read_arguments (vm->qemu);

  for (guint i = 0; i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);
    gboolean ignored = request->ignore != NULL && g_strv_contains (request->ignore, disk->name);

    if (disk->skipped == NULL && !add_disk (vm, disk, ignored, arguments, error))
      return FALSE;
  }
  if (vm->disks->len > 0)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, NULL, "VM '%s' has no disk", request->name);
  return FALSE;
}

/* All rows or none. */
static gboolean
store (EngineVm *vm, const EngineRegistrationRequest *request, const EngineGraph *graph, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_db_begin (vm->context->db, error);

  return transaction != NULL && chains_registry_add_vm (vm->context->db, vm->record, error) &&
         add_disks (vm, request, graph, error) && chains_db_commit (transaction, error);
}

static void
try_agent (EngineVm *vm)
{
  if (vm->record->agent == NULL || vm->state == ENGINE_VM_PAUSED)
    return;
  engine_vm_start_agent (vm);
  if (!engine_vm_finish_agent (vm))
    engine_context_warn (vm->context, "agent-silent", "VM '%s': no agent answers at '%s': %s", vm->record->name,
                         vm->record->agent, vm->agent_failure->message);
}

EngineVmView *
engine_registration_add (EngineContext *context, const EngineRegistrationRequest *request, GError **error)
{
  g_autoptr (EngineVm) vm = NULL;
  g_autoptr (EngineGraph) graph = NULL;

  if (!check_request (context, request, error))
    return NULL;
  vm = engine_vm_new (context, record_new (request));
  vm->lock = engine_lock_take (context, request->name, "vm add", error);
  if (vm->lock == NULL || !engine_vm_connect (vm, error) || !check_features (vm, error))
    return NULL;
  if (vm->uuid != NULL && !g_str_equal (vm->uuid, NIL_UUID))
    vm->record->uuid = g_strdup (vm->uuid);
  graph = engine_graph_read (vm, error);
  if (graph == NULL || !check_ignored (request, graph, error))
    return NULL;
  try_agent (vm);
  return store (vm, request, graph, error) ? view_new (vm, graph, error) : NULL;
}

/* ---- show, list, remove ---- */

/* Learns whether it runs; what stands in the way is a warning, since the record can be shown all the same. */
static gboolean
look (EngineVm *vm, EngineGraph **graph, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (engine_vm_connect (vm, &failure)) {
    *graph = vm->monitor != NULL ? engine_graph_read (vm, &failure) : NULL;
    if (failure == NULL)
      return TRUE;
  }
  vm->state = ENGINE_VM_UNREACHABLE;
  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  engine_context_warn (vm->context, "unreachable", "%s", failure->message);
  return TRUE;
}

EngineVmView *
engine_registration_show (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, NULL, error);
  g_autoptr (EngineGraph) graph = NULL;

  if (vm == NULL || !look (vm, &graph, error))
    return NULL;
  return view_new (vm, graph, error);
}

GPtrArray *
engine_registration_list (EngineContext *context, GError **error)
{
  g_autoptr (GPtrArray) records = chains_registry_list_vms (context->db, error);
  g_autoptr (GPtrArray) views = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_registration_view_free);

  for (guint i = 0; records != NULL && i < records->len; i++) {
    const ChainsVm *record = g_ptr_array_index (records, i);
    EngineVmView *view = engine_registration_show (context, record->name, error);

    if (view == NULL)
      return NULL;
    g_ptr_array_add (views, view);
  }
  return records != NULL ? g_steal_pointer (&views) : NULL;
}

/* An operation that was not finished is not forgotten with its VM. */
static gboolean
check_finished (EngineVm *vm, GError **error)
{
  g_autoptr (GPtrArray) unfinished = chains_journal_list_unfinished (vm->context->db, vm->record->id, error);
  const ChainsOp *op;

  if (unfinished == NULL || unfinished->len == 0)
    return unfinished != NULL;
  op = g_ptr_array_index (unfinished, 0);
  engine_error_set (error, ENGINE_ERROR_HELD, "end it first: `chainctl recover`",
                    "VM '%s': operation %s (%s) has not ended", vm->record->name, op->id, op->verb);
  return FALSE;
}

EngineVmView *
engine_registration_remove (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, "vm remove", error);
  g_autoptr (EngineGraph) graph = NULL;
  g_autoptr (EngineVmView) view = NULL;
  gint64 row;

  if (vm == NULL || !check_finished (vm, error) || !look (vm, &graph, error))
    return NULL;
  row = vm->record->id;
  view = view_new (vm, graph, error);
  if (view == NULL || context->dry_run)
    return g_steal_pointer (&view);
  if (!chains_registry_remove_vm (context->db, row, error))
    return NULL;
  engine_lock_retire (g_steal_pointer (&vm->lock));
  return g_steal_pointer (&view);
}
