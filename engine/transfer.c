/*
 * A VM as a document and back. Promises that an import is all there or not at
 * all, and that no image is taken in that is not what the document says of it,
 * or that another VM has. Moves no image: that is the user's.
 */
#include "engine/transfer.h"

#include "chains/error.h"
#include "chains/images.h"
#include "chains/journal.h"
#include "chains/registry.h"
#include "chains/snapshots.h"
#include "chains/transaction.h"
#include "engine/claim.h"
#include "engine/document.h"
#include "engine/error.h"
#include "engine/lock.h"
#include "engine/notebook.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FORMAT_KEY "chainctl_export"
#define FORMAT 1
#define MAX_SIZE (256 * 1024 * 1024)

G_DEFINE_AUTO_CLEANUP_FREE_FUNC (int, close, -1)

/* ---- export ---- */

static gboolean
check_finished (EngineContext *context, const ChainsVm *vm, GError **error)
{
  g_autoptr (GPtrArray) unfinished = chains_journal_list_unfinished (context->db, vm->id, error);
  const ChainsOp *op;

  if (unfinished == NULL || unfinished->len == 0)
    return unfinished != NULL;
  op = g_ptr_array_index (unfinished, 0);
  engine_error_set (error, ENGINE_ERROR_HELD, "end it first: `chainctl recover`",
                    "VM '%s': operation %s (%s) has not ended", vm->name, op->id, op->verb);
  return FALSE;
}

static const char *
path_of (const GPtrArray *images, gint64 row)
{
  for (guint i = 0; i < images->len; i++) {
    const ChainsImage *image = g_ptr_array_index (images, i);

    if (image->id == row)
      return image->path;
  }
  return NULL;
}

static JsonObject *
export_disk (EngineContext *context, const ChainsDisk *disk, GError **error)
{
  g_autoptr (GPtrArray) images = chains_images_list (context->db, disk->id, error);
  JsonObject *object;
  JsonArray *array;

  if (images == NULL)
    return NULL;
  object = engine_document_from_disk (disk);
  array = json_array_new ();
  for (guint i = 0; i < images->len; i++) {
    ChainsImage *image = g_ptr_array_index (images, i);
    JsonObject *member;

    engine_claim_learn_birth (image);
    member = engine_document_from_image (image);
    engine_document_set_path (member, "parent", image->parent != 0 ? path_of (images, image->parent) : NULL);
    json_array_add_object_element (array, member);
  }
  engine_document_set_path (object, "base", path_of (images, disk->base));
  engine_document_set_path (object, "active", path_of (images, disk->active));
  json_object_set_array_member (object, "images", array);
  return object;
}

static JsonObject *
export_snapshot (const ChainsSnapshot *snapshot)
{
  JsonObject *object = engine_document_from_snapshot (snapshot);
  JsonArray *disks = json_array_new ();

  for (guint i = 0; i < snapshot->disks->len; i++) {
    const ChainsSnapshotDisk *part = g_ptr_array_index (snapshot->disks, i);
    JsonObject *member = json_object_new ();

    json_object_set_string_member (member, "disk", part->disk_name);
    engine_document_set_path (member, "image", part->image_path);
    engine_document_set_path (member, "overlay", part->overlay_path);
    json_array_add_object_element (disks, member);
  }
  json_object_set_array_member (object, "disks", disks);
  return object;
}

static gboolean
export_disks (EngineContext *context, const ChainsVm *vm, JsonArray *array, GError **error)
{
  g_autoptr (GPtrArray) disks = chains_registry_list_disks (context->db, vm->id, error);

  for (guint i = 0; disks != NULL && i < disks->len; i++) {
    JsonObject *disk = export_disk (context, g_ptr_array_index (disks, i), error);

    if (disk == NULL)
      return FALSE;
    json_array_add_object_element (array, disk);
  }
  return disks != NULL;
}

static gboolean
export_snapshots (EngineContext *context, const ChainsVm *vm, JsonArray *array, GError **error)
{
  g_autoptr (GPtrArray) snapshots = chains_snapshots_list (context->db, vm->id, error);

  for (guint i = 0; snapshots != NULL && i < snapshots->len; i++)
    json_array_add_object_element (array, export_snapshot (g_ptr_array_index (snapshots, i)));
  return snapshots != NULL;
}

