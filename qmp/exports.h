/*
 * The commands of block exports, beside query-block-exports: who serves nodes
 * over NBD needs them. Errors are QMP_ERROR's, as qmp/call raises them.
 */
#pragma once

#include "qmp/commands.h"

/**
 * qmp_exports_delete_unused:
 * block-export-del with mode "safe", which is refused where a client has shaken hands and is still there.
 * Returns: %FALSE with %QMP_ERROR_COMMAND where it is in use
 */
gboolean qmp_exports_delete_unused (QmpClient *client, QmpWait wait, const char *id, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * qmp_exports_query_written:
 * query-blockstats: how far each node has been written to since it was opened, the end of the last byte, 0 where it was
 * not. Returns: (transfer full) (element-type utf8 gint64): by node name
 */
GHashTable *qmp_exports_query_written (QmpClient *client, QmpWait wait, GError **error) G_GNUC_WARN_UNUSED_RESULT;
