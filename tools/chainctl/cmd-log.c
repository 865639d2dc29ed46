/*
 * chainctl log: the operations on a VM, oldest first, with how each ended. Reads the
 * journal, nothing else.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/render.h"

#include "engine/listing.h"

static const ChainctlOutputColumn columns[] = {
    {"OP", "op", CHAINCTL_OUTPUT_SHORT_ID},
    {"VERB", "verb", CHAINCTL_OUTPUT_TEXT},
    {"BY", "by", CHAINCTL_OUTPUT_TEXT},
    {"STARTED", "started", CHAINCTL_OUTPUT_TIME},
    {"STATE", "state", CHAINCTL_OUTPUT_TEXT},
    {"ERROR", "error", CHAINCTL_OUTPUT_TEXT},
    {NULL},
};

static JsonObject *
render (const ChainsOp *op)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "op", op->id);
  json_object_set_string_member (object, "verb", op->verb);
  json_object_set_string_member (object, "vm", op->vm_name);
  json_object_set_string_member (object, "by", op->by);
  chainctl_render_time (object, "started", op->started_us);
  chainctl_render_time (object, "ended", op->ended_us);
  json_object_set_string_member (object, "state", chains_op_state_to_string (op->state));
  chainctl_render_string (object, "error", op->error);
  return object;
}

/* What the verbs call the end that `job complete` brings. %NULL where a person need not say it. */
static const char *
describe_completion (const char *verb)
{
  if (g_str_equal (verb, "mirror"))
    return "ends the copies in one instant; begun with --pivot, moves the guest there";
  return g_str_equal (verb, "commit") ? "moves the guest too, where the active image is merged" : NULL;
}

/* What goes on without a process is ended by a person, or was forgotten by one. */
static void
say_detached (ChainctlOutput *output, const ChainsOp *op, const char *vm)
{
  const char *completion = describe_completion (op->verb);
  const char *cancelled = g_str_equal (op->verb, "mirror") ? "gives the copies up, and removes their files"
                                                           : "leaves the guest where it is";

  if (op->state != CHAINS_OP_DETACHED)
    return;
  chainctl_output_line (output, "\n%s %.8s goes on in QEMU. To end it:", op->verb, op->id);
  chainctl_output_line (output, "  chainctl job wait %s %.8s      waits for it, and does what is due then", vm, op->id);
  if (completion != NULL)
    chainctl_output_line (output, "  chainctl job complete %s %.8s  %s", vm, op->id, completion);
  chainctl_output_line (output, "  chainctl job cancel %s %.8s    %s", vm, op->id, cancelled);
}

gboolean
chainctl_cmd_log (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (GPtrArray) ops = NULL;
  JsonArray *rows;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  ops = engine_listing_operations (invocation->context, invocation->vm, error);
  if (ops == NULL)
    return FALSE;
  rows = json_array_new ();
  for (guint i = 0; i < ops->len; i++)
    json_array_add_object_element (rows, render (g_ptr_array_index (ops, i)));
  json_object_set_array_member (invocation->output->document, "operations", rows);
  if (ops->len > 0)
    chainctl_output_table (invocation->output, rows, columns);
  for (guint i = 0; i < ops->len; i++)
    say_detached (invocation->output, g_ptr_array_index (ops, i), invocation->vm);
  if (ops->len == 0)
    chainctl_output_line (invocation->output, "Nothing was done on %s yet.", invocation->vm);
  return TRUE;
}
