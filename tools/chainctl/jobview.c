/*
 * Jobs, rendered: the contract's keys, and a table for people. Those of others are
 * told from ours.
 */
#include "tools/chainctl/jobview.h"

#include "engine/error.h"
#include "tools/chainctl/render.h"

static const ChainctlOutputColumn job_columns[] = {
    {"VM", "vm", CHAINCTL_OUTPUT_TEXT},        {"DISK", "disk", CHAINCTL_OUTPUT_TEXT},
    {"JOB", "job", CHAINCTL_OUTPUT_TEXT},      {"OP", "op", CHAINCTL_OUTPUT_SHORT_ID},
    {"TYPE", "type", CHAINCTL_OUTPUT_TEXT},    {"STATUS", "status", CHAINCTL_OUTPUT_TEXT},
    {"DONE", "current", CHAINCTL_OUTPUT_SIZE}, {"OF", "total", CHAINCTL_OUTPUT_SIZE},
    {"LIMIT", "speed", CHAINCTL_OUTPUT_SIZE},  {NULL},
};

/* Narrower: @JOB is what is typed to mean it. */
static const ChainctlOutputColumn narrow_columns[] = {
    {"VM", "vm", CHAINCTL_OUTPUT_TEXT},
    {"DISK", "disk", CHAINCTL_OUTPUT_TEXT},
    {"JOB", "typed", CHAINCTL_OUTPUT_TEXT},
    {"TYPE", "type", CHAINCTL_OUTPUT_TEXT},
    {"STATUS", "status", CHAINCTL_OUTPUT_TEXT},
    {"DONE", "current", CHAINCTL_OUTPUT_SIZE},
    {"OF", "total", CHAINCTL_OUTPUT_SIZE},
    {"LIMIT", "speed", CHAINCTL_OUTPUT_SIZE},
    {NULL},
};

JsonObject *
chainctl_jobview_render (const EngineJobView *view)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "vm", view->vm);
  chainctl_render_string (object, "disk", view->disk);
  json_object_set_string_member (object, "job", view->job);
  chainctl_render_string (object, "op", view->op);
  json_object_set_string_member (object, "type", view->type);
  json_object_set_string_member (object, "status", view->status);
  json_object_set_int_member (object, "current", view->current);
  json_object_set_int_member (object, "total", view->total);
  json_object_set_int_member (object, "speed", view->speed);
  json_object_set_boolean_member (object, "ours", view->ours);
  return object;
}

/* For people: no limit is none, and a job that is not ours says so where its operation would stand. */
static JsonObject *
job_row (const EngineJobView *view)
{
  JsonObject *row = chainctl_jobview_render (view);
  g_autofree char *typed = view->ours && view->op != NULL
                               ? chainctl_output_short_id (view->op)
                               : g_strconcat (view->job, view->ours ? "" : " (not ours)", NULL);

  json_object_set_string_member (row, "typed", typed);
  if (view->speed == 0)
    json_object_set_null_member (row, "speed");
  if (!view->ours)
    json_object_set_string_member (row, "op", "not ours");
  return row;
}

void
chainctl_jobview_say (ChainctlOutput *output, const GPtrArray *views)
{
  JsonArray *documents = json_array_new ();
  g_autoptr (JsonArray) rows = json_array_new ();

  for (guint i = 0; i < views->len; i++) {
    json_array_add_object_element (documents, chainctl_jobview_render (g_ptr_array_index (views, i)));
    json_array_add_object_element (rows, job_row (g_ptr_array_index (views, i)));
  }
  if (views->len > 0)
    chainctl_output_table (output, rows,
                           chainctl_output_fits (output, rows, job_columns) ? job_columns : narrow_columns);
  json_object_set_array_member (output->document, "jobs", documents);
}

void
chainctl_jobview_note (ChainctlOutput *output, const GPtrArray *views)
{
  gsize said = output->text->len;

  chainctl_jobview_say (output, views);
  if (output->quiet)
    g_string_truncate (output->text, said);
}

gboolean
chainctl_jobview_is_told (const GError *error)
{
  return g_error_matches (error, ENGINE_ERROR, ENGINE_ERROR_INTERRUPTED);
}

gboolean
chainctl_jobview_are_ready (const GPtrArray *views)
{
  for (guint i = 0; i < views->len; i++)
    if (!g_str_equal (((const EngineJobView *)g_ptr_array_index (views, i))->status, "ready"))
      return FALSE;
  return TRUE;
}
