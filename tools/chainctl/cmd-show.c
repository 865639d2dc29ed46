/*
 * chainctl show: all that is remembered of one snapshot. Reads the database,
 * nothing else.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/render.h"

#include "engine/listing.h"

static const ChainctlOutputColumn disk_columns[] = {
    {"DISK", "disk", CHAINCTL_OUTPUT_TEXT},
    {"FROZEN IMAGE", "image", CHAINCTL_OUTPUT_TEXT},
    {"OVERLAY", "overlay", CHAINCTL_OUTPUT_TEXT},
    {NULL},
};

static void
say_tags (ChainctlOutput *output, const ChainsSnapshot *snapshot)
{
  g_autofree char *tags = chainctl_output_joined (snapshot->tags);

  if (*tags != '\0')
    chainctl_output_line (output, "  tags         %s", tags);
}

static void
say_snapshot (ChainctlOutput *output, const ChainsSnapshot *snapshot, const char *vm)
{
  JsonObject *object = chainctl_render_snapshot (snapshot, vm);
  g_autofree char *created = chainctl_output_local_time (snapshot->created_us);
  g_autofree char *frozen = chainctl_output_duration (snapshot->frozen_us);
  g_autofree char *description = chainctl_output_printable (snapshot->description);

  json_object_set_object_member (output->document, "snapshot", object);
  chainctl_output_line (output, "%s of %s%s%s", snapshot->name, vm, snapshot->protected ? ", protected" : "",
                        snapshot->automatic ? ", automatic" : "");
  chainctl_output_line (output, "  id           %s", snapshot->id);
  chainctl_output_line (output, "  created      %s", created);
  if (*description != '\0')
    chainctl_output_line (output, "  description  %s", description);
  say_tags (output, snapshot);
  chainctl_output_line (output, "  consistency  %s%s%s%s", chains_consistency_to_string (snapshot->consistency),
                        snapshot->reason != NULL ? " (" : "", snapshot->reason != NULL ? snapshot->reason : "",
                        snapshot->reason != NULL ? ")" : "");
  if (snapshot->frozen_us >= 0)
    chainctl_output_line (output, "  frozen for   %s", frozen);
  chainctl_output_line (output, "%s", "");
  chainctl_output_table (output, json_object_get_array_member (object, "disks"), disk_columns);
}

gboolean
chainctl_cmd_show (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (ChainsSnapshot) snapshot = NULL;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  snapshot = engine_listing_find (invocation->context, invocation->vm, invocation->arguments[0], error);
  if (snapshot == NULL)
    return FALSE;
  say_snapshot (invocation->output, snapshot, invocation->vm);
  return TRUE;
}
