/*
 * The schema of this QEMU's monitor, kept by type name for look-ups.
 *
 * Promises that a schema of any form is read without a crash: what is not
 * understood merely counts as not there. Leaves to callers what a missing
 * command or argument means. Source: QEMU qapi/introspect.json.
 */
#include "qmp/features.h"

#include "qmp/error.h"
#include "qmp/message.h"

/* Types may refer to themselves (an expression's operand); a path is short, alternates and arrays need few steps. */
#define MAX_STEPS 64

struct _QmpFeatures {
  JsonNode *schema;
  GHashTable *by_name; /* (element-type utf8 JsonObject): both borrowed from the schema */
};

void
qmp_features_free (QmpFeatures *features)
{
  if (features == NULL)
    return;
  g_hash_table_unref (features->by_name);
  json_node_unref (features->schema);
  g_free (features);
}

static JsonObject *
element_object (JsonArray *array, guint i)
{
  JsonNode *node = json_array_get_element (array, i);
  return JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static JsonArray *
peek_array (JsonObject *object, const char *member)
{
  JsonNode *node = json_object_get_member (object, member);
  return node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
}

QmpFeatures *
qmp_features_parse (JsonNode *schema, GError **error)
{
  JsonArray *entries = qmp_message_as_array (schema, "query-qmp-schema", error);
  if (entries == NULL)
    return NULL;
  g_autoptr (QmpFeatures) features = g_new0 (QmpFeatures, 1);
  features->schema = json_node_ref (schema);
  features->by_name = g_hash_table_new (g_str_hash, g_str_equal);
  for (guint i = 0; i < json_array_get_length (entries); i++) {
    JsonObject *entry = element_object (entries, i);
    const char *name = NULL;
    if (entry == NULL) {
      g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "query-qmp-schema: entry %u is no object", i);
      return NULL;
    }
    if (!qmp_message_get_string (entry, "name", &name, error)) {
      g_prefix_error (error, "query-qmp-schema: entry %u: ", i);
      return NULL;
    }
    g_hash_table_insert (features->by_name, (gpointer)(guintptr)name, entry);
  }
  return g_steal_pointer (&features);
}

QmpFeatures *
qmp_features_query (QmpClient *client, gint64 deadline_us, GCancellable *cancellable, GError **error)
{
  g_autoptr (JsonNode) schema = qmp_client_execute (client, "query-qmp-schema", NULL, deadline_us, cancellable, error);
  return schema != NULL ? qmp_features_parse (schema, error) : NULL;
}

static gboolean
is_meta (JsonObject *entry, const char *meta_type)
{
  return entry != NULL && g_strcmp0 (qmp_message_peek_string (entry, "meta-type"), meta_type) == 0;
}

static JsonObject *
find_type (const QmpFeatures *features, const char *name)
{
  return name != NULL ? g_hash_table_lookup (features->by_name, name) : NULL;
}

/* The object in @entries whose @key is @value. */
static JsonObject *
find_entry (JsonArray *entries, const char *key, const char *value)
{
  for (guint i = 0; entries != NULL && i < json_array_get_length (entries); i++) {
    JsonObject *entry = element_object (entries, i);
    if (entry != NULL && g_strcmp0 (qmp_message_peek_string (entry, key), value) == 0)
      return entry;
  }
  return NULL;
}

static gboolean
has_string (JsonArray *values, const char *wanted)
{
  for (guint i = 0; values != NULL && i < json_array_get_length (values); i++) {
    JsonNode *value = json_array_get_element (values, i);
    if (JSON_NODE_HOLDS_VALUE (value) && g_strcmp0 (json_node_get_string (value), wanted) == 0)
      return TRUE;
  }
  return FALSE;
}

/* What an array holds, down through arrays of arrays; anything else is itself. */
static JsonObject *
enter_arrays (const QmpFeatures *features, JsonObject *type)
{
  for (int i = 0; i < MAX_STEPS && is_meta (type, "array"); i++)
    type = find_type (features, qmp_message_peek_string (type, "element-type"));
  return type;
}

