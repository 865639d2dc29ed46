/*
 * What a disk's chain is, is read from the live graph when a disk is registered,
 * and once more where a person says that QEMU is right and the database is not.
 * In between the verbs keep it. Owns no state; all rows are chains/'s.
 */
#include "engine/intake.h"

#include "chains/images.h"
#include "chains/snapshots.h"
#include "engine/drift.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/inspect.h"
#include "engine/nodeoptions.h"

#include <sys/stat.h>

/* ---- checks ---- */

static gboolean
check_name (const EngineGraphDisk *disk, GError **error)
{
  const EngineLayer *head = engine_graph_head (disk);
  const char *why = engine_graph_why_nameless (head);

  if (why == NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "leave it out with --ignore-disk",
                    "disk '%s': no overlay could name '%s': %s", disk->name, head->path, why);
  return FALSE;
}

static gboolean
describe_disk (EngineContext *context, gint64 row, char **text, GError **error)
{
  g_autoptr (GPtrArray) vms = chains_registry_list_vms (context->db, error);

  for (guint i = 0; vms != NULL && i < vms->len; i++) {
    const ChainsVm *vm = g_ptr_array_index (vms, i);
    g_autoptr (GPtrArray) disks = chains_registry_list_disks (context->db, vm->id, error);

    if (disks == NULL)
      return FALSE;
    for (guint j = 0; j < disks->len; j++) {
      const ChainsDisk *disk = g_ptr_array_index (disks, j);

      if (disk->id == row)
        *text = g_strdup_printf ("disk '%s' of VM '%s'", disk->name, vm->name);
    }
  }
  return vms != NULL;
}

gboolean
engine_intake_find_user (EngineContext *context, const char *path, gint64 disk, char **user, GError **error)
{
  g_autoptr (GPtrArray) users = chains_images_find (context->db, path, error);

  for (guint i = 0; users != NULL && i < users->len; i++) {
    const ChainsImage *image = g_ptr_array_index (users, i);

    if (image->disk != disk)
      return describe_disk (context, image->disk, user, error);
  }
  *user = NULL;
  return users != NULL;
}

/* What another VM, or another disk of this one, needs is not ours to write to. */
static gboolean
check_unused (EngineVm *vm, const char *disk, const char *path, gint64 row, GError **error)
{
  g_autofree char *user = NULL;

  if (!engine_intake_find_user (vm->context, path, row, &user, error))
    return FALSE;
  if (user != NULL)
    engine_error_set (error, ENGINE_ERROR_REFUSED, "leave it out with --ignore-disk",
                      "disk '%s': its image '%s' belongs to %s, or lies below its own", disk, path, user);
  return user == NULL;
}

static gboolean
check_head (EngineVm *vm, const EngineGraphDisk *disk, gint64 row, GError **error)
{
  const EngineLayer *head = engine_graph_head (disk);

  if (head->node->virtual_size <= 0) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "make it larger, or take it away from the VM",
                      "disk '%s': '%s' has no bytes", disk->name, head->path);
    return FALSE;
  }
  if (head->local && head->inode == 0) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "is its name not UTF-8 (QMP carries no other), or was it removed?",
                      "disk '%s': QEMU has '%s' open, and there is no such file here", disk->name, head->path);
    return FALSE;
  }
  return check_unused (vm, disk->name, head->path, row, error);
}

gboolean
engine_intake_check (EngineVm *vm, const EngineGraphDisk *disk, gint64 row, GError **error)
{
  return check_name (disk, error) && check_head (vm, disk, row, error);
}

/* ---- a new disk ---- */

static gboolean
add_image (EngineVm *vm, const ChainsDisk *record, const EngineLayer *layer, gint64 parent, gboolean owned,
           const char *options, gint64 *row, GError **error)
{
  g_autoptr (ChainsImage) image = chains_image_new ();

  image->disk = record->id;
  image->parent = parent;
  image->path = g_strdup (layer->path);
  image->format = g_strdup (layer->format);
  image->virtual_size = layer->node->virtual_size;
  image->owned = owned;
  image->device = layer->device;
  image->inode = layer->inode;
  image->options = g_strdup (options);
  if (!chains_images_add (vm->context->db, image, error))
    return FALSE;
  *row = image->id;
  return TRUE;
}

