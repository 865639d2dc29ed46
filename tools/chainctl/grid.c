/*
 * Keeps what is to be seen of each row and how wide it is, and no more: a list may
 * have a hundred thousand. How a value looks is output's.
 */
#include "tools/chainctl/grid.h"

#include "tools/chainctl/wrap.h"

#include <string.h>

/* What the first and the last column keep where there is no room for all. */
#define LEAST_FIRST 8
#define LEAST_LAST 20

struct _ChainctlGrid {
  const ChainctlOutputColumn *columns;
  guint count;
  glong *widths;
  GPtrArray *cells; /* of text in @chunk, row by row, the titles first */
  GStringChunk *chunk;
};

static void
add_cell (ChainctlGrid *grid, const char *text)
{
  guint column = grid->cells->len % grid->count;

  grid->widths[column] = MAX (grid->widths[column], g_utf8_strlen (text, -1));
  g_ptr_array_add (grid->cells, g_string_chunk_insert (grid->chunk, text));
}

ChainctlGrid *
chainctl_grid_new (const ChainctlOutputColumn *columns)
{
  ChainctlGrid *grid = g_new0 (ChainctlGrid, 1);

  while (columns[grid->count].title != NULL)
    grid->count++;
  grid->columns = columns;
  grid->widths = g_new0 (glong, grid->count);
  grid->cells = g_ptr_array_new ();
  grid->chunk = g_string_chunk_new (4096);
  for (guint i = 0; i < grid->count; i++)
    add_cell (grid, columns[i].title);
  return grid;
}

void
chainctl_grid_free (ChainctlGrid *grid)
{
  if (grid == NULL)
    return;
  g_free (grid->widths);
  g_ptr_array_unref (grid->cells);
  g_string_chunk_free (grid->chunk);
  g_free (grid);
}

static char *
join (JsonArray *array)
{
  g_autoptr (GPtrArray) texts = g_ptr_array_new ();

  for (guint i = 0; i < json_array_get_length (array); i++)
    g_ptr_array_add (texts, (gpointer)json_array_get_string_element (array, i));
  return chainctl_output_joined (texts);
}

/* @rfc3339: in UTC, as all times in documents. Returns: us since 1970 */
static gint64
parse_time (const char *rfc3339)
{
  g_autoptr (GDateTime) time = g_date_time_new_from_iso8601 (rfc3339, NULL);

  return time != NULL ? g_date_time_to_unix (time) * G_USEC_PER_SEC : 0;
}

static char *
cell (JsonObject *row, const ChainctlOutputColumn *column)
{
  JsonNode *node = json_object_get_member (row, column->member);

  if (node == NULL || JSON_NODE_HOLDS_NULL (node))
    return g_strdup ("-");
  if (JSON_NODE_HOLDS_ARRAY (node))
    return join (json_node_get_array (node));
  if (column->format == CHAINCTL_OUTPUT_SIZE)
    return chainctl_output_size (json_node_get_int (node));
  if (column->format == CHAINCTL_OUTPUT_TIME)
    return chainctl_output_local_time (parse_time (json_node_get_string (node)));
  if (column->format == CHAINCTL_OUTPUT_SHORT_ID)
    return chainctl_output_short_id (json_node_get_string (node));
  if (json_node_get_value_type (node) != G_TYPE_STRING)
    return json_to_string (node, FALSE);
  return chainctl_output_printable (json_node_get_string (node));
}

void
chainctl_grid_add_cell (ChainctlGrid *grid, char *text)
{
  add_cell (grid, text);
  g_free (text);
}

void
chainctl_grid_add (ChainctlGrid *grid, JsonObject *row)
{
  for (guint i = 0; i < grid->count; i++)
    chainctl_grid_add_cell (grid, cell (row, &grid->columns[i]));
}

static void
append_spaces (GString *text, glong count)
{
  static const char spaces[] = "                                ";

  for (; count > 0; count -= (glong)strlen (spaces))
    g_string_append_len (text, spaces, MIN (count, (glong)strlen (spaces)));
}

static void
append_padded (GString *text, const char *cell_text, glong width, gboolean right)
{
  glong padding = width - g_utf8_strlen (cell_text, -1);

  append_spaces (text, right ? padding : 0);
  g_string_append (text, cell_text);
  append_spaces (text, right ? 0 : padding);
}

/* ---- fitted into a terminal ---- */

/* @first, @last: how wide these columns may be; @start: where the last one begins */
typedef struct {
  glong first;
  glong last;
  glong start;
} Fit;

glong
chainctl_grid_width (const ChainctlGrid *grid)
{
  glong width = 2 * ((glong)grid->count - 1);

  for (guint i = 0; i < grid->count; i++)
    width += grid->widths[i];
  return width;
}

static Fit
fit (const ChainctlGrid *grid, guint columns)
{
  glong first = grid->widths[0], last = grid->widths[grid->count - 1], whole = chainctl_grid_width (grid);
  glong between = whole - first - last;
  glong room = (glong)columns - between - MIN (last, LEAST_LAST);

  if (columns == 0 || whole <= (glong)columns || grid->count < 2)
    return (Fit){first, last, first + between};
  first = CLAMP (room, MIN (first, LEAST_FIRST), first);
  return (Fit){first, MAX ((glong)columns - first - between, LEAST_LAST), first + between};
}

/* A cell that is longer than its column has the line to itself. */
static void
append_first (GString *text, const char *cell_text, const Fit *fitted)
{
  g_string_append (text, cell_text);
  if (g_utf8_strlen (cell_text, -1) <= fitted->first) {
    append_spaces (text, fitted->first - g_utf8_strlen (cell_text, -1));
  } else {
    g_string_append_c (text, '\n');
    append_spaces (text, fitted->first);
  }
}

static void
append_last (GString *text, const char *cell_text, const Fit *fitted, gboolean right)
{
  g_autofree char *wrapped = NULL;
  g_auto (GStrv) lines = NULL;

  if (g_utf8_strlen (cell_text, -1) <= fitted->last) {
    append_padded (text, cell_text, fitted->last, right);
    return;
  }
  wrapped = chainctl_wrap_text (cell_text, (guint)fitted->last, 0);
  lines = g_strsplit (wrapped, "\n", -1);
  for (gsize i = 0; lines[i] != NULL; i++) {
    if (i > 0)
      g_string_append_printf (text, "\n%*s", (int)fitted->start, "");
    g_string_append (text, lines[i]);
  }
}

static void
strip_end (GString *text)
{
  while (text->len > 0 && text->str[text->len - 1] == ' ')
    g_string_truncate (text, text->len - 1);
}

void
chainctl_grid_draw (const ChainctlGrid *grid, GString *text, guint columns)
{
  const Fit fitted = fit (grid, columns);

  for (guint i = 0; i < grid->cells->len; i++) {
    guint column = i % grid->count;
    const char *cell_text = g_ptr_array_index (grid->cells, i);
    gboolean right = grid->columns[column].format == CHAINCTL_OUTPUT_SIZE;

    if (column == 0)
      append_first (text, cell_text, &fitted);
    else if (column + 1 == grid->count)
      append_last (text, cell_text, &fitted, right);
    else
      append_padded (text, cell_text, grid->widths[column], right);
    if (column + 1 < grid->count) {
      g_string_append (text, "  ");
      continue;
    }
    strip_end (text);
    g_string_append_c (text, '\n');
  }
}
