/*
 * Addresses of monitors and agents as they are remembered.
 */
#pragma once

#include <glib.h>

/** @address with an absolute path: it means the same from every folder and at every later run. Returns: (transfer full)
 */
char *engine_address_absolute (const char *address);

/** The path of @address (unix:PATH or PATH), or %NULL where it is a vsock one. Borrowed. */
const char *engine_address_path (const char *address);
