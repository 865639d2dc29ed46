/*
 * Copies to files are overlays that may stand on nothing: engine/overlay makes and
 * opens them. Exports are opened as they are.
 */
#include "engine/target.h"

#include "base/fiber.h"
#include "engine/blockdevice.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/nbdprobe.h"
#include "engine/needed.h"
#include "engine/note.h"
#include "engine/qcow2.h"
#include "engine/qcow2map.h"
#include "qmp/nodes.h"

#include <string.h>
#include <sys/stat.h>

#define LOOK_AGAIN_US (G_USEC_PER_SEC / 4)

/* One disk's target while it is planned. Borrowed. */
typedef struct {
  EngineOp *op;
  EngineMirrorIntent *mirror;
  const EngineGraphDisk *disk;
  const EngineTargetRequest *request;
  EngineIntentOverlay *copy;
} Plan;

void
engine_target_list_init (EngineTargets *targets)
{
  targets->files = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_overlay_free);
  targets->exports = g_ptr_array_new_with_free_func ((GDestroyNotify)json_object_unref);
}

void
engine_target_list_clear (EngineTargets *targets)
{
  g_clear_pointer (&targets->files, g_ptr_array_unref);
  g_clear_pointer (&targets->exports, g_ptr_array_unref);
}

static gboolean refuse (const Plan *plan, EngineError code, const char *hint, GError **error, const char *format, ...)
    G_GNUC_PRINTF (5, 6);

static gboolean
refuse (const Plan *plan, EngineError code, const char *hint, GError **error, const char *format, ...)
{
  g_autofree char *why = NULL;
  va_list arguments;

  va_start (arguments, format);
  why = g_strdup_vprintf (format, arguments);
  va_end (arguments);
  engine_error_set (error, code, hint, "VM '%s', disk '%s': %s", plan->op->vm->record->name, plan->disk->name, why);
  return FALSE;
}

/* ---- a file ---- */

static gboolean
choose_format (const Plan *plan, GError **error)
{
  const char *format = plan->request->format;
  EngineImagefile file;
  gboolean block = engine_imagefile_stat (plan->copy->path, &file, NULL) && file.block;

  plan->copy->format = g_strdup (format != NULL ? format : block ? "raw" : "qcow2");
  if (g_str_equal (plan->copy->format, "qcow2") || g_str_equal (plan->copy->format, "raw"))
    return TRUE;
  return refuse (plan, ENGINE_ERROR_USAGE, "qcow2 or raw", error, "a copy cannot be of the format '%s'", format);
}

/* In a folder the file is called after the disk, and ends in its format. */
static gboolean
choose_path (const Plan *plan, GError **error)
{
  const EngineTargetRequest *request = plan->request;
  g_autofree char *path = g_canonicalize_filename (request->to, NULL);
  g_autofree char *folder = g_path_get_dirname (path);
  gboolean is_folder = g_file_test (path, G_FILE_TEST_IS_DIR);
  const char *format = request->format != NULL ? request->format : "qcow2";
  g_autofree char *name = g_strdup_printf ("%s.%s", plan->disk->name, format);

  if (!is_folder && g_str_has_suffix (request->to, "/"))
    return refuse (plan, ENGINE_ERROR_NO_SUCH_IMAGE, "make it first", error, "there is no folder '%s'", path);
  if (!is_folder && request->several)
    return refuse (plan, ENGINE_ERROR_USAGE, "make it, or choose one disk with --disk", error,
                   "several disks are copied into a folder, and '%s' is none", path);
  if (!is_folder && !g_file_test (folder, G_FILE_TEST_IS_DIR))
    return refuse (plan, ENGINE_ERROR_NO_SUCH_IMAGE, "make it first", error, "there is no folder '%s'", folder);
  if (is_folder && strchr (name, '/') != NULL)
    return refuse (plan, ENGINE_ERROR_USAGE, "name the file", error, "a file cannot be called '%s'", name);
  plan->copy->path = is_folder ? g_build_filename (path, name, NULL) : g_steal_pointer (&path);
  if (!g_utf8_validate (plan->copy->path, -1, NULL))
    return refuse (plan, ENGINE_ERROR_REFUSED, "use a name that is UTF-8", error, "QMP carries no other names");
  return TRUE;
}

