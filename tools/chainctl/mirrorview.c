/*
 * Mirrors, rendered: the contract's keys, and the same for people. Knows nothing of
 * how they came to be.
 */
#include "tools/chainctl/mirrorview.h"

#include "tools/chainctl/jobview.h"
#include "tools/chainctl/render.h"

static const char *
state_of (const EngineMirrorResult *result)
{
  if (result->detached)
    return "following";
  return result->goal == ENGINE_MIRROR_PIVOT ? "pivoted" : "finished";
}

static JsonArray *
mirrors_json (const EngineMirrorResult *result)
{
  JsonArray *rows = json_array_new ();

  for (guint i = 0; i < result->mirrors->len; i++) {
    const EngineMirrored *mirrored = g_ptr_array_index (result->mirrors, i);
    JsonObject *object = json_object_new ();

    json_object_set_string_member (object, "disk", mirrored->disk);
    json_object_set_string_member (object, "job", mirrored->job);
    chainctl_render_path (object, "target", mirrored->target);
    json_object_set_int_member (object, "bytes", mirrored->bytes);
    json_object_set_string_member (object, "state", state_of (result));
    json_array_add_object_element (rows, object);
  }
  return rows;
}

/* ---- for people ---- */

/* "web: copied; the guest was frozen for 20.1 ms" */
static void
say_end (ChainctlOutput *output, const EngineMirrorResult *result, const char *vm)
{
  g_autofree char *standstill = chainctl_output_standstill (result->frozen_us, result->paused_us);
  const char *consistency = chains_consistency_to_string (result->consistency);

  chainctl_output_note (output, "%s: copied, %s-consistent%s", vm, consistency, standstill);
}

static void
say_mirrored (ChainctlOutput *output, const EngineMirrorResult *result, const EngineMirrored *mirrored)
{
  g_autofree char *target = chainctl_output_printable (mirrored->target);
  g_autofree char *bytes = chainctl_output_size (mirrored->bytes);

  chainctl_output_note (output, "  %s: %s to %s%s", mirrored->disk, bytes, target,
                        result->active->len > 0 && !result->detached ? ", which the guest writes to now" : "");
}

/* How to go on with it. */
static void
say_detached (ChainctlOutput *output, const EngineMirrorResult *result, const char *vm, const GError *error)
{
  gboolean moves = result->goal == ENGINE_MIRROR_PIVOT;
  g_autofree char *op = chainctl_output_short_id (result->op);

  json_object_set_string_member (output->document, "op", result->op);
  chainctl_jobview_note (output, result->jobs);
  if (chainctl_jobview_is_told (error))
    return;
  chainctl_output_note (output,
                        result->ready ? "%s: all is copied, and kept in step as operation %s:"
                                      : "%s: it goes on in QEMU as operation %s:",
                        vm, op);
  if (!result->ready)
    chainctl_output_note (output, "  chainctl job wait %s %s      until all is copied", vm, op);
  chainctl_output_note (output, "  chainctl job complete %s %s  %s%s", vm, op,
                        moves ? "moves the guest to the copies" : "ends them in one instant",
                        result->ready ? "" : ", once copied");
  chainctl_output_note (output, "  chainctl job cancel %s %s    gives the copies up", vm, op);
}

static void
plan (ChainctlOutput *output, const EngineMirrorResult *result)
{
  static const char *const then[] = {
      [ENGINE_MIRROR_FINISH] = ", as of one instant",
      [ENGINE_MIRROR_PIVOT] = ", which the guest writes to from then on",
      [ENGINE_MIRROR_FOLLOW] = ", and kept in step",
  };

  for (guint i = 0; i < result->mirrors->len; i++) {
    const EngineMirrored *mirrored = g_ptr_array_index (result->mirrors, i);
    g_autofree char *target = chainctl_output_printable (mirrored->target);

    chainctl_output_plan (output, "%s is copied to %s%s", mirrored->disk, target, then[result->goal]);
  }
  if (result->automatic != NULL)
    chainctl_output_plan (output, "what is active now is kept as snapshot '%s'", result->automatic);
}

void
chainctl_mirrorview_say (ChainctlOutput *output, const EngineMirrorResult *result, const char *vm, const GError *error)
{
  json_object_set_array_member (output->document, "mirrors", mirrors_json (result));
  if (result->detached)
    json_object_set_null_member (output->document, "consistency");
  else
    json_object_set_string_member (output->document, "consistency", chains_consistency_to_string (result->consistency));
  chainctl_render_string (output->document, "reason", result->detached ? NULL : result->reason);
  json_object_set_array_member (output->document, "active", chainctl_render_active (result->active));
  chainctl_render_string (output->document, "automatic_snapshot", result->automatic);
  chainctl_render_duration (output->document, "frozen_us", result->frozen_us);
  chainctl_render_duration (output->document, "paused_us", result->paused_us);
  plan (output, result);
  if (!result->detached)
    say_end (output, result, vm);
  for (guint i = 0; i < result->mirrors->len; i++)
    say_mirrored (output, result, g_ptr_array_index (result->mirrors, i));
  if (result->automatic != NULL && !result->detached)
    chainctl_output_note (output, "What was active before is kept as snapshot '%s'", result->automatic);
  if (result->detached)
    say_detached (output, result, vm, error);
}
