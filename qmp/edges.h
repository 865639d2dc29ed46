/*
 * How the nodes of the block graph hang together, by name alone
 * (`x-debug-query-block-graph`): cheap at any depth, where asking for all that
 * is to know about each node is not.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

/**
 * QmpVertex: one node
 * @file, @backing: (nullable): its children of these names. Borrowed.
 * @has_parent: another node is above it
 * @has_user: a device, an export or a job holds it
 * @writes: it may write to @file
 */
typedef struct _QmpVertex QmpVertex;
struct _QmpVertex {
  char *name;
  const QmpVertex *file;
  const QmpVertex *backing;
  gboolean has_parent;
  gboolean has_user;
  gboolean writes;
};

typedef struct _QmpEdges QmpEdges;

/** From a reply to x-debug-query-block-graph. Raises %QMP_ERROR_PROTOCOL. Returns: (transfer full) */
QmpEdges *qmp_edges_parse (JsonNode *reply, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void qmp_edges_free (QmpEdges *edges);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpEdges, qmp_edges_free)

/** (element-type QmpVertex) in QEMU's order, the newest first. Borrowed. */
const GPtrArray *qmp_edges_get_all (const QmpEdges *edges);
/** Borrowed, or %NULL. */
const QmpVertex *qmp_edges_find (const QmpEdges *edges, const char *name);
/** The node that job @job holds as its @role ("main node", "base", "target" …); %NULL where QEMU tells of none.
 * Borrowed. */
const QmpVertex *qmp_edges_find_held (const QmpEdges *edges, const char *job, const char *role);
/** (element-type utf8) who holds a node, each as QEMU names it, "" where it does not: devices, exports, jobs; sorted.
 */
const GPtrArray *qmp_edges_get_users (const QmpEdges *edges);