/* Notes lie beside the images of other state folders, too. */
static gboolean
check_unnoted (const Plan *plan, GError **error)
{
  g_autofree char *real = realpath (plan->copy->path, NULL);
  g_autofree char *note = real != NULL ? engine_note_path (real) : NULL;

  return note == NULL || !g_file_test (note, G_FILE_TEST_EXISTS) ||
         refuse (plan, ENGINE_ERROR_REFUSED, "choose another file, or remove the note where that VM is no more", error,
                 "'%s' is an image of a VM: its note '%s' lies beside it", plan->copy->path, note);
}

/* Not onto an image that the disk, or anybody, stands on: by whatever name. */
static gboolean
check_unneeded (const Plan *plan, GError **error)
{
  const char *path = plan->copy->path;
  g_autofree char *who = NULL, *holder = NULL;
  EngineImagefile file;

  if (!engine_imagefile_stat (path, &file, error))
    return FALSE;
  for (guint i = 0; i < plan->disk->layers->len; i++) {
    const EngineLayer *layer = g_ptr_array_index (plan->disk->layers, i);

    if (layer->inode != 0 && layer->inode == file.inode && layer->device == file.device)
      return refuse (plan, ENGINE_ERROR_REFUSED, "choose another file", error, "'%s' is an image of its own chain",
                     path);
  }
  if (!engine_needed_by_disk (plan->op->vm->context, 0, path, &who, error) ||
      (who == NULL && !engine_needed_below (plan->op->vm->context, path, &who, error)))
    return FALSE;
  if (who != NULL)
    return refuse (plan, ENGINE_ERROR_REFUSED, "choose another file", error, "'%s' is needed by %s", path, who);
  holder = engine_blockdevice_holder (&file);
  if (holder != NULL)
    return refuse (plan, ENGINE_ERROR_REFUSED, "choose another", error, "'%s' is in use by %s", path, holder);
  if (engine_imagefile_is_locked (path))
    return refuse (plan, ENGINE_ERROR_REFUSED, "choose another file", error, "'%s' is in use", path);
  return check_unnoted (plan, error);
}

#define EXACTLY "it has to be exactly as large as the disk"

/* @size: bytes that what is to hold the copy has */
static gboolean
check_size (const EngineVm *vm, const EngineIntentOverlay *copy, gint64 size, const char *hint, GError **error)
{
  if (size == copy->virtual_size)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, hint,
                    "VM '%s', disk '%s': '%s' is too %s: %" G_GINT64_FORMAT " bytes, and the disk has "
                    "%" G_GINT64_FORMAT,
                    vm->record->name, copy->disk, copy->path, size < copy->virtual_size ? "small" : "large", size,
                    copy->virtual_size);
  return FALSE;
}

/* What it holds already would hide what is not copied. */
static gboolean
check_blank (const Plan *plan, GError **error)
{
  const char *path = plan->copy->path;
  gboolean blank = TRUE;

  if (plan->copy->backing != NULL && !engine_qcow2map_is_blank (path, &blank, error))
    return FALSE;
  return blank || refuse (plan, ENGINE_ERROR_REFUSED, "make it anew", error,
                          "'%s' holds something already, and not all of it would be overwritten", path);
}

