/*
 * A copy that the guest is on is an overlay that stands on nothing, or on what the
 * old head stood on: engine/ending records and clears up as for any other.
 */
#include "engine/mirrorend.h"

#include "base/point.h"
#include "engine/ending.h"
#include "engine/error.h"
#include "engine/graph.h"
#include "engine/imagefile.h"
#include "engine/pivot.h"
#include "qmp/error.h"

#include <fcntl.h>
#include <unistd.h>

gboolean
engine_mirrorend_find (EngineVm *vm, const EngineMirrorIntent *intent, GPtrArray *moved, GError **error)
{
  g_autoptr (EngineGraph) graph = engine_graph_read (vm, error);

  for (guint i = 0; graph != NULL && i < intent->copies->overlays->len; i++) {
    EngineIntentOverlay *copy = g_ptr_array_index (intent->copies->overlays, i);
    const EngineGraphDisk *disk = engine_graph_find (graph, copy->disk);
    const EngineLayer *head = disk != NULL && disk->layers->len > 0 ? engine_graph_head (disk) : NULL;
    EngineImagefile file;

    if (head == NULL)
      continue;
    if (g_str_equal (head->node->name, copy->node) ||
        (head->inode != 0 && engine_imagefile_stat (copy->path, &file, NULL) && file.inode == head->inode &&
         file.device == head->device))
      g_ptr_array_add (moved, copy);
  }
  return graph != NULL;
}

EngineIntent *
engine_mirrorend_split (EngineMirrorIntent *intent, const GPtrArray *moved)
{
  EngineIntent *left = engine_intent_new ();

  g_clear_pointer (&left->snapshot, chains_snapshot_free);
  /* Where nothing has happened its notes go with the copies. */
  if (moved->len == 0)
    left->snapshot = g_steal_pointer (&intent->copies->snapshot);
  for (guint i = 0; i < intent->copies->overlays->len;)
    if (g_ptr_array_find ((GPtrArray *)moved, g_ptr_array_index (intent->copies->overlays, i), NULL)) {
      i++;
    } else {
      g_ptr_array_add (left->overlays, g_ptr_array_steal_index (intent->copies->overlays, i));
      g_ptr_array_remove_index (intent->roots, i);
    }
  return left;
}

gboolean
engine_mirrorend_record (EngineVm *vm, const char *op, EngineIntent *moved, GError **error)
{
  if (moved->overlays->len == 0)
    return TRUE;
  if (moved->snapshot != NULL) {
    moved->snapshot->created_us = g_get_real_time ();
    moved->snapshot->consistency = vm->standin != NULL ? CHAINS_CONSISTENCY_OFFLINE : CHAINS_CONSISTENCY_CRASH;
    moved->snapshot->frozen_us = -1;
  }
  return engine_ending_record (vm, op, moved, FALSE, error);
}

/* QEMU may not have such a node, nor such a command. */
static gboolean
cut_node (EngineVm *vm, const char *node, GError **error)
{
  GError *failure = NULL;

  return qmp_commands_yank_node (vm->monitor, engine_vm_wait (vm), node, &failure) ||
         qmp_error_forgive_refusal (failure, error);
}

gboolean
engine_mirrorend_cut (EngineVm *vm, const EngineIntent *copies, GError **error)
{
  for (guint i = 0; vm->monitor != NULL && i < copies->overlays->len; i++) {
    const EngineIntentOverlay *copy = g_ptr_array_index (copies->overlays, i);

    /* Where the export is larger than the disk the connection is the lower node's. */
    if (!engine_mirrorintent_is_file (copy) &&
        (!cut_node (vm, copy->node, error) || !cut_node (vm, copy->file_node, error)))
      return FALSE;
  }
  return TRUE;
}

gboolean
engine_mirrorend_forget_credentials (EngineVm *vm, const EngineMirrorIntent *intent, GError **error)
{
  GError *failure = NULL;

  return intent->credentials == NULL || vm->monitor == NULL ||
         qmp_commands_object_del (vm->monitor, engine_vm_wait (vm), intent->credentials, &failure) ||
         qmp_error_forgive_refusal (failure, error);
}

static gboolean
sync_copy (const EngineIntentOverlay *copy, GError **error)
{
  int fd = engine_mirrorintent_is_file (copy) ? open (copy->path, O_RDONLY | O_CLOEXEC) : -1;
  gboolean synced = fd < 0 || fsync (fd) == 0;

  if (!synced)
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "cannot sync '%s'", copy->path);
  if (fd >= 0)
    close (fd);
  return synced;
}

gboolean
engine_mirrorend_keep (EngineVm *vm, const EngineMirrorIntent *intent, GError **error)
{
  if ((vm->monitor != NULL && !engine_ending_close_nodes (vm, intent->copies, error)) ||
      !engine_mirrorend_forget_credentials (vm, intent, error))
    return FALSE;
  for (guint i = 0; i < intent->copies->overlays->len; i++)
    if (!sync_copy (g_ptr_array_index (intent->copies->overlays, i), error))
      return FALSE;
  return TRUE;
}

gboolean
engine_mirrorend_settle (EngineVm *vm, const char *op, EngineMirrorIntent *intent, GError **error)
{
  g_autoptr (GPtrArray) jobs = engine_mirrorintent_jobs (intent, op), moved = g_ptr_array_new ();
  g_autoptr (GPtrArray) recorded = g_ptr_array_new ();
  gboolean pivoting = FALSE;

  if (base_point_is_mutant ("rescue-records-nothing") || intent->goal != ENGINE_MIRROR_PIVOT)
    return TRUE;
  if (!engine_pivot_settle_jobs (vm, op, jobs, &pivoting, error) || !engine_mirrorend_find (vm, intent, moved, error) ||
      !engine_ending_find_recorded (vm, intent->copies, recorded, error))
    return FALSE;
  if (recorded->len > 0)
    return TRUE;
  /* What was not moved is whoever recovers' to take back. */
  engine_intent_free (engine_mirrorend_split (intent, moved));
  return engine_mirrorend_record (vm, op, intent->copies, error);
}