/* Of an ignored disk: whoever starts it by its file would start it on something else. */
static char *
nameless_options (const char *why)
{
  g_autoptr (JsonObject) object = json_object_new ();
  g_autoptr (JsonNode) node = NULL;

  json_object_set_string_member (object, ENGINE_NODEOPTIONS_NAMELESS, why);
  node = json_node_init_object (json_node_alloc (), object);
  return json_to_string (node, FALSE);
}

/* What is to be remembered of how the active image was opened; %NULL where it could only be guessed. */
static char *
find_options (const EngineGraphDisk *disk, char **arguments)
{
  g_autoptr (EngineNodeOptions) options = engine_nodeoptions_find (disk, arguments, NULL);

  return options->guessed ? NULL : engine_nodeoptions_to_json (options);
}

/* The images from the lowest up; the active one is the base, whatever lies below it is foreign. */
static gboolean
add_images (EngineVm *vm, ChainsDisk *record, const EngineGraphDisk *disk, char **arguments, GError **error)
{
  const char *why = engine_graph_why_nameless (engine_graph_head (disk));
  g_autofree char *options = why != NULL ? nameless_options (why) : find_options (disk, arguments);
  gint64 row = 0;

  for (guint i = disk->layers->len; i > 0; i--) {
    const EngineLayer *layer = g_ptr_array_index (disk->layers, i - 1);
    gboolean active = i == 1;

    if (!add_image (vm, record, layer, row, active, active ? options : NULL, &row, error))
      return FALSE;
  }
  record->base = row;
  record->active = row;
  return chains_registry_update_disk (vm->context->db, record, error);
}

/* What QEMU has below the active image may not be what the header names: then a start from the header differs. */
static void
warn_of_header (EngineVm *vm, const EngineGraphDisk *disk)
{
  const EngineLayer *head = engine_graph_head (disk);
  const EngineLayer *below = disk->layers->len > 1 ? g_ptr_array_index (disk->layers, 1) : NULL;
  const char *live = below != NULL ? below->path : NULL;

  if (head->local && g_str_equal (head->format, "qcow2") &&
      !engine_imagefile_names (head->path, head->node->header_backing, live))
    engine_context_warn (vm->context, "wrong-backing-name",
                         "disk '%s': the header of '%s' names '%s' as its backing image, and QEMU has '%s' there: a "
                         "start without QEMU's options would show other data",
                         disk->name, head->path,
                         head->node->header_backing != NULL ? head->node->header_backing : "none",
                         live != NULL ? live : "none");
}

gboolean
engine_intake_add (EngineVm *vm, const EngineGraphDisk *disk, gboolean ignored, char **arguments, GError **error)
{
  ChainsDisk *record;

  if (!ignored && !engine_intake_check (vm, disk, 0, error))
    return FALSE;
  record = chains_disk_new ();
  record->vm = vm->record->id;
  record->position = (int)vm->disks->len;
  record->name = g_strdup (disk->name);
  record->device = g_strdup (disk->device);
  record->ignored = ignored;
  g_ptr_array_add (vm->disks, record);
  if (!ignored)
    warn_of_header (vm, disk);
  return chains_registry_add_disk (vm->context->db, record, error) && add_images (vm, record, disk, arguments, error);
}

/* ---- a known disk that follows QEMU ---- */

typedef struct {
  EngineVm *vm;
  ChainsDisk *record;
  const EngineGraphDisk *disk;
  const char *options;
  GPtrArray *changes;
  GPtrArray *spoiled;
  GHashTable *placed; /* row ids, as pointers */
} Following;

G_GNUC_PRINTF (2, 3)
static void
note (Following *following, const char *format, ...)
{
  va_list arguments;

  va_start (arguments, format);
  g_ptr_array_add (following->changes, g_strdup_vprintf (format, arguments));
  va_end (arguments);
}

static EngineTree *
read_tree (Following *following, GError **error)
{
  EngineVm *vm = following->vm;
  g_autoptr (GPtrArray) snapshots = chains_snapshots_list (vm->context->db, vm->record->id, error);

  return snapshots != NULL ? engine_tree_read_disk (vm->context, chains_disk_copy (following->record), snapshots, error)
                           : NULL;
}