/* What stands in its header stays: read again later it has to mean the same. */
static gboolean
check_existing_qcow2 (const Plan *plan, GError **error)
{
  const EngineIntentOverlay *copy = plan->copy;
  gboolean qcow2;
  g_autoptr (EngineQcow2) header = NULL;

  if (!engine_qcow2_is (copy->path, &qcow2, error))
    return FALSE;
  if (!qcow2)
    return refuse (plan, ENGINE_ERROR_REFUSED, "say so with --format raw, or make a qcow2 there", error,
                   "'%s' is no qcow2 image", copy->path);
  header = engine_qcow2_read (copy->path, error);
  if (header == NULL || !check_size (plan->op->vm, plan->copy, header->virtual_size, EXACTLY, error))
    return FALSE;
  if (header->encrypted)
    return refuse (plan, ENGINE_ERROR_REFUSED, NULL, error, "'%s' is encrypted", copy->path);
  if (header->data_file)
    return refuse (plan, ENGINE_ERROR_REFUSED, "make it anew", error,
                   "'%s' keeps its data in another file, and whose that is is not known", copy->path);
  if (!engine_imagefile_names (copy->path, header->backing, copy->backing))
    return refuse (plan, ENGINE_ERROR_REFUSED, "make it anew", error,
                   "'%s' stands on '%s', and what is copied would have to stand on %s", copy->path,
                   header->backing != NULL ? header->backing : "nothing",
                   copy->backing != NULL ? copy->backing : "nothing");
  return check_blank (plan, error);
}

static gboolean
check_existing (const Plan *plan, GError **error)
{
  EngineImagefile file;

  if (!check_unneeded (plan, error) || !engine_imagefile_stat (plan->copy->path, &file, error))
    return FALSE;
  if (!file.regular && !file.block)
    return refuse (plan, ENGINE_ERROR_REFUSED, NULL, error, "'%s' is neither a file nor a block device",
                   plan->copy->path);
  if (g_str_equal (plan->copy->format, "qcow2"))
    return check_existing_qcow2 (plan, error);
  return file.block || check_size (plan->op->vm, plan->copy, file.size, EXACTLY, error);
}

static gboolean
check_place (const Plan *plan, GError **error)
{
  struct stat st;
  gboolean there = lstat (plan->copy->path, &st) == 0;

  if (plan->request->existing)
    return check_existing (plan, error);
  if (there)
    return refuse (plan, ENGINE_ERROR_EXISTS, "--existing overwrites it", error, "'%s' is there already",
                   plan->copy->path);
  if (g_str_equal (plan->copy->format, "raw") && plan->copy->backing != NULL)
    return refuse (plan, ENGINE_ERROR_USAGE, "use --format qcow2, or --sync full", error,
                   "a raw image cannot stand on another");
  return TRUE;
}

static const EngineLayer *
layer_below (const EngineGraphDisk *disk)
{
  return disk->layers->len > 1 ? g_ptr_array_index (disk->layers, 1) : NULL;
}

/* What a copy that is not whole stands on: what its disk's active image does, or that itself. */
static void
choose_backing (const Plan *plan)
{
  const EngineLayer *below = plan->mirror->sync == ENGINE_MIRROR_NONE  ? engine_graph_head (plan->disk)
                             : plan->mirror->sync == ENGINE_MIRROR_TOP ? layer_below (plan->disk)
                                                                       : NULL;

  if (below == NULL)
    return;
  plan->copy->backing = g_strdup (below->path);
  plan->copy->backing_format = g_strdup (below->format);
}

static gboolean
check_header (const Plan *plan, const EngineOverlay *file, GError **error)
{
  const EngineQcow2Blank blank = engine_overlay_blank (file);

  if (plan->copy->backing == NULL || strlen (plan->copy->backing) <= engine_qcow2_blank_max_backing (&blank))
    return TRUE;
  return refuse (plan, ENGINE_ERROR_REFUSED, "use a shorter path", error,
                 "'%s' is longer than what a qcow2 header can name", plan->copy->backing);
}

/* What the guest may go on on is opened as its image was; any other may be given holes. */
static gboolean
plan_file (const Plan *plan, EngineNodeOptions *options, EngineTargets *targets, GError **error)
{
  EngineOverlay *file = g_new0 (EngineOverlay, 1);
  const EngineLayer *below = layer_below (plan->disk);
  gboolean pivots = plan->mirror->goal == ENGINE_MIRROR_PIVOT;

  g_ptr_array_add (targets->files, file);
  file->fd = -1;
  file->disk = plan->disk;
  file->options = options;
  file->intent = plan->copy;
  file->cluster_size = plan->op->vm->context->config->cluster_size;
  plan->copy->reused = plan->request->existing;
  if (pivots && plan->mirror->sync == ENGINE_MIRROR_TOP && below != NULL)
    file->on_node = g_strdup (below->node->name);
  if (!pivots) {
    g_free (options->discard);
    g_free (options->file_discard);
    options->discard = g_strdup ("unmap");
    options->file_discard = g_strdup ("unmap");
  }
  choose_backing (plan);
  return choose_path (plan, error) && choose_format (plan, error) && check_place (plan, error) &&
         check_header (plan, file, error);
}

