/*
 * The form of messages: builds commands, turns error replies into GErrors, and
 * reads members of objects without believing in their types. Promises never to
 * crash on, or guess about, what a peer sent. Leaves bytes to qmp/stream and
 * what a member means to its callers.
 */
#include "qmp/message.h"

#include "qmp/error.h"

/* How much of a peer's explanation is worth showing, in characters. */
#define MAX_WORDS 1000

GBytes *
qmp_message_command (const char *command, JsonObject *arguments, const char *id, GError **error)
{
  g_autoptr (JsonNode) root = json_node_init_object (json_node_alloc (), NULL);
  JsonObject *message = json_object_new ();
  json_node_take_object (root, message);

  json_object_set_string_member (message, "execute", command);
  if (arguments != NULL)
    json_object_set_object_member (message, "arguments", json_object_ref (arguments));
  if (id != NULL)
    json_object_set_string_member (message, "id", id);

  g_autofree char *text = json_to_string (root, FALSE);
  if (!g_utf8_validate (text, -1, NULL)) {
    g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL,
                 "'%s' was not sent: its arguments hold a name that is not UTF-8, which JSON cannot carry", command);
    return NULL;
  }

  g_autofree char *line = g_strconcat (text, "\n", NULL);
  gsize length = strlen (line);
  return g_bytes_new_take (g_steal_pointer (&line), length);
}

static char *
printable_words (const char *words)
{
  g_autoptr (GString) out = g_string_new (NULL);
  guint taken = 0;

  for (const char *at = words; *at != '\0'; at = g_utf8_find_next_char (at, NULL)) {
    gunichar character = g_utf8_get_char (at);
    if (taken++ == MAX_WORDS) {
      g_string_append (out, "…");
      break;
    }
    g_string_append_unichar (out, g_unichar_isprint (character) ? character : ' ');
  }
  return g_string_free (g_steal_pointer (&out), FALSE);
}

static QmpError
code_of_class (const char *class)
{
  if (g_strcmp0 (class, "CommandNotFound") == 0)
    return QMP_ERROR_COMMAND_NOT_FOUND;
  if (g_strcmp0 (class, "DeviceNotFound") == 0)
    return QMP_ERROR_DEVICE_NOT_FOUND;
  return QMP_ERROR_COMMAND;
}

GError *
qmp_message_error (const char *command, JsonObject *error_member)
{
  const char *class = qmp_message_peek_string (error_member, "class");
  const char *desc = qmp_message_peek_string (error_member, "desc");
  g_autofree char *words = printable_words (desc != NULL && *desc != '\0' ? desc : "no reason was given");

  return g_error_new (QMP_ERROR, code_of_class (class), "'%s' was refused: %s", command, words);
}

static JsonNode *
peek (JsonObject *object, const char *member)
{
  return json_object_has_member (object, member) ? json_object_get_member (object, member) : NULL;
}

static gboolean
holds (JsonNode *node, GType type)
{
  return node != NULL && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == type;
}

static void
set_member_error (JsonNode *node, const char *member, const char *kind, GError **error)
{
  if (node == NULL)
    g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "the peer's answer lacks the member '%s'", member);
  else
    g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "the member '%s' of the peer's answer is no %s", member, kind);
}

gboolean
qmp_message_get_string (JsonObject *object, const char *member, const char **out, GError **error)
{
  JsonNode *node = peek (object, member);

  if (!holds (node, G_TYPE_STRING)) {
    set_member_error (node, member, "string", error);
    return FALSE;
  }
  *out = json_node_get_string (node);
  return TRUE;
}

gboolean
qmp_message_get_int (JsonObject *object, const char *member, gint64 *out, GError **error)
{
  JsonNode *node = peek (object, member);

  if (!holds (node, G_TYPE_INT64)) {
    set_member_error (node, member, "integer", error);
    return FALSE;
  }
  *out = json_node_get_int (node);
  return TRUE;
}

gboolean
qmp_message_get_boolean (JsonObject *object, const char *member, gboolean *out, GError **error)
{
  JsonNode *node = peek (object, member);

  if (!holds (node, G_TYPE_BOOLEAN)) {
    set_member_error (node, member, "boolean", error);
    return FALSE;
  }
  *out = json_node_get_boolean (node);
  return TRUE;
}

gboolean
qmp_message_get_object (JsonObject *object, const char *member, JsonObject **out, GError **error)
{
  JsonNode *node = peek (object, member);

  if (node == NULL || !JSON_NODE_HOLDS_OBJECT (node)) {
    set_member_error (node, member, "object", error);
    return FALSE;
  }
  *out = json_node_get_object (node);
  return TRUE;
}

gboolean
qmp_message_get_array (JsonObject *object, const char *member, JsonArray **out, GError **error)
{
  JsonNode *node = peek (object, member);

  if (node == NULL || !JSON_NODE_HOLDS_ARRAY (node)) {
    set_member_error (node, member, "array", error);
    return FALSE;
  }
  *out = json_node_get_array (node);
  return TRUE;
}

const char *
qmp_message_peek_string (JsonObject *object, const char *member)
{
  JsonNode *node = peek (object, member);
  return holds (node, G_TYPE_STRING) ? json_node_get_string (node) : NULL;
}

JsonObject *
qmp_message_peek_object (JsonObject *object, const char *member)
{
  JsonNode *node = peek (object, member);
  return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

gint64
qmp_message_peek_int (JsonObject *object, const char *member, gint64 otherwise)
{
  JsonNode *node = peek (object, member);
  return holds (node, G_TYPE_INT64) ? json_node_get_int (node) : otherwise;
}

gboolean
qmp_message_peek_boolean (JsonObject *object, const char *member, gboolean otherwise)
{
  JsonNode *node = peek (object, member);
  return holds (node, G_TYPE_BOOLEAN) ? json_node_get_boolean (node) : otherwise;
}

JsonObject *
qmp_message_as_object (JsonNode *reply, const char *command, GError **error)
{
  if (JSON_NODE_HOLDS_OBJECT (reply))
    return json_node_get_object (reply);
  g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "'%s' was answered with something that is no object", command);
  return NULL;
}

JsonArray *
qmp_message_as_array (JsonNode *reply, const char *command, GError **error)
{
  if (JSON_NODE_HOLDS_ARRAY (reply))
    return json_node_get_array (reply);
  g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "'%s' was answered with something that is no array", command);
  return NULL;
}

void
qmp_message_put_string (JsonObject *object, const char *member, const char *value)
{
  if (value != NULL)
    json_object_set_string_member (object, member, value);
}
