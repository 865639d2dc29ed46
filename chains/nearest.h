/*
 * The guess at what a mistyped name meant.
 */
#pragma once

#include <glib.h>

/** The name in @names that a typing mistake is nearest to, or %NULL where none is near. Borrowed from @names. */
const char *chains_nearest_find (const char *name, const char *const *names);
