/*
 * The parts of a line: disk, bar, percent, bytes of bytes, rate, time left or phase.
 * Knows nothing of terminals but how wide one is.
 */
#include "tools/chainctl/progressline.h"

#include "tools/chainctl/output.h"

#define BAR_WIDTH 20

/* A lesser one has fewer parts. */
typedef enum { TINY, SHORT, WITH_BYTES, WITH_RATE, WITH_BAR } Extent;

static int
percent (const EngineProgress *report)
{
  if (report->total <= 0)
    return report->phase <= ENGINE_PROGRESS_PAUSED && report->phase != ENGINE_PROGRESS_READY ? 0 : 100;
  return (int)CLAMP ((double)report->current * 100 / (double)report->total, 0, 100);
}

static void
append_bar (GString *line, const EngineProgress *report, gboolean colour)
{
  gsize full = (gsize)(percent (report) * BAR_WIDTH / 100);
  g_autofree char *done = g_strnfill (full, '#');
  g_autofree char *rest = g_strnfill (BAR_WIDTH - full, '.');

  g_string_append_printf (line, "  [%s%s%s%s]", colour ? "\033[36m" : "", done, colour ? "\033[0m" : "", rest);
}

static void
append_bytes (GString *line, const EngineProgress *report)
{
  g_autofree char *current = chainctl_output_size (report->current);
  g_autofree char *total = chainctl_output_size (report->total);

  g_string_append_printf (line, "  %s of %s", current, total);
}

/* "120 MiB/s"; nothing where that is not known, or nothing is copied. */
static void
append_rate (GString *line, const EngineProgress *report)
{
  g_autofree char *rate = report->rate >= 0 ? chainctl_output_size (report->rate) : NULL;

  if (rate != NULL && report->phase == ENGINE_PROGRESS_COPY)
    g_string_append_printf (line, "  %s/s", rate);
}

/* "3:07 left" as far as it can be told, else the phase. */
static void
append_end (GString *line, const EngineProgress *report, gboolean colour)
{
  gboolean stalled = colour && (report->phase == ENGINE_PROGRESS_STALLED || report->phase == ENGINE_PROGRESS_PAUSED);
  gint64 seconds;

  if (report->phase != ENGINE_PROGRESS_COPY || report->rate <= 0) {
    g_string_append_printf (line, "  %s%s%s", stalled ? "\033[33m" : "",
                            engine_progress_phase_to_string (report->phase), stalled ? "\033[0m" : "");
    return;
  }
  seconds = MAX (report->total - report->current, 0) / report->rate;
  if (seconds >= 3600)
    g_string_append_printf (line, "  %" G_GINT64_FORMAT ":%02d:%02d left", seconds / 3600, (int)(seconds / 60 % 60),
                            (int)(seconds % 60));
  else
    g_string_append_printf (line, "  %d:%02d left", (int)(seconds / 60), (int)(seconds % 60));
}

static char *
describe (const EngineProgress *report, Extent extent, gboolean colour)
{
  g_autofree char *vm = chainctl_output_printable (report->vm);
  g_autofree char *disk = chainctl_output_printable (report->disk);
  GString *line = g_string_new (NULL);

  if (extent > TINY)
    g_string_append_printf (line, "%s ", vm);
  g_string_append (line, disk);
  if (extent >= WITH_BAR)
    append_bar (line, report, colour);
  g_string_append_printf (line, " %3d %%", percent (report));
  if (extent >= WITH_BYTES)
    append_bytes (line, report);
  if (extent >= WITH_RATE)
    append_rate (line, report);
  if (extent > TINY)
    append_end (line, report, colour);
  return g_string_free (line, FALSE);
}

char *
chainctl_progressline_fit (const EngineProgress *report, guint columns, gboolean colour)
{
  g_autofree char *tiny = NULL;

  for (Extent extent = WITH_BAR; extent > TINY; extent--) {
    g_autofree char *plain = describe (report, extent, FALSE);

    if (g_utf8_strlen (plain, -1) <= (glong)columns)
      return colour ? describe (report, extent, TRUE) : g_steal_pointer (&plain);
  }
  tiny = describe (report, TINY, FALSE);
  return g_utf8_substring (tiny, 0, MIN (g_utf8_strlen (tiny, -1), (glong)columns));
}

char *
chainctl_progressline_whole (const EngineProgress *report)
{
  return describe (report, WITH_RATE, FALSE);
}
