/*
 * Counts what whole copies take. An image whose data is written over by another one
 * above it counts once; what the guest writes meanwhile nobody knows.
 */
#include "engine/copyroom.h"

#include "engine/error.h"
#include "engine/filesystem.h"
#include "engine/imagefile.h"
#include "engine/overlay.h"
#include "engine/qcow2map.h"

#define UNIT (64 * 1024)

/* Marks what @layer's image holds. %FALSE where that cannot be told. */
static gboolean
add_layer (EngineQcow2Map *map, const EngineLayer *layer)
{
  gboolean qcow2 = g_str_equal (layer->format, "qcow2");
  gint64 mapped;

  return layer->local && engine_graph_why_nameless (layer) == NULL && (qcow2 || g_str_equal (layer->format, "raw")) &&
         engine_qcow2map_add (map, layer->path, qcow2, &mapped, NULL);
}

/* Bytes that the copy @file will hold, or 0 where that cannot be told. */
static gint64
count (const EngineMirrorIntent *intent, const EngineOverlay *file)
{
  g_autoptr (EngineQcow2Map) map = engine_qcow2map_new (UNIT, file->intent->virtual_size);
  g_autoptr (EngineQcow2Map) none = engine_qcow2map_new (UNIT, file->intent->virtual_size);
  guint layers = intent->sync == ENGINE_MIRROR_FULL ? file->disk->layers->len : 1;

  for (guint i = 0; i < layers; i++)
    if (!add_layer (map, g_ptr_array_index (file->disk->layers, i)))
      return 0;
  return engine_qcow2map_with_metadata (engine_qcow2map_beyond (map, none));
}

/* What is there already is overwritten. */
static gint64
still_needed (const EngineMirrorIntent *intent, const EngineOverlay *file)
{
  EngineImagefile there;

  if (!file->intent->reused || !engine_imagefile_stat (file->intent->path, &there, NULL))
    return count (intent, file);
  return MAX (count (intent, file) - there.allocated, 0);
}

static gboolean
is_device (const EngineOverlay *file)
{
  EngineImagefile there;

  return file->intent->reused && engine_imagefile_stat (file->intent->path, &there, NULL) && there.block;
}

static gboolean
refuse (EngineVm *vm, const char *folder, gint64 needed, gint64 available, GError **error)
{
  gint64 reserve = vm->context->config->reserve;

  engine_error_set (error, ENGINE_ERROR_REFUSED, "free some space there, or copy to another folder",
                    "VM '%s': %" G_GINT64_FORMAT " bytes are missing in '%s': the copies need %" G_GINT64_FORMAT
                    ", %" G_GINT64_FORMAT " are to be left free ([space] reserve), and there are %" G_GINT64_FORMAT,
                    vm->record->name, reserve - (available - needed), folder, needed, reserve, available);
  return FALSE;
}

gboolean
engine_copyroom_check (EngineVm *vm, const EngineMirrorIntent *intent, const GPtrArray *files, GError **error)
{
  g_autofree char *folder = NULL;
  gint64 needed = 0, available, inodes;

  if (intent->sync == ENGINE_MIRROR_NONE)
    return TRUE;
  /* All of a run's copies go to one folder. */
  for (guint i = 0; i < files->len; i++) {
    const EngineOverlay *file = g_ptr_array_index (files, i);

    /* It has its own room, whatever /dev has. */
    if (is_device (file))
      continue;
    if (folder == NULL)
      folder = g_path_get_dirname (file->intent->path);
    needed += still_needed (intent, file);
  }
  return folder == NULL || !engine_filesystem_get_room (folder, &available, &inodes) ||
         available - needed >= vm->context->config->reserve || refuse (vm, folder, needed, available, error);
}
