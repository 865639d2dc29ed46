/*
 * QEMU's block graph as plain facts: the nodes (`query-named-block-nodes`,
 * always flat) and the devices with the chain of nodes under each
 * (`query-block`, `query-blockstats`); in a storage daemon, what it exports
 * (qmp/daemon). No judgement of what a chain means.
 */
#pragma once

#include "qmp/client.h"

/**
 * QmpNode: one node of the block graph
 * @name: its node-name, a generated "#block123" included
 * @driver: "qcow2", "raw", "file", "throttle" …
 * @filename: what `file` of BlockDeviceInfo says; for a node of driver "file" the path itself
 * @virtual_size: bytes; @actual_size: bytes allocated, -1 where unknown
 * @header_backing: (nullable): the backing name *as the header has it* (image.full-backing-filename, else
 *     backing-filename), fit for finding drift only
 * @header_backing_format: (nullable)
 * @cluster_size: 0 where it has none
 * @data_file: its data lies in a file beside it (qcow2's external data file)
 */
typedef struct {
  char *name;
  char *driver;
  char *filename;
  char *header_backing;
  char *header_backing_format;
  gint64 virtual_size;
  gint64 actual_size;
  gint64 cluster_size;
  gboolean read_only;
  gboolean encrypted;
  gboolean cache_direct;
  gboolean cache_no_flush;
  char *detect_zeroes;
  gboolean extended_l2;
  gboolean data_file;
  gboolean dirty_flag;
  gboolean corrupt;
} QmpNode;

/**
 * QmpNodesLayer: one step down a device's chain
 * @node: borrowed from the graph
 * @file: (nullable): for a format, the node that holds its bytes: the protocol node at the bottom, past any
 *     filter between the two; for a filter, its child; %NULL for a layer that is a protocol node itself
 * @between: (nullable): for a format, the uppermost of the nodes between it and @file: a filter, or another format
 * Chain order is from the guest downwards: filters, the active image, its backing image …
 */
typedef struct {
  const QmpNode *node;
  const QmpNode *file;
  const QmpNode *between;
} QmpNodesLayer;

/**
 * QmpDevice: one BlockBackend with a medium
 * @backend: BlockBackend name, "" where it has none; in a storage daemon the export's id, "" where it is not exported
 * @qdev: (nullable): what query-block reports: an id or a QOM path
 * @layers: (element-type QmpNodesLayer): empty where there is no medium
 * @removable: its medium can be changed: CD-ROM, floppy, SD card, a USB stick with removable=on
 * @io_failed: stopped by an I/O error ("failed" or "nospace")
 */
typedef struct {
  char *backend;
  char *qdev;
  GPtrArray *layers;
  gboolean removable;
  gboolean io_failed;
} QmpDevice;

typedef struct _QmpNodes QmpNodes;

/** A device without layers, for qmp/daemon. Returns: (transfer full) */
QmpDevice *qmp_nodes_device_new (const char *backend);
void qmp_nodes_device_free (QmpDevice *device);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpDevice, qmp_nodes_device_free)

/**
 * QmpNodesScope: what is asked for
 * @QMP_NODES_ALONE: the nodes, and no devices
 * @QMP_NODES_OF_MACHINE: a VM's devices too
 * @QMP_NODES_OF_DAEMON: a storage daemon's exports and uppermost nodes as devices
 */
typedef enum { QMP_NODES_ALONE, QMP_NODES_OF_MACHINE, QMP_NODES_OF_DAEMON } QmpNodesScope;

/** All calls under way at once. Give it to qmp_nodes_finish(). Returns: (transfer full) */
typedef struct _QmpNodesQuery QmpNodesQuery;
QmpNodesQuery *qmp_nodes_start (QmpClient *client, QmpNodesScope scope, gint64 deadline_us);
void qmp_nodes_query_free (QmpNodesQuery *query);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpNodesQuery, qmp_nodes_query_free)

/**
 * qmp_nodes_finish:
 * @query: (transfer full)
 * The graph may change between the three replies (a job ends). What then does not fit together is
 * %QMP_ERROR_PROTOCOL, and asking again is right.
 * Returns: (transfer full)
 */
QmpNodes *qmp_nodes_finish (QmpNodesQuery *query, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * qmp_nodes_parse:
 * The same from the replies. @first, @second: (nullable): to query-block and query-blockstats; of a daemon to
 * query-block-exports and x-debug-query-block-graph. Returns: (transfer full)
 */
QmpNodes *qmp_nodes_parse (QmpNodesScope scope, JsonNode *named_nodes, JsonNode *first, JsonNode *second,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;
void qmp_nodes_free (QmpNodes *nodes);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpNodes, qmp_nodes_free)

/** None yet, for what is known without asking. Returns: (transfer full) */
QmpNodes *qmp_nodes_new (void);
/** @node: (transfer full) */
void qmp_nodes_add (QmpNodes *nodes, QmpNode *node);

/** (element-type QmpDevice) in QEMU's order. Borrowed. */
const GPtrArray *qmp_nodes_get_devices (const QmpNodes *nodes);
/** (element-type QmpNode) Borrowed. */
const GPtrArray *qmp_nodes_get_all (const QmpNodes *nodes);
/** Borrowed, or %NULL. */
const QmpNode *qmp_nodes_find (const QmpNodes *nodes, const char *name);
/** Whether @node's driver passes its child's data through unchanged (throttle, copy-on-read, mirror_top …). */
gboolean qmp_nodes_is_filter (const QmpNode *node);
/**
 * qmp_nodes_layer_path:
 * The local path of a layer's image, from its protocol node; never from the format node, which QEMU calls
 * `json:{…}` as soon as its backing image is not the one that its header names.
 * Returns: (transfer none) (nullable): %NULL for a filter, and where the image is no local file (nbd, http …)
 */
const char *qmp_nodes_layer_path (const QmpNodesLayer *layer);
