/*
 * chainctl list: a VM's snapshots, oldest first, with what they take up on disk
 * now. Reads the database and stat(2), nothing else.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/render.h"

#include "engine/listing.h"

static const ChainctlOutputColumn columns[] = {
    {"NAME", "name", CHAINCTL_OUTPUT_TEXT},
    {"ID", "id", CHAINCTL_OUTPUT_SHORT_ID},
    {"CREATED", "created", CHAINCTL_OUTPUT_TIME},
    {"CONSISTENCY", "consistency", CHAINCTL_OUTPUT_TEXT},
    {"SIZE", "size", CHAINCTL_OUTPUT_SIZE},
    {"TAGS", "tags", CHAINCTL_OUTPUT_LIST},
    {NULL},
};

static gboolean
list (ChainctlInvocation *invocation, gconstpointer options, GError **error)
{
  g_autoptr (GPtrArray) listed = engine_listing_read (invocation->context, invocation->vm, error);
  JsonArray *rows;

  if (listed == NULL)
    return FALSE;
  rows = json_array_new ();
  for (guint i = 0; i < listed->len; i++) {
    const EngineListed *entry = g_ptr_array_index (listed, i);
    JsonObject *row = chainctl_render_snapshot (entry->snapshot, invocation->vm);

    json_object_set_int_member (row, "size", entry->size);
    json_array_add_object_element (rows, row);
  }
  json_object_set_array_member (invocation->output->document, "snapshots", rows);
  if (listed->len > 0)
    chainctl_output_table (invocation->output, rows, columns);
  else
    chainctl_output_line (invocation->output, "%s has no snapshots.", invocation->vm);
  return TRUE;
}

gboolean
chainctl_cmd_list (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};

  return chainctl_command_run (invocation, entries, list, NULL, error);
}
