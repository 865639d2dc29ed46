/*
 * The commands of block jobs, with C arguments. What has to be said each time, so
 * that a job can be recovered, is said here.
 */
#include "qmp/jobs.h"

#include "qmp/message.h"

/* Of what was tried the fastest, to files and to NBD servers; see docs/performance.md. */
#define MIRROR_BUFFER (4 << 20)

JsonObject *
qmp_jobs_commit_arguments (const QmpJobsCommit *commit)
{
  JsonObject *arguments = json_object_new ();

  json_object_set_string_member (arguments, "job-id", commit->id);
  json_object_set_string_member (arguments, "device", commit->device);
  json_object_set_string_member (arguments, "top-node", commit->top);
  json_object_set_string_member (arguments, "base-node", commit->base);
  qmp_message_put_string (arguments, "backing-file", commit->backing_file);
  json_object_set_string_member (arguments, "filter-node-name", commit->filter);
  json_object_set_string_member (arguments, "on-error", "enospc");
  json_object_set_int_member (arguments, "speed", commit->speed);
  json_object_set_boolean_member (arguments, "auto-finalize", commit->backing_file == NULL);
  json_object_set_boolean_member (arguments, "auto-dismiss", FALSE);
  return arguments;
}

JsonObject *
qmp_jobs_stream_arguments (const QmpJobsStream *stream)
{
  JsonObject *arguments = json_object_new ();

  json_object_set_string_member (arguments, "job-id", stream->id);
  json_object_set_string_member (arguments, "device", stream->node);
  qmp_message_put_string (arguments, "base-node", stream->base);
  qmp_message_put_string (arguments, "backing-file", stream->backing_file);
  json_object_set_string_member (arguments, "filter-node-name", stream->filter);
  json_object_set_string_member (arguments, "on-error", "enospc");
  json_object_set_int_member (arguments, "speed", stream->speed);
  json_object_set_boolean_member (arguments, "auto-finalize", FALSE);
  json_object_set_boolean_member (arguments, "auto-dismiss", TRUE);
  return arguments;
}

JsonObject *
qmp_jobs_mirror_arguments (const QmpJobsMirror *mirror)
{
  JsonObject *arguments = json_object_new ();

  json_object_set_string_member (arguments, "job-id", mirror->id);
  json_object_set_string_member (arguments, "device", mirror->node);
  json_object_set_string_member (arguments, "target", mirror->target);
  if (mirror->replaces != NULL)
    json_object_set_string_member (arguments, "replaces", mirror->replaces);
  json_object_set_string_member (arguments, "sync", mirror->sync);
  json_object_set_string_member (arguments, "copy-mode", mirror->blocking ? "write-blocking" : "background");
  json_object_set_string_member (arguments, "filter-node-name", mirror->filter);
  json_object_set_string_member (arguments, "on-target-error", "enospc");
  json_object_set_int_member (arguments, "buf-size", MIRROR_BUFFER);
  json_object_set_int_member (arguments, "speed", mirror->speed);
  json_object_set_boolean_member (arguments, "auto-finalize", TRUE);
  json_object_set_boolean_member (arguments, "auto-dismiss", FALSE);
  return arguments;
}

gboolean
qmp_jobs_stands_still (const char *status)
{
  return g_str_equal (status, "paused") || g_str_equal (status, "standby");
}

JsonObject *
qmp_jobs_name (const char *command, const char *id)
{
  JsonObject *arguments = json_object_new ();

  json_object_set_string_member (arguments, g_str_has_prefix (command, "block-job-") ? "device" : "id", id);
  return arguments;
}

QmpCall *
qmp_jobs_start (QmpClient *client, const char *command, const char *id, gint64 deadline_us)
{
  g_autoptr (JsonObject) arguments = qmp_jobs_name (command, id);

  return qmp_client_start (client, command, arguments, deadline_us);
}

gboolean
qmp_jobs_execute (QmpClient *client, QmpWait wait, const char *command, const char *id, GError **error)
{
  g_autoptr (JsonNode) reply =
      qmp_call_finish (qmp_jobs_start (client, command, id, wait.deadline_us), wait.cancellable, error);

  return reply != NULL;
}

static gboolean
execute_block_job (QmpClient *client, QmpWait wait, const char *command, JsonObject *arguments, GError **error)
{
  g_autoptr (JsonNode) reply =
      qmp_client_execute (client, command, arguments, wait.deadline_us, wait.cancellable, error);

  return reply != NULL;
}

gboolean
qmp_jobs_cancel (QmpClient *client, QmpWait wait, const char *id, GError **error)
{
  g_autoptr (JsonObject) arguments = json_object_new ();

  json_object_set_string_member (arguments, "device", id);
  json_object_set_boolean_member (arguments, "force", TRUE);
  return execute_block_job (client, wait, "block-job-cancel", arguments, error);
}

gboolean
qmp_jobs_block_writes (QmpClient *client, QmpWait wait, const char *id, GError **error)
{
  g_autoptr (JsonObject) arguments = json_object_new ();

  json_object_set_string_member (arguments, "id", id);
  json_object_set_string_member (arguments, "type", "mirror");
  json_object_set_string_member (arguments, "copy-mode", "write-blocking");
  return execute_block_job (client, wait, "block-job-change", arguments, error);
}

gboolean
qmp_jobs_set_speed (QmpClient *client, QmpWait wait, const char *id, gint64 speed, GError **error)
{
  g_autoptr (JsonObject) arguments = json_object_new ();

  json_object_set_string_member (arguments, "device", id);
  json_object_set_int_member (arguments, "speed", speed);
  return execute_block_job (client, wait, "block-job-set-speed", arguments, error);
}

static void
add_job (GHashTable *jobs, JsonNode *entry)
{
  JsonObject *object = JSON_NODE_HOLDS_OBJECT (entry) ? json_node_get_object (entry) : NULL;
  const char *id = object != NULL ? qmp_message_peek_string (object, "device") : NULL;
  const char *status = object != NULL ? qmp_message_peek_string (object, "io-status") : NULL;
  QmpBlockJob *job;

  if (id == NULL)
    return;
  job = g_new0 (QmpBlockJob, 1);
  job->speed = qmp_message_peek_int (object, "speed", 0);
  job->no_room = g_strcmp0 (status, "nospace") == 0;
  job->io_failed = g_strcmp0 (status, "failed") == 0;
  g_hash_table_insert (jobs, g_strdup (id), job);
}

GHashTable *
qmp_jobs_query (QmpClient *client, QmpWait wait, GError **error)
{
  g_autoptr (JsonNode) reply =
      qmp_client_execute (client, "query-block-jobs", NULL, wait.deadline_us, wait.cancellable, error);
  g_autoptr (GHashTable) jobs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  JsonArray *entries = reply != NULL ? qmp_message_as_array (reply, "query-block-jobs", error) : NULL;

  for (guint i = 0; entries != NULL && i < json_array_get_length (entries); i++)
    add_job (jobs, json_array_get_element (entries, i));
  return entries != NULL ? g_steal_pointer (&jobs) : NULL;
}
