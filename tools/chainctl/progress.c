/*
 * Draws progress. On a terminal a line for each disk is redrawn in its place; what
 * is no terminal gets whole lines only. Promises that a line is never wider than the
 * terminal, nor all of them higher. What the figures mean is engine/progress'.
 */
#include "tools/chainctl/progress.h"

#include "tools/chainctl/progressline.h"
#include "tools/chainctl/render.h"
#include "tools/chainctl/wrap.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PLAIN_EVERY_US (10 * G_USEC_PER_SEC)
#define JSON_EVERY_US (G_USEC_PER_SEC)

typedef enum { SILENT, BAR, JSON, PLAIN } Mode;

/* A disk of a VM, as it was told last. */
typedef struct {
  char *key;
  char *text;
  EngineProgressPhase phase;
  gint64 told_us;
} Line;

/* @op, @vm: (nullable): of the operation that is at work */
struct _ChainctlProgress {
  Mode mode;
  gboolean terminal;
  gboolean colour;
  GPtrArray *lines;
  guint drawn;
  char *op;
  char *vm;
};

static void
line_free (Line *line)
{
  g_free (line->key);
  g_free (line->text);
  g_free (line);
}

/* A bar needs a cursor that can be moved. */
static gboolean
can_draw (void)
{
  return isatty (STDERR_FILENO) == 1 && g_strcmp0 (g_getenv ("TERM"), "dumb") != 0;
}

static Mode
choose_mode (const char *word, gboolean verbose, gboolean quiet)
{
  if (g_strcmp0 (word, "none") == 0)
    return SILENT;
  if (g_strcmp0 (word, "json") == 0)
    return JSON;
  if (g_strcmp0 (word, "bar") == 0)
    return can_draw () ? BAR : PLAIN;
  if (quiet)
    return SILENT;
  if (can_draw ())
    return BAR;
  return verbose || isatty (STDERR_FILENO) == 1 ? PLAIN : SILENT;
}

ChainctlProgress *
chainctl_progress_new (const char *word, gboolean verbose, gboolean quiet)
{
  Mode mode = choose_mode (word, verbose, quiet);
  gboolean terminal = isatty (STDERR_FILENO) == 1;
  const char *no_colour = g_getenv ("NO_COLOR");
  ChainctlProgress *progress;

  if (mode == SILENT && !terminal)
    return NULL;
  progress = g_new0 (ChainctlProgress, 1);
  progress->mode = mode;
  progress->terminal = terminal;
  progress->colour = mode == BAR && (no_colour == NULL || *no_colour == '\0');
  progress->lines = g_ptr_array_new_with_free_func ((GDestroyNotify)line_free);
  return progress;
}

void
chainctl_progress_free (ChainctlProgress *progress)
{
  if (progress == NULL)
    return;
  g_ptr_array_unref (progress->lines);
  g_free (progress->op);
  g_free (progress->vm);
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

/* ---- for people ---- */

static void
measure (guint *columns, guint *rows)
{
  struct winsize size = {0};

  if (ioctl (STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
    size = (struct winsize){.ws_row = 24, .ws_col = 80};
  *columns = size.ws_col;
  *rows = size.ws_row;
}

/* All lines again, over those that were drawn before. */
static void
redraw (ChainctlProgress *progress, guint rows)
{
  guint room = MAX (rows, 3) - 1;
  guint shown = progress->lines->len <= room ? progress->lines->len : room - 1;
  g_autoptr (GString) text = g_string_new (NULL);

  if (progress->drawn > 0)
    g_string_append_printf (text, "\r\033[%uA", progress->drawn);
  for (guint i = 0; i < shown; i++)
    g_string_append_printf (text, "\r\033[K%s\n", ((const Line *)g_ptr_array_index (progress->lines, i))->text);
  if (shown < progress->lines->len)
    g_string_append_printf (text, "\r\033[K… and %u more\n", progress->lines->len - shown);
  progress->drawn = MIN (progress->lines->len, room);
  fputs (text->str, stderr);
  fflush (stderr);
}

static void
draw (ChainctlProgress *progress, Line *line, const EngineProgress *report)
{
  guint columns, rows;
  char *text;

  measure (&columns, &rows);
  /* What ends in the last column would be wrapped by some. */
  text = chainctl_progressline_fit (report, columns - 1, progress->colour);
  if (g_strcmp0 (text, line->text) == 0) {
    g_free (text);
    return;
  }
  g_free (line->text);
  line->text = text;
  redraw (progress, rows);
}

static void
print_plain (const EngineProgress *report)
{
  g_autofree char *text = chainctl_progressline_whole (report);

  fprintf (stderr, "%s\n", text);
  fflush (stderr);
}

/* ---- for scripts ---- */

static void
print_json (const EngineProgress *report)
{
  g_autoptr (JsonObject) object = json_object_new ();
  g_autoptr (JsonNode) root = json_node_init_object (json_node_alloc (), object);
  g_autofree char *text = NULL;

  chainctl_render_string (object, "op", *report->op != '\0' ? report->op : NULL);
  chainctl_render_string (object, "vm", report->vm);
  chainctl_render_string (object, "disk", *report->disk != '\0' ? report->disk : NULL);
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

/* ---- reports ---- */

static void
remember_operation (ChainctlProgress *progress, const EngineProgress *report)
{
  if (progress->op != NULL || *report->op == '\0')
    return;
  progress->op = g_strdup (report->op);
  progress->vm = g_strdup (report->vm);
}

void
chainctl_progress_report (const EngineProgress *report, gpointer data)
{
  ChainctlProgress *progress = data;
  Line *line = find_line (progress, report);

  remember_operation (progress, report);
  if (progress->mode == BAR)
    draw (progress, line, report);
  else if (progress->mode == JSON && is_due (line, report, JSON_EVERY_US))
    print_json (report);
  else if (progress->mode == PLAIN && is_due (line, report, PLAIN_EVERY_US))
    print_plain (report);
}

void
chainctl_progress_say_interrupted (ChainctlProgress *progress)
{
  g_autofree char *text = NULL;
  g_autofree char *wrapped = NULL;

  if (progress == NULL || progress->op == NULL || !progress->terminal || progress->mode == JSON)
    return;
  text = g_strdup_printf ("Left to QEMU: `chainctl job wait %s %.8s` waits; ^C within 2 s cancels it.", progress->vm,
                          progress->op);
  wrapped = chainctl_wrap_text (text, chainctl_wrap_columns (STDERR_FILENO), 2);
  /* "^C" stands where the cursor was. */
  fputs (can_draw () ? "\r\033[K" : "\n", stderr);
  fprintf (stderr, "%s\n", wrapped);
  fflush (stderr);
  progress->drawn = 0;
}
