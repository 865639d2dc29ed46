/*
 * chainctl state backup | restore | rebuild: the database itself. One form of it
 * for all three.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/render.h"

#include "engine/rebuild.h"
#include "engine/state.h"

/* The document's one member. @path: a database, or a copy of it */
static JsonObject *
render_state (ChainctlOutput *output, const char *path, guint vms, guint snapshots)
{
  JsonObject *object = json_object_new ();

  chainctl_render_path (object, "path", path);
  json_object_set_int_member (object, "vms", vms);
  json_object_set_int_member (object, "snapshots", snapshots);
  json_object_set_object_member (output->document, "state", object);
  return object;
}

/* "1 VM, 2 snapshots" */
static char *
describe (guint vms, guint snapshots)
{
  return g_strdup_printf ("%u VM%s, %u snapshot%s", vms, vms == 1 ? "" : "s", snapshots, snapshots == 1 ? "" : "s");
}

gboolean
chainctl_cmd_state_backup (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (EngineStateCopy) copy = NULL;
  g_autofree char *shown = NULL;
  g_autofree char *held = NULL;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  copy = engine_state_backup (invocation->context, invocation->arguments[0], error);
  if (copy == NULL)
    return FALSE;
  render_state (invocation->output, copy->path, copy->vms, copy->snapshots);
  shown = chainctl_output_printable (copy->path);
  held = describe (copy->vms, copy->snapshots);
  chainctl_output_plan (invocation->output, "the database is copied to %s", shown);
  chainctl_output_note (invocation->output, "%s: %s", shown, held);
  return TRUE;
}

gboolean
chainctl_cmd_state_restore (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (EngineStateCopy) copy = NULL;
  g_autofree char *kept = NULL;
  g_autofree char *held = NULL;
  JsonObject *object;

  if (!chainctl_command_parse_apart (invocation, entries, error))
    return FALSE;
  copy = engine_state_restore (invocation->context, invocation->arguments[0], error);
  if (copy == NULL)
    return FALSE;
  object = render_state (invocation->output, copy->path, copy->vms, copy->snapshots);
  held = describe (copy->vms, copy->snapshots);
  chainctl_render_path (object, "before", copy->kept);
  chainctl_output_plan (invocation->output, "the database is replaced by that copy");
  chainctl_output_note (invocation->output,
                        "The database is restored: %s. `chainctl check VM` tells "
                        "whether that is still true.",
                        held);
  if (copy->kept == NULL)
    return TRUE;
  kept = chainctl_output_printable (copy->kept);
  chainctl_output_note (invocation->output, "What was there before is in %s.", kept);
  return TRUE;
}

gboolean
chainctl_cmd_state_rebuild (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  EngineRebuilt rebuilt;
  g_autofree char *path = NULL;
  g_autofree char *held = NULL;
  JsonObject *object;

  if (!chainctl_command_parse (invocation, entries, error) ||
      !engine_rebuild_run (invocation->context, (const char *const *)invocation->arguments, &rebuilt, error))
    return FALSE;
  path = g_build_filename (invocation->context->state, "chainctl.db", NULL);
  object = render_state (invocation->output, path, rebuilt.vms, rebuilt.snapshots);
  held = describe (rebuilt.vms, rebuilt.snapshots);
  json_object_set_int_member (object, "notes", rebuilt.notes);
  chainctl_output_plan (invocation->output, "the database is made again from %u notes", rebuilt.notes);
  chainctl_output_note (invocation->output,
                        "From %u note%s: %s. `chainctl check VM` holds them against "
                        "what runs.",
                        rebuilt.notes, rebuilt.notes == 1 ? "" : "s", held);
  return TRUE;
}
