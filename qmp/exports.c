/*
 * Arguments into JSON, replies out of it. Keeps nothing, and knows not what is
 * exported to whom.
 */
#include "qmp/exports.h"

#include "qmp/message.h"

gboolean
qmp_exports_delete_unused (QmpClient *client, QmpWait wait, const char *id, GError **error)
{
  g_autoptr (JsonObject) arguments = json_object_new ();
  g_autoptr (JsonNode) reply = NULL;

  json_object_set_string_member (arguments, "id", id);
  json_object_set_string_member (arguments, "mode", "safe");
  reply = qmp_client_execute (client, "block-export-del", arguments, wait.deadline_us, wait.cancellable, error);
  return reply != NULL;
}

static gboolean
add_written (GHashTable *written, JsonNode *entry, GError **error)
{
  JsonObject *object = qmp_message_as_object (entry, "query-blockstats", error);
  const char *node = object != NULL ? qmp_message_peek_string (object, "node-name") : NULL;
  JsonObject *stats;
  gint64 *end;

  if (object == NULL || !qmp_message_get_object (object, "stats", &stats, error))
    return FALSE;
  if (node == NULL)
    return TRUE;
  end = g_new (gint64, 1);
  *end = qmp_message_peek_int (stats, "wr_highest_offset", 0);
  g_hash_table_insert (written, g_strdup (node), end);
  return TRUE;
}

GHashTable *
qmp_exports_query_written (QmpClient *client, QmpWait wait, GError **error)
{
  g_autoptr (GHashTable) written = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_autoptr (JsonObject) arguments = json_object_new ();
  g_autoptr (JsonNode) reply = NULL;
  JsonArray *entries;

  json_object_set_boolean_member (arguments, "query-nodes", TRUE);
  reply = qmp_client_execute (client, "query-blockstats", arguments, wait.deadline_us, wait.cancellable, error);
  entries = reply != NULL ? qmp_message_as_array (reply, "query-blockstats", error) : NULL;
  for (guint i = 0; entries != NULL && i < json_array_get_length (entries); i++)
    if (!add_written (written, json_array_get_element (entries, i), error))
      return NULL;
  return entries != NULL ? g_steal_pointer (&written) : NULL;
}
