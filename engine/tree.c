/*
 * Builds the tree of a disk from its rows. Looks at files only for their size
 * and presence; asks no QEMU.
 */
#include "engine/tree.h"

#include "chains/snapshots.h"
#include "engine/imagefile.h"

const char *
engine_tree_state_to_string (EngineTreeState state)
{
  static const char *const words[] = {"active", "backing", "branch", "foreign", "missing"};

  return words[state];
}

const char *
engine_tree_mark (const ChainsSnapshot *snapshot)
{
  if (snapshot->automatic)
    return snapshot->protected ? "automatic, protected" : "automatic";
  return snapshot->protected ? "protected" : "";
}

static void
job_free (EngineTreeJob *job)
{
  g_free (job->op);
  g_free (job->verb);
  g_free (job->id);
  g_free (job->status);
  g_free (job);
}

static void
image_free (EngineTreeImage *image)
{
  g_clear_pointer (&image->job, job_free);
  g_ptr_array_unref (image->marks);
  g_ptr_array_unref (image->snapshots);
  g_ptr_array_unref (image->children);
  g_free (image);
}

void
engine_tree_free (EngineTree *tree)
{
  if (tree == NULL)
    return;
  g_clear_pointer (&tree->images, g_ptr_array_unref);
  g_clear_pointer (&tree->rows, g_ptr_array_unref);
  g_clear_pointer (&tree->disk, chains_disk_free);
  g_free (tree);
}

EngineTreeImage *
engine_tree_find (const EngineTree *tree, gint64 row)
{
  for (guint i = 0; i < tree->images->len; i++) {
    EngineTreeImage *image = g_ptr_array_index (tree->images, i);

    if (image->image->id == row)
      return image;
  }
  return NULL;
}

EngineTreeImage *
engine_tree_active (const EngineTree *tree)
{
  return engine_tree_find (tree, tree->disk->active);
}

EngineTreeImage *
engine_tree_base (const EngineTree *tree)
{
  return engine_tree_find (tree, tree->disk->base);
}

static void
link_images (EngineTree *tree)
{
  g_autoptr (GHashTable) by_row = g_hash_table_new (g_int64_hash, g_int64_equal);

  for (guint i = 0; i < tree->rows->len; i++) {
    const ChainsImage *row = g_ptr_array_index (tree->rows, i);
    EngineTreeImage *image = g_new0 (EngineTreeImage, 1);

    image->image = row;
    image->parent = g_hash_table_lookup (by_row, &row->parent);
    image->snapshots = g_ptr_array_new_with_free_func (g_free);
    image->marks = g_ptr_array_new ();
    image->children = g_ptr_array_new ();
    if (image->parent != NULL)
      g_ptr_array_add (image->parent->children, image);
    g_hash_table_insert (by_row, (gpointer)&row->id, image);
    g_ptr_array_add (tree->images, image);
  }
}

static void
mark_states (EngineTree *tree)
{
  for (guint i = 0; i < tree->images->len; i++) {
    EngineTreeImage *image = g_ptr_array_index (tree->images, i);

    image->state = image->image->owned ? ENGINE_TREE_BRANCH : ENGINE_TREE_FOREIGN;
  }
  for (EngineTreeImage *image = engine_tree_active (tree); image != NULL; image = image->parent)
    if (image->image->owned)
      image->state = image->image->id == tree->disk->active ? ENGINE_TREE_ACTIVE : ENGINE_TREE_BACKING;
}

static void
look_at_files (EngineTree *tree)
{
  for (guint i = 0; i < tree->images->len; i++) {
    EngineTreeImage *image = g_ptr_array_index (tree->images, i);
    EngineImagefile file;

    if (!g_path_is_absolute (image->image->path))
      continue;
    if (engine_imagefile_stat (image->image->path, &file, NULL))
      image->allocated = file.block ? image->image->virtual_size : file.allocated;
    else
      image->state = ENGINE_TREE_MISSING;
  }
}

static void
name_snapshots (EngineTree *tree, const GPtrArray *snapshots)
{
  for (guint i = 0; i < snapshots->len; i++) {
    const ChainsSnapshot *snapshot = g_ptr_array_index (snapshots, i);

    for (guint j = 0; j < snapshot->disks->len; j++) {
      const ChainsSnapshotDisk *part = g_ptr_array_index (snapshot->disks, j);
      EngineTreeImage *image = part->disk == tree->disk->id ? engine_tree_find (tree, part->image) : NULL;

      if (image == NULL)
        continue;
      g_ptr_array_add (image->snapshots, g_strdup (snapshot->name));
      g_ptr_array_add (image->marks, (gpointer)engine_tree_mark (snapshot));
    }
  }
}

EngineTree *
engine_tree_read_disk (EngineContext *context, ChainsDisk *disk, const GPtrArray *snapshots, GError **error)
{
  g_autoptr (EngineTree) tree = g_new0 (EngineTree, 1);

  tree->disk = disk;
  tree->images = g_ptr_array_new_with_free_func ((GDestroyNotify)image_free);
  tree->rows = chains_images_list (context->db, disk->id, error);
  if (tree->rows == NULL)
    return NULL;
  link_images (tree);
  mark_states (tree);
  look_at_files (tree);
  name_snapshots (tree, snapshots);
  return g_steal_pointer (&tree);
}

GPtrArray *
engine_tree_read (EngineContext *context, const ChainsVm *vm, GError **error)
{
  g_autoptr (GPtrArray) trees = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_tree_free);
  g_autoptr (GPtrArray) disks = chains_registry_list_disks (context->db, vm->id, error);
  g_autoptr (GPtrArray) snapshots = disks != NULL ? chains_snapshots_list (context->db, vm->id, error) : NULL;

  if (snapshots == NULL)
    return NULL;
  while (disks->len > 0) {
    EngineTree *tree = engine_tree_read_disk (context, g_ptr_array_steal_index (disks, 0), snapshots, error);

    if (tree == NULL)
      return NULL;
    g_ptr_array_add (trees, tree);
  }
  return g_steal_pointer (&trees);
}
