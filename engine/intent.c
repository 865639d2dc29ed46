/*
 * Intents to and from the journal's JSON: what is written must read back as the
 * same, since recovery has nothing else. What one comes to is engine/ending's.
 */
#include "engine/intent.h"

#include "engine/error.h"
#include "qmp/message.h"

/* It is not written down. */
#define USUAL_FORMAT "qcow2"

static void
overlay_free (EngineIntentOverlay *overlay)
{
  g_free (overlay->disk);
  g_free (overlay->path);
  g_free (overlay->format);
  g_free (overlay->stamp);
  g_free (overlay->node);
  g_free (overlay->file_node);
  g_free (overlay->backing);
  g_free (overlay->backing_format);
  g_free (overlay->head);
  g_free (overlay->head_node);
  g_free (overlay->qdev);
  g_free (overlay->options);
  g_free (overlay->live);
  g_free (overlay);
}

EngineIntentOverlay *
engine_intent_overlay_new (void)
{
  return g_new0 (EngineIntentOverlay, 1);
}

static void
discard_free (EngineIntentDiscard *discard)
{
  g_free (discard->path);
  g_free (discard);
}

EngineIntent *
engine_intent_new (void)
{
  EngineIntent *intent = g_new0 (EngineIntent, 1);

  intent->snapshot = chains_snapshot_new ();
  intent->overlays = g_ptr_array_new_with_free_func ((GDestroyNotify)overlay_free);
  intent->opened = g_ptr_array_new_with_free_func (g_free);
  intent->retired = g_ptr_array_new_with_free_func (g_free);
  intent->discards = g_ptr_array_new_with_free_func ((GDestroyNotify)discard_free);
  return intent;
}

void
engine_intent_free (EngineIntent *intent)
{
  if (intent == NULL)
    return;
  g_clear_pointer (&intent->snapshot, chains_snapshot_free);
  g_clear_pointer (&intent->overlays, g_ptr_array_unref);
  g_clear_pointer (&intent->opened, g_ptr_array_unref);
  g_clear_pointer (&intent->retired, g_ptr_array_unref);
  g_clear_pointer (&intent->discards, g_ptr_array_unref);
  g_free (intent);
}

void
engine_intent_add_discard (EngineIntent *intent, gint64 row, const char *path, const EngineImagefile *file)
{
  EngineIntentDiscard *discard = g_new0 (EngineIntentDiscard, 1);

  discard->row = row;
  discard->path = g_strdup (path);
  if (file != NULL) {
    discard->device = file->device;
    discard->inode = file->inode;
  }
  g_ptr_array_add (intent->discards, discard);
}

void
engine_intent_retire (EngineIntent *intent, const QmpNode *node)
{
  if (node != NULL && node->name[0] != '#')
    g_ptr_array_add (intent->retired, g_strdup (node->name));
}

/* ---- JSON ---- */

static JsonObject *
overlay_to_json (const EngineIntentOverlay *overlay)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "disk", overlay->disk);
  json_object_set_string_member (object, "path", overlay->path);
  json_object_set_boolean_member (object, "reused", overlay->reused);
  json_object_set_int_member (object, "device", (gint64)overlay->device);
  json_object_set_int_member (object, "inode", (gint64)overlay->inode);
  json_object_set_int_member (object, "born-ns", overlay->born_ns);
  if (overlay->stamp != NULL)
    json_object_set_string_member (object, "stamp", overlay->stamp);
  json_object_set_string_member (object, "node", overlay->node);
  json_object_set_string_member (object, "file-node", overlay->file_node);
  if (!g_str_equal (overlay->format, USUAL_FORMAT))
    json_object_set_string_member (object, "format", overlay->format);
  if (overlay->backing != NULL) {
    json_object_set_string_member (object, "backing", overlay->backing);
    json_object_set_string_member (object, "backing-format", overlay->backing_format);
  }
  json_object_set_string_member (object, "head", overlay->head);
  json_object_set_int_member (object, "head-mode", overlay->head_mode);
  if (overlay->qdev != NULL) {
    json_object_set_string_member (object, "head-node", overlay->head_node);
    json_object_set_string_member (object, "qdev", overlay->qdev);
  }
  json_object_set_int_member (object, "virtual-size", overlay->virtual_size);
  json_object_set_string_member (object, "options", overlay->options);
  return object;
}

