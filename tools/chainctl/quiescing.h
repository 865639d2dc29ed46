/*
 * The options that every verb takes which switches what the guest writes to: how it is
 * quiesced for that.
 */
#pragma once

#include "tools/chainctl/command.h"

/** ChainctlQuiescing: as they were given. Begin with %CHAINCTL_QUIESCING_INIT. */
typedef struct {
  char *quiesce;
  double freeze_timeout;
  char *hooks;
} ChainctlQuiescing;

#define CHAINCTL_QUIESCING_INIT \
  {                             \
    .freeze_timeout = 30        \
  }

/** Three elements of a GOptionEntry array. @quiescing: a ChainctlQuiescing, no pointer */
#define CHAINCTL_QUIESCING_ENTRIES(quiescing)                                                                          \
  {"quiesce", 0, 0, G_OPTION_ARG_STRING, &(quiescing).quiesce, "freeze the guest (the VM's)", "auto|require|off"},     \
      {"freeze-timeout", 0, 0, G_OPTION_ARG_DOUBLE, &(quiescing).freeze_timeout, "for the agent to freeze (30)", "S"}, \
  {                                                                                                                    \
    "hooks", 0, 0, G_OPTION_ARG_STRING, &(quiescing).hooks, "application hooks", "auto|require|off"                    \
  }

void chainctl_quiescing_clear (ChainctlQuiescing *quiescing);

/**
 * chainctl_quiescing_read:
 * @mode: where the mode is put
 * @quiesce: (out) (nullable): @mode, or %NULL for the VM's own
 */
gboolean chainctl_quiescing_read (const ChainctlQuiescing *quiescing, ChainsQuiesce *mode,
                                  const ChainsQuiesce **quiesce, gint64 *freeze_timeout_us, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
