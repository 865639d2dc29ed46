/*
 * The monitor commands that the engine uses, with C arguments.
 *
 * Promises that output arguments are untouched on failure. Leaves sessions and
 * events to qmp/client, and when to send what to the engine.
 * Source: QEMU qapi/{control,misc,run-state,migration,qom,job,block-core,transaction}.json.
 */
#include "qmp/commands.h"

#include "qmp/error.h"
#include "qmp/message.h"

static JsonNode *
execute (QmpClient *client, QmpWait wait, const char *command, JsonObject *arguments, GError **error)
{
  return qmp_client_execute (client, command, arguments, wait.deadline_us, wait.cancellable, error);
}

/* For a command whose reply says nothing. */
static gboolean
execute_plain (QmpClient *client, QmpWait wait, const char *command, JsonObject *arguments, GError **error)
{
  g_autoptr (JsonNode) reply = execute (client, wait, command, arguments, error);
  return reply != NULL;
}

static JsonObject *
one_string (const char *member, const char *value)
{
  JsonObject *object = json_object_new ();
  json_object_set_string_member (object, member, value);
  return object;
}

/* The string @member of what @command replies. Returns: (transfer full) */
static char *
finish_string (QmpCall *call, GCancellable *cancellable, const char *command, const char *member, GError **error)
{
  const char *value = NULL;
  g_autoptr (JsonNode) reply = qmp_call_finish (call, cancellable, error);
  JsonObject *object = reply != NULL ? qmp_message_as_object (reply, command, error) : NULL;
  if (object == NULL)
    return NULL;
  if (!qmp_message_get_string (object, member, &value, error)) {
    g_prefix_error (error, "%s: ", command);
    return NULL;
  }
  return g_strdup (value);
}

QmpCall *
qmp_commands_start_query_status (QmpClient *client, gint64 deadline_us)
{
  return qmp_client_start (client, "query-status", NULL, deadline_us);
}

char *
qmp_commands_finish_query_status (QmpCall *call, GCancellable *cancellable, GError **error)
{
  return finish_string (call, cancellable, "query-status", "status", error);
}

QmpCall *
qmp_commands_start_query_uuid (QmpClient *client, gint64 deadline_us)
{
  return qmp_client_start (client, "query-uuid", NULL, deadline_us);
}

char *
qmp_commands_finish_query_uuid (QmpCall *call, GCancellable *cancellable, GError **error)
{
  return finish_string (call, cancellable, "query-uuid", "UUID", error);
}

QmpCall *
qmp_commands_start_query_migrate (QmpClient *client, gint64 deadline_us)
{
  return qmp_client_start (client, "query-migrate", NULL, deadline_us);
}

char *
qmp_commands_finish_query_migrate (QmpCall *call, GCancellable *cancellable, GError **error)
{
  g_autoptr (JsonNode) reply = qmp_call_finish (call, cancellable, error);
  JsonObject *info = reply != NULL ? qmp_message_as_object (reply, "query-migrate", error) : NULL;
  if (info == NULL)
    return NULL;
  const char *status = qmp_message_peek_string (info, "status");
  return g_strdup (status != NULL ? status : "none");
}

QmpCall *
qmp_commands_start_qom_get (QmpClient *client, gint64 deadline_us, const char *path, const char *property)
{
  g_autoptr (JsonObject) arguments = one_string ("path", path);
  json_object_set_string_member (arguments, "property", property);
  return qmp_client_start (client, "qom-get", arguments, deadline_us);
}

static void
add_inserted (GHashTable *table, JsonNode *entry)
{
  JsonObject *object = JSON_NODE_HOLDS_OBJECT (entry) ? json_node_get_object (entry) : NULL;
  const char *qdev = object != NULL ? qmp_message_peek_string (object, "qdev") : NULL;
  JsonNode *inserted = qdev != NULL ? json_object_get_member (object, "inserted") : NULL;
  const char *node = NULL;
  if (inserted != NULL && JSON_NODE_HOLDS_OBJECT (inserted))
    node = qmp_message_peek_string (json_node_get_object (inserted), "node-name");
  if (node != NULL)
    g_hash_table_insert (table, g_strdup (qdev), g_strdup (node));
}