/* ---- an export ---- */

static JsonObject *
export_json (const Plan *plan, const char *node, const char *export)
{
  const EngineTargetRequest *request = plan->request;
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "driver", "nbd");
  json_object_set_string_member (object, "node-name", node);
  json_object_set_object_member (object, "server", engine_nbdaddress_to_json (request->nbd));
  json_object_set_string_member (object, "export", export);
  if (request->credentials != NULL)
    json_object_set_string_member (object, "tls-creds", plan->mirror->credentials);
  json_object_set_int_member (object, "reconnect-delay",
                              plan->mirror->blocking ? ENGINE_TARGET_RECONNECT_BLOCKING_S : ENGINE_TARGET_RECONNECT_S);
  json_object_set_string_member (object, "discard", "unmap");
  return object;
}

/* One that is larger than the disk gets the disk at its beginning. */
static JsonObject *
wrapped_json (const Plan *plan, JsonObject *inner)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "driver", "raw");
  json_object_set_string_member (object, "node-name", plan->copy->node);
  json_object_set_int_member (object, "size", plan->copy->virtual_size);
  json_object_set_string_member (object, "discard", "unmap");
  json_object_set_object_member (object, "file", inner);
  return object;
}

static gboolean
check_export (const Plan *plan, const EngineNbdExport *told, GError **error)
{
  if (!told->known)
    return TRUE;
  if (told->read_only)
    return refuse (plan, ENGINE_ERROR_REFUSED, "let the server export it for writing", error, "'%s' may only be read",
                   plan->copy->path);
  if (told->size < plan->copy->virtual_size)
    return check_size (plan->op->vm, plan->copy, told->size, "let the server export at least as much", error);
  return TRUE;
}

static gboolean
plan_export (const Plan *plan, EngineTargets *targets, GError **error)
{
  const EngineTargetRequest *request = plan->request;
  EngineVm *vm = plan->op->vm;
  g_autofree char *export = engine_nbdaddress_export (request->nbd, plan->disk->name);
  EngineNbdExport told;
  gboolean larger;

  plan->copy->path = engine_nbdaddress_uri (request->nbd, export, request->credentials != NULL);
  plan->copy->format = g_strdup ("raw");
  plan->copy->reused = TRUE;
  /* Not seen from here: whoever asks for less than all has put it there. */
  choose_backing (plan);
  if (request->several && !engine_nbdaddress_is_of_each (request->nbd))
    return refuse (plan, ENGINE_ERROR_USAGE, "write %d where the disk's name stands: HOST:PORT/%d", error,
                   "several disks cannot be copied to one export");
  if (!engine_nbdprobe_run (request->nbd, export, request->credentials != NULL, vm->context->timeout_us,
                            vm->cancellable, &told, error) ||
      !check_export (plan, &told, error))
    return FALSE;
  larger = told.known && told.size > plan->copy->virtual_size;
  g_ptr_array_add (targets->exports, larger ? wrapped_json (plan, export_json (plan, plan->copy->file_node, export))
                                            : export_json (plan, plan->copy->node, export));
  return TRUE;
}

/* ---- all of it ---- */