/* What was already changed behind our back, before anything is said to be right. */
static gboolean
find_changed (Following *following, GError **error)
{
  g_autoptr (EngineTree) tree = read_tree (following, error);

  for (guint i = 0; tree != NULL && i < tree->images->len; i++) {
    const EngineTreeImage *image = g_ptr_array_index (tree->images, i);
    g_autoptr (GPtrArray) problems = engine_problem_list_new ();

    engine_inspect_image (image, following->record->name, ENGINE_INSPECT_FILES, problems);
    if (engine_problem_first_error (problems) != NULL)
      engine_drift_add_spoiled (tree, image, following->spoiled);
  }
  return tree != NULL;
}

static gboolean
is_placed (const Following *following, const ChainsImage *image)
{
  return g_hash_table_contains (following->placed, GSIZE_TO_POINTER ((gsize)image->id));
}

/* The image that @layer is: by what it is, else by its path, where another file now stands. */
static EngineTreeImage *
find_known (const Following *following, const EngineTree *tree, const EngineLayer *layer)
{
  EngineTreeImage *image = engine_drift_find_image (tree, layer);

  if (image != NULL && !is_placed (following, image->image))
    return image;
  for (guint i = 0; i < tree->images->len; i++) {
    image = g_ptr_array_index (tree->images, i);
    if (g_str_equal (image->image->path, layer->path) && !is_placed (following, image->image))
      return image;
  }
  return NULL;
}

static gboolean
is_same_file (const char *path, const EngineLayer *layer)
{
  EngineImagefile file;

  return layer->inode == 0 ||
         (engine_imagefile_stat (path, &file, NULL) && file.device == layer->device && file.inode == layer->inode);
}

/* What differs between @image and @layer, apart from what is the active image's alone. */
static void
follow_identity (Following *following, ChainsImage *image, const EngineLayer *layer)
{
  if (!g_str_equal (image->path, layer->path) && !is_same_file (image->path, layer)) {
    note (following, "'%s' is '%s' now", image->path, layer->path);
    g_free (image->path);
    image->path = g_strdup (layer->path);
  }
  if (!g_str_equal (image->format, layer->format)) {
    g_free (image->format);
    image->format = g_strdup (layer->format);
  }
  if (image->inode != layer->inode && image->inode != 0)
    note (following, "another file stands at '%s'", image->path);
  image->device = layer->device;
  image->inode = layer->inode;
}

static void
follow_size (Following *following, ChainsImage *image, const EngineLayer *layer)
{
  if (image->virtual_size == layer->node->virtual_size)
    return;
  note (following, "resized from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT " bytes", image->virtual_size,
        layer->node->virtual_size);
  image->virtual_size = layer->node->virtual_size;
}

/* One that was frozen may be sealed. QEMU has it open now; at its next start it would not get it. */
static void
warn_of_mode (Following *following, const ChainsImage *image)
{
  EngineImagefile file;

  if (engine_imagefile_stat (image->path, &file, NULL) && file.regular && (file.mode & S_IWUSR) == 0)
    engine_context_warn (following->vm->context, "read-only-image",
                         "disk '%s': '%s' is the active image now, and read-only by its mode: QEMU may not get it at "
                         "its next start (`chmod u+w` makes it writable)",
                         following->record->name, image->path);
}

/* The guest writes to it from now on, so nothing is remembered of it as frozen. */
static gboolean
make_active (Following *following, ChainsImage *image, const EngineLayer *layer, GError **error)
{
  image->frozen_size = 0;
  image->frozen_mtime_ns = 0;
  image->frozen_ctime_ns = 0;
  g_clear_pointer (&image->frozen_header, g_free);
  /* A node of ours stands on no command line: what is remembered of it is all that is known. */
  if (following->options != NULL) {
    g_free (image->options);
    image->options = g_strdup (following->options);
  }
  follow_size (following, image, layer);
  warn_of_mode (following, image);
  if (image->owned)
    return TRUE;
  image->owned = TRUE;
  return check_unused (following->vm, following->record->name, image->path, following->record->id, error);
}

