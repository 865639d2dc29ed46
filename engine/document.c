/*
 * Writes models as JSON, and reads such JSON from files that anybody may have
 * written. Promises a model that the database takes, or an error; what the
 * models mean together is left to whoever reads.
 */
#include "engine/document.h"

#include "engine/error.h"

#include <limits.h>
#include <string.h>

/* A note is four levels deep. The parser recurses: a file of brackets must not reach it. */
#define MAX_DEPTH 16
#define MAX_PATH 4096
#define ID_LENGTH 36

/* ---- text ---- */

/* One object or array and nothing more, not too deep. What the parser would take beyond JSON (comments, other quotes, a
 * second text) is refused: this would count other brackets than it. */
static gboolean
is_one_shallow_tree (const char *text, gsize length)
{
  gboolean quoted = FALSE;
  gboolean begun = FALSE;
  guint depth = 0;

  for (gsize at = 0; at < length; at++) {
    char letter = text[at];

    if (quoted && letter == '\\') {
      at++;
    } else if (depth > 0 && letter == '"') {
      quoted = !quoted;
    } else if (!quoted && (letter == '{' || letter == '[')) {
      if (++depth > MAX_DEPTH || (depth == 1 && begun))
        return FALSE;
      begun = TRUE;
    } else if (!quoted && (letter == '}' || letter == ']')) {
      if (depth-- == 0)
        return FALSE;
    } else if (!quoted && !g_ascii_isspace (letter) &&
               (depth == 0 || (!g_ascii_isalnum (letter) && strchr (":,+-.", letter) == NULL))) {
      return FALSE;
    }
  }
  return begun && depth == 0;
}

static gboolean
wrong (GError **error, const char *key, const char *what)
{
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "its member '%s' is %s", key, what);
  return FALSE;
}

JsonNode *
engine_document_parse (const char *text, gsize length, GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new_immutable ();
  JsonNode *root = NULL;

  if (length > G_MAXSSIZE || !g_utf8_validate (text, (gssize)length, NULL) || !is_one_shallow_tree (text, length)) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "it is no JSON document of ours");
    return NULL;
  }
  if (json_parser_load_from_data (parser, text, (gssize)length, NULL))
    root = json_parser_get_root (parser);
  if (root == NULL || JSON_NODE_HOLDS_VALUE (root) || JSON_NODE_HOLDS_NULL (root)) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "it is no JSON document, or cut short");
    return NULL;
  }
  return json_node_ref (root);
}

char *
engine_document_to_text (JsonObject *object, gboolean pretty)
{
  g_autoptr (JsonNode) root = json_node_init_object (json_node_alloc (), object);

  return json_to_string (root, pretty);
}

/* ---- members ---- */

static gboolean
holds (JsonNode *node, GType type)
{
  return node != NULL && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == type;
}

gboolean
engine_document_get_string (JsonObject *object, const char *key, gboolean nullable, char **out, GError **error)
{
  JsonNode *node = json_object_get_member (object, key);

  if (nullable && node != NULL && JSON_NODE_HOLDS_NULL (node)) {
    *out = NULL;
    return TRUE;
  }
  if (!holds (node, G_TYPE_STRING))
    return wrong (error, key, "no text");
  *out = json_node_dup_string (node);
  return TRUE;
}

gboolean
engine_document_get_path (JsonObject *object, const char *key, gboolean nullable, char **out, GError **error)
{
  g_autofree char *coded_key = g_strconcat (key, "_b64", NULL);
  g_autofree char *path = NULL;
  gsize length;

  if (json_object_has_member (object, coded_key)) {
    g_autofree char *coded = NULL;

    if (!engine_document_get_string (object, coded_key, FALSE, &coded, error))
      return FALSE;
    path = (char *)g_base64_decode (coded, &length);
    if (memchr (path, '\0', length) != NULL)
      return wrong (error, coded_key, "no path");
    path = g_realloc (path, length + 1);
    path[length] = '\0';
  } else if (!engine_document_get_string (object, key, nullable, &path, error)) {
    return FALSE;
  }
  if (path != NULL && (*path == '\0' || strlen (path) > MAX_PATH))
    return wrong (error, key, "no path");
  *out = g_steal_pointer (&path);
  return TRUE;
}