QmpCall *
qmp_commands_start_query_inserted (QmpClient *client, gint64 deadline_us)
{
  return qmp_client_start (client, "query-block", NULL, deadline_us);
}

GHashTable *
qmp_commands_finish_query_inserted (QmpCall *call, GCancellable *cancellable, GError **error)
{
  g_autoptr (JsonNode) reply = qmp_call_finish (call, cancellable, error);
  g_autoptr (GHashTable) table = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  JsonArray *entries = reply != NULL ? qmp_message_as_array (reply, "query-block", error) : NULL;
  for (guint i = 0; entries != NULL && i < json_array_get_length (entries); i++)
    add_inserted (table, json_array_get_element (entries, i));
  return entries != NULL ? g_steal_pointer (&table) : NULL;
}

JsonNode *
qmp_commands_query_pci (QmpClient *client, QmpWait wait, GError **error)
{
  return execute (client, wait, "query-pci", NULL, error);
}

QmpCall *
qmp_commands_start_qom_set (QmpClient *client, gint64 deadline_us, const char *path, const char *property,
                            const char *value)
{
  g_autoptr (JsonObject) arguments = one_string ("path", path);
  json_object_set_string_member (arguments, "property", property);
  json_object_set_string_member (arguments, "value", value);
  return qmp_client_start (client, "qom-set", arguments, deadline_us);
}

gboolean
qmp_commands_stop (QmpClient *client, QmpWait wait, GError **error)
{
  return execute_plain (client, wait, "stop", NULL, error);
}

static gboolean
is_reset (const QmpClientEvent *event, gpointer user_data)
{
  return g_str_equal (event->name, "RESET");
}

/* Those of the guest's own reboots say nothing of the one that is asked for. */
static void
forget_resets (QmpClient *client)
{
  QmpClientEvent *event;
  while ((event = qmp_client_wait_event_matching (client, is_reset, NULL, 0, NULL, NULL)) != NULL)
    qmp_client_event_free (event);
}

gboolean
qmp_commands_system_reset (QmpClient *client, QmpWait wait, GError **error)
{
  g_autoptr (QmpClientEvent) event = NULL;
  forget_resets (client);
  if (!execute_plain (client, wait, "system_reset", NULL, error))
    return FALSE;
  event = qmp_client_wait_event_matching (client, is_reset, NULL, wait.deadline_us, wait.cancellable, error);
  return event != NULL;
}

gboolean
qmp_commands_wait_reset (QmpClient *client, QmpWait wait, GError **error)
{
  g_autoptr (QmpClientEvent) event =
      qmp_client_wait_event_matching (client, is_reset, NULL, wait.deadline_us, wait.cancellable, error);
  return event != NULL;
}

gboolean
qmp_commands_set_reboot_action (QmpClient *client, QmpWait wait, const char *action, GError **error)
{
  g_autoptr (JsonObject) arguments = one_string ("reboot", action);
  return execute_plain (client, wait, "set-action", arguments, error);
}

gboolean
qmp_commands_cont (QmpClient *client, QmpWait wait, GError **error)
{
  return execute_plain (client, wait, "cont", NULL, error);
}

void
qmp_commands_chardev_free (QmpChardev *chardev)
{
  if (chardev == NULL)
    return;
  g_free (chardev->label);
  g_free (chardev->filename);
  g_free (chardev);
}

static QmpChardev *
parse_chardev (JsonNode *entry, GError **error)
{
  JsonObject *object = qmp_message_as_object (entry, "query-chardev", error);
  const char *label = NULL, *filename = NULL;
  gboolean open = FALSE;
  if (object == NULL || !qmp_message_get_string (object, "label", &label, error) ||
      !qmp_message_get_string (object, "filename", &filename, error) ||
      !qmp_message_get_boolean (object, "frontend-open", &open, error))
    return NULL;
  QmpChardev *chardev = g_new0 (QmpChardev, 1);
  chardev->label = g_strdup (label);
  chardev->filename = g_strdup (filename);
  chardev->frontend_open = open;
  return chardev;
}

