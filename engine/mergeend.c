/*
 * The rows that a merge changes. A commit [R] <- [C] … [T] <- [A] makes A hang off
 * R, and what T's snapshot had is R's now; where T is active, R becomes so. A
 * stream makes its receiver hang off what stays, and forgets what nothing needs.
 */
#include "engine/mergeend.h"

#include "base/point.h"
#include "chains/error.h"
#include "chains/images.h"
#include "chains/snapshots.h"
#include "chains/transaction.h"
#include "engine/error.h"
#include "engine/inspect.h"
#include "engine/mergeseal.h"
#include "engine/needed.h"
#include "engine/notefile.h"
#include "engine/tree.h"
#include "qmp/error.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

/* ---- what is overwritten ---- */

gboolean
engine_mergeend_destroy (EngineOp *op, const EngineMergeIntent *intent, GError **error)
{
  ChainsDb *db = op->vm->context->db;
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (db, error);

  if (transaction == NULL)
    return FALSE;
  for (guint i = 0; i < intent->destroyed->len && !base_point_is_mutant ("snapshots-not-destroyed-first"); i++)
    if (!chains_snapshots_remove (db, ((const ChainsSnapshot *)g_ptr_array_index (intent->destroyed, i))->id, error))
      return FALSE;
  return engine_op_step_durable (op, "merge", NULL, error) && chains_transaction_commit (transaction, error);
}

gboolean
engine_mergeend_is_untouched (const EngineMergePart *part)
{
  EngineImagefile file;

  return engine_imagefile_stat (part->receiver->path, &file, NULL) && file.size == part->size &&
         file.mtime_ns == part->mtime_ns;
}

/* ---- rows ---- */

/* What was said of the file as it was frozen is no longer so; of the active one nothing is said. */
static gboolean
renew (EngineVm *vm, gint64 row, gboolean active, gint64 size, GError **error)
{
  g_autoptr (ChainsImage) image = chains_images_get (vm->context->db, row, error);

  if (image == NULL)
    return FALSE;
  image->virtual_size = MAX (image->virtual_size, size);
  if (active) {
    image->frozen_size = image->frozen_mtime_ns = image->frozen_ctime_ns = 0;
    g_clear_pointer (&image->frozen_header, g_free);
  } else if (!vm->context->dry_run && !engine_inspect_remember (image, error))
    return FALSE;
  return chains_images_update (vm->context->db, image, error);
}

static gboolean
set_parent (EngineVm *vm, gint64 row, gint64 parent, GError **error)
{
  g_autoptr (ChainsImage) image = chains_images_get (vm->context->db, row, error);

  if (image == NULL)
    return FALSE;
  image->parent = parent;
  return chains_images_update (vm->context->db, image, error) &&
         (image->frozen_mtime_ns == 0 || renew (vm, row, FALSE, 0, error));
}

static gboolean
size_of (EngineVm *vm, gint64 row, gint64 *size, GError **error)
{
  g_autoptr (ChainsImage) image = chains_images_get (vm->context->db, row, error);

  if (image != NULL)
    *size = image->virtual_size;
  return image != NULL;
}

static gboolean
record_commit (EngineVm *vm, ChainsDisk *disk, const EngineMergePart *part, GError **error)
{
  const EngineMergeImage *top = g_ptr_array_index (part->images, 0);
  gboolean active = engine_mergeintent_is_active (part);
  gint64 size = 0;

  if (!size_of (vm, top->row, &size, error))
    return FALSE;
  if (active)
    disk->active = part->receiver->row;
  else if (!set_parent (vm, part->above->row, part->receiver->row, error))
    return FALSE;
  if (!chains_registry_update_disk (vm->context->db, disk, error) ||
      !renew (vm, part->receiver->row, active, size, error))
    return FALSE;
  for (guint i = 0; i < part->images->len; i++) {
    gint64 row = ((const EngineMergeImage *)g_ptr_array_index (part->images, i))->row;

    if (!chains_snapshots_move_parts (vm->context->db, row, part->receiver->row, 0, error) ||
        !chains_images_remove (vm->context->db, row, error))
      return FALSE;
  }
  return TRUE;
}

/* Whether no snapshot, no other image and no disk needs it. */
static gboolean
is_needed (EngineVm *vm, const ChainsDisk *disk, gint64 row, gboolean *needed, GError **error)
{
  g_autoptr (GPtrArray) snapshots = chains_snapshots_list (vm->context->db, vm->record->id, error);
  g_autoptr (EngineTree) tree =
      snapshots != NULL ? engine_tree_read_disk (vm->context, chains_disk_copy (disk), snapshots, error) : NULL;
  const EngineTreeImage *image = tree != NULL ? engine_tree_find (tree, row) : NULL;

  *needed = image == NULL || image->snapshots->len > 0 || image->children->len > 0 || row == disk->base ||
            row == disk->active || !image->image->owned;
  return tree != NULL;
}

