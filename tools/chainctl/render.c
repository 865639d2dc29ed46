/*
 * Models to JSON: the keys that scripts rely on, written once. Values are the
 * engine's; text for people is made from the same documents.
 */
#include "tools/chainctl/render.h"

#include <string.h>

void
chainctl_render_string (JsonObject *object, const char *key, const char *text)
{
  if (text == NULL) {
    json_object_set_null_member (object, key);
  } else if (g_utf8_validate (text, -1, NULL)) {
    json_object_set_string_member (object, key, text);
  } else {
    g_autofree char *escaped = chainctl_output_printable (text);

    json_object_set_string_member (object, key, escaped);
  }
}

void
chainctl_render_path (JsonObject *object, const char *key, const char *path)
{
  chainctl_render_string (object, key, path);
  if (path != NULL && !g_utf8_validate (path, -1, NULL)) {
    g_autofree char *bytes = g_base64_encode ((const guchar *)path, strlen (path));
    g_autofree char *bytes_key = g_strconcat (key, "_b64", NULL);

    json_object_set_string_member (object, bytes_key, bytes);
  }
}

void
chainctl_render_duration (JsonObject *object, const char *key, gint64 us)
{
  if (us >= 0)
    json_object_set_int_member (object, key, us);
  else
    json_object_set_null_member (object, key);
}

void
chainctl_render_time (JsonObject *object, const char *key, gint64 time_us)
{
  g_autofree char *text = time_us != 0 ? chainctl_output_utc_time (time_us) : NULL;

  chainctl_render_string (object, key, text);
}

const ChainctlOutputColumn chainctl_render_disk_columns[] = {
    {"DISK", "disk", CHAINCTL_OUTPUT_TEXT},
    {"SIZE", "virtual_size", CHAINCTL_OUTPUT_SIZE},
    {"FORMAT", "format", CHAINCTL_OUTPUT_TEXT},
    {"ACTIVE IMAGE", "path", CHAINCTL_OUTPUT_TEXT},
    {NULL},
};

static JsonArray *
render_vm_disks (const EngineVmView *view)
{
  JsonArray *disks = json_array_new ();

  for (guint i = 0; i < view->disks->len; i++) {
    const EngineVmDisk *disk = g_ptr_array_index (view->disks, i);
    JsonObject *object = json_object_new ();

    json_object_set_string_member (object, "disk", disk->name);
    chainctl_render_string (object, "device", disk->device);
    chainctl_render_string (object, "node", disk->node);
    chainctl_render_path (object, "path", disk->path);
    json_object_set_string_member (object, "format", disk->format);
    json_object_set_int_member (object, "virtual_size", disk->virtual_size);
    chainctl_render_path (object, "base", disk->base);
    json_object_set_boolean_member (object, "ignored", disk->ignored);
    json_array_add_object_element (disks, object);
  }
  return disks;
}

static JsonArray *
render_skipped (const EngineVmView *view)
{
  JsonArray *skipped = json_array_new ();

  for (guint i = 0; i < view->skipped->len; i++) {
    const EngineVmSkipped *device = g_ptr_array_index (view->skipped, i);
    JsonObject *object = json_object_new ();

    json_object_set_string_member (object, "device", device->name);
    json_object_set_string_member (object, "why", device->why);
    json_array_add_object_element (skipped, object);
  }
  return skipped;
}

JsonObject *
chainctl_render_vm (const EngineVmView *view, gboolean disks)
{
  const ChainsVm *record = view->record;
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "name", record->name);
  chainctl_render_string (object, "uuid", record->uuid);
  chainctl_render_path (object, "qmp", record->qmp);
  chainctl_render_path (object, "agent", record->agent);
  chainctl_render_path (object, "guest", record->guest);
  json_object_set_string_member (object, "quiesce", chains_quiesce_to_string (record->quiesce));
  json_object_set_string_member (object, "state", engine_vm_state_to_string (view->state));
  if (!disks)
    return object;
  json_object_set_array_member (object, "disks", render_vm_disks (view));
  json_object_set_array_member (object, "skipped", render_skipped (view));
  return object;
}

static JsonArray *
render_snapshot_disks (const ChainsSnapshot *snapshot)
{
  JsonArray *disks = json_array_new ();

  for (guint i = 0; i < snapshot->disks->len; i++) {
    const ChainsSnapshotDisk *part = g_ptr_array_index (snapshot->disks, i);
    JsonObject *object = json_object_new ();

    json_object_set_string_member (object, "disk", part->disk_name);
    chainctl_render_path (object, "image", part->image_path);
    chainctl_render_path (object, "overlay", part->overlay_path);
    json_array_add_object_element (disks, object);
  }
  return disks;
}

