/*
 * Takes the signals that would end us, and gives them back to a program that we
 * become. What is done when one comes is the engine's to say: it sees that the
 * cancellable is cancelled.
 */
#include "tools/chainctl/signals.h"

#include <glib-unix.h>

static const int taken[CHAINCTL_SIGNALS_TAKEN] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};

static gboolean
cancel (gpointer data)
{
  const ChainctlSignalsTargets *targets = data;

  g_cancellable_cancel (targets->first);
  return G_SOURCE_CONTINUE;
}

/* Only a person says it twice: whoever ends us for other reasons may well send SIGTERM and SIGHUP both. */
static gboolean
cancel_or_again (gpointer data)
{
  const ChainctlSignalsTargets *targets = data;

  if (g_cancellable_is_cancelled (targets->first)) {
    g_cancellable_cancel (targets->second);
    return G_SOURCE_CONTINUE;
  }
  g_cancellable_cancel (targets->first);
  targets->interrupted (targets->data);
  return G_SOURCE_CONTINUE;
}

void
chainctl_signals_take (ChainctlSignals *before, const ChainctlSignalsTargets *targets)
{
  sigprocmask (SIG_SETMASK, NULL, &before->mask);
  for (guint i = 0; i < G_N_ELEMENTS (taken); i++) {
    sigaction (taken[i], NULL, &before->actions[i]);
    if (taken[i] != SIGPIPE)
      g_unix_signal_add (taken[i], taken[i] == SIGINT ? cancel_or_again : cancel, (gpointer)targets);
  }
  signal (SIGPIPE, SIG_IGN);
}

void
chainctl_signals_give_back (const ChainctlSignals *before)
{
  for (guint i = 0; i < G_N_ELEMENTS (taken); i++)
    sigaction (taken[i], &before->actions[i], NULL);
  sigprocmask (SIG_SETMASK, &before->mask, NULL);
}
