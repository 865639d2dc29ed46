/*
 * Merges and jobs, rendered: the contract's keys, and the same for people. Knows
 * nothing of how they came to be.
 */
#include "tools/chainctl/mergeview.h"

#include "tools/chainctl/render.h"

static const ChainctlOutputColumn job_columns[] = {
    {"VM", "vm", CHAINCTL_OUTPUT_TEXT},
    {"DISK", "disk", CHAINCTL_OUTPUT_TEXT},
    {"JOB", "job", CHAINCTL_OUTPUT_TEXT},
    {"TYPE", "type", CHAINCTL_OUTPUT_TEXT},
    {"STATUS", "status", CHAINCTL_OUTPUT_TEXT},
    {"DONE", "current", CHAINCTL_OUTPUT_SIZE},
    {"OF", "total", CHAINCTL_OUTPUT_SIZE},
    {"LIMIT", "speed", CHAINCTL_OUTPUT_SIZE},
    {NULL},
};

static JsonObject *
job_json (const EngineJobView *view)
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

void
chainctl_mergeview_jobs (ChainctlOutput *output, const GPtrArray *views)
{
  JsonArray *rows = json_array_new ();

  for (guint i = 0; i < views->len; i++)
    json_array_add_object_element (rows, job_json (g_ptr_array_index (views, i)));
  if (views->len > 0)
    chainctl_output_table (output, rows, job_columns);
  json_object_set_array_member (output->document, "jobs", rows);
}

static JsonArray *
merges_json (const EngineMergeResult *result)
{
  JsonArray *rows = json_array_new ();

  for (guint i = 0; i < result->merges->len; i++) {
    const EngineMerged *merged = g_ptr_array_index (result->merges, i);
    JsonObject *object = json_object_new ();

    json_object_set_string_member (object, "disk", merged->disk);
    json_object_set_string_member (object, "job", merged->job);
    chainctl_render_path (object, "top", merged->top);
    if (*merged->base != '\0')
      chainctl_render_path (object, "base", merged->base);
    else
      json_object_set_null_member (object, "base");
    json_object_set_int_member (object, "bytes", merged->bytes);
    json_object_set_boolean_member (object, "merged", merged->merged);
    json_object_set_boolean_member (object, "pivoted", merged->pivoted);
    json_object_set_array_member (object, "removed", chainctl_render_paths (merged->removed));
    json_array_add_object_element (rows, object);
  }
  return rows;
}

static JsonArray *
names_json (const GPtrArray *names)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < names->len; i++)
    json_array_add_string_element (array, g_ptr_array_index (names, i));
  return array;
}

static void
say_merged (ChainctlOutput *output, const EngineMerged *merged)
{
  g_autofree char *top = chainctl_output_printable (merged->top);
  g_autofree char *base = chainctl_output_printable (merged->base);
  g_autofree char *bytes = chainctl_output_size (merged->bytes);

  if (!merged->merged)
    return;
  if (merged->pivoted)
    chainctl_output_note (output, "  %s: %s went into %s, which the guest writes to now (%s)", merged->disk, top, base,
                          bytes);
  else if (*merged->base == '\0')
    chainctl_output_note (output, "  %s: %s stands alone now (%s)", merged->disk, top, bytes);
  else
    chainctl_output_note (output, "  %s: from %s down, into or onto %s (%s)", merged->disk, top, base, bytes);
  for (guint i = 0; i < merged->removed->len; i++) {
    g_autofree char *path = chainctl_output_printable (g_ptr_array_index (merged->removed, i));

    chainctl_output_note (output, "      removed %s", path);
  }
}

static void
say_names (ChainctlOutput *output, const GPtrArray *names)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < names->len; i++)
    g_string_append_printf (text, "%s'%s'", i > 0 ? ", " : "", (const char *)g_ptr_array_index (names, i));
  if (names->len > 0)
    chainctl_output_note (output, "Ceased to exist: snapshot%s %s", names->len > 1 ? "s" : "", text->str);
}

static void
say_detached (ChainctlOutput *output, const EngineMergeResult *result, const char *vm)
{
  json_object_set_string_member (output->document, "op", result->op);
  chainctl_mergeview_jobs (output, result->jobs);
  chainctl_output_note (output,
                        "It goes on in QEMU as operation %s.\n"
                        "  chainctl job wait %s %s       until it is over, or ready\n"
                        "  chainctl job complete %s %s   moves the guest on, once it is ready\n"
                        "  chainctl job cancel %s %s     leaves the guest where it is",
                        result->op, vm, result->op, vm, result->op, vm, result->op);
}

void
chainctl_mergeview_say (ChainctlOutput *output, const EngineMergeResult *result, const char *vm)
{
  g_autofree char *paused = chainctl_output_duration (result->paused_us);

  json_object_set_array_member (output->document, "merges", merges_json (result));
  json_object_set_array_member (output->document, "snapshots_removed", names_json (result->snapshots_removed));
  json_object_set_array_member (output->document, "active", chainctl_render_active (result->active));
  chainctl_render_duration (output->document, "frozen_us", result->frozen_us);
  chainctl_render_duration (output->document, "paused_us", result->paused_us);
  if (result->paused_us >= 0)
    chainctl_output_note (output, "%s: merged; the guest was paused for %s", vm, paused);
  else if (!result->detached)
    chainctl_output_note (output, "%s: merged", vm);
  for (guint i = 0; i < result->merges->len; i++)
    say_merged (output, g_ptr_array_index (result->merges, i));
  say_names (output, result->snapshots_removed);
  if (result->detached)
    say_detached (output, result, vm);
}
