/*
 * Decides what an interrupted switch came to. The live graph is the truth
 * while QEMU lives. When it is gone: an overlay in which a cluster is mapped
 * was written to, so it was live; one in which none is reads the same as its
 * backing image, so either answer is right, and "not" is taken.
 */
#include "engine/outcome.h"

#include "base/point.h"
#include "engine/ending.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/qcow2.h"

#include <errno.h>
#include <sys/stat.h>

static gboolean
is_in_chain (const EngineGraphDisk *disk, const EngineIntentOverlay *overlay)
{
  for (guint i = 0; disk != NULL && i < disk->layers->len; i++) {
    const EngineLayer *layer = g_ptr_array_index (disk->layers, i);

    if (g_str_equal (layer->node->name, overlay->node) || g_str_equal (layer->path, overlay->path))
      return TRUE;
  }
  return FALSE;
}

static gboolean
is_another_file (const EngineIntentOverlay *overlay, const EngineImagefile *file)
{
  return !overlay->reused && overlay->inode != 0 && !engine_ending_is_ours (overlay, file);
}

/* That a file cannot be seen says nothing where its file system is not mounted, or may not be looked into. */
static gboolean
check_absent (const EngineIntentOverlay *overlay, GError **error)
{
  EngineImagefile backing;
  struct stat st;
  gboolean absent = lstat (overlay->path, &st) != 0 && errno == ENOENT;

  if (absent && engine_imagefile_stat (overlay->backing, &backing, NULL))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "is its file system mounted, and may you look into the folder?",
                    "disk '%s': '%s' cannot be looked at%s", overlay->disk, overlay->path,
                    absent ? ", and the image below it is not there either" : "");
  return FALSE;
}

/* Whether the overlay holds data. No file, or one without a header yet, holds none; nor does somebody else's. */
static gboolean
holds_data (const EngineIntentOverlay *overlay, gboolean *holds, GError **error)
{
  EngineImagefile file;
  g_autoptr (EngineQcow2) header = NULL;
  g_autoptr (GError) failure = NULL;

  *holds = FALSE;
  if (!engine_imagefile_stat (overlay->path, &file, NULL))
    return check_absent (overlay, error);
  if (file.size == 0 || is_another_file (overlay, &file))
    return TRUE;
  header = engine_qcow2_read (overlay->path, &failure);
  if (header == NULL) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "bring the file back as it was", "disk '%s': %s", overlay->disk,
                      failure->message);
    return FALSE;
  }
  *holds = !header->empty;
  return TRUE;
}

static gboolean
refuse_mixture (const EngineVm *vm, const EngineIntentOverlay *odd, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_REFUSED, "compare `chainctl vm show` with QEMU's own `info block`",
                    "VM '%s': the operation switched some of its disks and not others ('%s' for one); a transaction "
                    "does no such thing, so somebody else changed them",
                    vm->record->name, odd->disk);
  return FALSE;
}

/* With QEMU gone, only the file that was made could have told. */
static gboolean
refuse_replaced (const EngineVm *vm, const EngineIntentOverlay *overlay, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_REFUSED, "bring the file back; or start the VM on the images that you trust",
                    "VM '%s', disk '%s': '%s' is not the file that the operation made, so whether the guest had "
                    "written to it cannot be seen",
                    vm->record->name, overlay->disk, overlay->path);
  return FALSE;
}

/* The guest writes to an older image while the overlay holds what it wrote before. */
static gboolean
check_not_on_old_image (const EngineVm *vm, const EngineIntent *intent, GError **error)
{
  for (guint i = 0; i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);
    gboolean holds;

    if (!holds_data (overlay, &holds, error))
      return FALSE;
    if (!holds)
      continue;
    engine_error_set (error, ENGINE_ERROR_REFUSED, "stop that QEMU and start it on the overlay",
                      "VM '%s': disk '%s' runs on '%s', but the guest had gone on to write to '%s': QEMU was started "
                      "again on the old image, and what the operation froze is being spoiled",
                      vm->record->name, overlay->disk, overlay->head, overlay->path);
    return FALSE;
  }
  return TRUE;
}

static gboolean
find_live (EngineVm *vm, const EngineIntent *intent, gboolean switch_begun, gboolean *happened, GError **error)
{
  g_autoptr (EngineGraph) graph = engine_graph_read (vm, error);
  const EngineIntentOverlay *odd = NULL;
  guint count = 0;

  if (graph == NULL)
    return FALSE;
  for (guint i = 0; i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);

    if (is_in_chain (engine_graph_find (graph, overlay->disk), overlay))
      count++;
    else
      odd = overlay;
  }
  if (count > 0 && odd != NULL)
    return refuse_mixture (vm, odd, error);
  *happened = count > 0;
  return *happened || !switch_begun || check_not_on_old_image (vm, intent, error);
}

static gboolean
find_in_files (EngineVm *vm, const EngineIntent *intent, gboolean *happened, GError **error)
{
  const EngineIntentOverlay *missing = NULL;

  *happened = FALSE;
  for (guint i = 0; i < intent->overlays->len; i++) {
    const EngineIntentOverlay *overlay = g_ptr_array_index (intent->overlays, i);
    EngineImagefile file;
    gboolean holds;

    if (!holds_data (overlay, &holds, error))
      return FALSE;
    *happened = *happened || (holds && !(i > 0 && base_point_is_mutant ("outcome-first-disk-only")));
    if (!engine_imagefile_stat (overlay->path, &file, NULL))
      missing = overlay;
    else if (is_another_file (overlay, &file))
      return refuse_replaced (vm, overlay, error);
  }
  return !*happened || missing == NULL || refuse_mixture (vm, missing, error);
}

gboolean
engine_outcome_find (EngineVm *vm, const EngineIntent *intent, gboolean switch_begun, gboolean *happened,
                     GError **error)
{
  if (vm->monitor != NULL)
    return find_live (vm, intent, switch_begun, happened, error);
  if (switch_begun && !base_point_is_mutant ("outcome-not-from-files"))
    return find_in_files (vm, intent, happened, error);
  *happened = FALSE;
  return TRUE;
}
