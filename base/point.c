/*
 * The points of a test build. Keeps those that were passed, the only mutable
 * state of the project that is not passed along: a point stands anywhere, and the
 * process that counts is the unit that dies.
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

static GQueue points_passed; /* of Point, the first one first */

typedef struct {
  guint number;
  guint number_of_name;
  char *what;
  gboolean ended;
} Point;

static void
note (const Point *point)
{
  const char *path = g_getenv ("CHAINCTL_POINT_LOG");
  int fd = path != NULL ? open (path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;

  if (fd < 0)
    return;
  dprintf (fd, "%u %s\n", point->number, point->what);
  close (fd);
}

/* Whether CHAINCTL_POINT, @choice, is @action at this point and @moment. */
static gboolean
chooses (const char *choice, const Point *point, const char *moment, const char *action)
{
  g_autofree char *numbered = g_strdup_printf ("%u:%s:%s", point->number, moment, action);
  g_autofree char *named = g_strdup_printf ("%s#%u:%s:%s", point->what, point->number_of_name, moment, action);

  return g_strcmp0 (choice, numbered) == 0 || g_strcmp0 (choice, named) == 0;
}

/* The action chosen for @point at this @moment, or %NULL. */
static const char *
chosen_action (const Point *point, const char *moment)
{
  static const char *const actions[] = {"die", "fail", "stop", "hang", NULL};

  for (gsize i = 0; actions[i] != NULL; i++)
    if (chooses (g_getenv ("CHAINCTL_POINT"), point, moment, actions[i]))
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

static const Point *
begin (const char *kind, const char *name)
{
  Point *point = g_new0 (Point, 1);

  point->what = g_strdup_printf ("%s:%s", kind, name);
  point->number_of_name = 1;
  for (GList *link = points_passed.head; link != NULL; link = link->next)
    point->number_of_name += g_str_equal (((const Point *)link->data)->what, point->what);
  g_queue_push_tail (&points_passed, point);
  point->number = points_passed.length;
  return point;
}

/* The oldest under this name that has begun and not ended, %NULL where there is none. Calls may be under way together.
 */
static const Point *
end (const char *kind, const char *name)
{
  g_autofree char *what = g_strdup_printf ("%s:%s", kind, name);

  for (GList *link = points_passed.head; link != NULL; link = link->next) {
    Point *point = link->data;

    if (point->ended || !g_str_equal (point->what, what))
      continue;
    point->ended = TRUE;
    return point;
  }
  return NULL;
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
  const Point *point;
  const char *action;

  if (is_asked_in_a_loop (name))
    return TRUE;
  point = begin (kind, name);
  note (point);
  action = chosen_action (point, "before");
  end_or_stop (action);
  if (g_strcmp0 (action, "fail") != 0)
    return TRUE;
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_FAILED, "point %u (%s) was made to fail", point->number, point->what);
  return FALSE;
}

void
base_point_after (const char *kind, const char *name)
{
  const Point *point = end (kind, name);

  if (point != NULL)
    end_or_stop (chosen_action (point, "after"));
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