static gboolean
is_among (const EngineMergePart *part, gint64 row)
{
  for (guint i = 0; i < part->images->len; i++)
    if (((const EngineMergeImage *)g_ptr_array_index (part->images, i))->row == row)
      return TRUE;
  return FALSE;
}

/* The images that held snapshots stay, as a branch; from the uppermost down, those that nothing needs go. */
static gboolean
record_stream (EngineVm *vm, ChainsDisk *disk, const EngineMergePart *part, GError **error)
{
  gint64 below = part->below != NULL ? part->below->row : 0;

  if (!set_parent (vm, part->receiver->row, below, error) ||
      !renew (vm, part->receiver->row, disk->active == part->receiver->row, 0, error))
    return FALSE;
  if (is_among (part, disk->base))
    disk->base = part->receiver->row;
  if (!chains_registry_update_disk (vm->context->db, disk, error))
    return FALSE;
  for (guint i = 0; i < part->images->len; i++) {
    gint64 row = ((const EngineMergeImage *)g_ptr_array_index (part->images, i))->row;
    gboolean needed;

    if (!is_needed (vm, disk, row, &needed, error))
      return FALSE;
    if (needed)
      return TRUE;
    if (!chains_snapshots_move_parts (vm->context->db, row, part->receiver->row, part->receiver->row, error) ||
        !chains_images_remove (vm->context->db, row, error))
      return FALSE;
  }
  return TRUE;
}

/* A job that did not do its work may have written all the same; and a file that was opened up has another change time.
 */
static gboolean
record_unmerged (EngineVm *vm, const ChainsDisk *disk, const EngineMergePart *part, GError **error)
{
  if ((part->receiver_mode != 0 || !engine_mergeend_is_untouched (part)) &&
      !renew (vm, part->receiver->row, disk->active == part->receiver->row, 0, error))
    return FALSE;
  return part->above_mode == 0 || renew (vm, part->above->row, FALSE, 0, error);
}

gboolean
engine_mergeend_record (EngineVm *vm, const EngineMergeIntent *intent, GPtrArray *merged, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = NULL;

  /* What is remembered of a frozen file is remembered of it sealed. */
  if (!engine_mergeseal_close (vm, intent, merged, error))
    return FALSE;
  transaction = chains_transaction_begin (vm->context->db, error);
  for (guint i = 0; transaction != NULL && i < intent->parts->len; i++) {
    EngineMergePart *part = g_ptr_array_index (intent->parts, i);
    ChainsDisk *disk = engine_vm_find_disk (vm, part->disk, error);
    gboolean recorded, done = g_ptr_array_find (merged, part, NULL);

    if (disk == NULL || !engine_mergeend_is_recorded (vm, intent, part, &recorded, error))
      return FALSE;
    if (recorded)
      continue;
    if (!done ? !record_unmerged (vm, disk, part, error)
              : !(intent->kind == ENGINE_MERGE_COMMIT ? record_commit (vm, disk, part, error)
                                                      : record_stream (vm, disk, part, error)))
      return FALSE;
    if (done && !chains_registry_set_live (vm->context->db, disk->id, NULL, error))
      return FALSE;
  }
  return transaction != NULL && chains_transaction_commit (transaction, error);
}

gboolean
engine_mergeend_restore (EngineVm *vm, const char *op, EngineMergeIntent *intent, const char *why, GError **error)
{
  ChainsDb *db = vm->context->db;
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (db, error);

  if (transaction == NULL)
    return FALSE;
  for (guint i = 0; i < intent->parts->len; i++) {
    const EngineMergePart *part = g_ptr_array_index (intent->parts, i);
    const ChainsDisk *disk = engine_vm_find_disk (vm, part->disk, error);

    if (disk == NULL || !record_unmerged (vm, disk, part, error))
      return FALSE;
  }
  for (guint i = 0; i < intent->destroyed->len; i++) {
    ChainsSnapshot *snapshot = g_ptr_array_index (intent->destroyed, i);
    gboolean has;

    snapshot->vm = vm->record->id;
    if (!chains_snapshots_has (db, vm->record->id, snapshot->name, &has, error) ||
        (!has && !chains_snapshots_add (db, snapshot, error)))
      return FALSE;
  }
  return chains_journal_end (db, op, CHAINS_OP_UNDONE, why, error) && chains_transaction_commit (transaction, error);
}

