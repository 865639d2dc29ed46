/*
 * Merges, rendered: the contract's keys, and the same for people. Knows
 * nothing of how they came to be.
 */
#include "tools/chainctl/mergeview.h"

#include "tools/chainctl/jobview.h"
#include "tools/chainctl/render.h"

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
    json_object_set_int_member (object, "freed", merged->freed);
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

/* ---- for people ---- */

static void
say_removed (ChainctlOutput *output, const EngineMerged *merged)
{
  g_autofree char *freed = chainctl_output_size (merged->freed);

  for (guint i = 0; i < merged->removed->len; i++) {
    g_autofree char *path = chainctl_output_printable (g_ptr_array_index (merged->removed, i));

    chainctl_output_note (output, "      removed %s", path);
  }
  if (merged->removed->len > 0)
    chainctl_output_note (output, "      %s freed", freed);
}

static void
say_merged (ChainctlOutput *output, EngineMergeKind kind, const EngineMerged *merged)
{
  g_autofree char *top = chainctl_output_printable (merged->top);
  g_autofree char *base = chainctl_output_printable (merged->base);
  g_autofree char *bytes = chainctl_output_size (merged->bytes);

  if (!merged->merged)
    chainctl_output_note (output, "  %s: not merged", merged->disk);
  else if (kind == ENGINE_MERGE_COMMIT)
    chainctl_output_note (output, "  %s: %s into %s%s", merged->disk, bytes, base,
                          merged->pivoted ? ", which the guest writes to now" : "");
  else if (*merged->base == '\0')
    chainctl_output_note (output, "  %s: %s into %s, which stands alone now", merged->disk, bytes, top);
  else
    chainctl_output_note (output, "  %s: %s into %s, which hangs off %s now", merged->disk, bytes, top, base);
  say_removed (output, merged);
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

/* What a person can do with it now. */
static void
say_detached (ChainctlOutput *output, const EngineMergeResult *result, const char *vm, const GError *error)
{
  gboolean ready = result->moves && chainctl_jobview_are_ready (result->jobs);
  g_autofree char *op = g_strndup (result->op, 8);

  json_object_set_string_member (output->document, "op", result->op);
  chainctl_jobview_note (output, result->jobs);
  if (chainctl_jobview_is_told (error))
    return;
  chainctl_output_note (output,
                        ready ? "%s: all is copied, and new writes go to both, as operation %s:"
                              : "%s: it goes on in QEMU as operation %s:",
                        vm, op);
  if (!ready)
    chainctl_output_note (output, "  chainctl job wait %s %s      until %s", vm, op,
                          result->moves ? "the guest can be moved" : "it is over");
  if (result->moves)
    chainctl_output_note (output, "  chainctl job complete %s %s  moves the guest%s", vm, op,
                          ready ? "" : ", once all is copied");
  chainctl_output_note (output, "  chainctl job cancel %s %s    leaves the guest where it is", vm, op);
}

static guint
count_merged (const EngineMergeResult *result)
{
  guint count = 0;

  for (guint i = 0; i < result->merges->len; i++)
    count += ((const EngineMerged *)g_ptr_array_index (result->merges, i))->merged ? 1 : 0;
  return count;
}

/* "web: merged; the guest was frozen for 20.1 ms and paused for 2.3 ms" */
static void
say_end (ChainctlOutput *output, const EngineMergeResult *result, const char *vm)
{
  g_autofree char *standstill = chainctl_output_standstill (result->frozen_us, result->paused_us);

  if (count_merged (result) == 0) {
    chainctl_output_note (output, "%s: nothing is merged; the guest goes on as before", vm);
    return;
  }
  chainctl_output_note (output, "%s: %s%s", vm, result->kind == ENGINE_MERGE_COMMIT ? "merged" : "pulled up",
                        standstill);
  for (guint i = 0; i < result->merges->len; i++)
    say_merged (output, result->kind, g_ptr_array_index (result->merges, i));
}

/* ---- of a dry run ---- */

static void
plan_part (ChainctlOutput *output, const EngineMergeResult *result, const EngineMerged *merged)
{
  g_autofree char *top = chainctl_output_printable (merged->top);
  g_autofree char *base = chainctl_output_printable (merged->base);

  if (result->kind == ENGINE_MERGE_COMMIT)
    chainctl_output_plan (output, "%s is merged from %s down into %s%s", merged->disk, top, base,
                          merged->pivoted ? ", which the guest writes to from then on"
                          : result->moves ? "; the guest is moved on by `chainctl job complete`"
                                          : "");
  else if (*merged->base == '\0')
    chainctl_output_plan (output, "%s: all below %s is copied into it; it stands alone then", merged->disk, top);
  else
    chainctl_output_plan (output, "%s: what lies above %s is copied into %s, which hangs off it then", merged->disk,
                          base, top);
}

static void
plan (ChainctlOutput *output, const EngineMergeResult *result)
{
  g_autofree char *names = chainctl_output_joined (result->snapshots_removed);

  for (guint i = 0; i < result->merges->len; i++)
    plan_part (output, result, g_ptr_array_index (result->merges, i));
  if (result->snapshots_removed->len > 0)
    chainctl_output_plan (output, "snapshot%s that cease%s to exist: %s", result->snapshots_removed->len > 1 ? "s" : "",
                          result->snapshots_removed->len > 1 ? "" : "s", names);
}

void
chainctl_mergeview_say (ChainctlOutput *output, const EngineMergeResult *result, const char *vm, const GError *error)
{
  json_object_set_array_member (output->document, "merges", merges_json (result));
  json_object_set_array_member (output->document, "snapshots_removed", names_json (result->snapshots_removed));
  json_object_set_array_member (output->document, "active", chainctl_render_active (result->active));
  chainctl_render_duration (output->document, "frozen_us", result->frozen_us);
  chainctl_render_duration (output->document, "paused_us", result->paused_us);
  plan (output, result);
  if (!result->detached)
    say_end (output, result, vm);
  say_names (output, result->snapshots_removed);
  if (result->detached)
    say_detached (output, result, vm, error);
}
