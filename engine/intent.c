/*
 * Intents to and from the journal's JSON, and the two ways in which one ends:
 * recorded, or undone. Which of them it is, engine/outcome finds out.
 */
#include "engine/intent.h"

#include "base/point.h"
#include "chains/error.h"
#include "chains/images.h"
#include "chains/snapshots.h"
#include "chains/transaction.h"
#include "engine/error.h"
#include "engine/inspect.h"
#include "engine/note.h"
#include "engine/notebook.h"
#include "engine/seal.h"
#include "qmp/error.h"
#include "qmp/message.h"
#include "qmp/nodes.h"

#include <errno.h>
#include <glib/gstdio.h>

static void
overlay_free (EngineIntentOverlay *overlay)
{
  g_free (overlay->disk);
  g_free (overlay->path);
  g_free (overlay->node);
  g_free (overlay->file_node);
  g_free (overlay->backing);
  g_free (overlay->backing_format);
  g_free (overlay->options);
  g_free (overlay->live);
  g_free (overlay);
}

EngineIntentOverlay *
engine_intent_overlay_new (void)
{
  return g_new0 (EngineIntentOverlay, 1);
}

EngineIntent *
engine_intent_new (void)
{
  EngineIntent *intent = g_new0 (EngineIntent, 1);

  intent->snapshot = chains_snapshot_new ();
  intent->overlays = g_ptr_array_new_with_free_func ((GDestroyNotify)overlay_free);
  return intent;
}

void
engine_intent_free (EngineIntent *intent)
{
  if (intent == NULL)
    return;
  g_clear_pointer (&intent->snapshot, chains_snapshot_free);
  g_clear_pointer (&intent->overlays, g_ptr_array_unref);
  g_free (intent);
}

/* ---- JSON ---- */

static JsonObject *
overlay_to_json (const EngineIntentOverlay *overlay)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "disk", overlay->disk);
  json_object_set_string_member (object, "path", overlay->path);
  json_object_set_boolean_member (object, "reused", overlay->reused);
  json_object_set_int_member (object, "device", (gint64)overlay->device);
  json_object_set_int_member (object, "inode", (gint64)overlay->inode);
  json_object_set_int_member (object, "born-ns", overlay->born_ns);
  json_object_set_string_member (object, "node", overlay->node);
  json_object_set_string_member (object, "file-node", overlay->file_node);
  json_object_set_string_member (object, "backing", overlay->backing);
  json_object_set_string_member (object, "backing-format", overlay->backing_format);
  json_object_set_int_member (object, "backing-mode", overlay->backing_mode);
  json_object_set_int_member (object, "virtual-size", overlay->virtual_size);
  json_object_set_string_member (object, "options", overlay->options);
  return object;
}

static JsonObject *
snapshot_to_json (const ChainsSnapshot *snapshot)
{
  JsonObject *object = json_object_new ();
  JsonArray *tags = json_array_new ();

  for (guint i = 0; i < snapshot->tags->len; i++)
    json_array_add_string_element (tags, g_ptr_array_index (snapshot->tags, i));
  json_object_set_string_member (object, "id", snapshot->id);
  json_object_set_string_member (object, "name", snapshot->name);
  json_object_set_string_member (object, "description", snapshot->description);
  json_object_set_boolean_member (object, "protected", snapshot->protected);
  json_object_set_boolean_member (object, "automatic", snapshot->automatic);
  json_object_set_array_member (object, "tags", tags);
  return object;
}

JsonObject *
engine_intent_to_json (const EngineIntent *intent)
{
  JsonObject *object = json_object_new ();
  JsonArray *overlays = json_array_new ();

  for (guint i = 0; i < intent->overlays->len; i++)
    json_array_add_object_element (overlays, overlay_to_json (g_ptr_array_index (intent->overlays, i)));
  json_object_set_object_member (object, "snapshot", snapshot_to_json (intent->snapshot));
  json_object_set_array_member (object, "overlays", overlays);
  json_object_set_boolean_member (object, "freezes", intent->freezes);
  json_object_set_int_member (object, "qemu", intent->qemu);
  return object;
}

