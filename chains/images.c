/*
 * Images as a tree per disk, as rows. Promises that a file has one owner, that a
 * tree stays a tree, and that nothing needed is forgotten. Reads no file: what
 * is true on disk is left to the engine.
 */
#include "chains/images.h"

#include <string.h>

#include "chains/error.h"
#include "chains/query.h"
#include "chains/transaction.h"

#define IMAGE_COLUMNS                                                                                                 \
  "image.id, image.disk, image.parent, image.path, image.format, image.virtual_size, image.owned, image.created_by, " \
  "image.device, image.inode, image.options, image.frozen_size, image.frozen_mtime_ns, image.frozen_ctime_ns, "       \
  "image.frozen_header"

static gpointer
read_image (ChainsQuery *query)
{
  ChainsImage *image = chains_image_new ();

  image->id = chains_query_read_int (query);
  image->disk = chains_query_read_int (query);
  image->parent = chains_query_read_int (query);
  image->path = chains_query_read_text (query);
  image->format = chains_query_read_text (query);
  image->virtual_size = chains_query_read_int (query);
  image->owned = chains_query_read_int (query) != 0;
  image->created_by = chains_query_read_text (query);
  image->device = (guint64)chains_query_read_int (query);
  image->inode = (guint64)chains_query_read_int (query);
  image->options = chains_query_read_text (query);
  image->frozen_size = chains_query_read_int (query);
  image->frozen_mtime_ns = chains_query_read_int (query);
  image->frozen_ctime_ns = chains_query_read_int (query);
  image->frozen_header = chains_query_read_text (query);
  return image;
}

static void
bind_image (ChainsQuery *query, const ChainsImage *image)
{
  chains_query_bind_id (query, image->parent);
  chains_query_bind_path (query, image->path);
  chains_query_bind_text (query, image->format);
  chains_query_bind_int (query, image->virtual_size);
  chains_query_bind_int (query, image->owned != FALSE);
  chains_query_bind_text (query, image->created_by);
  chains_query_bind_int (query, (gint64)image->device);
  chains_query_bind_int (query, (gint64)image->inode);
  chains_query_bind_text (query, image->options);
  chains_query_bind_id (query, image->frozen_size);
  chains_query_bind_id (query, image->frozen_mtime_ns);
  chains_query_bind_id (query, image->frozen_ctime_ns);
  chains_query_bind_text (query, image->frozen_header);
}

static gboolean
run_on_image (ChainsQuery *query, gint64 image, GError **error)
{
  g_autofree char *number = g_strdup_printf ("%" G_GINT64_FORMAT, image);

  return chains_query_run_on_one (query, "image", number, error);
}

static void
set_path_taken (ChainsQuery *query, const ChainsImage *image, GError **error)
{
  g_autofree char *path = g_filename_display_name (image->path);
  g_autofree char *disk = chains_query_read_text (query);
  g_autofree char *vm = chains_query_read_text (query);

  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_EXISTS, "image '%s' belongs to disk '%s' of VM '%s' already", path,
               disk, vm);
}

static gboolean
check_path_is_free (ChainsDb *db, const ChainsImage *image, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "look for an image",
                        "SELECT disk.name, vm.name FROM image JOIN disk ON disk.id = image.disk JOIN vm ON vm.id = "
                        "disk.vm WHERE image.path = ? AND image.id <> ? AND ((image.owned AND ?) OR image.disk = ?)",
                        error);
  gboolean taken = FALSE;

  if (query == NULL)
    return FALSE;
  chains_query_bind_path (query, image->path);
  chains_query_bind_int (query, image->id);
  chains_query_bind_int (query, image->owned != FALSE);
  chains_query_bind_int (query, image->disk);
  if (!chains_query_next (query, &taken, error))
    return FALSE;
  if (taken)
    set_path_taken (query, image, error);
  return !taken;
}

gboolean
chains_images_add (ChainsDb *db, ChainsImage *image, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL || !check_path_is_free (db, image, error))
    return FALSE;
  query = chains_query_new (db, "add an image",
                            "INSERT INTO image (parent, path, format, virtual_size, owned, created_by, device, inode, "
                            "options, frozen_size, frozen_mtime_ns, frozen_ctime_ns, frozen_header, disk) "
                            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                            error);
  if (query == NULL)
    return FALSE;
  bind_image (query, image);
  chains_query_bind_int (query, image->disk);
  if (!chains_query_run (query, error) || !chains_transaction_commit (transaction, error))
    return FALSE;
  image->id = chains_query_get_inserted (query);
  return TRUE;
}

gboolean
chains_images_update (ChainsDb *db, const ChainsImage *image, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL || !check_path_is_free (db, image, error))
    return FALSE;
  query = chains_query_new (db, "change an image",
                            "UPDATE image SET parent = ?, path = ?, format = ?, virtual_size = ?, owned = ?, "
                            "created_by = ?, device = ?, inode = ?, options = ?, frozen_size = ?, frozen_mtime_ns = ?, "
                            "frozen_ctime_ns = ?, frozen_header = ? WHERE id = ?",
                            error);
  if (query == NULL)
    return FALSE;
  bind_image (query, image);
  chains_query_bind_int (query, image->id);
  return run_on_image (query, image->id, error) && chains_transaction_commit (transaction, error);
}

