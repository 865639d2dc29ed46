/*
 * Names a disk's active image, after making sure that it is the one: no operation
 * unfinished, no drift, the whole chain there and unchanged.
 */
#include "engine/path.h"

#include "chains/images.h"
#include "chains/journal.h"
#include "engine/drift.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/inspect.h"

void
engine_path_free (EnginePath *path)
{
  if (path == NULL)
    return;
  g_free (path->path);
  g_free (path->format);
  g_free (path->blockdev);
  g_free (path);
}

static gboolean
check_operations (EngineVm *vm, GError **error)
{
  g_autoptr (GPtrArray) unfinished = chains_journal_list_unfinished (vm->context->db, vm->record->id, error);

  for (guint i = 0; unfinished != NULL && i < unfinished->len; i++) {
    const ChainsOp *op = g_ptr_array_index (unfinished, i);

    if (op->state != CHAINS_OP_OPEN)
      continue;
    engine_error_set (error, ENGINE_ERROR_REFUSED, "`chainctl recover` decides it",
                      "VM '%s': operation %s (%s) has not ended, so which image is active is not certain",
                      vm->record->name, op->id, op->verb);
    return FALSE;
  }
  return unfinished != NULL;
}

static gboolean
check_live (EngineVm *vm, GError **error)
{
  g_autoptr (EngineGraph) graph = NULL;

  if (!engine_vm_connect (vm, error))
    return FALSE;
  if (vm->monitor == NULL)
    return TRUE;
  graph = engine_graph_read (vm, error);
  return graph != NULL && engine_drift_refuse (vm, graph, error);
}

/* An option's value ends at a comma unless it is doubled. */
static char *
to_blockdev (const ChainsImage *image)
{
  g_auto (GStrv) parts = g_strsplit (image->path, ",", -1);
  g_autofree char *escaped = g_strjoinv (",,", parts);
  EngineImagefile file;
  gboolean block = engine_imagefile_stat (image->path, &file, NULL) && file.block;

  return g_strdup_printf ("driver=%s,file.driver=%s,file.filename=%s", image->format, block ? "host_device" : "file",
                          escaped);
}

EnginePath *
engine_path_find (EngineContext *context, const char *name, const char *disk_name, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, NULL, error);
  const ChainsDisk *disk = vm != NULL ? engine_vm_find_disk (vm, disk_name, error) : NULL;
  g_autoptr (ChainsImage) image = NULL;
  EnginePath *path;

  if (disk == NULL || !check_live (vm, error) || !check_operations (vm, error))
    return NULL;
  disk = engine_vm_find_disk (vm, disk_name, error);
  if (disk == NULL)
    return NULL;
  if (!engine_inspect_chain (vm, disk, ENGINE_INSPECT_HEADERS, error))
    return NULL;
  image = chains_images_get (context->db, disk->active, error);
  if (image == NULL)
    return NULL;
  path = g_new0 (EnginePath, 1);
  path->path = g_strdup (image->path);
  path->format = g_strdup (image->format);
  path->blockdev = to_blockdev (image);
  return path;
}
