/*
 * Intents of mirrors to and from the journal's JSON: an intent with overlays, and
 * beside it what a mirror has besides.
 */
#include "engine/mirrorintent.h"

#include "engine/error.h"
#include "engine/op.h"
#include "qmp/message.h"

static const char *const goal_words[] = {"finish", "pivot", "follow", NULL};
static const char *const sync_words[] = {"full", "top", "none", NULL};

const char *
engine_mirrorintent_sync_word (EngineMirrorSync sync)
{
  return sync_words[sync];
}

EngineMirrorIntent *
engine_mirrorintent_new (EngineMirrorGoal goal, EngineMirrorSync sync)
{
  EngineMirrorIntent *intent = g_new0 (EngineMirrorIntent, 1);

  intent->goal = goal;
  intent->sync = sync;
  intent->copies = engine_intent_new ();
  intent->roots = g_ptr_array_new_with_free_func (g_free);
  return intent;
}

void
engine_mirrorintent_free (EngineMirrorIntent *intent)
{
  if (intent == NULL)
    return;
  g_clear_pointer (&intent->copies, engine_intent_free);
  g_clear_pointer (&intent->roots, g_ptr_array_unref);
  g_free (intent->credentials);
  g_free (intent);
}

/* ---- JSON ---- */

JsonObject *
engine_mirrorintent_to_json (const EngineMirrorIntent *intent)
{
  JsonObject *object = json_object_new ();
  JsonArray *roots = json_array_new ();

  for (guint i = 0; i < intent->roots->len; i++)
    json_array_add_string_element (roots, g_ptr_array_index (intent->roots, i));
  json_object_set_object_member (object, "copies", engine_intent_to_json (intent->copies));
  json_object_set_array_member (object, "roots", roots);
  json_object_set_string_member (object, "goal", goal_words[intent->goal]);
  json_object_set_string_member (object, "sync", sync_words[intent->sync]);
  if (intent->credentials != NULL)
    json_object_set_string_member (object, "credentials", intent->credentials);
  json_object_set_boolean_member (object, "blocking", intent->blocking);
  json_object_set_boolean_member (object, "turns", intent->turns);
  json_object_set_int_member (object, "speed", intent->speed);
  return object;
}

/* The top of what stands on nothing is all of it, and what is at a target already would stay below it. */
static const char *
choose_sync (const EngineMirrorIntent *intent, const EngineIntentOverlay *copy)
{
  gboolean whole = intent->sync == ENGINE_MIRROR_TOP && copy->backing == NULL;

  return sync_words[whole ? ENGINE_MIRROR_FULL : intent->sync];
}

/* The place of @member's value among @words, or -1. */
static int
find_word (JsonObject *object, const char *member, const char *const *words)
{
  const char *word = qmp_message_peek_string (object, member);

  for (int i = 0; word != NULL && words[i] != NULL; i++)
    if (g_str_equal (word, words[i]))
      return i;
  return -1;
}

static gboolean
parse (EngineMirrorIntent *intent, JsonObject *object, GError **error)
{
  int goal = find_word (object, "goal", goal_words), sync = find_word (object, "sync", sync_words);
  JsonObject *copies;
  JsonArray *roots;

  if (!qmp_message_get_object (object, "copies", &copies, error) ||
      !qmp_message_get_array (object, "roots", &roots, error))
    return FALSE;
  g_clear_pointer (&intent->copies, engine_intent_free);
  intent->copies = engine_intent_from_object (copies, error);
  if (intent->copies == NULL)
    return FALSE;
  for (guint i = 0; i < json_array_get_length (roots); i++)
    g_ptr_array_add (intent->roots, g_strdup (json_array_get_string_element (roots, i)));
  if (goal < 0 || sync < 0 || intent->roots->len != intent->copies->overlays->len) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "the journal's intent of a mirror cannot be read");
    return FALSE;
  }
  intent->goal = (EngineMirrorGoal)goal;
  intent->sync = (EngineMirrorSync)sync;
  intent->credentials = g_strdup (qmp_message_peek_string (object, "credentials"));
  intent->blocking = qmp_message_peek_boolean (object, "blocking", FALSE);
  intent->turns = qmp_message_peek_boolean (object, "turns", FALSE);
  intent->speed = qmp_message_peek_int (object, "speed", 0);
  return TRUE;
}

EngineMirrorIntent *
engine_mirrorintent_from_json (const char *text, GError **error)
{
  g_autoptr (JsonNode) root = json_from_string (text, NULL);
  g_autoptr (EngineMirrorIntent) intent = engine_mirrorintent_new (ENGINE_MIRROR_FINISH, ENGINE_MIRROR_FULL);

  if (root == NULL || !JSON_NODE_HOLDS_OBJECT (root)) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "the journal's intent is no JSON object");
    return NULL;
  }
  return parse (intent, json_node_get_object (root), error) ? g_steal_pointer (&intent) : NULL;
}

gboolean
engine_mirrorintent_is_file (const EngineIntentOverlay *copy)
{
  return copy->path[0] == '/';
}

/* ---- its jobs ---- */

char *
engine_mirrorintent_job (const char *op, guint index)
{
  return engine_op_name_of (op, index, "j");
}

char *
engine_mirrorintent_filter (const char *op, guint index)
{
  return engine_op_name_of (op, index, "m");
}

GPtrArray *
engine_mirrorintent_jobs (const EngineMirrorIntent *intent, const char *op)
{
  GPtrArray *jobs = engine_job_list_new ();

  for (guint i = 0; i < intent->copies->overlays->len; i++) {
    const EngineIntentOverlay *copy = g_ptr_array_index (intent->copies->overlays, i);
    g_autofree char *job = engine_mirrorintent_job (op, i);
    g_autofree char *folder = engine_mirrorintent_is_file (copy) ? g_path_get_dirname (copy->path) : NULL;

    engine_job_list_add (jobs, copy->disk, job, folder)->turns = intent->turns;
  }
  return jobs;
}

JsonObject *
engine_mirrorintent_arguments (const EngineMirrorIntent *intent, const char *op, guint index)
{
  const EngineIntentOverlay *copy = g_ptr_array_index (intent->copies->overlays, index);
  g_autofree char *job = engine_mirrorintent_job (op, index);
  g_autofree char *filter = engine_mirrorintent_filter (op, index);

  return qmp_jobs_mirror_arguments (&(QmpJobsMirror){
      .id = job,
      .node = g_ptr_array_index (intent->roots, index),
      .target = copy->node,
      .replaces = copy->head_node,
      .filter = filter,
      .sync = choose_sync (intent, copy),
      .blocking = intent->blocking,
      .speed = intent->speed,
  });
}