gboolean
engine_document_get_int (JsonObject *object, const char *key, gint64 least, gint64 most, gint64 *out, GError **error)
{
  JsonNode *node = json_object_get_member (object, key);

  if (!holds (node, G_TYPE_INT64))
    return wrong (error, key, "no whole number");
  if (json_node_get_int (node) < least || json_node_get_int (node) > most)
    return wrong (error, key, "a number out of its range");
  *out = json_node_get_int (node);
  return TRUE;
}

gboolean
engine_document_get_boolean (JsonObject *object, const char *key, gboolean *out, GError **error)
{
  JsonNode *node = json_object_get_member (object, key);

  if (!holds (node, G_TYPE_BOOLEAN))
    return wrong (error, key, "neither true nor false");
  *out = json_node_get_boolean (node);
  return TRUE;
}

gboolean
engine_document_get_object (JsonObject *object, const char *key, JsonObject **out, GError **error)
{
  JsonNode *node = json_object_get_member (object, key);

  if (node == NULL || !JSON_NODE_HOLDS_OBJECT (node))
    return wrong (error, key, "no object");
  *out = json_node_get_object (node);
  return TRUE;
}

gboolean
engine_document_get_array (JsonObject *object, const char *key, JsonNodeType type, JsonArray **out, GError **error)
{
  JsonNode *node = json_object_get_member (object, key);
  JsonArray *array;

  if (node == NULL || !JSON_NODE_HOLDS_ARRAY (node))
    return wrong (error, key, "no list");
  array = json_node_get_array (node);
  for (guint i = 0; i < json_array_get_length (array); i++) {
    JsonNode *element = json_array_get_element (array, i);

    if (json_node_get_node_type (element) != type || (type == JSON_NODE_VALUE && !holds (element, G_TYPE_STRING)))
      return wrong (error, key, "a list with something else in it");
  }
  *out = array;
  return TRUE;
}

static void
set_string (JsonObject *object, const char *key, const char *text)
{
  if (text != NULL)
    json_object_set_string_member (object, key, text);
  else
    json_object_set_null_member (object, key);
}

void
engine_document_set_path (JsonObject *object, const char *key, const char *path)
{
  g_autofree char *shown = path != NULL ? g_utf8_make_valid (path, -1) : NULL;

  set_string (object, key, shown);
  if (path != NULL && !g_str_equal (shown, path)) {
    g_autofree char *coded = g_base64_encode ((const guchar *)path, strlen (path));
    g_autofree char *coded_key = g_strconcat (key, "_b64", NULL);

    json_object_set_string_member (object, coded_key, coded);
  }
}

/* ---- models ---- */

JsonObject *
engine_document_from_vm (const ChainsVm *vm)
{
  JsonObject *object = json_object_new ();

  set_string (object, "name", vm->name);
  set_string (object, "uuid", vm->uuid);
  engine_document_set_path (object, "qmp", vm->qmp);
  engine_document_set_path (object, "agent", vm->agent);
  engine_document_set_path (object, "guest", vm->guest);
  set_string (object, "quiesce", chains_quiesce_to_string (vm->quiesce));
  json_object_set_int_member (object, "created_us", vm->created_us);
  return object;
}

/* Of a document, a bad name is no wrong command line. */
static gboolean
check_name (const char *what, const char *name, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (chains_model_check_name (what, name, &failure))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "%s", failure->message);
  return FALSE;
}

ChainsVm *
engine_document_to_vm (JsonObject *object, GError **error)
{
  g_autoptr (ChainsVm) vm = chains_vm_new ();
  g_autofree char *quiesce = NULL;

  if (!engine_document_get_string (object, "name", FALSE, &vm->name, error) || !check_name ("VM", vm->name, error) ||
      !engine_document_get_string (object, "uuid", TRUE, &vm->uuid, error) ||
      !engine_document_get_path (object, "qmp", FALSE, &vm->qmp, error) ||
      !engine_document_get_path (object, "agent", TRUE, &vm->agent, error) ||
      !engine_document_get_path (object, "guest", TRUE, &vm->guest, error) ||
      !engine_document_get_string (object, "quiesce", FALSE, &quiesce, error) ||
      !engine_document_get_int (object, "created_us", 0, G_MAXINT64, &vm->created_us, error))
    return NULL;
  if (!chains_quiesce_from_string (quiesce, &vm->quiesce)) {
    wrong (error, "quiesce", "none of auto, require, off");
    return NULL;
  }
  return g_steal_pointer (&vm);
}

