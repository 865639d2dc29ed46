/*
 * Spells addresses so that they can be kept and compared. Whether they are
 * addresses at all is qmp/transport's to say.
 */
#include "engine/address.h"

#include <string.h>

const char *
engine_address_path (const char *address)
{
  if (g_str_has_prefix (address, "vsock:"))
    return NULL;
  return g_str_has_prefix (address, "unix:") ? address + strlen ("unix:") : address;
}

char *
engine_address_absolute (const char *address)
{
  const char *path = engine_address_path (address);
  g_autofree char *absolute = path != NULL ? g_canonicalize_filename (path, NULL) : NULL;

  if (absolute == NULL)
    return g_strdup (address);
  return path == address ? g_steal_pointer (&absolute) : g_strconcat ("unix:", absolute, NULL);
}