typedef struct {
  const char *member;
  char **out;
} StringMember;

static gboolean
get_strings (JsonObject *object, const StringMember *members, gsize count, GError **error)
{
  for (gsize i = 0; i < count; i++) {
    const char *value;

    if (!qmp_message_get_string (object, members[i].member, &value, error))
      return FALSE;
    *members[i].out = g_strdup (value);
  }
  return TRUE;
}

static gboolean
overlay_from_json (EngineIntentOverlay *overlay, JsonObject *object, GError **error)
{
  const StringMember members[] = {
      {"disk", &overlay->disk},           {"path", &overlay->path},       {"node", &overlay->node},
      {"file-node", &overlay->file_node}, {"backing", &overlay->backing}, {"backing-format", &overlay->backing_format},
      {"options", &overlay->options},
  };

  overlay->reused = qmp_message_peek_boolean (object, "reused", FALSE);
  overlay->device = (guint64)qmp_message_peek_int (object, "device", 0);
  overlay->inode = (guint64)qmp_message_peek_int (object, "inode", 0);
  overlay->born_ns = qmp_message_peek_int (object, "born-ns", 0);
  overlay->backing_mode = (guint)qmp_message_peek_int (object, "backing-mode", 0) & 07777;
  return qmp_message_get_int (object, "virtual-size", &overlay->virtual_size, error) &&
         get_strings (object, members, G_N_ELEMENTS (members), error);
}

