/*
 * Draws progress. A line for each disk, redrawn in its place; what is not a terminal
 * gets whole lines only.
 */
#include "tools/chainctl/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_WIDTH 20
#define LEAST_WIDTH 40
#define PLAIN_EVERY_US (10 * G_USEC_PER_SEC)
#define JSON_EVERY_US (G_USEC_PER_SEC)

typedef enum { BAR, JSON, PLAIN } Mode;

/* A disk of a VM, as it was told last. */
typedef struct {
  char *key;
  char *line;
  EngineProgressPhase phase;
  gint64 told_us;
} Line;

struct _ChainctlProgress {
  Mode mode;
  GPtrArray *lines;
  guint drawn;
};

static void
line_free (Line *line)
{
  g_free (line->key);
  g_free (line->line);
  g_free (line);
}

static gboolean
choose_mode (const char *word, gboolean verbose, Mode *mode)
{
  gboolean terminal = isatty (STDERR_FILENO) == 1;

  *mode = BAR;
  if (g_strcmp0 (word, "none") == 0)
    return FALSE;
  if (g_strcmp0 (word, "json") == 0)
    *mode = JSON;
  else if (g_strcmp0 (word, "bar") != 0 && !terminal) {
    *mode = PLAIN;
    return verbose;
  }
  return TRUE;
}

ChainctlProgress *
chainctl_progress_new (const char *word, gboolean verbose)
{
  ChainctlProgress *progress;
  Mode mode;

  if (!choose_mode (word, verbose, &mode))
    return NULL;
  progress = g_new0 (ChainctlProgress, 1);
  progress->mode = mode;
  progress->lines = g_ptr_array_new_with_free_func ((GDestroyNotify)line_free);
  return progress;
}

void
chainctl_progress_end (ChainctlProgress *progress)
{
  if (progress == NULL)
    return;
  g_ptr_array_unref (progress->lines);
  g_free (progress);
}

static Line *
find_line (ChainctlProgress *progress, const EngineProgress *report)
{
  g_autofree char *key = g_strdup_printf ("%s %s", report->vm, report->disk);
  Line *line;

  for (guint i = 0; i < progress->lines->len; i++) {
    line = g_ptr_array_index (progress->lines, i);
    if (g_str_equal (line->key, key))
      return line;
  }
  line = g_new0 (Line, 1);
  line->key = g_steal_pointer (&key);
  g_ptr_array_add (progress->lines, line);
  return line;
}

/* ---- for people ---- */

static int
percent (const EngineProgress *report)
{
  if (report->phase == ENGINE_PROGRESS_DONE || report->total <= 0)
    return report->phase == ENGINE_PROGRESS_COPY ? 0 : 100;
  return (int)CLAMP (report->current * 100 / report->total, 0, 100);
}

/* "3:07 left", or nothing where that is not known. Returns: (transfer full) */
static char *
time_left (const EngineProgress *report)
{
  gint64 seconds;

  if (report->phase != ENGINE_PROGRESS_COPY || report->rate <= 0)
    return g_strdup ("");
  seconds = MAX (report->total - report->current, 0) / report->rate;
  if (seconds >= 3600)
    return g_strdup_printf ("  %d:%02d:%02d left", (int)(seconds / 3600), (int)(seconds / 60 % 60),
                            (int)(seconds % 60));
  return g_strdup_printf ("  %d:%02d left", (int)(seconds / 60), (int)(seconds % 60));
}

static char *
rate_of (const EngineProgress *report)
{
  g_autofree char *size = report->rate >= 0 ? chainctl_output_size (report->rate) : NULL;

  if (report->phase != ENGINE_PROGRESS_COPY || size == NULL)
    return g_strdup_printf ("  %s", engine_progress_phase_to_string (report->phase));
  return g_strdup_printf ("  %s/s", size);
}

static char *
draw_bar (int done)
{
  int full = done * BAR_WIDTH / 100;
  g_autofree char *hashes = g_strnfill ((gsize)full, '#');
  g_autofree char *dots = g_strnfill ((gsize)(BAR_WIDTH - full), '.');

  return g_strdup_printf ("[%s%s] ", hashes, dots);
}

static char *
describe (const EngineProgress *report, gboolean with_bar)
{
  g_autofree char *current = chainctl_output_size (report->current);
  g_autofree char *total = chainctl_output_size (report->total);
  g_autofree char *left = time_left (report);
  g_autofree char *rate = rate_of (report);
  g_autofree char *bar = with_bar ? draw_bar (percent (report)) : g_strdup ("");

  return g_strdup_printf ("%s %s: %s%3d %%  %s of %s%s%s", report->vm, report->disk, bar, percent (report), current,
                          total, rate, left);
}

static gsize
terminal_width (void)
{
  struct winsize size = {0};

  return ioctl (STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? MAX (size.ws_col, LEAST_WIDTH) : 80;
}

/* All lines again, over those that were drawn before; none is longer than the terminal is wide. */
static void
redraw (ChainctlProgress *progress)
{
  gsize width = terminal_width () - 1;
  g_autoptr (GString) text = g_string_new (NULL);

  if (progress->drawn > 0)
    g_string_append_printf (text, "\r\033[%uA", progress->drawn);
  for (guint i = 0; i < progress->lines->len; i++) {
    const Line *line = g_ptr_array_index (progress->lines, i);

    g_string_append_printf (text, "\r\033[K%.*s\n", (int)width, line->line);
  }
  progress->drawn = progress->lines->len;
  fputs (text->str, stderr);
  fflush (stderr);
}

/* ---- for scripts ---- */

static void
print_json (const EngineProgress *report)
{
  g_autoptr (JsonObject) object = json_object_new ();
  g_autoptr (JsonNode) root = json_node_init_object (json_node_alloc (), object);
  g_autofree char *text = NULL;

  json_object_set_string_member (object, "op", report->op);
  json_object_set_string_member (object, "vm", report->vm);
  json_object_set_string_member (object, "disk", report->disk);
  json_object_set_string_member (object, "phase", engine_progress_phase_to_string (report->phase));
  json_object_set_int_member (object, "current", report->current);
  json_object_set_int_member (object, "total", report->total);
  if (report->rate >= 0)
    json_object_set_int_member (object, "rate", report->rate);
  else
    json_object_set_null_member (object, "rate");
  text = json_to_string (root, FALSE);
  fprintf (stderr, "%s\n", text);
  fflush (stderr);
}

/* A change of phase is told at once, anything else now and then. */
static gboolean
is_due (Line *line, const EngineProgress *report, gint64 every_us)
{
  gint64 now_us = g_get_monotonic_time ();

  /* A report comes a little earlier or later: a second is one. */
  if (line->told_us != 0 && line->phase == report->phase && now_us - line->told_us < every_us * 4 / 5)
    return FALSE;
  line->told_us = now_us;
  line->phase = report->phase;
  return TRUE;
}

void
chainctl_progress_report (const EngineProgress *report, gpointer data)
{
  ChainctlProgress *progress = data;
  Line *line = find_line (progress, report);

  if (progress->mode == JSON) {
    if (is_due (line, report, JSON_EVERY_US))
      print_json (report);
    return;
  }
  g_free (line->line);
  line->line = describe (report, progress->mode == BAR);
  if (progress->mode == BAR)
    redraw (progress);
  else if (is_due (line, report, PLAIN_EVERY_US)) {
    fprintf (stderr, "%s\n", line->line);
    fflush (stderr);
  }
}
