/*
 * Counts what a merge adds. What the receiver holds already is overwritten in place,
 * and costs nothing; what is written anew costs tables and refcounts too.
 */
#include "engine/mergeroom.h"

#include "chains/images.h"
#include "engine/error.h"
#include "engine/filesystem.h"
#include "engine/imagefile.h"
#include "engine/qcow2map.h"

#define RAW_UNIT (64 * 1024)

/* The parts whose receivers are on one file system, in one folder of it. @parts: (element-type EngineMergePart) */
typedef struct {
  EngineVm *vm;
  char *folder;
  GPtrArray *parts;
  gint64 available;
} Demand;

static void
demand_clear (Demand *demand)
{
  g_clear_pointer (&demand->folder, g_free);
  g_clear_pointer (&demand->parts, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Demand, demand_clear)

static gint64
allocated (const char *path)
{
  EngineImagefile file;

  return engine_imagefile_stat (path, &file, NULL) ? file.allocated : 0;
}

static const EngineMergeImage *
image_at (const EngineMergePart *part, guint index)
{
  return g_ptr_array_index (part->images, index);
}

static gboolean
size_of (EngineVm *vm, const EngineMergePart *part, gint64 *size, GError **error)
{
  g_autoptr (ChainsImage) receiver = chains_images_get (vm->context->db, part->receiver->row, error);

  *size = receiver != NULL ? receiver->virtual_size : 0;
  for (guint i = 0; receiver != NULL && i < part->images->len; i++) {
    g_autoptr (ChainsImage) image = chains_images_get (vm->context->db, image_at (part, i)->row, error);

    if (image == NULL)
      return FALSE;
    *size = MAX (*size, image->virtual_size);
  }
  return receiver != NULL;
}

/* All that moves, and no more than the receiver can still grow. */
static gboolean
bound (EngineVm *vm, const EngineMergePart *part, gint64 *needed, GError **error)
{
  gint64 moved = 0, size;

  if (!size_of (vm, part, &size, error))
    return FALSE;
  for (guint i = 0; i < part->images->len; i++)
    moved += allocated (image_at (part, i)->path);
  *needed = engine_qcow2map_with_metadata (MIN (moved, MAX (size - allocated (part->receiver->path), 0)));
  return TRUE;
}

static gboolean
add_image (EngineVm *vm, EngineQcow2Map *map, const EngineMergeImage *image, gint64 *mapped, GError **error)
{
  g_autoptr (ChainsImage) row = chains_images_get (vm->context->db, image->row, error);

  return row != NULL && engine_qcow2map_add (map, image->path, g_str_equal (row->format, "qcow2"), mapped, error);
}

/* What QEMU has written to an image and not yet put into its tables: it is in the file, and mapped nowhere. */
static gint64
unmapped (const EngineMergeImage *image, gint64 mapped)
{
  return MAX (allocated (image->path) - engine_qcow2map_with_metadata (mapped), 0);
}

static gboolean
count (EngineVm *vm, const EngineMergePart *part, gint64 *needed, GError **error)
{
  gint64 unit = engine_qcow2map_unit_of (part->receiver->path), size, mapped, loose = 0;
  g_autoptr (EngineQcow2Map) moved = NULL;
  g_autoptr (EngineQcow2Map) held = NULL;

  if (!size_of (vm, part, &size, error))
    return FALSE;
  moved = engine_qcow2map_new (unit > 0 ? unit : RAW_UNIT, size);
  held = engine_qcow2map_new (moved->unit, size);
  if (!add_image (vm, held, part->receiver, &mapped, error))
    return FALSE;
  for (guint i = 0; i < part->images->len; i++) {
    if (!add_image (vm, moved, image_at (part, i), &mapped, error))
      return FALSE;
    loose += unmapped (image_at (part, i), mapped);
  }
  *needed = engine_qcow2map_with_metadata (engine_qcow2map_beyond (moved, held) + loose);
  return TRUE;
}

typedef gboolean (*Measure) (EngineVm *vm, const EngineMergePart *part, gint64 *needed, GError **error);

static gboolean
sum (const Demand *demand, Measure measure, gint64 *needed, GError **error)
{
  *needed = 0;
  for (guint i = 0; i < demand->parts->len; i++) {
    gint64 one;

    if (!measure (demand->vm, g_ptr_array_index (demand->parts, i), &one, error))
      return FALSE;
    *needed += one;
  }
  return TRUE;
}

static char *
list_disks (const Demand *demand)
{
  g_autoptr (GString) names = g_string_new (NULL);

  for (guint i = 0; i < demand->parts->len; i++)
    g_string_append_printf (names, "%s'%s'", i > 0 ? ", " : "",
                            ((const EngineMergePart *)g_ptr_array_index (demand->parts, i))->disk);
  return g_string_free (g_steal_pointer (&names), FALSE);
}

/* Tables that cannot be read now leave it at what the images take at most. */
static gboolean
check_demand (const Demand *demand, GError **error)
{
  gint64 reserve = demand->vm->context->config->reserve, most, counted;
  g_autofree char *disks = NULL;
  g_autoptr (GError) unread = NULL;

  if (!sum (demand, bound, &most, error))
    return FALSE;
  if (most + reserve <= demand->available)
    return TRUE;
  if (!sum (demand, count, &counted, &unread)) {
    g_debug ("%s", unread->message);
    counted = most;
  }
  counted = MIN (counted, most);
  if (counted + reserve <= demand->available)
    return TRUE;
  disks = list_disks (demand);
  engine_error_set (error, ENGINE_ERROR_REFUSED, "free some space there, or merge less at once",
                    "VM '%s', disk %s: %" G_GINT64_FORMAT
                    " bytes are missing in '%s': the merge may write %" G_GINT64_FORMAT ", %" G_GINT64_FORMAT
                    " are to be left free ([space] reserve), and there are %" G_GINT64_FORMAT,
                    demand->vm->record->name, disks, counted + reserve - demand->available, demand->folder, counted,
                    reserve, demand->available);
  return FALSE;
}

static guint64
device_of (const EngineMergePart *part)
{
  return part->receiver->device;
}

/* All parts on the file system of part @first, unless an earlier one has spoken for it. A block device has its room. */
static gboolean
check_file_system (EngineVm *vm, const EngineMergeIntent *intent, guint first, GError **error)
{
  const EngineMergePart *part = g_ptr_array_index (intent->parts, first);
  g_auto (Demand) demand = {.vm = vm, .parts = g_ptr_array_new ()};
  EngineImagefile file;
  gint64 inodes;

  for (guint i = 0; i < first; i++)
    if (device_of (g_ptr_array_index (intent->parts, i)) == device_of (part))
      return TRUE;
  if (!engine_imagefile_stat (part->receiver->path, &file, NULL) || !file.regular)
    return TRUE;
  for (guint i = first; i < intent->parts->len; i++)
    if (device_of (g_ptr_array_index (intent->parts, i)) == device_of (part))
      g_ptr_array_add (demand.parts, g_ptr_array_index (intent->parts, i));
  demand.folder = g_path_get_dirname (part->receiver->path);
  return !engine_filesystem_get_room (demand.folder, &demand.available, &inodes) || check_demand (&demand, error);
}

gboolean
engine_mergeroom_check (EngineVm *vm, const EngineMergeIntent *intent, GError **error)
{
  for (guint i = 0; i < intent->parts->len; i++)
    if (!check_file_system (vm, intent, i, error))
      return FALSE;
  return TRUE;
}