/* Frozen from now on, as it is now; an image that is no file has nothing that could be remembered. */
static gboolean
make_frozen (Following *following, ChainsImage *image, GError **error)
{
  g_autoptr (ChainsImage) before = NULL;

  if (!image->owned || !g_path_is_absolute (image->path))
    return TRUE;
  before = chains_images_get (following->vm->context->db, image->id, error);
  if (before == NULL || !engine_inspect_remember (image, error))
    return FALSE;
  if (before->frozen_mtime_ns != 0 &&
      (before->frozen_mtime_ns != image->frozen_mtime_ns || before->frozen_size != image->frozen_size))
    note (following, "'%s' is taken as it is now", image->path);
  return TRUE;
}

static gboolean
follow_known (Following *following, EngineTree *tree, EngineTreeImage *known, const EngineLayer *layer, gint64 parent,
              GError **error)
{
  ChainsDb *db = following->vm->context->db;
  gboolean active = layer == engine_graph_head (following->disk);
  g_autoptr (ChainsImage) image = chains_images_get (db, known->image->id, error);

  if (image == NULL)
    return FALSE;
  if ((active && image->id != following->record->active) || image->parent != parent ||
      (image->inode != layer->inode && image->inode != 0))
    engine_drift_add_spoiled (tree, known, following->spoiled);
  if (image->parent != parent)
    note (following, "other images lie below '%s'", layer->path);
  image->parent = parent;
  follow_identity (following, image, layer);
  return (active ? make_active (following, image, layer, error) : make_frozen (following, image, error)) &&
         chains_images_update (db, image, error);
}

static gboolean
is_owned (Following *following, gint64 row, gboolean *owned, GError **error)
{
  g_autoptr (ChainsImage) image = row != 0 ? chains_images_get (following->vm->context->db, row, error) : NULL;

  *owned = image != NULL && image->owned;
  return row == 0 || image != NULL;
}

/* What is not known: the active image is ours, and so is what stands on ours. */
static gboolean
follow_new (Following *following, const EngineLayer *layer, gint64 parent, gint64 *row, GError **error)
{
  EngineVm *vm = following->vm;
  ChainsDisk *record = following->record;
  gboolean active = layer == engine_graph_head (following->disk);
  g_autoptr (ChainsImage) image = NULL;
  gboolean owned;

  if (!is_owned (following, parent, &owned, error))
    return FALSE;
  owned = owned || active;
  if (owned && !check_unused (vm, record->name, layer->path, record->id, error))
    return FALSE;
  if (!add_image (vm, record, layer, parent, owned, active ? following->options : NULL, row, error))
    return FALSE;
  note (following, "'%s' is taken in", layer->path);
  image = chains_images_get (vm->context->db, *row, error);
  return image != NULL &&
         (active || (make_frozen (following, image, error) && chains_images_update (vm->context->db, image, error)));
}

/* The live chain from the lowest image up; @row is the active image's in the end. */
static gboolean
follow_chain (Following *following, gint64 *row, GError **error)
{
  const GPtrArray *layers = following->disk->layers;

  *row = 0;
  for (guint i = layers->len; i > 0; i--) {
    const EngineLayer *layer = g_ptr_array_index (layers, i - 1);
    g_autoptr (EngineTree) tree = read_tree (following, error);
    EngineTreeImage *known = tree != NULL ? find_known (following, tree, layer) : NULL;

    if (tree == NULL)
      return FALSE;
    if (known != NULL && !follow_known (following, tree, known, layer, *row, error))
      return FALSE;
    if (known == NULL && !follow_new (following, layer, *row, row, error))
      return FALSE;
    if (known != NULL)
      *row = known->image->id;
    g_hash_table_add (following->placed, GSIZE_TO_POINTER ((gsize)*row));
  }
  return TRUE;
}

/* The image that the guest wrote to until now is a branch from now on, unless it lies in the live chain. */
static gboolean
leave_active (Following *following, gint64 active, GError **error)
{
  ChainsDb *db = following->vm->context->db;
  ChainsDisk *record = following->record;
  g_autoptr (ChainsImage) left = chains_images_get (db, record->active, error);
  g_autoptr (ChainsImage) taken = left != NULL ? chains_images_get (db, active, error) : NULL;

  if (taken == NULL)
    return FALSE;
  if (left->id == active)
    return TRUE;
  note (following, "active image is '%s', no more '%s'", taken->path, left->path);
  record->active = active;
  return is_placed (following, left) || !g_file_test (left->path, G_FILE_TEST_EXISTS) ||
         (make_frozen (following, left, error) && chains_images_update (db, left, error));
}

