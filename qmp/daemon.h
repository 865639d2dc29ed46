/*
 * The disks of a storage daemon, which has no devices: what it exports, and the
 * uppermost nodes that it does not export.
 */
#pragma once

#include "qmp/nodes.h"

/**
 * qmp_daemon_parse:
 * @exports: reply to query-block-exports; @graph: reply to x-debug-query-block-graph
 * Each exported uppermost node once, under the id of its oldest export, the oldest first; then the other uppermost
 * nodes that were given a name, with @backend "". Nodes under another are reached from above, also where they are
 * exported themselves. Returns: (transfer full) (element-type QmpDevice); raises %QMP_ERROR_PROTOCOL
 */
GPtrArray *qmp_daemon_parse (const QmpNodes *nodes, JsonNode *exports, JsonNode *graph, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
