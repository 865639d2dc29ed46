/*
 * How operations end whose intent is overlays on disks: it happened, and images,
 * snapshot and outcome are one commit; or it did not, and all is taken back. Which
 * of the two it is, engine/outcome finds out. Each may be run again after a death.
 */
#include "engine/ending.h"

#include "base/point.h"
#include "chains/images.h"
#include "chains/snapshots.h"
#include "chains/transaction.h"
#include "engine/error.h"
#include "engine/inspect.h"
#include "engine/notebook.h"
#include "engine/notefile.h"
#include "engine/qcow2.h"
#include "engine/seal.h"
#include "engine/standin.h"
#include "qmp/error.h"

#include <errno.h>
#include <glib/gstdio.h>

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

/* The row of @disk's image at @path; 0 with an error. */
static gint64
find_row (EngineVm *vm, const ChainsDisk *disk, const char *path, GError **error)
{
  g_autoptr (GPtrArray) images = chains_images_find (vm->context->db, path, error);

  for (guint i = 0; images != NULL && i < images->len; i++)
    if (((const ChainsImage *)g_ptr_array_index (images, i))->disk == disk->id)
      return ((const ChainsImage *)g_ptr_array_index (images, i))->id;
  if (images != NULL)
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "disk '%s' has no image '%s' any more", disk->name, path);
  return 0;
}

/* QEMU may know the head by another path than we do; a branch is named by ours. */
static gboolean
find_parent (EngineVm *vm, const ChainsDisk *disk, const EngineIntentOverlay *overlay, gint64 *parent, GError **error)
{
  *parent = g_str_equal (overlay->backing, overlay->head) ? disk->active : find_row (vm, disk, overlay->backing, error);
  return *parent != 0;
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
  if (overlay->backing != NULL && !find_parent (vm, disk, overlay, &image->parent, error))
    return 0;
  image->path = g_strdup (overlay->path);
  image->format = g_strdup (overlay->format);
  image->virtual_size = overlay->virtual_size;
  image->owned = TRUE;
  image->created_by = overlay->reused ? NULL : g_strdup (op);
  image->device = file.device;
  image->inode = file.inode;
  image->options = g_strdup (overlay->options);
  return chains_images_add (vm->context->db, image, error) ? image->id : 0;
}

/* @snapshot: (nullable): gets the disk's part */
static gboolean
record_disk (EngineVm *vm, const char *op, ChainsSnapshot *snapshot, const EngineIntentOverlay *overlay, GError **error)
{
  ChainsDisk *disk = engine_vm_find_disk (vm, overlay->disk, error);
  gint64 head = disk != NULL ? disk->active : 0;

  if (disk == NULL || !record_frozen (vm, head, overlay, error))
    return FALSE;
  disk->active = record_overlay (vm, op, disk, overlay, error);
  if (disk->active != 0 && snapshot != NULL) {
    ChainsSnapshotDisk *part = chains_snapshot_disk_new ();

    part->disk = disk->id;
    part->image = head;
    part->overlay = disk->active;
    part->disk_name = g_strdup (disk->name);
    part->image_path = g_strdup (overlay->head);
    part->overlay_path = g_strdup (overlay->path);
    g_ptr_array_add (snapshot->disks, part);
  }
  return disk->active != 0 && chains_registry_update_disk (vm->context->db, disk, error) &&
         chains_registry_set_live (vm->context->db, disk->id, overlay->live, error);
}

static gint64
find_active (const EngineVm *vm, gint64 disk)
{
  for (guint i = 0; i < vm->disks->len; i++)
    if (((const ChainsDisk *)g_ptr_array_index (vm->disks, i))->id == disk)
      return ((const ChainsDisk *)g_ptr_array_index (vm->disks, i))->active;
  return 0;
}