JsonObject *
engine_transfer_export (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (ChainsTransaction) view = chains_transaction_join (context->db, CHAINS_DB_READ, error);
  g_autoptr (ChainsVm) vm = view != NULL ? chains_registry_get_vm (context->db, name, error) : NULL;
  g_autoptr (JsonObject) document = json_object_new ();
  JsonArray *disks = json_array_new ();
  JsonArray *snapshots = json_array_new ();

  json_object_set_int_member (document, FORMAT_KEY, FORMAT);
  if (vm != NULL)
    json_object_set_object_member (document, "vm", engine_document_from_vm (vm));
  json_object_set_array_member (document, "disks", disks);
  json_object_set_array_member (document, "snapshots", snapshots);
  if (vm == NULL || !check_finished (context, vm, error) || !export_disks (context, vm, disks, error) ||
      !export_snapshots (context, vm, snapshots, error))
    return NULL;
  return g_steal_pointer (&document);
}

/* ---- import: the file ---- */

static gboolean
cannot_read (const char *file, const char *why, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "cannot read '%s': %s", file, why);
  return FALSE;
}

static gboolean
read_all (int fd, const char *file, GByteArray *bytes, GError **error)
{
  guint8 part[65536];

  for (;;) {
    ssize_t got = read (fd, part, sizeof part);

    if (got == 0)
      return TRUE;
    if (got < 0 && errno != EINTR)
      return cannot_read (file, g_strerror (errno), error);
    if (bytes->len + sizeof part > MAX_SIZE)
      return cannot_read (file, "it is too large for an exported VM", error);
    g_byte_array_append (bytes, part, got > 0 ? (guint)got : 0);
  }
}

/* Bare, or as `--json` printed it. */
static JsonObject *
unwrap (JsonNode *root)
{
  JsonObject *object = JSON_NODE_HOLDS_OBJECT (root) ? json_node_get_object (root) : NULL;
  JsonNode *inner = object != NULL ? json_object_get_member (object, "export") : NULL;

  return inner != NULL && JSON_NODE_HOLDS_OBJECT (inner) ? json_node_get_object (inner) : object;
}

static JsonNode *
read_document (const char *file, JsonObject **document, GError **error)
{
  g_autoptr (GByteArray) bytes = g_byte_array_new ();
  gboolean is_stdin = g_str_equal (file, "-");
  g_auto (int) fd = is_stdin ? dup (STDIN_FILENO) : open (file, O_RDONLY | O_CLOEXEC);
  g_autoptr (JsonNode) root = NULL;
  gint64 format = 0;

  if (fd < 0) {
    engine_error_set (error, errno == ENOENT ? ENGINE_ERROR_NO_SUCH_IMAGE : ENGINE_ERROR_FAILED, NULL,
                      "cannot read '%s': %s", file, g_strerror (errno));
    return NULL;
  }
  if (!read_all (fd, file, bytes, error))
    return NULL;
  root = engine_document_parse ((const char *)bytes->data, bytes->len, error);
  *document = root != NULL ? unwrap (root) : NULL;
  if (root == NULL || *document == NULL || !json_object_has_member (*document, FORMAT_KEY)) {
    g_clear_error (error);
    cannot_read (file, "it is no document of `chainctl vm export`, or cut short", error);
    return NULL;
  }
  if (!engine_document_get_int (*document, FORMAT_KEY, 1, G_MAXINT64, &format, error))
    return NULL;
  if (format <= FORMAT)
    return g_steal_pointer (&root);
  engine_error_set (error, ENGINE_ERROR_FAILED, "use the newer chainctl", "'%s' was exported by a newer chainctl",
                    file);
  return NULL;
}

/* ---- import: rows ---- */

/**
 * Import:
 * @disks: (element-type utf8 ImportDisk): by name
 */
typedef struct {
  EngineContext *context;
  ChainsVm *vm;
  GHashTable *disks;
} Import;

/** ImportDisk: @rows: (element-type utf8 gint64): image rows by path */
typedef struct {
  gint64 row;
  GHashTable *rows;
} ImportDisk;

static void
import_disk_free (ImportDisk *disk)
{
  g_hash_table_unref (disk->rows);
  g_free (disk);
}

