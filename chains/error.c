/*
 * The folder's one GError domain. It promises that every failure of chains/
 * carries a ChainsError; turning those into exit codes is left to tools/.
 */
#include "chains/error.h"

#include <errno.h>

GQuark
chains_error_quark (void)
{
  return g_quark_from_static_string ("chains-error-quark");
}

ChainsError
chains_error_from_errno (int saved_errno)
{
  switch (saved_errno) {
  case EACCES:
  case EPERM:
  case EROFS:
    return CHAINS_ERROR_READ_ONLY;
  case ENOSPC:
  case EDQUOT:
    return CHAINS_ERROR_FULL;
  default:
    return CHAINS_ERROR_IO;
  }
}