static JsonObject *
snapshot_to_json (const ChainsSnapshot *snapshot)
{
  JsonObject *object = json_object_new ();
  JsonArray *tags = json_array_new ();

  for (guint i = 0; i < snapshot->tags->len; i++)
    json_array_add_string_element (tags, g_ptr_array_index (snapshot->tags, i));
  json_object_set_string_member (object, "id", snapshot->id);
  json_object_set_string_member (object, "name", snapshot->name);
  json_object_set_string_member (object, "description", snapshot->description);
  json_object_set_boolean_member (object, "protected", snapshot->protected);
  json_object_set_boolean_member (object, "automatic", snapshot->automatic);
  json_object_set_array_member (object, "tags", tags);
  return object;
}

static JsonArray *
strings_to_json (const GPtrArray *strings)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < strings->len; i++)
    json_array_add_string_element (array, g_ptr_array_index (strings, i));
  return array;
}

static JsonArray *
discards_to_json (const GPtrArray *discards)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < discards->len; i++) {
    const EngineIntentDiscard *discard = g_ptr_array_index (discards, i);
    JsonObject *object = json_object_new ();

    json_object_set_int_member (object, "row", discard->row);
    json_object_set_string_member (object, "path", discard->path);
    json_object_set_int_member (object, "device", (gint64)discard->device);
    json_object_set_int_member (object, "inode", (gint64)discard->inode);
    json_array_add_object_element (array, object);
  }
  return array;
}

/* What not every operation has is left out. */
static void
add_further (JsonObject *object, const EngineIntent *intent)
{
  if (intent->snapshot != NULL)
    json_object_set_object_member (object, "snapshot", snapshot_to_json (intent->snapshot));
  if (intent->opened->len > 0)
    json_object_set_array_member (object, "opened", strings_to_json (intent->opened));
  if (intent->retired->len > 0)
    json_object_set_array_member (object, "retired", strings_to_json (intent->retired));
  if (intent->discards->len > 0)
    json_object_set_array_member (object, "discards", discards_to_json (intent->discards));
  if (intent->pauses)
    json_object_set_boolean_member (object, "pauses", TRUE);
  if (intent->resets)
    json_object_set_boolean_member (object, "resets", TRUE);
}

JsonObject *
engine_intent_to_json (const EngineIntent *intent)
{
  JsonObject *object = json_object_new ();
  JsonArray *overlays = json_array_new ();

  for (guint i = 0; i < intent->overlays->len; i++)
    json_array_add_object_element (overlays, overlay_to_json (g_ptr_array_index (intent->overlays, i)));
  json_object_set_array_member (object, "overlays", overlays);
  json_object_set_boolean_member (object, "freezes", intent->freezes);
  add_further (object, intent);
  json_object_set_int_member (object, "qemu", intent->qemu);
  return object;
}

typedef struct {
  const char *member;
  char **out;
} StringMember;

static gboolean
get_strings (JsonObject *object, const StringMember *members, gsize count, GError **error)
{
  for (gsize i = 0; i < count; i++) {
    const char *value;

    if (!qmp_message_get_string (object, members[i].member, &value, error))
      return FALSE;
    *members[i].out = g_strdup (value);
  }
  return TRUE;
}

static gboolean
overlay_from_json (EngineIntentOverlay *overlay, JsonObject *object, GError **error)
{
  const StringMember members[] = {
      {"disk", &overlay->disk},           {"path", &overlay->path},       {"node", &overlay->node},
      {"file-node", &overlay->file_node}, {"options", &overlay->options}, {"head", &overlay->head},
  };
  const char *format = qmp_message_peek_string (object, "format");

  overlay->format = g_strdup (format != NULL ? format : USUAL_FORMAT);
  overlay->backing = g_strdup (qmp_message_peek_string (object, "backing"));
  overlay->backing_format = g_strdup (qmp_message_peek_string (object, "backing-format"));

  overlay->reused = qmp_message_peek_boolean (object, "reused", FALSE);
  overlay->device = (guint64)qmp_message_peek_int (object, "device", 0);
  overlay->inode = (guint64)qmp_message_peek_int (object, "inode", 0);
  overlay->born_ns = qmp_message_peek_int (object, "born-ns", 0);
  overlay->stamp = g_strdup (qmp_message_peek_string (object, "stamp"));
  overlay->head_mode = (guint)qmp_message_peek_int (object, "head-mode", 0) & 07777;
  overlay->head_node = g_strdup (qmp_message_peek_string (object, "head-node"));
  overlay->qdev = g_strdup (qmp_message_peek_string (object, "qdev"));
  return qmp_message_get_int (object, "virtual-size", &overlay->virtual_size, error) &&
         get_strings (object, members, G_N_ELEMENTS (members), error);
}

