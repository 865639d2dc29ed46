/*
 * Named points that every side effect passes: QMP and agent commands, files,
 * processes, commits. In a build with -Dpoints=true the environment makes the
 * n-th one die, fail, stop or hang, and a mutant seeds one known bug; in any other
 * build there is nothing here. Includes nothing of ours; all may include it.
 *
 *   CHAINCTL_POINT=WHICH:before|after:die|fail|stop|hang   what happens there; WHICH is N, the N-th point (1 is
 *                                                      the first), or NAME#N, the N-th of that name
 *   CHAINCTL_POINT_LOG=FILE                            a line for each passed point: "N NAME"
 *   CHAINCTL_MUTANT=NAME                               the seeded bug
 *
 * What hangs is stopped, and goes no further when it is made to go on.
 */
#pragma once

#include <glib.h>

#ifdef CHAINCTL_POINTS

/**
 * base_point_before:
 * @kind, @name: what is about to be done: "qmp" and "transaction", "file" and "create"
 * Returns: %FALSE with @error where the point is made to fail: then it must not be done
 */
gboolean base_point_before (const char *kind, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** It has been done. */
void base_point_after (const char *kind, const char *name);

/** Whether the bug called @name is seeded. */
gboolean base_point_is_mutant (const char *name);

/** In the watchdog: its points are its own, chosen by CHAINCTL_WATCHDOG_POINT. */
void base_point_enter_watchdog (void);

#else

G_GNUC_WARN_UNUSED_RESULT static inline gboolean
base_point_before (const char *kind, const char *name, GError **error)
{
  return TRUE;
}

static inline void
base_point_after (const char *kind, const char *name)
{
}

static inline gboolean
base_point_is_mutant (const char *name)
{
  return FALSE;
}

static inline void
base_point_enter_watchdog (void)
{
}

#endif
