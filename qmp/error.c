/*
 * The error domain of this folder: its quark, and which codes are the peer's own no.
 * Which code stands for what is said in the header; who raises one writes the message.
 */
#include "qmp/error.h"

/* With hyphens clang-format would make it "qmp - error", and the quark's name with it. */
G_DEFINE_QUARK (qmp_error, qmp_error)

gboolean
qmp_error_is_refusal (const GError *failure)
{
  return g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND) ||
         g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND) ||
         g_error_matches (failure, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND);
}

gboolean
qmp_error_forgive_refusal (GError *failure, GError **error)
{
  if (failure != NULL && !qmp_error_is_refusal (failure)) {
    g_propagate_error (error, failure);
    return FALSE;
  }
  if (failure != NULL)
    g_debug ("%s", failure->message);
  g_clear_error (&failure);
  return TRUE;
}
