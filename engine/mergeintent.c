/*
 * Merge intents to and from the journal's JSON: what is written must read back as
 * the same, since recovery has nothing else.
 */
#include "engine/mergeintent.h"

#include "engine/document.h"
#include "engine/error.h"
#include "qmp/message.h"

static void
image_free (EngineMergeImage *image)
{
  if (image == NULL)
    return;
  g_free (image->path);
  g_free (image->node);
  g_free (image->file_node);
  g_free (image);
}

static void
part_free (EngineMergePart *part)
{
  g_free (part->disk);
  g_free (part->job);
  g_free (part->filter);
  g_free (part->root);
  g_free (part->qdev);
  image_free (part->receiver);
  image_free (part->above);
  image_free (part->below);
  g_ptr_array_unref (part->images);
  g_free (part);
}

static const char *const kind_words[] = {"commit", "stream", NULL};

EngineMergeIntent *
engine_mergeintent_new (EngineMergeKind kind)
{
  EngineMergeIntent *intent = g_new0 (EngineMergeIntent, 1);

  intent->kind = kind;
  intent->parts = g_ptr_array_new_with_free_func ((GDestroyNotify)part_free);
  intent->destroyed = g_ptr_array_new_with_free_func ((GDestroyNotify)chains_snapshot_free);
  return intent;
}

void
engine_mergeintent_free (EngineMergeIntent *intent)
{
  if (intent == NULL)
    return;
  g_ptr_array_unref (intent->parts);
  g_ptr_array_unref (intent->destroyed);
  g_free (intent);
}

EngineMergeImage *
engine_mergeintent_image_new (gint64 row, const char *path)
{
  EngineMergeImage *image = g_new0 (EngineMergeImage, 1);

  image->row = row;
  image->path = g_strdup (path);
  return image;
}

EngineMergePart *
engine_mergeintent_add_part (EngineMergeIntent *intent, const char *disk)
{
  EngineMergePart *part = g_new0 (EngineMergePart, 1);

  part->disk = g_strdup (disk);
  part->images = g_ptr_array_new_with_free_func ((GDestroyNotify)image_free);
  g_ptr_array_add (intent->parts, part);
  return part;
}

gboolean
engine_mergeintent_is_active (const EngineMergePart *part)
{
  return part->above == NULL;
}

gboolean
engine_mergeintent_moves (const EngineMergeIntent *intent)
{
  return intent->kind == ENGINE_MERGE_COMMIT && intent->parts->len > 0 &&
         engine_mergeintent_is_active (g_ptr_array_index (intent->parts, 0));
}

char *
engine_mergeintent_flush_node (const char *op, guint index)
{
  return engine_op_name_of (op, index, "w");
}

GPtrArray *
engine_mergeintent_jobs (const EngineMergeIntent *intent)
{
  GPtrArray *jobs = engine_job_list_new ();

  for (guint i = 0; i < intent->parts->len; i++) {
    const EngineMergePart *part = g_ptr_array_index (intent->parts, i);
    g_autofree char *folder = g_path_get_dirname (part->receiver->path);

    engine_job_list_add (jobs, part->disk, part->job, folder);
  }
  return jobs;
}

const char *
engine_mergeintent_verb (const EngineMergeIntent *intent)
{
  return kind_words[intent->kind];
}

gboolean
engine_mergeintent_is_verb (const char *verb)
{
  return g_strv_contains (kind_words, verb);
}

/* ---- to JSON ---- */

static JsonObject *
image_to_json (const EngineMergeImage *image)
{
  JsonObject *object = json_object_new ();

  json_object_set_int_member (object, "row", image->row);
  json_object_set_string_member (object, "path", image->path);
  qmp_message_put_string (object, "node", image->node);
  qmp_message_put_string (object, "file-node", image->file_node);
  json_object_set_boolean_member (object, "made", image->made);
  json_object_set_int_member (object, "device", (gint64)image->device);
  json_object_set_int_member (object, "inode", (gint64)image->inode);
  return object;
}