GPtrArray *
qmp_commands_query_chardev (QmpClient *client, QmpWait wait, GError **error)
{
  g_autoptr (JsonNode) reply = execute (client, wait, "query-chardev", NULL, error);
  JsonArray *entries = reply != NULL ? qmp_message_as_array (reply, "query-chardev", error) : NULL;
  if (entries == NULL)
    return NULL;
  g_autoptr (GPtrArray) chardevs = g_ptr_array_new_with_free_func ((GDestroyNotify)qmp_commands_chardev_free);
  for (guint i = 0; i < json_array_get_length (entries); i++) {
    QmpChardev *chardev = parse_chardev (json_array_get_element (entries, i), error);
    if (chardev == NULL)
      return NULL;
    g_ptr_array_add (chardevs, chardev);
  }
  return g_steal_pointer (&chardevs);
}

static void
export_free (QmpExport *one)
{
  g_free (one->id);
  g_free (one->node);
  g_free (one);
}

static gboolean
add_export (GPtrArray *exports, JsonNode *entry, GError **error)
{
  JsonObject *object = qmp_message_as_object (entry, "query-block-exports", error);
  const char *id = NULL, *node = NULL;
  if (object == NULL || !qmp_message_get_string (object, "id", &id, error) ||
      !qmp_message_get_string (object, "node-name", &node, error))
    return FALSE;
  QmpExport *one = g_new0 (QmpExport, 1);
  one->id = g_strdup (id);
  one->node = g_strdup (node);
  g_ptr_array_add (exports, one);
  return TRUE;
}

GPtrArray *
qmp_commands_query_exports (QmpClient *client, QmpWait wait, GError **error)
{
  g_autoptr (GPtrArray) exports = g_ptr_array_new_with_free_func ((GDestroyNotify)export_free);
  g_autoptr (GError) failure = NULL;
  g_autoptr (JsonNode) reply = execute (client, wait, "query-block-exports", NULL, &failure);
  if (g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND))
    return g_steal_pointer (&exports);
  if (reply == NULL) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return NULL;
  }
  JsonArray *entries = qmp_message_as_array (reply, "query-block-exports", error);
  for (guint i = 0; entries != NULL && i < json_array_get_length (entries); i++)
    if (!add_export (exports, json_array_get_element (entries, i), error))
      return NULL;
  return entries != NULL ? g_steal_pointer (&exports) : NULL;
}

void
qmp_commands_job_free (QmpJob *job)
{
  if (job == NULL)
    return;
  g_free (job->id);
  g_free (job->type);
  g_free (job->status);
  g_free (job->error);
  g_free (job);
}

static QmpJob *
parse_job (JsonNode *node, GError **error)
{
  if (!JSON_NODE_HOLDS_OBJECT (node)) {
    g_set_error (error, QMP_ERROR, QMP_ERROR_PROTOCOL, "query-jobs: an entry is no object");
    return NULL;
  }
  JsonObject *info = json_node_get_object (node);
  const char *id = NULL, *type = NULL, *status = NULL;
  gint64 current = 0, total = 0;
  if (!qmp_message_get_string (info, "id", &id, error) || !qmp_message_get_string (info, "type", &type, error) ||
      !qmp_message_get_string (info, "status", &status, error) ||
      !qmp_message_get_int (info, "current-progress", &current, error) ||
      !qmp_message_get_int (info, "total-progress", &total, error)) {
    g_prefix_error (error, "query-jobs: ");
    return NULL;
  }
  QmpJob *job = g_new0 (QmpJob, 1);
  job->id = g_strdup (id);
  job->type = g_strdup (type);
  job->status = g_strdup (status);
  job->current = current;
  job->total = total;
  job->error = g_strdup (qmp_message_peek_string (info, "error"));
  return job;
}

QmpCall *
qmp_commands_start_query_jobs (QmpClient *client, gint64 deadline_us)
{
  return qmp_client_start (client, "query-jobs", NULL, deadline_us);
}

GPtrArray *
qmp_commands_finish_query_jobs (QmpCall *call, GCancellable *cancellable, GError **error)
{
  g_autoptr (JsonNode) reply = qmp_call_finish (call, cancellable, error);
  JsonArray *entries = reply != NULL ? qmp_message_as_array (reply, "query-jobs", error) : NULL;
  if (entries == NULL)
    return NULL;
  g_autoptr (GPtrArray) jobs = g_ptr_array_new_with_free_func ((GDestroyNotify)qmp_commands_job_free);
  for (guint i = 0; i < json_array_get_length (entries); i++) {
    QmpJob *job = parse_job (json_array_get_element (entries, i), error);
    if (job == NULL)
      return NULL;
    g_ptr_array_add (jobs, job);
  }
  return g_steal_pointer (&jobs);
}

