/*
 * Names a disk's active image, after making sure that it is the one: no operation
 * unfinished, no drift, the whole chain there and unchanged.
 */
#include "engine/path.h"

#include "engine/drift.h"

static gboolean
check_live (EngineVm *vm, const char *disk_name, GError **error)
{
  g_autoptr (EngineGraph) graph = NULL;
  const ChainsDisk *disk;

  if (!engine_vm_connect (vm, error))
    return FALSE;
  if (vm->monitor == NULL)
    return TRUE;
  graph = engine_graph_read (vm, error);
  if (graph == NULL || !engine_drift_refuse (vm, graph, error))
    return FALSE;
  /* The rows were read anew once the monitor was ours. */
  disk = engine_vm_find_disk (vm, disk_name, error);
  return disk != NULL && engine_startup_check_live (vm, disk, graph, error);
}

EngineStartup *
engine_path_find (EngineContext *context, const char *name, const char *disk_name, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, NULL, error);
  const ChainsDisk *disk = vm != NULL ? engine_vm_find_disk (vm, disk_name, error) : NULL;

  if (disk == NULL || !check_live (vm, disk_name, error) || !engine_startup_check_operations (vm, error))
    return NULL;
  disk = engine_vm_find_disk (vm, disk_name, error);
  return disk != NULL ? engine_startup_find (vm, disk, error) : NULL;
}
