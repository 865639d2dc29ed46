/*
 * chainctl tree: every disk's images. The picture is drawn by treeview; the document
 * holds the same in the same order.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/render.h"
#include "tools/chainctl/treeview.h"

#include "engine/listing.h"

gboolean
chainctl_cmd_tree (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (GPtrArray) trees = NULL;
  JsonArray *disks;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  trees = engine_listing_trees (invocation->context, invocation->vm, error);
  if (trees == NULL)
    return FALSE;
  disks = json_array_new ();
  for (guint i = 0; i < trees->len; i++) {
    if (i > 0)
      chainctl_output_line (invocation->output, "%s", "");
    json_array_add_object_element (disks, chainctl_render_tree (g_ptr_array_index (trees, i)));
    chainctl_treeview_draw (invocation->output, g_ptr_array_index (trees, i));
  }
  json_object_set_array_member (invocation->output->document, "disks", disks);
  return TRUE;
}