GPtrArray *
qmp_commands_query_jobs (QmpClient *client, QmpWait wait, GError **error)
{
  QmpCall *call = qmp_commands_start_query_jobs (client, wait.deadline_us);
  return qmp_commands_finish_query_jobs (call, wait.cancellable, error);
}

QmpCall *
qmp_commands_start_blockdev_add (QmpClient *client, gint64 deadline_us, JsonObject *options)
{
  return qmp_client_start (client, "blockdev-add", options, deadline_us);
}

gboolean
qmp_commands_object_add (QmpClient *client, QmpWait wait, JsonObject *properties, GError **error)
{
  return execute_plain (client, wait, "object-add", properties, error);
}

gboolean
qmp_commands_object_del (QmpClient *client, QmpWait wait, const char *id, GError **error)
{
  g_autoptr (JsonObject) arguments = one_string ("id", id);
  return execute_plain (client, wait, "object-del", arguments, error);
}

gboolean
qmp_commands_blockdev_reopen (QmpClient *client, QmpWait wait, JsonObject *options, GError **error)
{
  g_autoptr (JsonObject) arguments = json_object_new ();
  JsonArray *list = json_array_new ();
  json_array_add_object_element (list, json_object_ref (options));
  json_object_set_array_member (arguments, "options", list);
  return execute_plain (client, wait, "blockdev-reopen", arguments, error);
}

gboolean
qmp_commands_yank_node (QmpClient *client, QmpWait wait, const char *node, GError **error)
{
  g_autoptr (JsonObject) arguments = json_object_new ();
  JsonObject *instance = one_string ("type", "block-node");
  JsonArray *instances = json_array_new ();

  json_object_set_string_member (instance, "node-name", node);
  json_array_add_object_element (instances, instance);
  json_object_set_array_member (arguments, "instances", instances);
  return execute_plain (client, wait, "yank", arguments, error);
}

gboolean
qmp_commands_blockdev_add (QmpClient *client, QmpWait wait, JsonObject *options, GError **error)
{
  return execute_plain (client, wait, "blockdev-add", options, error);
}

JsonObject *
qmp_commands_tls_credentials (const char *id, const char *endpoint, const char *folder)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "qom-type", "tls-creds-x509");
  json_object_set_string_member (object, "id", id);
  json_object_set_string_member (object, "endpoint", endpoint);
  json_object_set_string_member (object, "dir", folder);
  json_object_set_boolean_member (object, "verify-peer", TRUE);
  return object;
}

gboolean
qmp_commands_blockdev_del (QmpClient *client, QmpWait wait, const char *node, GError **error)
{
  g_autoptr (JsonObject) arguments = one_string ("node-name", node);
  return execute_plain (client, wait, "blockdev-del", arguments, error);
}

JsonObject *
qmp_commands_snapshot_arguments (const GPtrArray *actions)
{
  JsonArray *list = json_array_new ();
  JsonObject *arguments = json_object_new ();
  for (guint i = 0; i < actions->len; i++) {
    const QmpSnapshotAction *action = g_ptr_array_index (actions, i);
    JsonObject *data = one_string ("node", action->node);
    json_object_set_string_member (data, "overlay", action->overlay);
    JsonObject *item = one_string ("type", "blockdev-snapshot");
    json_object_set_object_member (item, "data", data);
    json_array_add_object_element (list, item);
  }
  json_object_set_array_member (arguments, "actions", list);
  return arguments;
}

QmpCall *
qmp_commands_start_snapshot (QmpClient *client, gint64 deadline_us, const GPtrArray *actions)
{
  g_autoptr (JsonObject) arguments = qmp_commands_snapshot_arguments (actions);
  return qmp_client_start (client, "transaction", arguments, deadline_us);
}

gboolean
qmp_commands_block_resize (QmpClient *client, QmpWait wait, const char *node, gint64 size, GError **error)
{
  g_autoptr (JsonObject) arguments = one_string ("node-name", node);
  json_object_set_int_member (arguments, "size", size);
  return execute_plain (client, wait, "block_resize", arguments, error);
}
