/*
 * The images of one disk, from its notes. They begin with the base and what lies
 * below it; every further image hangs where its note and its header, which have
 * to agree, say; one without a note, but with one above it, where its header says.
 * A frozen image that was written to since is another story than the notes' own.
 */
#include "engine/rebuilddisk.h"

#include "chains/images.h"
#include "chains/registry.h"
#include "chains/snapshots.h"
#include "engine/claim.h"
#include "engine/drift.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/qcow2.h"
#include "engine/tree.h"

#define NOT_TO_BE_BELIEVED "move away the notes that are not to be believed"

/* Where the rows go. Borrowed. */
typedef struct {
  EngineContext *context;
  GHashTable *owned;
} Store;

void
engine_rebuilddisk_free (EngineRebuildDisk *disk)
{
  if (disk == NULL)
    return;
  g_clear_pointer (&disk->record, chains_disk_free);
  g_clear_pointer (&disk->notes, g_ptr_array_unref);
  g_clear_pointer (&disk->overlays, g_hash_table_unref);
  g_clear_pointer (&disk->frozen, g_hash_table_unref);
  g_clear_pointer (&disk->rows, g_hash_table_unref);
  g_free (disk);
}

EngineRebuildDisk *
engine_rebuilddisk_new (const EngineNote *note)
{
  EngineRebuildDisk *disk = g_new0 (EngineRebuildDisk, 1);

  disk->vm = note->vm->name;
  disk->record = chains_disk_copy (note->disk);
  disk->notes = g_ptr_array_new ();
  disk->overlays = g_hash_table_new (g_str_hash, g_str_equal);
  disk->frozen = g_hash_table_new (g_str_hash, g_str_equal);
  disk->rows = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  return disk;
}

void
engine_rebuilddisk_learn (EngineRebuildDisk *disk, EngineNote *note)
{
  chains_disk_free (disk->record);
  disk->record = chains_disk_copy (note->disk);
  disk->newest = note;
  g_ptr_array_add (disk->notes, note);
  if (note->overlay != NULL)
    g_hash_table_insert (disk->overlays, note->overlay->path, note);
  g_hash_table_insert (disk->frozen, note->image->path, note);
}

gint64
engine_rebuilddisk_get_row (const EngineRebuildDisk *disk, const char *path)
{
  const gint64 *row = g_hash_table_lookup (disk->rows, path);

  return row != NULL ? *row : 0;
}

const char *
engine_rebuilddisk_active (const EngineRebuildDisk *disk)
{
  return disk->newest->active != NULL ? disk->newest->active : disk->newest->overlay->path;
}

static void
warn_if_changed (const EngineRebuildDisk *disk, const Store *store, const ChainsImage *image, gboolean changed)
{
  if (changed)
    engine_context_warn (store->context, "image-changed",
                         "VM '%s', disk '%s': the header of '%s' was changed since it was frozen: the snapshots on it "
                         "may be spoiled",
                         disk->vm, disk->record->name, image->path);
}

/* @image, claimed: of a copy, which has its own times, nobody can tell. What nothing is remembered of was active again.
 */
static gboolean
was_written_to (const ChainsImage *image, gboolean *written, GError **error)
{
  EngineImagefile file;

  if (!engine_imagefile_stat (image->path, &file, error))
    return FALSE;
  *written = file.regular && (image->frozen_size != file.size || image->frozen_mtime_ns != file.mtime_ns);
  return TRUE;
}

/* The guest ran on it, or somebody broke it: a start on the image that the notes call active would mix old and new. */
static gboolean
check_unwritten (const EngineRebuildDisk *disk, const Store *store, const ChainsImage *image, GError **error)
{
  const EngineNote *note = g_hash_table_lookup (disk->frozen, image->path);
  g_autofree char *what = NULL;
  gboolean written = FALSE;

  if (note == NULL || g_str_equal (image->path, engine_rebuilddisk_active (disk)))
    return TRUE;
  if (!was_written_to (image, &written, error))
    return FALSE;
  if (!written)
    return TRUE;
  what = g_strdup_printf ("VM '%s', disk '%s': '%s' was written to since snapshot '%s' froze it", disk->vm,
                          disk->record->name, image->path, note->snapshot->name);
  if (disk->record->ignored) {
    engine_context_warn (store->context, "image-changed", "%s: the snapshots on it may be spoiled", what);
    return TRUE;
  }
  engine_error_set (
      error, ENGINE_ERROR_REFUSED,
      "bring that file back as it was; or move this VM's notes (*" ENGINE_NOTE_SUFFIX
      ") away, start it on the image that you trust, and register it with `chainctl vm add`",
      "%s, and the newest note calls '%s' the active image: which of them the VM ran on last is not known", what,
      engine_rebuilddisk_active (disk));
  return FALSE;
}

