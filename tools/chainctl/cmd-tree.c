/*
 * chainctl tree: every disk's images. The picture is drawn by treeview; the document
 * holds the same in the same order, and the jobs of others beside it.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/jobview.h"
#include "tools/chainctl/render.h"
#include "tools/chainctl/treeview.h"

#include "engine/listing.h"

/* The contract's part of a tree is kept as it is: what is not ours stands by itself. */
static void
say_others (ChainctlOutput *output, const GPtrArray *others)
{
  JsonArray *jobs = json_array_new ();

  for (guint i = 0; i < others->len; i++) {
    const EngineJobView *view = g_ptr_array_index (others, i);
    JsonObject *job = chainctl_jobview_render (view);

    chainctl_render_path (job, "path", view->path);
    json_array_add_object_element (jobs, job);
  }
  json_object_set_array_member (output->document, "jobs_of_others", jobs);
}

gboolean
chainctl_cmd_tree (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (GPtrArray) others = engine_jobview_list_new ();
  g_autoptr (GPtrArray) trees = NULL;
  JsonArray *disks;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  trees = engine_listing_trees (invocation->context, invocation->vm, others, error);
  if (trees == NULL)
    return FALSE;
  disks = json_array_new ();
  for (guint i = 0; i < trees->len; i++) {
    if (i > 0)
      chainctl_output_line (invocation->output, "%s", "");
    json_array_add_object_element (disks, chainctl_render_tree (g_ptr_array_index (trees, i)));
    chainctl_treeview_draw (invocation->output, g_ptr_array_index (trees, i), others);
  }
  chainctl_treeview_draw_elsewhere (invocation->output, trees, others);
  json_object_set_array_member (invocation->output->document, "disks", disks);
  say_others (invocation->output, others);
  return TRUE;
}