static void
import_clear (Import *import)
{
  g_clear_pointer (&import->vm, chains_vm_free);
  g_clear_pointer (&import->disks, g_hash_table_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Import, import_clear)

static gboolean
get_row (const ImportDisk *disk, JsonObject *object, const char *key, gboolean nullable, gint64 *row, GError **error)
{
  g_autofree char *path = NULL;
  const gint64 *found;

  if (!engine_document_get_path (object, key, nullable, &path, error))
    return FALSE;
  found = path != NULL ? g_hash_table_lookup (disk->rows, path) : NULL;
  *row = found != NULL ? *found : 0;
  if (path == NULL || found != NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "its member '%s' is '%s', which is no image before it", key,
                    path);
  return FALSE;
}

/* What another VM has, or reads through, is no image to take in. */
static gboolean
check_unused (Import *import, const ChainsImage *image, GError **error)
{
  g_autoptr (GPtrArray) users = chains_images_find (import->context->db, image->path, error);

  for (guint i = 0; users != NULL && i < users->len; i++) {
    const ChainsImage *user = g_ptr_array_index (users, i);
    g_autoptr (GPtrArray) own = chains_registry_list_disks (import->context->db, import->vm->id, error);
    gboolean ours = FALSE;

    if (own == NULL)
      return FALSE;
    for (guint j = 0; j < own->len; j++)
      ours = ours || ((const ChainsDisk *)g_ptr_array_index (own, j))->id == user->disk;
    if (ours || (!user->owned && !image->owned))
      continue;
    engine_error_set (error, ENGINE_ERROR_REFUSED, "`chainctl vm list` shows the VMs that are here",
                      "image '%s' belongs to another registered VM, or lies below its images", image->path);
    return FALSE;
  }
  return users != NULL;
}

static gboolean
check_changed (const ChainsImage *image, gboolean changed, GError **error)
{
  if (!changed)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "copy the image again",
                    "the header of '%s' is not what it was when the image was frozen", image->path);
  return FALSE;
}

static gboolean
import_image (Import *import, ImportDisk *disk, JsonObject *object, GError **error)
{
  g_autoptr (ChainsImage) image = engine_document_to_image (object, error);
  g_autofree char *parent = NULL;
  gboolean changed;

  if (image == NULL || !get_row (disk, object, "parent", TRUE, &image->parent, error) ||
      !engine_document_get_path (object, "parent", TRUE, &parent, error) || !check_unused (import, image, error) ||
      !engine_claim_image (image, parent, &changed, error) || !check_changed (image, changed, error))
    return FALSE;
  image->disk = disk->row;
  if (!chains_images_add (import->context->db, image, error))
    return FALSE;
  g_hash_table_insert (disk->rows, g_strdup (image->path), g_memdup2 (&image->id, sizeof image->id));
  return TRUE;
}

static gboolean
import_disk (Import *import, JsonObject *object, GError **error)
{
  g_autoptr (ChainsDisk) record = engine_document_to_disk (object, error);
  ImportDisk *disk;
  JsonArray *images;

  if (record == NULL || !engine_document_get_array (object, "images", JSON_NODE_OBJECT, &images, error))
    return FALSE;
  record->vm = import->vm->id;
  if (!chains_registry_add_disk (import->context->db, record, error))
    return FALSE;
  disk = g_new0 (ImportDisk, 1);
  disk->row = record->id;
  disk->rows = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_hash_table_insert (import->disks, g_strdup (record->name), disk);
  for (guint i = 0; i < json_array_get_length (images); i++)
    if (!import_image (import, disk, json_array_get_object_element (images, i), error))
      return FALSE;
  return get_row (disk, object, "base", FALSE, &record->base, error) &&
         get_row (disk, object, "active", FALSE, &record->active, error) &&
         chains_registry_update_disk (import->context->db, record, error);
}

static gboolean
import_part (Import *import, ChainsSnapshot *snapshot, JsonObject *object, GError **error)
{
  ChainsSnapshotDisk *part = chains_snapshot_disk_new ();
  const ImportDisk *disk;

  g_ptr_array_add (snapshot->disks, part);
  if (!engine_document_get_string (object, "disk", FALSE, &part->disk_name, error))
    return FALSE;
  disk = g_hash_table_lookup (import->disks, part->disk_name);
  if (disk == NULL) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "snapshot '%s' has a disk '%s' that the VM has not",
                      snapshot->name, part->disk_name);
    return FALSE;
  }
  part->disk = disk->row;
  return get_row (disk, object, "image", FALSE, &part->image, error) &&
         get_row (disk, object, "overlay", TRUE, &part->overlay, error);
}

