/*
 * Adds up what overlays need on each file system, and compares it with what is
 * free. What the guest will write later nobody knows: the reserve is for that.
 */
#include "engine/space.h"

#include "engine/error.h"
#include "engine/filesystem.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* What one overlay takes in the journal at least, and on the disk before it is written to at most. */
#define LEAST_INTENT 256
#define MOST_OVERLAY (G_GINT64_CONSTANT (64) << 20)

/* What one file system is asked for. */
typedef struct {
  dev_t device;
  char *folder;
  gint64 needed;
  guint files;
  const char *chosen_by;
  GString *disks;
} Demand;

static void
demand_clear (Demand *demand)
{
  g_free (demand->folder);
  if (demand->disks != NULL)
    g_string_free (demand->disks, TRUE);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Demand, demand_clear)

/* The file system on which the file at @path is, or will be. */
static gboolean
get_device (const char *path, dev_t *device)
{
  g_autofree char *folder = g_path_get_dirname (path);
  struct stat st;

  if (stat (folder, &st) != 0)
    return FALSE;
  *device = st.st_dev;
  return TRUE;
}

static gint64
size_of (const EngineOverlay *overlay)
{
  const EngineQcow2Blank blank = engine_overlay_blank (overlay);

  return engine_qcow2_blank_size (&blank);
}

static void
add_overlay (Demand *demand, const EngineOverlay *overlay)
{
  dev_t device;

  if (!get_device (overlay->intent->path, &device) || device != demand->device)
    return;
  g_string_append_printf (demand->disks, "%s'%s'", demand->disks->len > 0 ? ", " : "", overlay->intent->disk);
  if (overlay->intent->reused)
    return;
  demand->needed += MAX (size_of (overlay), 0);
  demand->files++;
}

/* What an operation under way has still to write there: its files may be there in part. */
static void
add_promised (Demand *demand, const ChainsConfig *config, const EngineIntentOverlay *overlay)
{
  const EngineQcow2Blank blank = {.virtual_size = overlay->virtual_size, .cluster_size = config->cluster_size};
  gint64 needed = engine_qcow2_blank_size (&blank);
  struct stat st;
  dev_t device;

  if (overlay->reused || !get_device (overlay->path, &device) || device != demand->device)
    return;
  if (stat (overlay->path, &st) == 0)
    needed -= (gint64)st.st_blocks * 512;
  demand->needed += MAX (needed, 0);
}

static gboolean
add_operations (Demand *demand, EngineContext *context, GError **error)
{
  g_autoptr (GPtrArray) ops = chains_journal_list_unfinished (context->db, 0, error);

  for (guint i = 0; ops != NULL && i < ops->len; i++) {
    const ChainsOp *op = g_ptr_array_index (ops, i);
    g_autoptr (EngineIntent) intent = engine_intent_from_json (op->intent, NULL);

    for (guint j = 0; intent != NULL && j < intent->overlays->len; j++)
      add_promised (demand, context->config, g_ptr_array_index (intent->overlays, j));
  }
  return ops != NULL;
}

/*
 * Whether there is so much space that what others have still to write cannot matter, taken at its most. Where many VMs
 * are at it at once, each would else look at the files of all.
 */
static gboolean
has_plenty (const Demand *demand, EngineContext *context, gboolean *plenty, GError **error)
{
  gint64 others = 0, available = 0, inodes;

  if (!chains_journal_weigh_unfinished (context->db, &others, error))
    return FALSE;
  *plenty = engine_filesystem_get_room (demand->folder, &available, &inodes) &&
            available - demand->needed - context->config->reserve > others / LEAST_INTENT * MOST_OVERLAY;
  return TRUE;
}

