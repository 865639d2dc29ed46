/*
 * One command on several VMs: all at once on one thread, each with a result of
 * its own, so that one that is slow, dead or refused holds up no other.
 */
#pragma once

#include "tools/chainctl/command.h"

#define CHAINCTL_SEVERAL_AT_ONCE G_MAXINT

/**
 * ChainctlSeveralOptions:
 * @all, @match, @names: which VMs; at most one of the three
 * @parallel: how many at once; %CHAINCTL_SEVERAL_AT_ONCE where nobody says
 */
typedef struct {
  gboolean all;
  char *match;
  char *names;
  int parallel;
} ChainctlSeveralOptions;

void chainctl_several_options_clear (ChainctlSeveralOptions *options);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (ChainctlSeveralOptions, chainctl_several_options_clear)

/** The options that name several VMs, ended by a NULL name. Returns: (transfer full) */
GOptionEntry *chainctl_several_entries (ChainctlSeveralOptions *options);

/** Whether they name several VMs, and make sense. */
gboolean chainctl_several_check (const ChainctlSeveralOptions *options, gboolean *several, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * chainctl_several_choose:
 * The VMs that are meant, each once, by name; those of --vm as they were given, registered or not.
 * Raises %ENGINE_ERROR_NO_SUCH_VM where a pattern fits none. Returns: (transfer full) (array zero-terminated=1)
 */
char **chainctl_several_choose (EngineContext *context, const ChainctlSeveralOptions *options, GError **error);

/**
 * chainctl_several_run:
 * Does @act for each of @invocation's VMs. Raises the worst error, once all have ended, with how many failed.
 */
gboolean chainctl_several_run (ChainctlInvocation *invocation, ChainctlAct act, gconstpointer options, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