static gboolean
snapshot_from_json (ChainsSnapshot *snapshot, JsonObject *object, GError **error)
{
  const StringMember members[] = {
      {"id", &snapshot->id},
      {"name", &snapshot->name},
      {"description", &snapshot->description},
  };
  JsonArray *tags;

  if (!qmp_message_get_array (object, "tags", &tags, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (tags); i++)
    g_ptr_array_add (snapshot->tags, g_strdup (json_array_get_string_element (tags, i)));
  snapshot->protected = qmp_message_peek_boolean (object, "protected", FALSE);
  snapshot->automatic = qmp_message_peek_boolean (object, "automatic", FALSE);
  return get_strings (object, members, G_N_ELEMENTS (members), error);
}

/* The array @member, or @none. Borrowed. */
static JsonArray *
peek_array (JsonObject *object, const char *member, JsonArray *none)
{
  JsonNode *node = json_object_get_member (object, member);

  return node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : none;
}

static void
strings_from_json (GPtrArray *strings, JsonArray *array)
{
  for (guint i = 0; i < json_array_get_length (array); i++)
    g_ptr_array_add (strings, g_strdup (json_array_get_string_element (array, i)));
}

static gboolean
discards_from_json (EngineIntent *intent, JsonArray *array, GError **error)
{
  for (guint i = 0; i < json_array_get_length (array); i++) {
    JsonObject *object = json_array_get_object_element (array, i);
    const EngineImagefile file = {.device = (guint64)qmp_message_peek_int (object, "device", 0),
                                  .inode = (guint64)qmp_message_peek_int (object, "inode", 0)};
    const char *path;

    if (!qmp_message_get_string (object, "path", &path, error))
      return FALSE;
    engine_intent_add_discard (intent, qmp_message_peek_int (object, "row", 0), path, &file);
  }
  return TRUE;
}

static gboolean
parse_snapshot (EngineIntent *intent, JsonObject *object, GError **error)
{
  JsonObject *snapshot;

  if (!json_object_has_member (object, "snapshot")) {
    g_clear_pointer (&intent->snapshot, chains_snapshot_free);
    return TRUE;
  }
  return qmp_message_get_object (object, "snapshot", &snapshot, error) &&
         snapshot_from_json (intent->snapshot, snapshot, error);
}

static gboolean
parse (EngineIntent *intent, JsonObject *object, GError **error)
{
  g_autoptr (JsonArray) none = json_array_new ();
  JsonArray *overlays;

  intent->freezes = qmp_message_peek_boolean (object, "freezes", FALSE);
  intent->pauses = qmp_message_peek_boolean (object, "pauses", FALSE);
  intent->resets = qmp_message_peek_boolean (object, "resets", FALSE);
  intent->qemu = qmp_message_peek_int (object, "qemu", 0);
  strings_from_json (intent->opened, peek_array (object, "opened", none));
  strings_from_json (intent->retired, peek_array (object, "retired", none));
  if (!parse_snapshot (intent, object, error) ||
      !discards_from_json (intent, peek_array (object, "discards", none), error) ||
      !qmp_message_get_array (object, "overlays", &overlays, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (overlays); i++) {
    EngineIntentOverlay *overlay = engine_intent_overlay_new ();

    g_ptr_array_add (intent->overlays, overlay);
    if (!overlay_from_json (overlay, json_array_get_object_element (overlays, i), error))
      return FALSE;
  }
  return TRUE;
}

EngineIntent *
engine_intent_from_object (JsonObject *object, GError **error)
{
  g_autoptr (EngineIntent) intent = engine_intent_new ();
  g_autoptr (GError) failure = NULL;

  if (object != NULL && parse (intent, object, &failure))
    return g_steal_pointer (&intent);
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "the journal's intent cannot be read: %s",
                    failure != NULL ? failure->message : "it is no JSON object");
  return NULL;
}

EngineIntent *
engine_intent_from_json (const char *text, GError **error)
{
  g_autoptr (JsonNode) root = json_from_string (text, NULL);

  return engine_intent_from_object (root != NULL && JSON_NODE_HOLDS_OBJECT (root) ? json_node_get_object (root) : NULL,
                                    error);
}
