/*
 * The guess at what a mistyped name meant. Knows words, and nothing of what
 * they name.
 */
#pragma once

#include <glib.h>

/**
 * base_nearest_find:
 * The name in @names that @name is a typing mistake or the beginning of, or %NULL where none is near (two edits at
 * most, and no more than half of @name). Case is no mistake; among equally near ones the first in ASCII order.
 * Borrowed from @names.
 */
const char *base_nearest_find (const char *name, const char *const *names);
