/*
 * Reads the database for the verbs that show it. Takes no lock, so it answers while
 * anything else is under way, and asks no QEMU but for its jobs.
 */
#include "engine/listing.h"

#include "chains/registry.h"
#include "engine/imagefile.h"
#include "engine/treejobs.h"

static void
listed_free (EngineListed *listed)
{
  chains_snapshot_free (listed->snapshot);
  g_free (listed);
}

static gint64
allocated_size (const ChainsSnapshot *snapshot)
{
  gint64 size = 0;

  for (guint i = 0; i < snapshot->disks->len; i++) {
    const ChainsSnapshotDisk *part = g_ptr_array_index (snapshot->disks, i);
    EngineImagefile file;

    if (engine_imagefile_stat (part->image_path, &file, NULL))
      size += file.allocated;
  }
  return size;
}

GPtrArray *
engine_listing_read (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (ChainsVm) vm = chains_registry_get_vm (context->db, name, error);
  g_autoptr (GPtrArray) snapshots = vm != NULL ? chains_snapshots_list (context->db, vm->id, error) : NULL;
  GPtrArray *list;

  if (snapshots == NULL)
    return NULL;
  list = g_ptr_array_new_full (snapshots->len, (GDestroyNotify)listed_free);
  for (guint i = 0; i < snapshots->len; i++) {
    EngineListed *listed = g_new0 (EngineListed, 1);

    listed->size = allocated_size (g_ptr_array_index (snapshots, i));
    listed->snapshot = g_steal_pointer (&g_ptr_array_index (snapshots, i));
    g_ptr_array_add (list, listed);
  }
  return list;
}

ChainsSnapshot *
engine_listing_find (EngineContext *context, const char *name, const char *reference, GError **error)
{
  g_autoptr (ChainsVm) vm = chains_registry_get_vm (context->db, name, error);

  return vm != NULL ? chains_snapshots_find (context->db, vm->id, reference, error) : NULL;
}

GPtrArray *
engine_listing_trees (EngineContext *context, const char *name, GPtrArray *others, GError **error)
{
  g_autoptr (ChainsVm) vm = chains_registry_get_vm (context->db, name, error);
  g_autoptr (GPtrArray) trees = vm != NULL ? engine_tree_read (context, vm, error) : NULL;

  return trees != NULL && engine_treejobs_mark (context, vm, trees, others, error) ? g_steal_pointer (&trees) : NULL;
}

GPtrArray *
engine_listing_operations (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (ChainsVm) vm = chains_registry_get_vm (context->db, name, error);

  return vm != NULL ? chains_journal_list (context->db, name, error) : NULL;
}

GPtrArray *
engine_listing_vms (EngineContext *context, GError **error)
{
  return chains_registry_list_vms (context->db, error);
}

GPtrArray *
engine_listing_disks (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (ChainsVm) vm = chains_registry_get_vm (context->db, name, error);

  return vm != NULL ? chains_registry_list_disks (context->db, vm->id, error) : NULL;
}

GPtrArray *
engine_listing_snapshots (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (ChainsVm) vm = chains_registry_get_vm (context->db, name, error);

  return vm != NULL ? chains_snapshots_list (context->db, vm->id, error) : NULL;
}
