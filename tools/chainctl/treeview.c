/*
 * The picture of a tree:
 *
 *   vda  2.0 GiB  in /var/lib/images
 *   ○ debian-12.qcow2            foreign    1.1 GiB
 *   ● web.qcow2                  backing    512 MiB  nightly
 *   ├─● web.nightly.qcow2        branch      64 MiB  experiment (protected)
 *   ◉ web.nightly-2.qcow2        active     192 KiB  ⇢ backup 45 % (not ours)
 *
 * The way from the lowest image to the active one is a straight line however
 * long it is; only branches are indented. A chain that does not stand on the one
 * above it is set apart by an empty line.
 */
#include "tools/chainctl/treeview.h"

#include <string.h>

#define WIDTH 80
#define STATE_WIDTH 7
#define SIZE_WIDTH 8
#define GAPS 6
#define NAME_MAX_WIDTH 40

typedef struct {
  const char *marker;
  const char *colour;
} Look;

static const Look looks[] = {
    [ENGINE_TREE_ACTIVE] = {"◉", "1;32"}, [ENGINE_TREE_BACKING] = {"●", "36"},   [ENGINE_TREE_BRANCH] = {"●", "33"},
    [ENGINE_TREE_FOREIGN] = {"○", "2"},   [ENGINE_TREE_MISSING] = {"✗", "1;31"},
};

typedef struct {
  ChainctlOutput *output;
  const EngineTree *tree;
  const GPtrArray *others;
  const char *folder;
  glong name_width;
} Drawing;

/* %TRUE where @image or one above it is the active one. */
static gboolean
leads_to_active (const EngineTreeImage *image, const EngineTreeImage *active)
{
  for (const EngineTreeImage *at = active; at != NULL; at = at->parent)
    if (at == image)
      return TRUE;
  return FALSE;
}

/* The child that goes on in its parent's column: towards the active image, else the youngest. */
static EngineTreeImage *
trunk_child (const EngineTreeImage *image, const EngineTreeImage *active)
{
  for (guint i = 0; i < image->children->len; i++)
    if (leads_to_active (g_ptr_array_index (image->children, i), active))
      return g_ptr_array_index (image->children, i);
  return image->children->len > 0 ? g_ptr_array_index (image->children, image->children->len - 1) : NULL;
}

/* The name within the disk's own folder, else the whole path. */
static char *
shown_name (const Drawing *drawing, const char *path)
{
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *name = g_str_equal (folder, drawing->folder) ? g_path_get_basename (path) : g_strdup (path);

  return chainctl_output_printable (name);
}

/* @text in at most @width characters: what is too long loses its middle. */
static char *
fit (const char *text, glong width)
{
  glong length = g_utf8_strlen (text, -1);
  glong head = (width - 1) / 2, tail = width - 1 - head;
  g_autofree char *start = NULL;

  if (length <= width || width < 3)
    return g_strdup (text);
  start = g_utf8_substring (text, 0, head);
  return g_strconcat (start, "…", g_utf8_offset_to_pointer (text, length - tail), NULL);
}

static void
append_coloured (const Drawing *drawing, GString *line, const char *colour, const char *text)
{
  if (drawing->output->colour)
    g_string_append_printf (line, "\033[%sm%s\033[0m", colour, text);
  else
    g_string_append (line, text);
}

static void
append_spaces (GString *line, glong count)
{
  g_string_append_printf (line, "%*s", (int)MAX (count, 0), "");
}

/* One thing behind the line as far as it fits, else below it. @column: where the next one begins */
static void
append_item (const Drawing *drawing, GString *line, const char *colour, const char *text, const char *below,
             glong *column)
{
  glong width = g_utf8_strlen (text, -1);

  if (*column + width > WIDTH) {
    g_strchomp (line->str);
    g_string_truncate (line, strlen (line->str));
    g_string_append_printf (line, "\n%s    ", below);
    *column = g_utf8_strlen (below, -1) + 4;
  }
  append_coloured (drawing, line, colour, text);
  g_string_append_c (line, ' ');
  *column += width + 1;
}

/* The snapshots' names, with what they are marked with. */
static void
append_snapshots (const Drawing *drawing, GString *line, const EngineTreeImage *image, const char *below, glong *column)
{
  for (guint i = 0; i < image->snapshots->len; i++) {
    const char *mark = g_ptr_array_index (image->marks, i);
    g_autofree char *text =
        g_strdup_printf ("%s%s%s%s%s", (const char *)g_ptr_array_index (image->snapshots, i), *mark != '\0' ? " (" : "",
                         mark, *mark != '\0' ? ")" : "", i + 1 < image->snapshots->len ? "," : "");

    append_item (drawing, line, "1", text, below, column);
  }
}

/* "⇣ commit 45 %": what this image receives, and from where; "⇢ mirror ready": it is copied elsewhere. */
static char *
describe_job (const char *type, const char *status, gint64 current, gint64 total)
{
  const char *arrow = g_str_equal (type, "stream") ? "⇡" : g_str_equal (type, "commit") ? "⇣" : "⇢";

  if (g_strcmp0 (status, "running") == 0 && total > 0)
    return g_strdup_printf ("%s %s %d %%", arrow, type, (int)((double)current * 100 / (double)total));
  return g_strdup_printf ("%s %s%s%s", arrow, type, status != NULL ? " " : "", status != NULL ? status : "");
}

static char *
describe_other (const EngineJobView *view)
{
  g_autofree char *text = describe_job (view->type, view->status, view->current, view->total);
  g_autofree char *whole = g_strconcat (text, " (not ours)", NULL);

  return chainctl_output_printable (whole);
}