JsonObject *
engine_document_from_disk (const ChainsDisk *disk)
{
  JsonObject *object = json_object_new ();

  set_string (object, "name", disk->name);
  set_string (object, "device", disk->device);
  json_object_set_int_member (object, "position", disk->position);
  json_object_set_boolean_member (object, "ignored", disk->ignored);
  return object;
}

ChainsDisk *
engine_document_to_disk (JsonObject *object, GError **error)
{
  g_autoptr (ChainsDisk) disk = chains_disk_new ();
  gint64 position;

  if (!engine_document_get_string (object, "name", FALSE, &disk->name, error) ||
      !engine_document_get_string (object, "device", TRUE, &disk->device, error) ||
      !engine_document_get_int (object, "position", 0, INT_MAX, &position, error) ||
      !engine_document_get_boolean (object, "ignored", &disk->ignored, error))
    return NULL;
  if (*disk->name == '\0') {
    wrong (error, "name", "empty");
    return NULL;
  }
  disk->position = (int)position;
  return g_steal_pointer (&disk);
}

static void
set_frozen (JsonObject *object, const ChainsImage *image)
{
  JsonObject *frozen = NULL;

  if (image->frozen_size == 0) {
    json_object_set_null_member (object, "frozen");
    return;
  }
  frozen = json_object_new ();
  json_object_set_int_member (frozen, "size", image->frozen_size);
  json_object_set_int_member (frozen, "mtime_ns", image->frozen_mtime_ns);
  set_string (frozen, "header", image->frozen_header);
  json_object_set_object_member (object, "frozen", frozen);
}

JsonObject *
engine_document_from_image (const ChainsImage *image)
{
  JsonObject *object = json_object_new ();

  engine_document_set_path (object, "path", image->path);
  set_string (object, "format", image->format);
  json_object_set_int_member (object, "virtual_size", image->virtual_size);
  json_object_set_boolean_member (object, "owned", image->owned);
  json_object_set_int_member (object, "device", (gint64)image->device);
  json_object_set_int_member (object, "inode", (gint64)image->inode);
  json_object_set_int_member (object, "born_ns", image->born_ns);
  set_string (object, "created_by", image->created_by);
  set_string (object, "options", image->options);
  set_frozen (object, image);
  return object;
}

static gboolean
get_frozen (JsonObject *object, ChainsImage *image, GError **error)
{
  JsonObject *frozen;

  if (json_object_has_member (object, "frozen") && json_object_get_null_member (object, "frozen"))
    return TRUE;
  return engine_document_get_object (object, "frozen", &frozen, error) &&
         engine_document_get_int (frozen, "size", 1, G_MAXINT64, &image->frozen_size, error) &&
         engine_document_get_int (frozen, "mtime_ns", G_MININT64, G_MAXINT64, &image->frozen_mtime_ns, error) &&
         engine_document_get_string (frozen, "header", TRUE, &image->frozen_header, error);
}

/* Options are a JSON object in a text, which others will parse. */
static gboolean
check_options (const char *options, GError **error)
{
  g_autoptr (JsonNode) node = options != NULL ? engine_document_parse (options, strlen (options), NULL) : NULL;

  if (options == NULL ||
      (node != NULL && JSON_NODE_HOLDS_OBJECT (node) && *options == '{' && options[strlen (options) - 1] == '}'))
    return TRUE;
  return wrong (error, "options", "no object");
}