/* The base: the lowest from which on, up to the active one, all images are ours. */
static gboolean
find_base (Following *following, GError **error)
{
  ChainsDisk *record = following->record;
  gint64 row = record->active;

  while (row != 0) {
    g_autoptr (ChainsImage) image = chains_images_get (following->vm->context->db, row, error);

    if (image == NULL)
      return FALSE;
    if (!image->owned)
      return TRUE;
    record->base = row;
    row = image->parent;
  }
  return TRUE;
}

static gboolean
is_needed (const EngineTree *tree, const EngineTreeImage *image)
{
  gboolean kept = image->state != ENGINE_TREE_MISSING && image->state != ENGINE_TREE_FOREIGN;

  return kept || image->children->len > 0 || image->snapshots->len > 0 || image->image->id == tree->disk->active ||
         image->image->id == tree->disk->base;
}

/* Foreign images that nothing of ours stands on any more, and files that are gone and that no snapshot needs. */
static gboolean
forget_unneeded (Following *following, GError **error)
{
  g_autoptr (EngineTree) tree = read_tree (following, error);

  for (guint i = tree != NULL ? tree->images->len : 0; i > 0; i--) {
    EngineTreeImage *image = g_ptr_array_index (tree->images, i - 1);

    if (is_needed (tree, image))
      continue;
    note (following, "'%s' is forgotten", image->image->path);
    if (!chains_images_remove (following->vm->context->db, image->image->id, error))
      return FALSE;
    if (image->parent != NULL)
      g_ptr_array_remove (image->parent->children, image);
  }
  return tree != NULL;
}

static gboolean
follow (Following *following, GError **error)
{
  gint64 active;

  return find_changed (following, error) && check_name (following->disk, error) &&
         follow_chain (following, &active, error) && leave_active (following, active, error) &&
         find_base (following, error) &&
         chains_registry_update_disk (following->vm->context->db, following->record, error) &&
         chains_registry_set_live (following->vm->context->db, following->record->id, NULL, error) &&
         forget_unneeded (following, error);
}

gboolean
engine_intake_follow (EngineVm *vm, ChainsDisk *record, const EngineGraphDisk *disk, char **arguments,
                      GPtrArray *changes, GError **error)
{
  g_autofree char *options = find_options (disk, arguments);
  g_autoptr (GHashTable) placed = g_hash_table_new (NULL, NULL);
  g_autoptr (GPtrArray) spoiled = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *names = NULL;
  Following following = {vm, record, disk, options, changes, spoiled, placed};

  if (!follow (&following, error))
    return FALSE;
  names = engine_drift_list (spoiled);
  if (spoiled->len > 0)
    engine_context_warn (vm->context, "snapshots-spoiled",
                         "VM '%s', disk '%s': images of snapshots were written to or exchanged since they were frozen, "
                         "or are written to now; do not rely on %s",
                         vm->record->name, record->name, names);
  return TRUE;
}

static int
place_in (const EngineGraph *graph, const char *name, int otherwise)
{
  for (guint i = 0; i < graph->disks->len; i++)
    if (g_str_equal (((const EngineGraphDisk *)g_ptr_array_index (graph->disks, i))->name, name))
      return (int)i;
  return otherwise;
}

gboolean
engine_intake_sort (EngineVm *vm, const EngineGraph *graph, GError **error)
{
  ChainsDb *db = vm->context->db;
  g_autoptr (GPtrArray) sorted = NULL;

  for (guint i = 0; i < vm->disks->len; i++) {
    ChainsDisk *record = g_ptr_array_index (vm->disks, i);

    record->position = place_in (graph, record->name, (int)(graph->disks->len + i));
    if (!chains_registry_update_disk (db, record, error))
      return FALSE;
  }
  sorted = chains_registry_list_disks (db, vm->record->id, error);
  if (sorted == NULL)
    return FALSE;
  g_ptr_array_unref (vm->disks);
  vm->disks = g_steal_pointer (&sorted);
  return TRUE;
}
