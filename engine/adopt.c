/*
 * Decides how far down a chain is the VM's own, and what the overlays in it are
 * called as snapshots. Relies on engine/intake for the rows of the chains, which
 * are there already; never looks into an image.
 */
#include "engine/adopt.h"

#include "chains/images.h"
#include "chains/snapshots.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/inspect.h"
#include "engine/intake.h"
#include "engine/libvirt.h"
#include "engine/overlay.h"

#include <string.h>
#include <sys/stat.h>

#define REASON "adopted: its overlay was there before the VM was registered; how it was taken is not known"

/* ---- chains ---- */

static gboolean
is_at (const ChainsImage *image, const char *path)
{
  g_autofree char *absolute = g_path_is_absolute (image->path) ? g_canonicalize_filename (path, NULL) : g_strdup (path);
  EngineImagefile file;

  if (g_str_equal (image->path, absolute))
    return TRUE;
  return image->inode != 0 && engine_imagefile_stat (absolute, &file, NULL) && file.inode == image->inode &&
         file.device == image->device;
}

/* Place of the lowest image that @paths name; -1 where none is in @chain. Those that are found are marked. */
static int
find_lowest (const GPtrArray *chain, const char *const *paths, gboolean *found)
{
  int lowest = -1;

  for (guint i = 0; i < chain->len; i++)
    for (gsize j = 0; paths != NULL && paths[j] != NULL; j++)
      if (is_at (g_ptr_array_index (chain, i), paths[j])) {
        lowest = (int)i;
        found[j] = TRUE;
      }
  return lowest;
}

static int
find_base (const GPtrArray *chain, const ChainsDisk *disk)
{
  for (guint i = 0; i < chain->len; i++)
    if (((const ChainsImage *)g_ptr_array_index (chain, i))->id == disk->base)
      return (int)i;
  return 0;
}

/* ---- --own ---- */

static gboolean
own_image (EngineVm *vm, const ChainsDisk *disk, ChainsImage *image, GError **error)
{
  g_autofree char *user = NULL;

  if (image->owned)
    return TRUE;
  if (!engine_intake_find_user (vm->context, image->path, disk->id, &user, error))
    return FALSE;
  if (user != NULL) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "leave it to both of them: own only what lies above it",
                      "VM '%s', disk '%s': '%s' cannot become its own: %s needs it", vm->record->name, disk->name,
                      image->path, user);
    return FALSE;
  }
  if (!engine_libvirt_check_image (disk->name, image->path, error))
    return FALSE;
  image->owned = TRUE;
  if (g_path_is_absolute (image->path) && !engine_inspect_remember (image, error))
    return FALSE;
  return chains_images_update (vm->context->db, image, error);
}

/* All from @lowest up to the base that was. */
static gboolean
own_down_to (EngineVm *vm, ChainsDisk *disk, GPtrArray *chain, int lowest, GError **error)
{
  for (int i = lowest; i >= 0; i--)
    if (!own_image (vm, disk, g_ptr_array_index (chain, (guint)i), error))
      return FALSE;
  disk->base = ((const ChainsImage *)g_ptr_array_index (chain, (guint)lowest))->id;
  return chains_registry_update_disk (vm->context->db, disk, error);
}

static gboolean
own_of_disk (EngineVm *vm, ChainsDisk *disk, const char *const *paths, gboolean *found, GError **error)
{
  g_autoptr (GPtrArray) chain = chains_images_get_chain (vm->context->db, disk->active, error);
  int lowest = chain != NULL ? find_lowest (chain, paths, found) : -1;
  const ChainsImage *named;

  if (chain == NULL || lowest < 0)
    return chain != NULL;
  named = g_ptr_array_index (chain, (guint)lowest);
  if (lowest >= find_base (chain, disk))
    return own_down_to (vm, disk, chain, lowest, error);
  engine_error_set (error, ENGINE_ERROR_REFUSED, "a base is moved down only",
                    "VM '%s', disk '%s': '%s' lies above its base", vm->record->name, disk->name, named->path);
  return FALSE;
}

gboolean
engine_adopt_own (EngineVm *vm, const char *const *paths, GError **error)
{
  gsize count = paths != NULL ? g_strv_length ((char **)paths) : 0;
  g_autofree gboolean *found = g_new0 (gboolean, count + 1);

  for (guint i = 0; count > 0 && i < vm->disks->len; i++)
    if (!own_of_disk (vm, g_ptr_array_index (vm->disks, i), paths, found, error))
      return FALSE;
  for (gsize j = 0; j < count; j++)
    if (!found[j]) {
      g_autofree char *hint = g_strdup_printf ("`chainctl tree %s` shows the chains", vm->record->name);

      engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE, hint, "VM '%s': '%s' is in no disk's chain",
                        vm->record->name, paths[j]);
      return FALSE;
    }
  return TRUE;
}

/* ---- --adopt: how deep ---- */

static const EngineLayer *
find_layer (const EngineGraphDisk *disk, guint place)
{
  return disk != NULL && place < disk->layers->len ? g_ptr_array_index (disk->layers, place) : NULL;
}