/* The foreign keys would refuse it as well, but could not say what for. */
static gboolean
check_image_is_unused (ChainsDb *db, gint64 image, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "look for what needs an image",
                        "SELECT 'disk ''' || name || ''' has it as base or active image' FROM disk "
                        "WHERE base = ?1 OR active = ?1 "
                        "UNION ALL SELECT 'snapshot ''' || name || ''' is in it' FROM image "
                        "JOIN snapshot_disk ON snapshot_disk.disk = image.disk AND snapshot_disk.image = image.id "
                        "JOIN snapshot ON sequence = snapshot WHERE image.id = ?1 "
                        "UNION ALL SELECT 'it is the backing image of another' FROM image WHERE parent = ?1",
                        error);
  g_autofree char *why = NULL;
  gboolean used = FALSE;

  if (query == NULL)
    return FALSE;
  chains_query_bind_int (query, image);
  if (!chains_query_next (query, &used, error))
    return FALSE;
  if (!used)
    return TRUE;
  why = chains_query_read_text (query);
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_INVALID, "image %" G_GINT64_FORMAT " cannot be forgotten: %s", image,
               why);
  return FALSE;
}

gboolean
chains_images_remove (ChainsDb *db, gint64 image, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL || !check_image_is_unused (db, image, error))
    return FALSE;
  query = chains_query_new (db, "remove an image", "DELETE FROM image WHERE id = ?", error);
  if (query == NULL)
    return FALSE;
  chains_query_bind_int (query, image);
  return run_on_image (query, image, error) && chains_transaction_commit (transaction, error);
}

ChainsImage *
chains_images_get (ChainsDb *db, gint64 image, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "look for an image", "SELECT " IMAGE_COLUMNS " FROM image WHERE id = ?", error);
  gboolean found = FALSE;

  if (query == NULL)
    return NULL;
  chains_query_bind_int (query, image);
  if (!chains_query_next (query, &found, error))
    return NULL;
  if (found)
    return read_image (query);
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND, "image %" G_GINT64_FORMAT " is not registered", image);
  return NULL;
}

GPtrArray *
chains_images_get_chain (ChainsDb *db, gint64 id, GError **error)
{
  g_autoptr (GPtrArray) chain = g_ptr_array_new_with_free_func ((GDestroyNotify)chains_image_free);

  while (id != 0) {
    ChainsImage *image = chains_images_get (db, id, error);

    if (image == NULL)
      return NULL;
    g_ptr_array_add (chain, image);
    id = image->parent;
  }
  return g_steal_pointer (&chain);
}

/* Maps each image row id to its children (element-type ChainsImage), oldest first; 0 to the bottom images. */
static GHashTable *
map_children (const GPtrArray *images)
{
  GHashTable *children = g_hash_table_new_full (g_int64_hash, g_int64_equal, NULL, (GDestroyNotify)g_ptr_array_unref);

  for (guint i = 0; i < images->len; i++) {
    ChainsImage *image = images->pdata[i];
    GPtrArray *siblings = g_hash_table_lookup (children, &image->parent);

    if (siblings == NULL) {
      siblings = g_ptr_array_new ();
      g_hash_table_insert (children, &image->parent, siblings);
    }
    g_ptr_array_add (siblings, image);
  }
  return children;
}

static void
push_children (GPtrArray *stack, GHashTable *children, gint64 parent)
{
  const GPtrArray *siblings = g_hash_table_lookup (children, &parent);

  for (guint i = siblings != NULL ? siblings->len : 0; i > 0; i--)
    g_ptr_array_add (stack, siblings->pdata[i - 1]);
}

/* Not by SQL: SQLite drops the ORDER BY that would make a recursive query go depth first, as it sees fit. */
static GPtrArray *
sort_as_tree (GPtrArray *images)
{
  GPtrArray *sorted = g_ptr_array_new_full (images->len, (GDestroyNotify)chains_image_free);
  g_autoptr (GHashTable) children = map_children (images);
  g_autoptr (GPtrArray) stack = g_ptr_array_new ();

  push_children (stack, children, 0);
  while (stack->len > 0) {
    ChainsImage *image = g_ptr_array_steal_index (stack, stack->len - 1);

    g_ptr_array_add (sorted, image);
    push_children (stack, children, image->id);
  }
  return sorted;
}

GPtrArray *
chains_images_list (ChainsDb *db, gint64 disk, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "list images", "SELECT " IMAGE_COLUMNS " FROM image WHERE disk = ? ORDER BY id", error);
  g_autoptr (GPtrArray) images = NULL;

  if (query == NULL)
    return NULL;
  chains_query_bind_int (query, disk);
  images = chains_query_collect (query, read_image, NULL, error);
  return images != NULL ? sort_as_tree (images) : NULL;
}

GPtrArray *
chains_images_find (ChainsDb *db, const char *path, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "look for images", "SELECT " IMAGE_COLUMNS " FROM image WHERE path = ? ORDER BY id", error);

  if (query == NULL)
    return NULL;
  chains_query_bind_path (query, path);
  return chains_query_collect (query, read_image, (GDestroyNotify)chains_image_free, error);
}

GPtrArray *
chains_images_find_same (ChainsDb *db, const char *path, guint64 inode, GError **error)
{
  g_autoptr (ChainsQuery) query = chains_query_new (
      db, "look for images",
      "SELECT " IMAGE_COLUMNS " FROM image WHERE path = ?1 OR (?2 != 0 AND inode = ?2) ORDER BY id", error);

  if (query == NULL)
    return NULL;
  chains_query_bind_path (query, path);
  chains_query_bind_int (query, (gint64)inode);
  return chains_query_collect (query, read_image, (GDestroyNotify)chains_image_free, error);
}