gboolean
engine_mergeend_is_recorded (EngineVm *vm, const EngineMergeIntent *intent, const EngineMergePart *part,
                             gboolean *recorded, GError **error)
{
  const EngineMergeImage *first = g_ptr_array_index (part->images, 0);
  gint64 below = part->below != NULL ? part->below->row : 0;
  g_autoptr (GError) failure = NULL;
  g_autoptr (ChainsImage) image = NULL;

  if (intent->kind == ENGINE_MERGE_STREAM) {
    image = chains_images_get (vm->context->db, part->receiver->row, error);
    if (image != NULL)
      *recorded = image->parent == below;
    return image != NULL;
  }
  image = chains_images_get (vm->context->db, first->row, &failure);
  *recorded = image == NULL;
  if (image != NULL || g_error_matches (failure, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

/* ---- cleared up ---- */

static gboolean
close_node (EngineVm *vm, const QmpNodes *nodes, const char *name, GError **error)
{
  GError *failure = NULL;

  return name == NULL || name[0] == '#' || qmp_nodes_find (nodes, name) == NULL ||
         qmp_commands_blockdev_del (vm->monitor, engine_vm_wait (vm), name, &failure) ||
         qmp_error_forgive_refusal (failure, error);
}

/* The uppermost first. One that QEMU's own options made has gone by itself. */
static gboolean
close_formats (EngineVm *vm, const EngineMergePart *part, GError **error)
{
  g_autoptr (QmpNodes) nodes = engine_vm_ask_for_nodes (vm, error);

  for (guint i = 0; nodes != NULL && i < part->images->len; i++)
    if (!close_node (vm, nodes, ((const EngineMergeImage *)g_ptr_array_index (part->images, i))->node, error))
      return FALSE;
  return nodes != NULL;
}

/* Those that have not gone with their formats. */
static gboolean
close_files (EngineVm *vm, const EngineMergePart *part, GError **error)
{
  g_autoptr (QmpNodes) nodes = engine_vm_ask_for_nodes (vm, error);

  for (guint i = 0; nodes != NULL && i < part->images->len; i++)
    if (!close_node (vm, nodes, ((const EngineMergeImage *)g_ptr_array_index (part->images, i))->file_node, error))
      return FALSE;
  return nodes != NULL;
}

/* QEMU is asked no more than twice: in a deep chain each answer takes it long, and the guest's disks stand still. */
static gboolean
close_nodes (EngineVm *vm, const EngineMergePart *part, GError **error)
{
  return close_formats (vm, part, error) && close_files (vm, part, error);
}

static void
forget_note (EngineVm *vm, const char *id, const ChainsSnapshotDisk *part)
{
  gint64 row = part->overlay != 0 ? part->overlay : part->image;
  g_autoptr (ChainsImage) image = row != 0 ? chains_images_get (vm->context->db, row, NULL) : NULL;
  g_autoptr (GError) failure = NULL;

  if (image != NULL && !(part->overlay != 0 ? engine_notefile_remove (image->path, id, &failure)
                                            : engine_notefile_remove_beside (image->path, id, &failure)))
    engine_context_warn (vm->context, "note-left", "%s", failure->message);
}

void
engine_mergeend_forget_notes (EngineVm *vm, const EngineMergeIntent *intent)
{
  for (guint i = 0; i < intent->destroyed->len; i++) {
    const ChainsSnapshot *snapshot = g_ptr_array_index (intent->destroyed, i);

    for (guint j = 0; j < snapshot->disks->len; j++)
      forget_note (vm, snapshot->id, g_ptr_array_index (snapshot->disks, j));
  }
}

/* A file of ours that no row names any more, and that is the very one. */
static gboolean
clear_image (EngineVm *vm, const EngineMergeIntent *intent, const EngineMergeImage *image, GPtrArray *removed,
             gint64 *freed, GError **error)
{
  g_autofree char *who = NULL;
  EngineImagefile file;

  if (!engine_needed_by_disk (vm->context, 0, image->path, &who, error))
    return FALSE;
  if (who != NULL || !engine_imagefile_stat (image->path, &file, NULL))
    return TRUE;
  engine_notefile_forget (vm->context, image->path);
  if (intent->keep_images)
    return TRUE;
  if (!image->made || file.device != image->device || file.inode != image->inode) {
    engine_context_warn (vm->context, "file-kept",
                         "'%s' is not needed any more; it stays, since chainctl did not make it", image->path);
    return TRUE;
  }
  if (!engine_imagefile_remove (image->path, error))
    return FALSE;
  if (removed != NULL)
    g_ptr_array_add (removed, g_strdup (image->path));
  if (freed != NULL)
    *freed += file.allocated;
  return TRUE;
}

gboolean
engine_mergeend_clear_up (EngineVm *vm, const EngineMergeIntent *intent, const EngineMergePart *part,
                          GPtrArray *removed, gint64 *freed, GError **error)
{
  if (vm->monitor != NULL && vm->standin == NULL && !close_nodes (vm, part, error))
    return FALSE;
  for (guint i = 0; i < part->images->len; i++)
    if (!clear_image (vm, intent, g_ptr_array_index (part->images, i), removed, freed, error))
      return FALSE;
  return TRUE;
}