ChainsImage *
engine_document_to_image (JsonObject *object, GError **error)
{
  g_autoptr (ChainsImage) image = chains_image_new ();
  gint64 device, inode;

  if (!engine_document_get_path (object, "path", FALSE, &image->path, error) ||
      !engine_document_get_string (object, "format", FALSE, &image->format, error) ||
      !engine_document_get_int (object, "virtual_size", 0, G_MAXINT64, &image->virtual_size, error) ||
      !engine_document_get_boolean (object, "owned", &image->owned, error) ||
      !engine_document_get_int (object, "device", G_MININT64, G_MAXINT64, &device, error) ||
      !engine_document_get_int (object, "inode", G_MININT64, G_MAXINT64, &inode, error) ||
      !engine_document_get_int (object, "born_ns", G_MININT64, G_MAXINT64, &image->born_ns, error) ||
      !engine_document_get_string (object, "created_by", TRUE, &image->created_by, error) ||
      !engine_document_get_string (object, "options", TRUE, &image->options, error) ||
      !check_options (image->options, error) || !get_frozen (object, image, error))
    return NULL;
  /* It goes into QEMU's options as it is. */
  if (*image->format == '\0' || image->format[strspn (image->format, G_CSET_a_2_z G_CSET_DIGITS "_-")] != '\0') {
    wrong (error, "format", "no name of a format");
    return NULL;
  }
  image->device = (guint64)device;
  image->inode = (guint64)inode;
  return g_steal_pointer (&image);
}

JsonObject *
engine_document_from_snapshot (const ChainsSnapshot *snapshot)
{
  JsonObject *object = json_object_new ();
  JsonArray *tags = json_array_new ();

  for (guint i = 0; i < snapshot->tags->len; i++)
    json_array_add_string_element (tags, g_ptr_array_index (snapshot->tags, i));
  set_string (object, "id", snapshot->id);
  set_string (object, "name", snapshot->name);
  set_string (object, "description", snapshot->description);
  json_object_set_array_member (object, "tags", tags);
  json_object_set_boolean_member (object, "protected", snapshot->protected);
  json_object_set_boolean_member (object, "automatic", snapshot->automatic);
  set_string (object, "consistency", chains_consistency_to_string (snapshot->consistency));
  set_string (object, "reason", snapshot->reason);
  json_object_set_int_member (object, "frozen_us", snapshot->frozen_us);
  json_object_set_int_member (object, "created_us", snapshot->created_us);
  json_object_set_int_member (object, "sequence", snapshot->sequence);
  return object;
}

static gboolean
get_tags (JsonObject *object, ChainsSnapshot *snapshot, GError **error)
{
  JsonArray *tags;

  if (!engine_document_get_array (object, "tags", JSON_NODE_VALUE, &tags, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (tags); i++) {
    const char *tag = json_array_get_string_element (tags, i);

    if (*tag == '\0')
      return wrong (error, "tags", "a list with an empty tag in it");
    g_ptr_array_add (snapshot->tags, g_strdup (tag));
  }
  return TRUE;
}

static gboolean
check_id (const char *id, GError **error)
{
  if (strlen (id) == ID_LENGTH && g_uuid_string_is_valid (id) && strpbrk (id, "ABCDEF") == NULL)
    return TRUE;
  return wrong (error, "id", "no lower-case UUID");
}

ChainsSnapshot *
engine_document_to_snapshot (JsonObject *object, GError **error)
{
  g_autoptr (ChainsSnapshot) snapshot = chains_snapshot_new ();
  g_autofree char *consistency = NULL;

  if (!engine_document_get_string (object, "id", FALSE, &snapshot->id, error) || !check_id (snapshot->id, error) ||
      !engine_document_get_string (object, "name", FALSE, &snapshot->name, error) ||
      !check_name ("snapshot", snapshot->name, error) ||
      !engine_document_get_string (object, "description", TRUE, &snapshot->description, error) ||
      !get_tags (object, snapshot, error) ||
      !engine_document_get_boolean (object, "protected", &snapshot->protected, error) ||
      !engine_document_get_boolean (object, "automatic", &snapshot->automatic, error) ||
      !engine_document_get_string (object, "consistency", FALSE, &consistency, error) ||
      !engine_document_get_string (object, "reason", TRUE, &snapshot->reason, error) ||
      !engine_document_get_int (object, "frozen_us", -1, G_MAXINT64, &snapshot->frozen_us, error) ||
      !engine_document_get_int (object, "created_us", 0, G_MAXINT64, &snapshot->created_us, error) ||
      !engine_document_get_int (object, "sequence", 0, G_MAXINT64 - 1, &snapshot->sequence, error))
    return NULL;
  if (!chains_consistency_from_string (consistency, &snapshot->consistency)) {
    wrong (error, "consistency", "none of application, filesystem, crash, offline");
    return NULL;
  }
  return g_steal_pointer (&snapshot);
}
