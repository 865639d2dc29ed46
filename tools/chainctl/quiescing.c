/*
 * Reads the options by which a guest is quiesced. What a mode means is engine/guard's
 * to know.
 */
#include "tools/chainctl/quiescing.h"

void
chainctl_quiescing_clear (ChainctlQuiescing *quiescing)
{
  g_free (quiescing->quiesce);
  g_free (quiescing->hooks);
}

gboolean
chainctl_quiescing_read (const ChainctlQuiescing *quiescing, ChainsQuiesce *mode, const ChainsQuiesce **quiesce,
                         gint64 *freeze_timeout_us, GError **error)
{
  if (!chainctl_command_quiesce (quiescing->quiesce, mode, error) ||
      !chainctl_command_hooks (quiescing->hooks, error) ||
      !chainctl_command_freeze_timeout (quiescing->freeze_timeout, freeze_timeout_us, error))
    return FALSE;
  *quiesce = quiescing->quiesce != NULL ? mode : NULL;
  return TRUE;
}
