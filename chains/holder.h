/*
 * Who keeps others from the database: for a process that has to have it, and
 * may see to it that another one lets go.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/**
 * chains_holder_is:
 * @folder: the state folder
 * Whether process @pid is inside a transaction that writes, or has the database to itself. To be asked by a process
 * that has no connection open: it would lose the locks of that one.
 */
gboolean chains_holder_is (const char *folder, pid_t pid) G_GNUC_WARN_UNUSED_RESULT;