/* One step of a path from @type: a member's name, or `=VALUE` of a variant or an enum. Adds the types there. */
static gboolean
step_from (const QmpFeatures *features, JsonObject *type, const char *step, GPtrArray *reached)
{
  const char *value = step[0] == '=' ? step + 1 : NULL;
  if (is_meta (type, "enum")) {
    JsonArray *members = value != NULL ? peek_array (type, "members") : NULL;
    JsonArray *values = value != NULL ? peek_array (type, "values") : NULL;
    /* Since QEMU 6.2 an enum has "members"; "values" is the older form of the same. */
    return find_entry (members, "name", value) != NULL || has_string (values, value);
  }
  if (!is_meta (type, "object"))
    return FALSE;
  JsonObject *found = value != NULL ? find_entry (peek_array (type, "variants"), "case", value)
                                    : find_entry (peek_array (type, "members"), "name", step);
  JsonObject *next = found != NULL ? find_type (features, qmp_message_peek_string (found, "type")) : NULL;
  if (next != NULL)
    g_ptr_array_add (reached, next);
  return found != NULL;
}

/* Each thing that @types may be: arrays entered, alternates opened to all their branches. */
static GPtrArray *
open_types (const QmpFeatures *features, GPtrArray *types)
{
  g_autoptr (GPtrArray) queue = g_ptr_array_copy (types, NULL, NULL);
  GPtrArray *opened = g_ptr_array_new ();
  for (guint i = 0; i < queue->len && i < MAX_STEPS; i++) {
    JsonObject *type = enter_arrays (features, g_ptr_array_index (queue, i));
    JsonArray *branches = is_meta (type, "alternate") ? peek_array (type, "members") : NULL;
    if (type != NULL && branches == NULL)
      g_ptr_array_add (opened, type);
    for (guint j = 0; branches != NULL && j < json_array_get_length (branches); j++) {
      JsonObject *branch = element_object (branches, j);
      JsonObject *inner = branch != NULL ? find_type (features, qmp_message_peek_string (branch, "type")) : NULL;
      if (inner != NULL)
        g_ptr_array_add (queue, inner);
    }
  }
  return opened;
}

gint64
qmp_features_major_version (JsonNode *greeting)
{
  JsonObject *whole = JSON_NODE_HOLDS_OBJECT (greeting) ? json_node_get_object (greeting) : NULL;
  JsonObject *version = whole != NULL ? qmp_message_peek_object (whole, "version") : NULL;
  JsonObject *qemu = version != NULL ? qmp_message_peek_object (version, "qemu") : NULL;
  return qemu != NULL ? qmp_message_peek_int (qemu, "major", 0) : 0;
}

gboolean
qmp_features_has_command (const QmpFeatures *features, const char *command)
{
  return is_meta (find_type (features, command), "command");
}

gboolean
qmp_features_has_argument (const QmpFeatures *features, const char *command, const char *path)
{
  if (!qmp_features_has_command (features, command))
    return FALSE;
  JsonObject *arguments = find_type (features, qmp_message_peek_string (find_type (features, command), "arg-type"));
  g_autoptr (GPtrArray) types = g_ptr_array_new ();
  if (arguments != NULL)
    g_ptr_array_add (types, arguments);
  g_auto (GStrv) steps = g_strsplit (path, ".", -1);
  gboolean there = FALSE;
  for (guint i = 0; steps[i] != NULL; i++) {
    g_autoptr (GPtrArray) opened = open_types (features, types);
    g_autoptr (GPtrArray) reached = g_ptr_array_new ();
    there = FALSE;
    for (guint j = 0; j < opened->len; j++)
      if (step_from (features, g_ptr_array_index (opened, j), steps[i], reached))
        there = TRUE;
    if (!there)
      return FALSE;
    g_ptr_array_unref (types);
    types = g_steal_pointer (&reached);
  }
  return there;
}