/* Whether @image may be taken over without being named. */
static gboolean
may_adopt (EngineVm *vm, const ChainsDisk *disk, const ChainsImage *image, const EngineLayer *layer, gboolean *may,
           GError **error)
{
  EngineImagefile file;
  g_autofree char *user = NULL;

  *may = FALSE;
  if (layer == NULL || !layer->local || engine_graph_why_nameless (layer) != NULL ||
      !engine_imagefile_stat (image->path, &file, NULL) || (!file.block && (file.mode & S_IWUSR) == 0))
    return TRUE;
  if (!engine_intake_find_user (vm->context, image->path, disk->id, &user, error))
    return FALSE;
  *may = user == NULL;
  return TRUE;
}

static gboolean
take_over (EngineVm *vm, ChainsDisk *disk, const EngineGraphDisk *live, GPtrArray *chain, GError **error)
{
  int lowest = find_base (chain, disk);
  gboolean may = TRUE;

  for (guint i = (guint)lowest + 1; may && i < chain->len; i++) {
    if (!may_adopt (vm, disk, g_ptr_array_index (chain, i), find_layer (live, i), &may, error))
      return FALSE;
    if (may)
      lowest = (int)i;
  }
  return own_down_to (vm, disk, chain, lowest, error);
}

/* ---- --adopt: names ---- */

char *
engine_adopt_name (const char *base, const char *overlay)
{
  static const char *const extensions[] = {".qcow2", ".qcow", ".img", ".raw"};
  g_autofree char *stem = engine_overlay_stem (base);
  g_autofree char *file = g_path_get_basename (overlay);
  gsize length = strlen (stem);
  g_autofree char *name = NULL;

  if (!g_str_has_prefix (file, stem) || file[length] != '.')
    return NULL;
  name = g_strdup (file + length + 1);
  for (gsize i = 0; i < G_N_ELEMENTS (extensions); i++)
    if (g_str_has_suffix (name, extensions[i])) {
      name[strlen (name) - strlen (extensions[i])] = '\0';
      break;
    }
  return chains_model_check_name ("snapshot", name, NULL) ? g_steal_pointer (&name) : NULL;
}

/* ---- --adopt: snapshots ---- */

typedef struct {
  EngineVm *vm;
  GHashTable *by_name; /* name -> ChainsSnapshot; borrowed */
  GPtrArray *snapshots;
  GPtrArray *order; /* per disk: (element-type ChainsSnapshot) lowest first */
} Adoption;

