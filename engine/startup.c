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
#include "engine/nodeoptions.h"
#include "qmp/message.h"

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

static gboolean
refuse_nameless (const EngineVm *vm, const ChainsDisk *disk, const char *path, const char *why, GError **error)
{
  engine_error_set (
      error, ENGINE_ERROR_REFUSED, "write in the command itself how it is opened, with all that QEMU was given for it",
      "VM '%s', disk '%s': '%s' alone is not what the guest has: %s", vm->record->name, disk->name, path, why);
  return FALSE;
}

/* A disk that is not ignored was refused when it was to be registered. */
static gboolean
check_named (const EngineVm *vm, const ChainsDisk *disk, const ChainsImage *active, GError **error)
{
  g_autoptr (JsonNode) node = active->options != NULL ? json_from_string (active->options, NULL) : NULL;
  JsonObject *options = node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
  const char *why = options != NULL ? qmp_message_peek_string (options, ENGINE_NODEOPTIONS_NAMELESS) : NULL;

  return !disk->ignored || why == NULL || refuse_nameless (vm, disk, active->path, why, error);
}

gboolean
engine_startup_check_live (const EngineVm *vm, const ChainsDisk *disk, const EngineGraph *graph, GError **error)
{
  const EngineGraphDisk *live = engine_graph_find (graph, disk->name);
  const EngineLayer *head = live != NULL && live->layers->len > 0 ? engine_graph_head (live) : NULL;
  const char *why = head != NULL ? engine_graph_why_nameless (head) : NULL;

  return why == NULL || refuse_nameless (vm, disk, head->path, why, error);
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
  if (image == NULL || !check_named (vm, disk, image, error))
    return NULL;
  startup = g_new0 (EngineStartup, 1);
  startup->local = g_path_is_absolute (image->path) && engine_imagefile_stat (image->path, &file, NULL);
  startup->disk = g_strdup (disk->name);
  startup->path = g_strdup (image->path);
  startup->format = g_strdup (image->format);
  startup->blockdev = to_blockdev (image);
  return startup;
}