static JsonObject *
part_to_json (const EngineMergePart *part)
{
  JsonObject *object = json_object_new ();
  JsonArray *images = json_array_new ();

  for (guint i = 0; i < part->images->len; i++)
    json_array_add_object_element (images, image_to_json (g_ptr_array_index (part->images, i)));
  json_object_set_string_member (object, "disk", part->disk);
  json_object_set_string_member (object, "job", part->job);
  json_object_set_string_member (object, "filter", part->filter);
  json_object_set_string_member (object, "root", part->root);
  qmp_message_put_string (object, "qdev", part->qdev);
  json_object_set_object_member (object, "receiver", image_to_json (part->receiver));
  if (part->above != NULL)
    json_object_set_object_member (object, "above", image_to_json (part->above));
  if (part->below != NULL)
    json_object_set_object_member (object, "below", image_to_json (part->below));
  json_object_set_array_member (object, "images", images);
  json_object_set_int_member (object, "receiver-mode", part->receiver_mode);
  json_object_set_int_member (object, "above-mode", part->above_mode);
  json_object_set_int_member (object, "size", part->size);
  json_object_set_int_member (object, "mtime-ns", part->mtime_ns);
  return object;
}

/* With its parts: it may have to be put back. */
static JsonObject *
snapshot_to_json (const ChainsSnapshot *snapshot)
{
  JsonObject *object = engine_document_from_snapshot (snapshot);
  JsonArray *parts = json_array_new ();

  for (guint i = 0; i < snapshot->disks->len; i++) {
    const ChainsSnapshotDisk *row = g_ptr_array_index (snapshot->disks, i);
    JsonObject *part = json_object_new ();

    json_object_set_int_member (part, "disk", row->disk);
    json_object_set_int_member (part, "image", row->image);
    json_object_set_int_member (part, "overlay", row->overlay);
    json_array_add_object_element (parts, part);
  }
  json_object_set_array_member (object, "parts", parts);
  return object;
}

JsonObject *
engine_mergeintent_to_json (const EngineMergeIntent *intent)
{
  JsonObject *object = json_object_new ();
  JsonArray *parts = json_array_new (), *destroyed = json_array_new ();

  for (guint i = 0; i < intent->parts->len; i++)
    json_array_add_object_element (parts, part_to_json (g_ptr_array_index (intent->parts, i)));
  for (guint i = 0; i < intent->destroyed->len; i++)
    json_array_add_object_element (destroyed, snapshot_to_json (g_ptr_array_index (intent->destroyed, i)));
  json_object_set_string_member (object, "kind", engine_mergeintent_verb (intent));
  json_object_set_boolean_member (object, "pivot", intent->pivot);
  json_object_set_boolean_member (object, "keep-images", intent->keep_images);
  json_object_set_int_member (object, "speed", intent->speed);
  json_object_set_int_member (object, "qemu", intent->qemu);
  json_object_set_array_member (object, "parts", parts);
  json_object_set_array_member (object, "destroyed", destroyed);
  return object;
}

/* ---- from JSON ---- */

static EngineMergeImage *
image_from_json (JsonObject *object, GError **error)
{
  const char *path;
  EngineMergeImage *image;

  if (!qmp_message_get_string (object, "path", &path, error))
    return NULL;
  image = engine_mergeintent_image_new (qmp_message_peek_int (object, "row", 0), path);
  image->node = g_strdup (qmp_message_peek_string (object, "node"));
  image->file_node = g_strdup (qmp_message_peek_string (object, "file-node"));
  image->made = qmp_message_peek_boolean (object, "made", FALSE);
  image->device = (guint64)qmp_message_peek_int (object, "device", 0);
  image->inode = (guint64)qmp_message_peek_int (object, "inode", 0);
  return image;
}

static gboolean
peek_image (JsonObject *object, const char *member, EngineMergeImage **image, GError **error)
{
  JsonObject *inner;

  if (!json_object_has_member (object, member))
    return TRUE;
  if (!qmp_message_get_object (object, member, &inner, error))
    return FALSE;
  *image = image_from_json (inner, error);
  return *image != NULL;
}

static gboolean
images_from_json (EngineMergePart *part, JsonArray *array, GError **error)
{
  for (guint i = 0; i < json_array_get_length (array); i++) {
    EngineMergeImage *image = image_from_json (json_array_get_object_element (array, i), error);

    if (image == NULL)
      return FALSE;
    g_ptr_array_add (part->images, image);
  }
  return TRUE;
}