static JsonArray *
render_tags (const ChainsSnapshot *snapshot)
{
  JsonArray *tags = json_array_new ();

  for (guint i = 0; i < snapshot->tags->len; i++)
    json_array_add_string_element (tags, g_ptr_array_index (snapshot->tags, i));
  return tags;
}

JsonObject *
chainctl_render_snapshot (const ChainsSnapshot *snapshot, const char *vm)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "id", snapshot->id);
  json_object_set_string_member (object, "name", snapshot->name);
  json_object_set_string_member (object, "vm", vm);
  chainctl_render_time (object, "created", snapshot->created_us);
  chainctl_render_string (object, "description", snapshot->description);
  json_object_set_array_member (object, "tags", render_tags (snapshot));
  json_object_set_boolean_member (object, "protected", snapshot->protected);
  json_object_set_boolean_member (object, "automatic", snapshot->automatic);
  json_object_set_string_member (object, "consistency", chains_consistency_to_string (snapshot->consistency));
  chainctl_render_string (object, "reason", snapshot->reason);
  chainctl_render_duration (object, "frozen_us", snapshot->frozen_us);
  json_object_set_array_member (object, "disks", render_snapshot_disks (snapshot));
  return object;
}

static void
render_tree_job (JsonObject *object, const EngineTreeJob *job)
{
  JsonObject *part;

  if (job == NULL) {
    json_object_set_null_member (object, "job");
    return;
  }
  part = json_object_new ();
  json_object_set_string_member (part, "op", job->op);
  json_object_set_string_member (part, "verb", job->verb);
  json_object_set_string_member (part, "job", job->id);
  chainctl_render_string (part, "status", job->status);
  json_object_set_int_member (part, "current", job->current);
  json_object_set_int_member (part, "total", job->total);
  json_object_set_object_member (object, "job", part);
}

static JsonObject *
render_tree_image (const EngineTreeImage *image)
{
  JsonObject *object = json_object_new ();
  JsonArray *snapshots = json_array_new ();

  for (guint i = 0; i < image->snapshots->len; i++)
    json_array_add_string_element (snapshots, g_ptr_array_index (image->snapshots, i));
  chainctl_render_path (object, "path", image->image->path);
  chainctl_render_path (object, "parent", image->parent != NULL ? image->parent->image->path : NULL);
  json_object_set_string_member (object, "format", image->image->format);
  json_object_set_int_member (object, "virtual_size", image->image->virtual_size);
  json_object_set_int_member (object, "allocated", image->allocated);
  json_object_set_string_member (object, "state", engine_tree_state_to_string (image->state));
  json_object_set_array_member (object, "snapshots", snapshots);
  render_tree_job (object, image->job);
  return object;
}

JsonObject *
chainctl_render_tree (const EngineTree *tree)
{
  const EngineTreeImage *active = engine_tree_active (tree);
  const EngineTreeImage *base = engine_tree_base (tree);
  JsonObject *object = json_object_new ();
  JsonArray *images = json_array_new ();

  for (guint i = 0; i < tree->images->len; i++)
    json_array_add_object_element (images, render_tree_image (g_ptr_array_index (tree->images, i)));
  json_object_set_string_member (object, "disk", tree->disk->name);
  chainctl_render_path (object, "active", active != NULL ? active->image->path : NULL);
  chainctl_render_path (object, "base", base != NULL ? base->image->path : NULL);
  json_object_set_array_member (object, "images", images);
  return object;
}

JsonArray *
chainctl_render_active (const GPtrArray *disks)
{
  JsonArray *active = json_array_new ();

  for (guint i = 0; i < disks->len; i++) {
    const EngineSwitchedDisk *disk = g_ptr_array_index (disks, i);
    JsonObject *object = json_object_new ();

    json_object_set_string_member (object, "disk", disk->disk);
    chainctl_render_path (object, "before", disk->before);
    chainctl_render_path (object, "after", disk->after);
    json_array_add_object_element (active, object);
  }
  return active;
}

JsonArray *
chainctl_render_paths (const GPtrArray *paths)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < paths->len; i++) {
    g_autofree char *shown = g_filename_display_name (g_ptr_array_index (paths, i));

    json_array_add_string_element (array, shown);
  }
  return array;
}