static gboolean
refuse_missing (EngineVm *vm, const Demand *demand, gint64 available, GError **error)
{
  g_autofree char *hint =
      g_strdup_printf ("free some space there, or choose another folder with %s", demand->chosen_by);
  gint64 reserve = vm->context->config->reserve;

  engine_error_set (error, ENGINE_ERROR_REFUSED, hint,
                    "VM '%s', disks %s: %" G_GINT64_FORMAT " bytes are missing in '%s': new overlays need "
                    "%" G_GINT64_FORMAT ", %" G_GINT64_FORMAT " are to be left free ([space] reserve), and there are "
                    "%" G_GINT64_FORMAT,
                    vm->record->name, demand->disks->str, reserve - (available - demand->needed), demand->folder,
                    demand->needed, reserve, available);
  return FALSE;
}

static gboolean
check_demand (EngineVm *vm, const Demand *demand, GError **error)
{
  g_autofree char *hint =
      g_strdup_printf ("remove some files there, or choose another folder with %s", demand->chosen_by);
  gint64 available, inodes;

  if (!engine_filesystem_get_room (demand->folder, &available, &inodes)) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, NULL,
                      "VM '%s', disks %s: how much space there is in '%s' is not known: %s", vm->record->name,
                      demand->disks->str, demand->folder, g_strerror (errno));
    return FALSE;
  }
  if (available - demand->needed < vm->context->config->reserve)
    return refuse_missing (vm, demand, available, error);
  if (inodes >= demand->files)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, hint,
                    "VM '%s', disks %s: the file system of '%s' has no inodes left for %u new files", vm->record->name,
                    demand->disks->str, demand->folder, demand->files);
  return FALSE;
}

static gboolean
check_size (EngineVm *vm, const EngineOverlay *overlay, GError **error)
{
  if (overlay->intent->reused || size_of (overlay) >= 0)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "configure a larger [overlay] cluster_size",
                    "VM '%s', disk '%s': '%s' would have %" G_GINT64_FORMAT " bytes, more than a qcow2 with clusters "
                    "of %" G_GINT64_FORMAT " bytes can have",
                    vm->record->name, overlay->intent->disk, overlay->intent->path, overlay->intent->virtual_size,
                    overlay->cluster_size);
  return FALSE;
}

/* A block device has its own room, whatever /dev has. */
static gboolean
is_device (const EngineOverlay *overlay)
{
  EngineImagefile file;

  return overlay->intent->reused && engine_imagefile_stat (overlay->intent->path, &file, NULL) && file.block;
}

/* All overlays on the file system of overlay @first, unless an earlier one has already spoken for it. */
static gboolean
check_file_system (EngineVm *vm, const GPtrArray *overlays, guint first, const char *chosen_by, GError **error)
{
  g_auto (Demand) demand = {.disks = g_string_new (NULL), .chosen_by = chosen_by};
  const EngineOverlay *overlay = g_ptr_array_index (overlays, first);
  gboolean plenty = FALSE;
  dev_t device;

  demand.folder = g_path_get_dirname (overlay->intent->path);
  if (!get_device (overlay->intent->path, &demand.device))
    return TRUE;
  for (guint i = 0; i < first; i++)
    if (get_device (((const EngineOverlay *)g_ptr_array_index (overlays, i))->intent->path, &device) &&
        device == demand.device)
      return TRUE;
  for (guint i = first; i < overlays->len; i++)
    add_overlay (&demand, g_ptr_array_index (overlays, i));
  return has_plenty (&demand, vm->context, &plenty, error) &&
         (plenty || add_operations (&demand, vm->context, error)) && check_demand (vm, &demand, error);
}

gboolean
engine_space_check (EngineVm *vm, const GPtrArray *overlays, const char *chosen_by, GError **error)
{
  for (guint i = 0; i < overlays->len; i++)
    if (!is_device (g_ptr_array_index (overlays, i)) && (!check_size (vm, g_ptr_array_index (overlays, i), error) ||
                                                         !check_file_system (vm, overlays, i, chosen_by, error)))
      return FALSE;
  return TRUE;
}