static gboolean
part_from_json (EngineMergeIntent *intent, JsonObject *object, GError **error)
{
  const char *disk, *job, *filter, *root;
  EngineMergePart *part;
  JsonArray *images;

  if (!qmp_message_get_string (object, "disk", &disk, error) || !qmp_message_get_string (object, "job", &job, error) ||
      !qmp_message_get_string (object, "filter", &filter, error) ||
      !qmp_message_get_string (object, "root", &root, error) ||
      !qmp_message_get_array (object, "images", &images, error))
    return FALSE;
  part = engine_mergeintent_add_part (intent, disk);
  part->job = g_strdup (job);
  part->filter = g_strdup (filter);
  part->root = g_strdup (root);
  part->qdev = g_strdup (qmp_message_peek_string (object, "qdev"));
  part->receiver_mode = (guint)qmp_message_peek_int (object, "receiver-mode", 0) & 07777;
  part->above_mode = (guint)qmp_message_peek_int (object, "above-mode", 0) & 07777;
  part->size = qmp_message_peek_int (object, "size", 0);
  part->mtime_ns = qmp_message_peek_int (object, "mtime-ns", 0);
  return images_from_json (part, images, error) && peek_image (object, "receiver", &part->receiver, error) &&
         peek_image (object, "above", &part->above, error) && peek_image (object, "below", &part->below, error) &&
         part->receiver != NULL && part->images->len > 0;
}

static gboolean
snapshot_from_json (EngineMergeIntent *intent, JsonObject *object, GError **error)
{
  g_autoptr (ChainsSnapshot) snapshot = engine_document_to_snapshot (object, error);
  JsonArray *parts;

  if (snapshot == NULL || !qmp_message_get_array (object, "parts", &parts, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (parts); i++) {
    JsonObject *from = json_array_get_object_element (parts, i);
    ChainsSnapshotDisk *part = chains_snapshot_disk_new ();

    part->disk = qmp_message_peek_int (from, "disk", 0);
    part->image = qmp_message_peek_int (from, "image", 0);
    part->overlay = qmp_message_peek_int (from, "overlay", 0);
    g_ptr_array_add (snapshot->disks, part);
  }
  g_ptr_array_add (intent->destroyed, g_steal_pointer (&snapshot));
  return TRUE;
}

static gboolean
parse (EngineMergeIntent *intent, JsonObject *object, GError **error)
{
  JsonArray *parts, *destroyed;

  intent->pivot = qmp_message_peek_boolean (object, "pivot", FALSE);
  intent->keep_images = qmp_message_peek_boolean (object, "keep-images", FALSE);
  intent->speed = qmp_message_peek_int (object, "speed", 0);
  intent->qemu = qmp_message_peek_int (object, "qemu", 0);
  if (!qmp_message_get_array (object, "parts", &parts, error) ||
      !qmp_message_get_array (object, "destroyed", &destroyed, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (parts); i++)
    if (!part_from_json (intent, json_array_get_object_element (parts, i), error))
      return FALSE;
  for (guint i = 0; i < json_array_get_length (destroyed); i++)
    if (!snapshot_from_json (intent, json_array_get_object_element (destroyed, i), error))
      return FALSE;
  return TRUE;
}

EngineMergeIntent *
engine_mergeintent_from_json (const char *text, GError **error)
{
  g_autoptr (JsonNode) root = json_from_string (text, NULL);
  g_autoptr (EngineMergeIntent) intent = engine_mergeintent_new (ENGINE_MERGE_COMMIT);
  g_autoptr (GError) failure = NULL;

  if (root != NULL && JSON_NODE_HOLDS_OBJECT (root)) {
    const char *kind = qmp_message_peek_string (json_node_get_object (root), "kind");

    intent->kind = g_strcmp0 (kind, "stream") == 0 ? ENGINE_MERGE_STREAM : ENGINE_MERGE_COMMIT;
    if (parse (intent, json_node_get_object (root), &failure))
      return g_steal_pointer (&intent);
  }
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "the journal's intent cannot be read: %s",
                    failure != NULL ? failure->message : "it is no JSON object");
  return NULL;
}