/* It comes after those that are here: its place among its own stays. */
static gboolean
import_snapshot (Import *import, JsonObject *object, gint64 *last, GError **error)
{
  g_autoptr (ChainsSnapshot) snapshot = engine_document_to_snapshot (object, error);
  JsonArray *disks;

  if (snapshot == NULL || !engine_document_get_array (object, "disks", JSON_NODE_OBJECT, &disks, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (disks); i++)
    if (!import_part (import, snapshot, json_array_get_object_element (disks, i), error))
      return FALSE;
  if (snapshot->sequence <= *last) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "snapshot '%s' is out of order", snapshot->name);
    return FALSE;
  }
  *last = snapshot->sequence;
  snapshot->sequence = 0;
  snapshot->vm = import->vm->id;
  return chains_snapshots_add (import->context->db, snapshot, error);
}

static gboolean
import_rows (Import *import, JsonObject *document, GError **error)
{
  JsonArray *disks, *snapshots;
  gint64 last = 0;

  if (!engine_document_get_array (document, "disks", JSON_NODE_OBJECT, &disks, error) ||
      !engine_document_get_array (document, "snapshots", JSON_NODE_OBJECT, &snapshots, error) ||
      !chains_registry_add_vm (import->context->db, import->vm, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (disks); i++)
    if (!import_disk (import, json_array_get_object_element (disks, i), error))
      return FALSE;
  for (guint i = 0; i < json_array_get_length (snapshots); i++)
    if (!import_snapshot (import, json_array_get_object_element (snapshots, i), &last, error))
      return FALSE;
  return TRUE;
}

/* ---- import ---- */

static gboolean
check_name_is_free (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (ChainsVm) taken = chains_registry_get_vm (context->db, name, &failure);

  if (taken == NULL && g_error_matches (failure, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND))
    return TRUE;
  if (taken == NULL)
    g_propagate_error (error, g_steal_pointer (&failure));
  else
    engine_error_set (error, ENGINE_ERROR_EXISTS, "`chainctl vm remove` it first, if it is the same",
                      "a VM '%s' is registered already", name);
  return FALSE;
}

static gboolean
store (Import *import, JsonObject *document, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (import->context->db, error);

  return transaction != NULL && check_name_is_free (import->context, import->vm->name, error) &&
         import_rows (import, document, error) && chains_transaction_commit (transaction, error);
}

/* What the database refuses in a document is no wrong command line. */
static gboolean
tell_failure (const char *file, GError *failure, GError **error)
{
  if (!g_error_matches (failure, CHAINS_ERROR, CHAINS_ERROR_INVALID)) {
    g_propagate_prefixed_error (error, failure, "'%s': ", file);
    return FALSE;
  }
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "'%s' makes no sense: %s", file, failure->message);
  g_error_free (failure);
  return FALSE;
}

/* The notes that came with the images are another host's. */
static void
write_notes (EngineContext *context, const char *name)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, NULL, &failure);

  if (vm == NULL || !engine_notebook_refresh (vm, &failure))
    engine_context_warn (context, "note-not-written", "%s", failure->message);
}

char *
engine_transfer_import (EngineContext *context, const char *file, GError **error)
{
  g_auto (Import) import = {.context = context};
  g_autoptr (EngineLock) lock = NULL;
  g_autoptr (JsonNode) root = NULL;
  JsonObject *document, *vm;
  GError *failure = NULL;

  root = read_document (file, &document, error);
  if (root == NULL)
    return NULL;
  if (!engine_document_get_object (document, "vm", &vm, &failure) ||
      (import.vm = engine_document_to_vm (vm, &failure)) == NULL) {
    tell_failure (file, failure, error);
    return NULL;
  }
  import.disks = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)import_disk_free);
  lock = engine_lock_take (context, import.vm->name, "vm import", error);
  if (lock == NULL)
    return NULL;
  if (!store (&import, document, &failure)) {
    tell_failure (file, failure, error);
    return NULL;
  }
  write_notes (context, import.vm->name);
  return g_strdup (import.vm->name);
}