static gboolean
snapshot_from_json (ChainsSnapshot *snapshot, JsonObject *object, GError **error)
{
  const StringMember members[] = {
      {"id", &snapshot->id},
      {"name", &snapshot->name},
      {"description", &snapshot->description},
  };
  JsonArray *tags;

  if (!qmp_message_get_array (object, "tags", &tags, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (tags); i++)
    g_ptr_array_add (snapshot->tags, g_strdup (json_array_get_string_element (tags, i)));
  snapshot->protected = qmp_message_peek_boolean (object, "protected", FALSE);
  snapshot->automatic = qmp_message_peek_boolean (object, "automatic", FALSE);
  return get_strings (object, members, G_N_ELEMENTS (members), error);
}

static gboolean
parse (EngineIntent *intent, JsonObject *object, GError **error)
{
  JsonObject *snapshot;
  JsonArray *overlays;

  intent->freezes = qmp_message_peek_boolean (object, "freezes", FALSE);
  intent->qemu = qmp_message_peek_int (object, "qemu", 0);
  if (!qmp_message_get_object (object, "snapshot", &snapshot, error) ||
      !snapshot_from_json (intent->snapshot, snapshot, error) ||
      !qmp_message_get_array (object, "overlays", &overlays, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (overlays); i++) {
    EngineIntentOverlay *overlay = engine_intent_overlay_new ();

    g_ptr_array_add (intent->overlays, overlay);
    if (!overlay_from_json (overlay, json_array_get_object_element (overlays, i), error))
      return FALSE;
  }
  return TRUE;
}

EngineIntent *
engine_intent_from_json (const char *text, GError **error)
{
  g_autoptr (JsonNode) root = json_from_string (text, NULL);
  g_autoptr (EngineIntent) intent = engine_intent_new ();
  g_autoptr (GError) failure = NULL;

  if (root != NULL && JSON_NODE_HOLDS_OBJECT (root) && parse (intent, json_node_get_object (root), &failure))
    return g_steal_pointer (&intent);
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "the journal's intent cannot be read: %s",
                    failure != NULL ? failure->message : "it is no JSON object");
  return NULL;
}

/* ---- recorded ---- */

static gboolean
record_frozen (EngineVm *vm, gint64 row, const EngineIntentOverlay *overlay, GError **error)
{
  g_autoptr (ChainsImage) image = chains_images_get (vm->context->db, row, error);

  if (image == NULL || !engine_inspect_remember (image, error))
    return FALSE;
  image->virtual_size = overlay->virtual_size;
  return chains_images_update (vm->context->db, image, error);
}

static gint64
record_overlay (EngineVm *vm, const char *op, const ChainsDisk *disk, const EngineIntentOverlay *overlay,
                GError **error)
{
  g_autoptr (ChainsImage) image = chains_image_new ();
  EngineImagefile file = {0};

  if (!vm->context->dry_run && !engine_imagefile_stat (overlay->path, &file, error))
    return 0;
  image->disk = disk->id;
  image->parent = disk->active;
  image->path = g_strdup (overlay->path);
  image->format = g_strdup ("qcow2");
  image->virtual_size = overlay->virtual_size;
  image->owned = TRUE;
  image->created_by = overlay->reused ? NULL : g_strdup (op);
  image->device = file.device;
  image->inode = file.inode;
  image->options = g_strdup (overlay->options);
  return chains_images_add (vm->context->db, image, error) ? image->id : 0;
}

static gboolean
record_disk (EngineVm *vm, const char *op, ChainsSnapshot *snapshot, const EngineIntentOverlay *overlay, GError **error)
{
  ChainsSnapshotDisk *part = chains_snapshot_disk_new ();
  ChainsDisk *disk = engine_vm_find_disk (vm, overlay->disk, error);

  g_ptr_array_add (snapshot->disks, part);
  if (disk == NULL || !record_frozen (vm, disk->active, overlay, error))
    return FALSE;
  part->disk = disk->id;
  part->image = disk->active;
  part->disk_name = g_strdup (disk->name);
  part->image_path = g_strdup (overlay->backing);
  part->overlay_path = g_strdup (overlay->path);
  part->overlay = record_overlay (vm, op, disk, overlay, error);
  disk->active = part->overlay;
  return part->overlay != 0 && chains_registry_update_disk (vm->context->db, disk, error) &&
         chains_registry_set_live (vm->context->db, disk->id, overlay->live, error);
}

typedef gboolean (*ChangeMode) (EngineContext *context, const EngineSealFile *sealed, guint mode, GError **error);

/* The images below the overlays, which are the active ones until the snapshot is recorded. */
static gboolean
change_modes (EngineVm *vm, const EngineIntent *intent, ChangeMode change, GError **error)
{
  for (guint i = 0; i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);
    const ChainsDisk *disk = engine_vm_find_disk (vm, overlay->disk, error);
    g_autoptr (ChainsImage) image = disk != NULL ? chains_images_get (vm->context->db, disk->active, error) : NULL;
    EngineSealFile file = {.disk = overlay->disk, .path = overlay->backing};

    if (image == NULL)
      return FALSE;
    file.device = image->device;
    file.inode = image->inode;
    if (!change (vm->context, &file, overlay->backing_mode, error))
      return FALSE;
  }
  return TRUE;
}

/* Before anything of the frozen images is noted: their change times are among that. */
static gboolean
seal (EngineVm *vm, const EngineIntent *intent, GError **error)
{
  return vm->context->dry_run || change_modes (vm, intent, engine_seal_close, error);
}

gboolean
engine_intent_record (EngineVm *vm, const char *op, EngineIntent *intent, gboolean end, GError **error)
{
  ChainsDb *db = vm->context->db;
  g_autoptr (ChainsTransaction) transaction = NULL;

  if (!seal (vm, intent, error))
    return FALSE;
  transaction = chains_transaction_begin (db, error);
  if (transaction == NULL)
    return FALSE;
  intent->snapshot->vm = vm->record->id;
  for (guint i = 0; i < intent->overlays->len; i++)
    if (!record_disk (vm, op, intent->snapshot, g_ptr_array_index (intent->overlays, i), error))
      return FALSE;
  if (!chains_snapshots_add (db, intent->snapshot, error))
    return FALSE;
  engine_notebook_record (vm, intent->snapshot);
  return (!end || vm->context->dry_run || chains_journal_end (db, op, CHAINS_OP_DONE, NULL, error)) &&
         chains_transaction_commit (transaction, error);
}

