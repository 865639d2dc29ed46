/*
 * Asks on stderr, reads from stdin, and takes anything but a yes for a no. Where
 * there is nobody to ask, nothing is asked.
 */
#include "tools/chainctl/ask.h"

#include "base/fiber.h"
#include "tools/chainctl/wrap.h"

#include <glib-unix.h>
#include <stdio.h>
#include <unistd.h>

/* " [y/N] " and what is typed */
#define ANSWER_COLUMNS 8

typedef struct {
  GCancellable *cancellable;
  gboolean answered;
} Waiting;

gboolean
chainctl_ask_may (const ChainctlInvocation *invocation)
{
  return !invocation->output->json && !invocation->output->json_messages && !invocation->yes &&
         isatty (STDIN_FILENO) == 1 && isatty (STDERR_FILENO) == 1;
}

static gboolean
note_answer (gint fd, GIOCondition condition, gpointer data)
{
  ((Waiting *)data)->answered = TRUE;
  return G_SOURCE_REMOVE;
}

static gboolean
is_over (gpointer data)
{
  const Waiting *waiting = data;

  return waiting->answered || g_cancellable_is_cancelled (waiting->cancellable);
}

/* A read alone would be begun again after each signal: Ctrl-C would not get a word in. */
static gboolean
wait_for_line (const ChainctlInvocation *invocation)
{
  Waiting waiting = {.cancellable = invocation->context->cancellable};
  guint source = g_unix_fd_add (STDIN_FILENO, G_IO_IN | G_IO_HUP | G_IO_ERR, note_answer, &waiting);

  base_fiber_wait (is_over, &waiting);
  if (!waiting.answered)
    g_source_remove (source);
  return waiting.answered;
}

gboolean
chainctl_ask (const ChainctlInvocation *invocation, const char *question)
{
  guint columns = chainctl_wrap_columns (STDERR_FILENO);
  g_autofree char *shown = chainctl_output_printable (question);
  g_autofree char *wrapped = chainctl_wrap_text (shown, columns > ANSWER_COLUMNS ? columns - ANSWER_COLUMNS : 0, 0);
  char line[16] = "";

  fprintf (stderr, "%s [y/N] ", wrapped);
  fflush (stderr);
  if (!wait_for_line (invocation) || fgets (line, sizeof line, stdin) == NULL) {
    fputc ('\n', stderr);
    return FALSE;
  }
  g_strstrip (line);
  return g_ascii_strcasecmp (line, "y") == 0 || g_ascii_strcasecmp (line, "yes") == 0;
}
