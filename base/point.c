/*
 * The points of a test build. Keeps a counter and what has begun and not ended,
 * the only mutable state of the project that is not passed along: a point
 * stands anywhere, and the process that counts is the unit that dies.
 */
#include "base/point.h"

#ifdef CHAINCTL_POINTS

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static gint64 points_passed;
static GQueue points_begun; /* of Begun, the oldest first */

typedef struct {
  gint64 number;
  char *what;
} Begun;

static void
note (const char *kind, const char *name)
{
  const char *path = g_getenv ("CHAINCTL_POINT_LOG");
  int fd = path != NULL ? open (path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;

  if (fd < 0)
    return;
  dprintf (fd, "%" G_GINT64_FORMAT " %s:%s\n", points_passed, kind, name);
  close (fd);
}

/* The action chosen for point @number at this @moment, or %NULL. */
static const char *
chosen_action (gint64 number, const char *moment)
{
  const char *choice = g_getenv ("CHAINCTL_POINT");
  g_auto (GStrv) words = choice != NULL ? g_strsplit (choice, ":", 3) : NULL;
  static const char *const actions[] = {"die", "fail", "stop", "hang", NULL};

  if (words == NULL || g_strv_length (words) != 3 || !g_str_equal (words[1], moment) ||
      g_ascii_strtoll (words[0], NULL, 10) != number)
    return NULL;
  for (gsize i = 0; actions[i] != NULL; i++)
    if (g_str_equal (actions[i], words[2]))
      return actions[i];
  return NULL;
}

static void
end_or_stop (const char *action)
{
  if (g_strcmp0 (action, "die") == 0)
    kill (getpid (), SIGKILL);
  if (g_strcmp0 (action, "stop") == 0 || g_strcmp0 (action, "hang") == 0)
    kill (getpid (), SIGSTOP);
  while (g_strcmp0 (action, "hang") == 0)
    pause ();
}

static void
begin (const char *kind, const char *name)
{
  Begun *begun = g_new0 (Begun, 1);

  begun->number = points_passed;
  begun->what = g_strdup_printf ("%s:%s", kind, name);
  g_queue_push_tail (&points_begun, begun);
}

/* The number of the oldest that has begun under this name, 0 where none has. Calls may be under way together. */
static gint64
end (const char *kind, const char *name)
{
  g_autofree char *what = g_strdup_printf ("%s:%s", kind, name);

  for (GList *link = points_begun.head; link != NULL; link = link->next) {
    Begun *begun = link->data;
    gint64 number = begun->number;

    if (!g_str_equal (begun->what, what))
      continue;
    g_queue_delete_link (&points_begun, link);
    g_free (begun->what);
    g_free (begun);
    return number;
  }
  return 0;
}

/* What is asked while something is waited for, as often as it takes: it has no number, so that those of others stay. */
static gboolean
is_asked_in_a_loop (const char *name)
{
  return g_str_equal (name, "query-jobs") || g_str_equal (name, "query-block-jobs");
}

gboolean
base_point_before (const char *kind, const char *name, GError **error)
{
  const char *action;

  if (is_asked_in_a_loop (name))
    return TRUE;
  points_passed++;
  note (kind, name);
  begin (kind, name);
  action = chosen_action (points_passed, "before");
  end_or_stop (action);
  if (g_strcmp0 (action, "fail") != 0)
    return TRUE;
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_FAILED, "point %" G_GINT64_FORMAT " (%s:%s) was made to fail",
               points_passed, kind, name);
  return FALSE;
}

void
base_point_after (const char *kind, const char *name)
{
  end_or_stop (chosen_action (end (kind, name), "after"));
}

gboolean
base_point_is_mutant (const char *name)
{
  return g_strcmp0 (g_getenv ("CHAINCTL_MUTANT"), name) == 0;
}

void
base_point_enter_watchdog (void)
{
  const char *own = g_getenv ("CHAINCTL_WATCHDOG_POINT");

  g_unsetenv ("CHAINCTL_POINT_LOG");
  if (own != NULL)
    g_setenv ("CHAINCTL_POINT", own, TRUE);
  else
    g_unsetenv ("CHAINCTL_POINT");
}

#endif