gboolean
engine_target_plan (EngineOp *op, EngineMirrorIntent *mirror, const EngineGraphDisk *disk, EngineNodeOptions *options,
                    const EngineTargetRequest *request, EngineTargets *targets, GError **error)
{
  guint index = mirror->copies->overlays->len;
  const EngineLayer *head = engine_graph_head (disk);
  const Plan plan = {op, mirror, disk, request, engine_intent_overlay_new ()};
  gboolean planned;

  plan.copy->disk = g_strdup (disk->name);
  plan.copy->node = engine_op_name (op, index, "");
  plan.copy->file_node = engine_op_name (op, index, "f");
  plan.copy->head = g_strdup (head->path);
  plan.copy->virtual_size = head->node->virtual_size;
  plan.copy->options = engine_nodeoptions_to_json (options);
  if (request->nbd == NULL) {
    planned = plan_file (&plan, options, targets, error);
  } else {
    engine_nodeoptions_free (options);
    planned = plan_export (&plan, targets, error);
  }
  /* The files borrow it, and end before the intent does. */
  g_ptr_array_add (mirror->copies->overlays, plan.copy);
  return planned;
}

static gboolean
check_opened (EngineVm *vm, const EngineMirrorIntent *mirror, GError **error)
{
  g_autoptr (QmpNodes) nodes = engine_vm_ask_for_nodes (vm, error);

  for (guint i = 0; nodes != NULL && i < mirror->copies->overlays->len; i++) {
    const EngineIntentOverlay *copy = g_ptr_array_index (mirror->copies->overlays, i);
    const QmpNode *node = qmp_nodes_find (nodes, copy->node);

    if (node != NULL && !check_size (vm, copy, node->virtual_size, EXACTLY, error))
      return FALSE;
  }
  return nodes != NULL;
}

/* The address has been shown to answer: QEMU would stand still for one that does not. */
static gboolean
open_exports (EngineVm *vm, const EngineTargets *targets, GError **error)
{
  for (guint i = 0; i < targets->exports->len; i++)
    if (!qmp_commands_blockdev_add (vm->monitor, engine_vm_wait (vm), g_ptr_array_index (targets->exports, i), error)) {
      g_prefix_error (error, "VM '%s': QEMU cannot open the copy: ", vm->record->name);
      return FALSE;
    }
  return TRUE;
}

gboolean
engine_target_open (EngineVm *vm, const EngineMirrorIntent *mirror, const EngineTargets *targets, GError **error)
{
  return engine_overlay_prepare (vm, targets->files, error) && open_exports (vm, targets, error) &&
         check_opened (vm, mirror, error);
}

/* One that went away is waited for as long as QEMU waits for it. */
static gboolean
await_export (EngineVm *vm, const EngineIntentOverlay *copy, GError **error)
{
  gint64 until_us = g_get_monotonic_time () + ENGINE_TARGET_RECONNECT_S * G_USEC_PER_SEC;
  g_autoptr (EngineNbdAddress) address = engine_nbdaddress_parse (copy->path, error);
  GError *failure = NULL;

  if (address == NULL)
    return FALSE;
  while (!engine_nbdprobe_find (address, vm->context->timeout_us, vm->cancellable, &failure)) {
    if (!g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_UNREACHABLE) || g_get_monotonic_time () > until_us) {
      g_propagate_prefixed_error (error, failure, "VM '%s', disk '%s': ", vm->record->name, copy->disk);
      return FALSE;
    }
    g_clear_error (&failure);
    base_fiber_sleep (LOOK_AGAIN_US);
  }
  return TRUE;
}

gboolean
engine_target_await (EngineVm *vm, const EngineMirrorIntent *mirror, GError **error)
{
  for (guint i = 0; i < mirror->copies->overlays->len; i++) {
    const EngineIntentOverlay *copy = g_ptr_array_index (mirror->copies->overlays, i);

    if (!engine_mirrorintent_is_file (copy) && !await_export (vm, copy, error))
      return FALSE;
  }
  return TRUE;
}

void
engine_target_plan_open (EngineVm *vm, const EngineTargets *targets)
{
  engine_overlay_plan_prepare (vm, targets->files);
  for (guint i = 0; i < targets->exports->len; i++)
    engine_context_plan (vm->context, "qemu", "blockdev-add", g_ptr_array_index (targets->exports, i));
}

JsonObject *
engine_target_credentials (const EngineMirrorIntent *mirror, const char *folder)
{
  g_autofree char *absolute = g_canonicalize_filename (folder, NULL);

  return qmp_commands_tls_credentials (mirror->credentials, "client", absolute);
}