static gboolean
is_at (const EngineJobView *view, const EngineTree *tree, const EngineTreeImage *image)
{
  return g_strcmp0 (view->disk, tree->disk->name) == 0 && g_strcmp0 (view->path, image->image->path) == 0;
}

static void
append_jobs (const Drawing *drawing, GString *line, const EngineTreeImage *image, const char *below, glong *column)
{
  const EngineTreeJob *job = image->job;
  g_autofree char *text = job != NULL ? describe_job (job->verb, job->status, job->current, job->total) : NULL;

  if (text != NULL)
    append_item (drawing, line, "35", text, below, column);
  for (guint i = 0; i < drawing->others->len; i++) {
    const EngineJobView *view = g_ptr_array_index (drawing->others, i);
    g_autofree char *other = is_at (view, drawing->tree, image) ? describe_other (view) : NULL;

    if (other != NULL)
      append_item (drawing, line, "2;35", other, below, column);
  }
}

static void
draw_image (const Drawing *drawing, const EngineTreeImage *image, const char *prefix, const char *below)
{
  const Look *look = &looks[image->state];
  g_autofree char *whole = shown_name (drawing, image->image->path);
  glong lead = g_utf8_strlen (prefix, -1) + 2;
  g_autofree char *name = fit (whole, drawing->name_width - lead);
  g_autofree char *size = chainctl_output_size (image->allocated);
  const char *state = engine_tree_state_to_string (image->state);
  g_autoptr (GString) line = g_string_new (prefix);
  glong column;

  append_coloured (drawing, line, look->colour, look->marker);
  g_string_append_printf (line, " %s", name);
  append_spaces (line, drawing->name_width - lead - g_utf8_strlen (name, -1) + 2);
  append_coloured (drawing, line, look->colour, state);
  append_spaces (line, STATE_WIDTH - (glong)strlen (state) + 2);
  append_spaces (line, SIZE_WIDTH - (glong)strlen (size));
  g_string_append_printf (line, "%s  ", size);
  column = drawing->name_width + STATE_WIDTH + SIZE_WIDTH + GAPS;
  append_snapshots (drawing, line, image, below, &column);
  append_jobs (drawing, line, image, below, &column);
  chainctl_output_line (drawing->output, "%s", g_strchomp (line->str));
}

/* From @image to the end of its column. @first is the prefix of its own line, @rest that of those below. */
static void
draw_column (const Drawing *drawing, const EngineTreeImage *image, const EngineTreeImage *active, const char *first,
             const char *rest)
{
  const char *prefix = first;

  while (image != NULL) {
    const EngineTreeImage *trunk = trunk_child (image, active);

    draw_image (drawing, image, prefix, rest);
    for (guint i = 0; i < image->children->len; i++) {
      const EngineTreeImage *child = g_ptr_array_index (image->children, i);
      g_autofree char *turn = g_strconcat (rest, "├─", NULL);
      g_autofree char *beside = g_strconcat (rest, "│ ", NULL);

      if (child != trunk)
        draw_column (drawing, child, active, turn, beside);
    }
    prefix = rest;
    image = trunk;
  }
}

static glong
widest (const Drawing *drawing, const EngineTree *tree)
{
  glong width = 0;

  for (guint i = 0; i < tree->images->len; i++) {
    const EngineTreeImage *image = g_ptr_array_index (tree->images, i);
    g_autofree char *name = shown_name (drawing, image->image->path);

    width = MAX (width, g_utf8_strlen (name, -1) + 4);
  }
  return MIN (width, NAME_MAX_WIDTH);
}

void
chainctl_treeview_draw (ChainctlOutput *output, const EngineTree *tree, const GPtrArray *others)
{
  const EngineTreeImage *active = engine_tree_active (tree);
  Drawing drawing = {.output = output, .tree = tree, .others = others};
  g_autofree char *folder = NULL;
  g_autofree char *whole = NULL;
  g_autofree char *shown = NULL;
  g_autofree char *size = NULL;
  guint roots = 0;

  if (active == NULL || tree->images->len == 0)
    return;
  folder = g_path_get_dirname (active->image->path);
  drawing.folder = folder;
  drawing.name_width = widest (&drawing, tree);
  whole = chainctl_output_printable (folder);
  size = chainctl_output_size (active->image->virtual_size);
  shown = fit (whole, WIDTH - (glong)(strlen (tree->disk->name) + strlen (size) + strlen ("    in ")));
  chainctl_output_line (output, "%s  %s  in %s", tree->disk->name, size, shown);
  for (guint i = 0; i < tree->images->len; i++) {
    const EngineTreeImage *image = g_ptr_array_index (tree->images, i);

    if (image->parent != NULL)
      continue;
    if (roots++ > 0)
      chainctl_output_line (output, "%s", "");
    draw_column (&drawing, image, active, "", "");
  }
}

static gboolean
is_drawn (const EngineJobView *view, const GPtrArray *trees)
{
  for (guint i = 0; i < trees->len; i++) {
    const EngineTree *tree = g_ptr_array_index (trees, i);

    for (guint j = 0; j < tree->images->len; j++)
      if (is_at (view, tree, g_ptr_array_index (tree->images, j)))
        return TRUE;
  }
  return FALSE;
}

void
chainctl_treeview_draw_elsewhere (ChainctlOutput *output, const GPtrArray *trees, const GPtrArray *others)
{
  for (guint i = 0; i < others->len; i++) {
    const EngineJobView *view = g_ptr_array_index (others, i);
    g_autofree char *text = is_drawn (view, trees) ? NULL : describe_other (view);
    g_autofree char *name = chainctl_output_printable (view->job);

    if (text != NULL)
      chainctl_output_line (output, "\n%s: %s", name, text);
  }
}
