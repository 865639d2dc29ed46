/*
 * Breaks lines. A letter counts as one column, as everywhere here. Knows nothing of
 * what it breaks; what must not be broken, such as a command, is not given to it.
 */
#include "tools/chainctl/wrap.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Less leaves no room for prose. */
#define LEAST_COLUMNS 16

guint
chainctl_wrap_columns (int fd)
{
  struct winsize size = {0};

  return isatty (fd) == 1 && ioctl (fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/* What is between two backticks is typed, or pasted: a blank in it is no place to break at. Returns: its end */
static const char *
find_blank (const char *text)
{
  gboolean quoted = FALSE;

  for (; *text != '\0' && (quoted || *text != ' '); text++)
    quoted = quoted != (*text == '`');
  return text;
}

/* One line, without its end. */
static void
append_wrapped (GString *out, const char *line, guint columns, guint indent)
{
  gsize lead = strspn (line, " ");
  const char *at = line + lead;
  glong column = (glong)lead;

  g_string_append_len (out, line, (gssize)lead);
  for (gboolean first = TRUE; *at != '\0'; first = FALSE) {
    gsize blanks = strspn (at, " ");
    const char *end = find_blank (at + blanks);
    glong width = g_utf8_strlen (at + blanks, end - at - (gssize)blanks);

    if (!first && column + (glong)blanks + width > (glong)columns) {
      g_string_append_printf (out, "\n%*s", (int)(lead + indent), "");
      column = (glong)(lead + indent);
    } else {
      g_string_append_len (out, at, (gssize)blanks);
      column += (glong)blanks;
    }
    g_string_append_len (out, at + blanks, end - at - (gssize)blanks);
    column += width;
    at = end;
  }
}

char *
chainctl_wrap_text (const char *text, guint columns, guint indent)
{
  g_auto (GStrv) lines = NULL;
  g_autoptr (GString) out = NULL;

  if (columns < LEAST_COLUMNS)
    return g_strdup (text);
  lines = g_strsplit (text, "\n", -1);
  out = g_string_new (NULL);
  for (gsize i = 0; lines[i] != NULL; i++) {
    if (i > 0)
      g_string_append_c (out, '\n');
    append_wrapped (out, lines[i], columns, indent);
  }
  return g_string_free (g_steal_pointer (&out), FALSE);
}