/* ---- undone ---- */

/* A node's file node was made with it, and goes with it. */
static gboolean
close_nodes (EngineVm *vm, const EngineIntent *intent, GError **error)
{
  QmpNodesQuery *query = qmp_nodes_start (vm->monitor, QMP_NODES_ALONE, engine_context_deadline (vm->context));
  g_autoptr (QmpNodes) nodes = qmp_nodes_finish (query, vm->cancellable, error);

  for (guint i = 0; nodes != NULL && i < intent->overlays->len; i++) {
    const char *name = ((const EngineIntentOverlay *)g_ptr_array_index (intent->overlays, i))->node;

    if (qmp_nodes_find (nodes, name) != NULL &&
        !qmp_commands_blockdev_del (vm->monitor, engine_vm_wait (vm), name, error))
      return FALSE;
  }
  return nodes != NULL;
}

gboolean
engine_intent_is_ours (const EngineIntentOverlay *overlay, const EngineImagefile *file)
{
  if (base_point_is_mutant ("undo-removes-any-file"))
    return TRUE;
  /* Inode and birth tell a file; the device number may be another one after a reboot. */
  return overlay->inode != 0 && file->inode == overlay->inode && file->born_ns == overlay->born_ns &&
         (file->born_ns != 0 || file->device == overlay->device);
}

static gboolean
remove_file (EngineVm *vm, const EngineIntentOverlay *overlay, GError **error)
{
  EngineImagefile file;
  g_autoptr (GPtrArray) users = NULL;

  if (overlay->reused || !engine_imagefile_stat (overlay->path, &file, NULL))
    return TRUE;
  users = chains_images_find (vm->context->db, overlay->path, error);
  if (users == NULL)
    return FALSE;
  if (users->len > 0 || !engine_intent_is_ours (overlay, &file)) {
    engine_context_warn (vm->context, "left-alone", "'%s' is not the file that was made: it stays", overlay->path);
    return TRUE;
  }
  if (!base_point_before ("file", "remove", error))
    return FALSE;
  if (g_unlink (overlay->path) != 0) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "cannot remove '%s': %s", overlay->path, g_strerror (errno));
    return FALSE;
  }
  base_point_after ("file", "remove");
  return TRUE;
}

/* An image that was sealed and not recorded as frozen (a death in between) stays the active one. */
static gboolean
unseal (EngineVm *vm, const EngineIntent *intent, GError **error)
{
  return change_modes (vm, intent, engine_seal_open, error);
}

/* Of a snapshot that was never recorded. It goes before its overlay: behind that it would be forgotten by a death. */
static void
remove_note (EngineVm *vm, const EngineIntent *intent, const EngineIntentOverlay *overlay)
{
  g_autoptr (GError) failure = NULL;

  if (!engine_note_remove (overlay->path, intent->snapshot->id, &failure))
    engine_context_warn (vm->context, "note-left", "disk '%s': %s", overlay->disk, failure->message);
}

static gboolean
take_back (EngineVm *vm, const EngineIntent *intent, const EngineIntentOverlay *overlay, GError **error)
{
  remove_note (vm, intent, overlay);
  return remove_file (vm, overlay, error);
}

gboolean
engine_intent_undo (EngineVm *vm, const char *op, const EngineIntent *intent, const char *why, gboolean end,
                    GError **error)
{
  if (vm->monitor != NULL && !base_point_is_mutant ("undo-leaves-nodes") && !close_nodes (vm, intent, error))
    return FALSE;
  for (guint i = 0; i < intent->overlays->len && !base_point_is_mutant ("undo-leaves-files"); i++)
    if (!take_back (vm, intent, g_ptr_array_index (intent->overlays, i), error))
      return FALSE;
  if (!unseal (vm, intent, error))
    return FALSE;
  return !end || chains_journal_end (vm->context->db, op, CHAINS_OP_UNDONE, why, error);
}
