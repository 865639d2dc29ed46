/*
 * A line on stderr: an error, a hint, a warning. For people, or an object for
 * scripts.
 */
#pragma once

#include <glib.h>

/** @what: "error", "hint", "warning"; @json: with --progress=json every line there is JSON */
void chainctl_message_print (const char *what, const char *message, gboolean json);
