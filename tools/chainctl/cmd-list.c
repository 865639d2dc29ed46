/*
 * chainctl list: a VM's snapshots, oldest first, with what they take up on disk
 * now. Reads the database and stat(2), nothing else.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/grid.h"
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

/* The same where there is something to mark. */
static const ChainctlOutputColumn marked_columns[] = {
    {"NAME", "name", CHAINCTL_OUTPUT_TEXT},       {"ID", "id", CHAINCTL_OUTPUT_SHORT_ID},
    {"CREATED", "created", CHAINCTL_OUTPUT_TIME}, {"CONSISTENCY", "consistency", CHAINCTL_OUTPUT_TEXT},
    {"SIZE", "size", CHAINCTL_OUTPUT_SIZE},       {"MARKS", "marks", CHAINCTL_OUTPUT_TEXT},
    {"TAGS", "tags", CHAINCTL_OUTPUT_LIST},       {NULL},
};

/* On a terminal that has no room for these: a name is enough to mean one by, and marks stand where tree has them. */
static const ChainctlOutputColumn narrow_columns[] = {
    {"NAME", "name", CHAINCTL_OUTPUT_TEXT},
    {"CREATED", "created", CHAINCTL_OUTPUT_TIME},
    {"CONSISTENCY", "consistency", CHAINCTL_OUTPUT_TEXT},
    {"SIZE", "size", CHAINCTL_OUTPUT_SIZE},
    {"TAGS", "tags", CHAINCTL_OUTPUT_LIST},
    {NULL},
};

typedef enum { PLAIN, MARKED, NARROW } Form;

static gboolean
is_any_marked (const GPtrArray *listed)
{
  for (guint i = 0; i < listed->len; i++)
    if (*engine_tree_mark (((const EngineListed *)g_ptr_array_index (listed, i))->snapshot) != '\0')
      return TRUE;
  return FALSE;
}

/* In the order of the columns. */
static void
add_row (ChainctlGrid *grid, const EngineListed *entry, Form form)
{
  const ChainsSnapshot *snapshot = entry->snapshot;
  const char *mark = engine_tree_mark (snapshot);
  g_autofree char *tags = chainctl_output_joined (snapshot->tags);
  gboolean marked = form == NARROW && *mark != '\0';

  chainctl_grid_add_cell (grid, chainctl_output_printable (snapshot->name));
  if (form != NARROW)
    chainctl_grid_add_cell (grid, chainctl_output_short_id (snapshot->id));
  chainctl_grid_add_cell (grid, chainctl_output_local_time (snapshot->created_us));
  chainctl_grid_add_cell (grid, g_strdup (chains_consistency_to_string (snapshot->consistency)));
  chainctl_grid_add_cell (grid, chainctl_output_size (entry->size));
  if (form == MARKED)
    chainctl_grid_add_cell (grid, g_strdup (mark));
  chainctl_grid_add_cell (grid, g_strconcat (marked ? "(" : "", marked ? mark : "", marked ? ")" : "",
                                             marked && *tags != '\0' ? " " : "", tags, NULL));
}

static ChainctlGrid *
draw (const GPtrArray *listed, Form form)
{
  static const ChainctlOutputColumn *const all[] = {
      [PLAIN] = columns, [MARKED] = marked_columns, [NARROW] = narrow_columns};
  ChainctlGrid *grid = chainctl_grid_new (all[form]);

  for (guint i = 0; i < listed->len; i++)
    add_row (grid, g_ptr_array_index (listed, i), form);
  return grid;
}

static void
say (ChainctlOutput *output, const GPtrArray *listed, const char *vm)
{
  g_autoptr (ChainctlGrid) grid = draw (listed, is_any_marked (listed) ? MARKED : PLAIN);

  if (output->columns > 0 && chainctl_grid_width (grid) > (glong)output->columns) {
    chainctl_grid_free (grid);
    grid = draw (listed, NARROW);
  }
  if (listed->len > 0)
    chainctl_grid_draw (grid, output->text, output->columns);
  else
    chainctl_output_line (output, "%s has no snapshots.", vm);
}

static void
fill (JsonObject *document, const GPtrArray *listed, const char *vm)
{
  JsonArray *rows = json_array_new ();

  for (guint i = 0; i < listed->len; i++) {
    const EngineListed *entry = g_ptr_array_index (listed, i);
    JsonObject *row = chainctl_render_snapshot (entry->snapshot, vm);

    json_object_set_int_member (row, "size", entry->size);
    json_array_add_object_element (rows, row);
  }
  json_object_set_array_member (document, "snapshots", rows);
}

/* There may be a hundred thousand: what is not asked for is not made. */
static gboolean
list (ChainctlInvocation *invocation, gconstpointer options, GError **error)
{
  g_autoptr (GPtrArray) listed = engine_listing_read (invocation->context, invocation->vm, error);

  if (listed == NULL)
    return FALSE;
  if (invocation->output->json)
    fill (invocation->output->document, listed, invocation->vm);
  else
    say (invocation->output, listed, invocation->vm);
  return TRUE;
}

gboolean
chainctl_cmd_list (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};

  return chainctl_command_run (invocation, entries, list, NULL, error);
}
