/*
 * Looks at all that the guest would be started on, and names the active image in
 * QEMU's words. Knows rows and files; whether QEMU runs, and on what, is the
 * caller's to ask first.
 */
#include "engine/startup.h"

#include "chains/images.h"
#include "chains/journal.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/inspect.h"

void
engine_startup_free (EngineStartup *startup)
{
  if (startup == NULL)
    return;
  g_free (startup->disk);
  g_free (startup->path);
  g_free (startup->format);
  g_free (startup->blockdev);
  g_free (startup);
}

gboolean
engine_startup_check_operations (EngineVm *vm, GError **error)
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

/* An option's value ends at a comma unless it is doubled. */
static char *
to_blockdev (const ChainsImage *image)
{
  g_auto (GStrv) parts = g_strsplit (image->path, ",", -1);
  g_autofree char *escaped = g_strjoinv (",,", parts);

  return g_strdup_printf ("driver=%s,file.driver=%s,file.filename=%s", image->format,
                          engine_imagefile_driver (image->path), escaped);
}

EngineStartup *
engine_startup_find (EngineVm *vm, const ChainsDisk *disk, GError **error)
{
  g_autoptr (ChainsImage) image = NULL;
  EngineImagefile file;
  EngineStartup *startup;

  if (!engine_inspect_chain (vm, disk, ENGINE_INSPECT_HEADERS, error))
    return NULL;
  image = chains_images_get (vm->context->db, disk->active, error);
  if (image == NULL)
    return NULL;
  startup = g_new0 (EngineStartup, 1);
  startup->local = g_path_is_absolute (image->path) && engine_imagefile_stat (image->path, &file, NULL);
  startup->disk = g_strdup (disk->name);
  startup->path = g_strdup (image->path);
  startup->format = g_strdup (image->format);
  startup->blockdev = to_blockdev (image);
  return startup;
}