static gboolean
add_image (EngineRebuildDisk *disk, Store *store, ChainsImage *image, const char *parent, GError **error)
{
  const gint64 *below = parent != NULL ? g_hash_table_lookup (disk->rows, parent) : NULL;
  gboolean changed;

  if (!engine_claim_image (image, parent, &changed, error) || !check_unwritten (disk, store, image, error))
    return FALSE;
  warn_if_changed (disk, store, image, changed);
  image->disk = disk->record->id;
  image->parent = below != NULL ? *below : 0;
  image->id = 0;
  if (!chains_images_add (store->context->db, image, error))
    return FALSE;
  g_hash_table_insert (disk->rows, g_strdup (image->path), g_memdup2 (&image->id, sizeof image->id));
  if (image->owned && image->inode != 0)
    g_hash_table_insert (
        store->owned, g_strdup_printf ("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT, image->device, image->inode), disk);
  return TRUE;
}

/* Size, times and header as they were when the image was frozen, where a note tells of that. */
static void
take_frozen (const EngineRebuildDisk *disk, ChainsImage *image)
{
  const EngineNote *note = g_hash_table_lookup (disk->frozen, image->path);

  if (note == NULL)
    return;
  if (image->inode == 0) {
    image->device = note->image->device;
    image->inode = note->image->inode;
    image->born_ns = note->image->born_ns;
  }
  image->virtual_size = note->image->virtual_size;
  if (g_str_equal (image->path, engine_rebuilddisk_active (disk)))
    return;
  image->frozen_size = note->image->frozen_size;
  image->frozen_mtime_ns = note->image->frozen_mtime_ns;
  g_free (image->frozen_header);
  image->frozen_header = g_strdup (note->image->frozen_header);
}

/* From the lowest up; @top: (out): the path of the uppermost, %NULL where there is none */
static gboolean
add_foreign (EngineRebuildDisk *disk, Store *store, const GPtrArray *foreign, const char **top, GError **error)
{
  *top = NULL;
  for (guint i = foreign->len; i > 0; i--) {
    ChainsImage *image = g_ptr_array_index (foreign, i - 1);

    image->owned = FALSE;
    if (!g_hash_table_contains (disk->rows, image->path) && !add_image (disk, store, image, *top, error))
      return FALSE;
    *top = image->path;
  }
  return TRUE;
}

/* What was the base once lies on nothing of the VM's own. */
static gboolean
add_former_base (EngineRebuildDisk *disk, Store *store, const EngineNote *note, GError **error)
{
  g_autoptr (ChainsImage) image = chains_image_new ();
  const char *below;

  if (note->below == NULL || g_hash_table_contains (disk->rows, note->image->path))
    return TRUE;
  image->path = g_strdup (note->image->path);
  image->format = g_strdup (note->image->format);
  image->owned = TRUE;
  take_frozen (disk, image);
  return add_foreign (disk, store, note->below, &below, error) && add_image (disk, store, image, below, error);
}

/* They are older than the base, and so stand before it. */
static gboolean
add_former_bases (EngineRebuildDisk *disk, Store *store, GError **error)
{
  for (guint i = 0; i < disk->notes->len; i++)
    if (!add_former_base (disk, store, g_ptr_array_index (disk->notes, i), error))
      return FALSE;
  return TRUE;
}

static gboolean
add_bottom (EngineRebuildDisk *disk, Store *store, GError **error)
{
  const EngineNote *note = disk->newest;
  const char *below;

  if (!add_foreign (disk, store, note->foreign, &below, error))
    return FALSE;
  note->base->owned = TRUE;
  take_frozen (disk, note->base);
  return add_image (disk, store, note->base, below, error);
}

/* What the image at @path hangs on: as its note says, else as its header does. @parent: (out): %NULL: on nothing */
static gboolean
find_parent (const EngineRebuildDisk *disk, const char *path, char **parent, GError **error)
{
  const EngineNote *note = g_hash_table_lookup (disk->overlays, path);
  g_autoptr (GError) failure = NULL;
  g_autoptr (EngineQcow2) header = NULL;

  if (note != NULL) {
    *parent = note->alone ? NULL : g_strdup (note->parent != NULL ? note->parent : note->image->path);
    return TRUE;
  }
  header = engine_qcow2_read (path, &failure);
  if (g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_NO_SUCH_IMAGE)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  if (header != NULL && header->backing != NULL) {
    *parent = engine_imagefile_resolve (path, header->backing);
    return TRUE;
  }
  engine_error_set (error, ENGINE_ERROR_REFUSED, NOT_TO_BE_BELIEVED,
                    "VM '%s', disk '%s': '%s' does not lie on the base '%s'", disk->vm, disk->record->name, path,
                    disk->newest->base->path);
  return FALSE;
}

static gboolean
add_overlay (EngineRebuildDisk *disk, Store *store, const char *path, const char *parent, GError **error)
{
  const EngineNote *note = g_hash_table_lookup (disk->overlays, path);
  g_autoptr (ChainsImage) image = chains_image_new ();

  image->path = g_strdup (path);
  image->format = g_strdup (note != NULL ? note->overlay->format : "qcow2");
  image->owned = TRUE;
  if (note != NULL) {
    image->device = note->overlay->device;
    image->inode = note->overlay->inode;
    image->born_ns = note->overlay->born_ns;
    image->created_by = g_strdup (note->overlay->created_by);
    image->options = g_strdup (note->overlay->options);
    /* A raw copy has no header that says it. */
    image->virtual_size = note->image->virtual_size;
  }
  take_frozen (disk, image);
  return add_image (disk, store, image, parent, error);
}

/* Adds the image at @top and all below it that is not there yet, the lowest first. */
static gboolean
add_chain (EngineRebuildDisk *disk, Store *store, const char *top, GError **error)
{
  g_autoptr (GPtrArray) missing = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *path = g_strdup (top);

  while (path != NULL && !g_hash_table_contains (disk->rows, path)) {
    char *parent;

    if (g_ptr_array_find_with_equal_func (missing, path, g_str_equal, NULL)) {
      engine_error_set (error, ENGINE_ERROR_REFUSED, NOT_TO_BE_BELIEVED,
                        "VM '%s', disk '%s': '%s' is said to lie on itself", disk->vm, disk->record->name, path);
      return FALSE;
    }
    if (!find_parent (disk, path, &parent, error))
      return FALSE;
    g_ptr_array_add (missing, g_steal_pointer (&path));
    path = parent;
  }
  for (guint i = missing->len; i > 0; i--) {
    if (!add_overlay (disk, store, g_ptr_array_index (missing, i - 1), path, error))
      return FALSE;
    g_free (path);
    path = g_strdup (g_ptr_array_index (missing, i - 1));
  }
  return TRUE;
}

gboolean
engine_rebuilddisk_store (EngineRebuildDisk *disk, EngineContext *context, GHashTable *owned, GError **error)
{
  Store store = {context, owned};

  if (!chains_registry_add_disk (context->db, disk->record, error) || !add_former_bases (disk, &store, error) ||
      !add_bottom (disk, &store, error))
    return FALSE;
  for (guint i = 0; i < disk->notes->len; i++) {
    const EngineNote *note = g_ptr_array_index (disk->notes, i);

    if (add_chain (disk, &store, note->image->path, error) &&
        (note->overlay == NULL || add_chain (disk, &store, note->overlay->path, error)))
      continue;
    g_prefix_error (error, "note '%s': ", note->path);
    return FALSE;
  }
  if (!add_chain (disk, &store, engine_rebuilddisk_active (disk), error)) {
    g_prefix_error (error, "note '%s': ", disk->newest->path);
    return FALSE;
  }
  disk->record->base = engine_rebuilddisk_get_row (disk, disk->newest->base->path);
  disk->record->active = engine_rebuilddisk_get_row (disk, engine_rebuilddisk_active (disk));
  return chains_registry_update_disk (context->db, disk->record, error);
}

gboolean
engine_rebuilddisk_warn_of_spoiled (const EngineRebuildDisk *disk, EngineContext *context, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GPtrArray) snapshots = chains_snapshots_list (context->db, disk->record->vm, error);
  g_autoptr (EngineTree) tree =
      snapshots != NULL ? engine_tree_read_disk (context, chains_disk_copy (disk->record), snapshots, error) : NULL;
  g_autofree char *spoiled = NULL;

  if (tree == NULL)
    return FALSE;
  engine_drift_add_spoiled (tree, engine_tree_active (tree), names);
  spoiled = engine_drift_list (names);
  if (names->len > 0)
    engine_context_warn (context, "snapshots-spoiled",
                         "VM '%s', disk '%s': the active image '%s' is one that snapshots froze, and was written to "
                         "since; do not rely on %s",
                         disk->vm, disk->record->name, engine_rebuilddisk_active (disk), spoiled);
  return TRUE;
}