static void
adoption_clear (Adoption *adoption)
{
  g_clear_pointer (&adoption->by_name, g_hash_table_unref);
  g_clear_pointer (&adoption->snapshots, g_ptr_array_unref);
  g_clear_pointer (&adoption->order, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Adoption, adoption_clear)

/* A name that this disk has no snapshot of yet, and the VM none from before. */
static gboolean
is_free (Adoption *adoption, const GPtrArray *of_disk, const char *name, gboolean *is, GError **error)
{
  gboolean taken = FALSE;

  *is = FALSE;
  for (guint i = 0; i < of_disk->len; i++)
    if (g_str_equal (((const ChainsSnapshot *)g_ptr_array_index (of_disk, i))->name, name))
      return TRUE;
  if (!chains_snapshots_has (adoption->vm->context->db, adoption->vm->record->id, name, &taken, error))
    return FALSE;
  *is = !taken;
  return TRUE;
}

static char *
choose_name (Adoption *adoption, const GPtrArray *of_disk, const ChainsImage *base, const ChainsImage *overlay,
             GError **error)
{
  g_autofree char *name = engine_adopt_name (base->path, overlay->path);
  gboolean is = FALSE;

  if (name != NULL && !is_free (adoption, of_disk, name, &is, error))
    return NULL;
  for (guint level = of_disk->len + 1; !is; level++) {
    g_free (name);
    name = g_strdup_printf ("adopted-%u", level);
    if (!is_free (adoption, of_disk, name, &is, error))
      return NULL;
  }
  return g_steal_pointer (&name);
}

/* The snapshot of that name, which other disks may have parts of already. */
static ChainsSnapshot *
find_snapshot (Adoption *adoption, char *name)
{
  ChainsSnapshot *snapshot = g_hash_table_lookup (adoption->by_name, name);

  if (snapshot != NULL) {
    g_free (name);
    return snapshot;
  }
  snapshot = chains_snapshot_new ();
  snapshot->vm = adoption->vm->record->id;
  snapshot->id = g_uuid_string_random ();
  snapshot->name = name;
  snapshot->description = g_strdup ("");
  snapshot->consistency = CHAINS_CONSISTENCY_CRASH;
  snapshot->reason = g_strdup (REASON);
  snapshot->frozen_us = -1;
  g_ptr_array_add (adoption->snapshots, snapshot);
  g_hash_table_insert (adoption->by_name, snapshot->name, snapshot);
  return snapshot;
}

/* The last write into the frozen image is the nearest that is known of when it was frozen. */
static gboolean
add_part (ChainsSnapshot *snapshot, const ChainsImage *image, const ChainsImage *overlay, GError **error)
{
  ChainsSnapshotDisk *part = chains_snapshot_disk_new ();
  EngineImagefile file;

  part->disk = image->disk;
  part->image = image->id;
  part->overlay = overlay->id;
  g_ptr_array_add (snapshot->disks, part);
  if (!engine_imagefile_stat (image->path, &file, error))
    return FALSE;
  snapshot->created_us = MAX (snapshot->created_us, file.mtime_ns / 1000);
  return TRUE;
}

static gboolean
adopt_disk (Adoption *adoption, ChainsDisk *disk, GPtrArray *chain, GError **error)
{
  g_autoptr (GPtrArray) of_disk = g_ptr_array_new ();
  int base = find_base (chain, disk);

  for (int i = base; i > 0; i--) {
    const ChainsImage *image = g_ptr_array_index (chain, (guint)i);
    const ChainsImage *overlay = g_ptr_array_index (chain, (guint)i - 1);
    char *name = choose_name (adoption, of_disk, g_ptr_array_index (chain, (guint)base), overlay, error);
    ChainsSnapshot *snapshot = name != NULL ? find_snapshot (adoption, name) : NULL;

    if (snapshot == NULL || !add_part (snapshot, image, overlay, error))
      return FALSE;
    g_ptr_array_add (of_disk, snapshot);
  }
  g_ptr_array_add (adoption->order, g_steal_pointer (&of_disk));
  return TRUE;
}

/* ---- --adopt: order ---- */

/* Whether all that lies below @snapshot on any disk has been taken from the lists already. */
static gboolean
is_lowest (const Adoption *adoption, const ChainsSnapshot *snapshot)
{
  for (guint i = 0; i < adoption->order->len; i++) {
    GPtrArray *of_disk = g_ptr_array_index (adoption->order, i);

    if (of_disk->len > 0 && g_ptr_array_index (of_disk, 0) != snapshot && g_ptr_array_find (of_disk, snapshot, NULL))
      return FALSE;
  }
  return TRUE;
}

/* The oldest by time among those below which nothing is left; by time alone where two disks contradict each other. */
static ChainsSnapshot *
next_snapshot (const Adoption *adoption, const GPtrArray *left)
{
  ChainsSnapshot *oldest = NULL, *next = NULL;

  for (guint i = 0; i < left->len; i++) {
    ChainsSnapshot *snapshot = g_ptr_array_index (left, i);

    if (oldest == NULL || snapshot->created_us < oldest->created_us)
      oldest = snapshot;
    if (is_lowest (adoption, snapshot) && (next == NULL || snapshot->created_us < next->created_us))
      next = snapshot;
  }
  return next != NULL ? next : oldest;
}

static gboolean
add_snapshots (Adoption *adoption, GPtrArray *names, GError **error)
{
  g_autoptr (GPtrArray) left = g_ptr_array_new ();

  g_ptr_array_extend (left, adoption->snapshots, NULL, NULL);
  while (left->len > 0) {
    ChainsSnapshot *snapshot = next_snapshot (adoption, left);

    if (!chains_snapshots_add (adoption->vm->context->db, snapshot, error))
      return FALSE;
    g_ptr_array_add (names, g_strdup (snapshot->name));
    g_ptr_array_remove (left, snapshot);
    for (guint i = 0; i < adoption->order->len; i++)
      g_ptr_array_remove (g_ptr_array_index (adoption->order, i), snapshot);
  }
  return TRUE;
}

/* ---- --adopt: all of it ---- */

static gboolean
adopt_disks (Adoption *adoption, const EngineGraph *graph, const char *const *own, GError **error)
{
  EngineVm *vm = adoption->vm;

  for (guint i = 0; i < vm->disks->len; i++) {
    ChainsDisk *disk = g_ptr_array_index (vm->disks, i);
    const EngineGraphDisk *live = engine_graph_find (graph, disk->name);
    g_autofree gboolean *found = g_new0 (gboolean, own != NULL ? g_strv_length ((char **)own) + 1 : 1);
    g_autoptr (GPtrArray) chain = disk->ignored ? NULL : chains_images_get_chain (vm->context->db, disk->active, error);

    if (disk->ignored)
      continue;
    if (chain == NULL)
      return FALSE;
    if (find_lowest (chain, own, found) < 0 && !take_over (vm, disk, live, chain, error))
      return FALSE;
    if (!adopt_disk (adoption, disk, chain, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
engine_adopt_overlays (EngineVm *vm, const EngineGraph *graph, const char *const *own, GPtrArray *snapshots,
                       GError **error)
{
  g_auto (Adoption) adoption = {.vm = vm};

  adoption.by_name = g_hash_table_new (g_str_hash, g_str_equal);
  adoption.snapshots = g_ptr_array_new_with_free_func ((GDestroyNotify)chains_snapshot_free);
  adoption.order = g_ptr_array_new_with_free_func ((GDestroyNotify)g_ptr_array_unref);
  return adopt_disks (&adoption, graph, own, error) && add_snapshots (&adoption, snapshots, error);
}
