/*
 * chainctl protect: snapshots that are not to be merged, deleted or pruned. The work
 * is engine/protect's.
 */
#include "engine/protect.h"
#include "tools/chainctl/commands.h"
#include "tools/chainctl/render.h"

static gboolean
protect (ChainctlInvocation *invocation, gboolean off, GError **error)
{
  const EngineProtectRequest request = {invocation->vm, (const char *const *)invocation->arguments, off};
  g_autoptr (GPtrArray) snapshots = engine_protect_run (invocation->context, &request, error);
  JsonArray *rows;

  if (snapshots == NULL)
    return FALSE;
  rows = json_array_new ();
  for (guint i = 0; i < snapshots->len; i++) {
    const ChainsSnapshot *snapshot = g_ptr_array_index (snapshots, i);

    json_array_add_object_element (rows, chainctl_render_snapshot (snapshot, invocation->vm));
    chainctl_output_note (invocation->output, "Snapshot '%s' of %s is %s", snapshot->name, invocation->vm,
                          snapshot->protected ? "protected" : "not protected");
    chainctl_output_plan (invocation->output, "snapshot '%s' of %s is %s from then on", snapshot->name, invocation->vm,
                          snapshot->protected ? "protected" : "not protected");
  }
  json_object_set_array_member (invocation->output->document, "snapshots", rows);
  return TRUE;
}

gboolean
chainctl_cmd_protect (ChainctlInvocation *invocation, GError **error)
{
  gboolean off = FALSE;
  const GOptionEntry entries[] = {
      {"off", 0, 0, G_OPTION_ARG_NONE, &off, "protected no more", NULL},
      {NULL},
  };

  return chainctl_command_parse (invocation, entries, error) && protect (invocation, off, error);
}