/* A snapshot whose overlay goes has the one that came instead: beside that is its note. */
static gboolean
forget_discards (EngineVm *vm, const EngineIntent *intent, GError **error)
{
  ChainsDb *db = vm->context->db;

  for (guint i = 0; i < intent->discards->len; i++) {
    const EngineIntentDiscard *discard = g_ptr_array_index (intent->discards, i);
    g_autoptr (ChainsImage) image = chains_images_get (db, discard->row, error);

    if (image == NULL ||
        !chains_snapshots_move_parts (db, image->id, image->id, find_active (vm, image->disk), error) ||
        !chains_images_remove (db, image->id, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
record_snapshot (EngineVm *vm, EngineIntent *intent, GError **error)
{
  if (intent->snapshot == NULL)
    return TRUE;
  intent->snapshot->vm = vm->record->id;
  if (!chains_snapshots_add (vm->context->db, intent->snapshot, error))
    return FALSE;
  engine_notebook_record (vm, intent->snapshot);
  return TRUE;
}

typedef gboolean (*ChangeMode) (EngineContext *context, const EngineSealFile *sealed, guint mode, GError **error);

/* The heads, which are active until the operation is recorded. */
static gboolean
change_modes (EngineVm *vm, const EngineIntent *intent, ChangeMode change, GError **error)
{
  for (guint i = 0; i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);
    const ChainsDisk *disk = engine_vm_find_disk (vm, overlay->disk, error);
    g_autoptr (ChainsImage) image = disk != NULL ? chains_images_get (vm->context->db, disk->active, error) : NULL;
    EngineSealFile file = {.disk = overlay->disk, .path = overlay->head};

    if (image == NULL)
      return FALSE;
    file.device = image->device;
    file.inode = image->inode;
    if (!change (vm->context, &file, overlay->head_mode, error))
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
engine_ending_record (EngineVm *vm, const char *op, EngineIntent *intent, gboolean end, GError **error)
{
  ChainsDb *db = vm->context->db;
  g_autoptr (ChainsTransaction) transaction = NULL;

  if (!seal (vm, intent, error))
    return FALSE;
  transaction = chains_transaction_begin (db, error);
  if (transaction == NULL)
    return FALSE;
  for (guint i = 0; i < intent->overlays->len; i++)
    if (!record_disk (vm, op, intent->snapshot, g_ptr_array_index (intent->overlays, i), error))
      return FALSE;
  if (!forget_discards (vm, intent, error) || !record_snapshot (vm, intent, error))
    return FALSE;
  return (!end || vm->context->dry_run || chains_journal_end (db, op, CHAINS_OP_DONE, NULL, error)) &&
         chains_transaction_commit (transaction, error);
}

gboolean
engine_ending_find_recorded (EngineVm *vm, const EngineIntent *intent, GPtrArray *recorded, GError **error)
{
  for (guint i = 0; i < intent->overlays->len; i++) {
    EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);
    const ChainsDisk *disk = engine_vm_find_disk (vm, overlay->disk, error);
    g_autoptr (ChainsImage) active = disk != NULL ? chains_images_get (vm->context->db, disk->active, error) : NULL;

    if (active == NULL)
      return FALSE;
    if (g_str_equal (active->path, overlay->path))
      g_ptr_array_add (recorded, overlay);
  }
  return TRUE;
}

/* ---- undone ---- */

static gboolean
close_node (EngineVm *vm, const QmpNodes *nodes, const char *name, GError **error)
{
  return qmp_nodes_find (nodes, name) == NULL ||
         qmp_commands_blockdev_del (vm->monitor, engine_vm_wait (vm), name, error);
}

/* A node's file node was made with it, and goes with it. */
gboolean
engine_ending_close_nodes (EngineVm *vm, const EngineIntent *intent, GError **error)
{
  g_autoptr (QmpNodes) nodes = engine_vm_ask_for_nodes (vm, error);

  for (guint i = 0; nodes != NULL && i < intent->overlays->len; i++)
    if (!close_node (vm, nodes, ((const EngineIntentOverlay *)g_ptr_array_index (intent->overlays, i))->node, error))
      return FALSE;
  for (guint i = nodes != NULL ? intent->opened->len : 0; i > 0; i--)
    if (!close_node (vm, nodes, g_ptr_array_index (intent->opened, i - 1), error))
      return FALSE;
  return nodes != NULL;
}

gboolean
engine_ending_is_ours (const EngineIntentOverlay *overlay, const EngineImagefile *file)
{
  if (base_point_is_mutant ("undo-removes-any-file"))
    return TRUE;
  /* Inode and birth tell a file; the device number may be another one after a reboot. */
  return overlay->inode != 0 && file->inode == overlay->inode && file->born_ns == overlay->born_ns &&
         (file->born_ns != 0 || file->device == overlay->device);
}

/* Something may have been copied into it, which keeps the inode. Where no byte has come to the disk nobody's is there.
 */
static gboolean
is_as_made (const EngineIntentOverlay *overlay, const EngineImagefile *file)
{
  g_autoptr (EngineQcow2) header = NULL;

  if (overlay->stamp == NULL || file->allocated == 0 || base_point_is_mutant ("undo-removes-any-file"))
    return TRUE;
  header = engine_qcow2_read (overlay->path, NULL);
  return header != NULL && g_str_equal (header->stamp, overlay->stamp);
}

/* Why the file, which is the one that was made, has to stay, in words, or %NULL. */
static const char *
find_reason (const EngineIntentOverlay *overlay, const EngineImagefile *file)
{
  /* Ours has gone before: another VM, of another database, has taken the file for a disk. */
  if (engine_notefile_is_beside (overlay->path))
    return "has another VM's note beside it (.chainctl)";
  if (!is_as_made (overlay, file))
    return "holds something else than what was made";
  /* Somebody may have started a VM on it by hand, after QEMU's death. */
  if (!base_point_is_mutant ("file-in-use-removed") && engine_imagefile_is_locked (overlay->path))
    return "is in use";
  return NULL;
}

static gboolean
remove_file (EngineVm *vm, const EngineIntentOverlay *overlay, GError **error)
{
  EngineImagefile file;
  g_autoptr (GPtrArray) users = NULL;
  const char *reason;

  if (overlay->reused || !engine_imagefile_stat (overlay->path, &file, NULL))
    return TRUE;
  users = chains_images_find (vm->context->db, overlay->path, error);
  if (users == NULL)
    return FALSE;
  if (users->len > 0 || !engine_ending_is_ours (overlay, &file)) {
    engine_context_warn (vm->context, "left-alone", "'%s' is not the file that was made: it stays", overlay->path);
    return TRUE;
  }
  reason = find_reason (overlay, &file);
  if (reason == NULL)
    return engine_imagefile_remove (overlay->path, error);
  engine_context_warn (vm->context, "left-alone", "'%s' %s: it stays", overlay->path, reason);
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

  if (intent->snapshot != NULL && !engine_notefile_remove (overlay->path, intent->snapshot->id, &failure))
    engine_context_warn (vm->context, "note-left", "disk '%s': %s", overlay->disk, failure->message);
}

static gboolean
take_back (EngineVm *vm, const EngineIntent *intent, const EngineIntentOverlay *overlay, GError **error)
{
  remove_note (vm, intent, overlay);
  return remove_file (vm, overlay, error);
}

gboolean
engine_ending_undo (EngineVm *vm, const char *op, const EngineIntent *intent, const char *why, gboolean end,
                    GError **error)
{
  if (vm->monitor != NULL && !base_point_is_mutant ("undo-leaves-nodes") &&
      !engine_ending_close_nodes (vm, intent, error))
    return FALSE;
  for (guint i = 0; i < intent->overlays->len && !base_point_is_mutant ("undo-leaves-files"); i++)
    if (!take_back (vm, intent, g_ptr_array_index (intent->overlays, i), error))
      return FALSE;
  if (!unseal (vm, intent, error))
    return FALSE;
  return !end || chains_journal_end (vm->context->db, op, CHAINS_OP_UNDONE, why, error);
}

/* ---- cleared up ---- */

/* One that QEMU's own options made goes by itself, once it is left; one that is in use stays. */
static gboolean
retire_nodes (EngineVm *vm, const EngineIntent *intent, GError **error)
{
  g_autoptr (QmpNodes) nodes = intent->retired->len > 0 ? engine_vm_ask_for_nodes (vm, error) : NULL;

  for (guint i = 0; nodes != NULL && i < intent->retired->len; i++) {
    GError *failure = NULL;

    if (!close_node (vm, nodes, g_ptr_array_index (intent->retired, i), &failure) &&
        !qmp_error_forgive_refusal (failure, error))
      return FALSE;
  }
  return nodes != NULL || intent->retired->len == 0;
}

static gboolean
remove_discard (EngineVm *vm, const EngineIntentDiscard *discard, GPtrArray *removed, GError **error)
{
  EngineImagefile file;
  g_autoptr (GPtrArray) users = chains_images_find (vm->context->db, discard->path, error);

  if (users == NULL)
    return FALSE;
  if (discard->inode == 0 || users->len > 0 || !engine_imagefile_stat (discard->path, &file, NULL))
    return TRUE;
  if (file.inode != discard->inode || file.device != discard->device) {
    engine_context_warn (vm->context, "left-alone", "'%s' is not the file that it was: it stays", discard->path);
    return TRUE;
  }
  if (removed != NULL)
    g_ptr_array_add (removed, g_strdup (discard->path));
  if (vm->context->dry_run)
    return TRUE;
  engine_notefile_forget (vm->context, discard->path);
  return engine_imagefile_remove (discard->path, error);
}

/* Remembers @image as it is now. @changed: that is not how it was remembered */
static gboolean
look_again (ChainsImage *image, gboolean *changed, GError **error)
{
  g_autofree char *header = g_strdup (image->frozen_header);
  gint64 size = image->frozen_size, mtime_ns = image->frozen_mtime_ns, ctime_ns = image->frozen_ctime_ns;

  if (!engine_inspect_remember (image, error))
    return FALSE;
  *changed = size != image->frozen_size || mtime_ns != image->frozen_mtime_ns || ctime_ns != image->frozen_ctime_ns ||
             g_strcmp0 (header, image->frozen_header) != 0;
  return TRUE;
}

/* An image that was open for writing when it was recorded as frozen gets its last words when it is closed: bitmaps, and
 * marks in its header. One that has no row any more was discarded. */
static gboolean
remember_heads (EngineVm *vm, const EngineIntent *intent, GError **error)
{
  for (guint i = 0; i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);
    const ChainsDisk *disk = engine_vm_find_disk (vm, overlay->disk, error);
    gint64 row = disk != NULL ? find_row (vm, disk, overlay->head, NULL) : 0;
    g_autoptr (ChainsImage) image = row != 0 ? chains_images_get (vm->context->db, row, error) : NULL;
    gboolean changed = FALSE;

    if (disk == NULL || (row != 0 && (image == NULL || !look_again (image, &changed, error))) ||
        (changed && !chains_images_update (vm->context->db, image, error)))
      return FALSE;
  }
  return TRUE;
}

/* A stand-in has the heads open until it ends. */
static gboolean
close_heads (EngineVm *vm, const EngineIntent *intent, GError **error)
{
  if (vm->standin == NULL)
    return retire_nodes (vm, intent, error);
  g_clear_pointer (&vm->monitor, qmp_client_free);
  g_clear_pointer (&vm->standin, engine_standin_stop);
  return TRUE;
}

gboolean
engine_ending_remove (EngineVm *vm, const EngineIntent *intent, GPtrArray *removed, GError **error)
{
  for (guint i = 0; i < intent->discards->len; i++)
    if (!remove_discard (vm, g_ptr_array_index (intent->discards, i), removed, error))
      return FALSE;
  return TRUE;
}

gboolean
engine_ending_clear_up (EngineVm *vm, const EngineIntent *intent, GPtrArray *removed, GError **error)
{
  if (vm->monitor != NULL && (!close_heads (vm, intent, error) || !remember_heads (vm, intent, error)))
    return FALSE;
  return engine_ending_remove (vm, intent, removed, error);
}
