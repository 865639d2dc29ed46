/*
 * A typed wrapper for each monitor command that the engine uses: arguments in
 * C, QEMU's own names in JSON. Each waits for its reply until @deadline_us;
 * those the engine sends at once on many sessions are split into start and
 * finish. Errors are QMP_ERROR's, as qmp/call raises them.
 * Source: QEMU qapi/, by the command names given at each function.
 */
#pragma once

#include "qmp/client.h"

/** How each command here waits. Copied by value. */
typedef struct {
  gint64 deadline_us;
  GCancellable *cancellable;
} QmpWait;

/** query-status. */
QmpCall *qmp_commands_start_query_status (QmpClient *client, gint64 deadline_us);
/** @call: (transfer full). Returns: (transfer full): "running", "paused", "prelaunch", "inmigrate" … */
char *qmp_commands_finish_query_status (QmpCall *call, GCancellable *cancellable, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** query-uuid. */
QmpCall *qmp_commands_start_query_uuid (QmpClient *client, gint64 deadline_us);
/** @call: (transfer full). Returns: (transfer full): all zeroes where QEMU was given none */
char *qmp_commands_finish_query_uuid (QmpCall *call, GCancellable *cancellable, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** query-migrate. */
QmpCall *qmp_commands_start_query_migrate (QmpClient *client, gint64 deadline_us);
/** @call: (transfer full). Returns: (transfer full): its status, "none" where there never was one */
char *qmp_commands_finish_query_migrate (QmpCall *call, GCancellable *cancellable, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** qom-get: its call returns the property's value. */
QmpCall *qmp_commands_start_qom_get (QmpClient *client, gint64 deadline_us, const char *path, const char *property);
/** query-block: the node that each device is on. */
QmpCall *qmp_commands_start_query_inserted (QmpClient *client, gint64 deadline_us);
/** @call: (transfer full). Returns: (transfer full) (element-type utf8 utf8): node names by qdev, as query-block has it
 */
GHashTable *qmp_commands_finish_query_inserted (QmpCall *call, GCancellable *cancellable, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** query-pci, whole. Returns: (transfer full) */
JsonNode *qmp_commands_query_pci (QmpClient *client, QmpWait wait, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** qom-set of a string. For a device's `drive`: the node that it goes on to. Give it to qmp_call_finish(). */
QmpCall *qmp_commands_start_qom_set (QmpClient *client, gint64 deadline_us, const char *path, const char *property,
                                     const char *value);
/** stop: the guest stands still, and all that it had written is flushed. */
gboolean qmp_commands_stop (QmpClient *client, QmpWait wait, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean qmp_commands_cont (QmpClient *client, QmpWait wait, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** system_reset, and the event that tells that it was done. */
gboolean qmp_commands_system_reset (QmpClient *client, QmpWait wait, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** The next RESET event; %QMP_ERROR_TIMEOUT where none comes. */
gboolean qmp_commands_wait_reset (QmpClient *client, QmpWait wait, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** set-action of what a guest's reboot does: "reset", "shutdown". */
gboolean qmp_commands_set_reboot_action (QmpClient *client, QmpWait wait, const char *action, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * QmpChardev: one character device, from query-chardev
 * @filename: QEMU's own words, "disconnected:unix:/run/agent,server=on"
 * @frontend_open: whoever is on QEMU's side (a program in the guest) has opened it
 */
typedef struct {
  char *label;
  char *filename;
  gboolean frontend_open;
} QmpChardev;
void qmp_commands_chardev_free (QmpChardev *chardev);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpChardev, qmp_commands_chardev_free)
/** query-chardev. Returns: (transfer full) (element-type QmpChardev) */
GPtrArray *qmp_commands_query_chardev (QmpClient *client, QmpWait wait, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** What serves a node to others, from query-block-exports. */
typedef struct {
  char *id;
  char *node;
} QmpExport;
/** query-block-exports; none where this QEMU does not know it. Returns: (transfer full) (element-type QmpExport) */
GPtrArray *qmp_commands_query_exports (QmpClient *client, QmpWait wait, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** A block or background job, from query-jobs. @error: (nullable) */
typedef struct {
  char *id;
  char *type;
  char *status;
  gint64 current;
  gint64 total;
  char *error;
} QmpJob;
void qmp_commands_job_free (QmpJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpJob, qmp_commands_job_free)
/** query-jobs. */
QmpCall *qmp_commands_start_query_jobs (QmpClient *client, gint64 deadline_us);
/** @call: (transfer full). Returns: (transfer full) (element-type QmpJob) */
GPtrArray *qmp_commands_finish_query_jobs (QmpCall *call, GCancellable *cancellable, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** Both. Returns: (transfer full) (element-type QmpJob) */
GPtrArray *qmp_commands_query_jobs (QmpClient *client, QmpWait wait, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** blockdev-add. @options: BlockdevOptions (transfer none) */
QmpCall *qmp_commands_start_blockdev_add (QmpClient *client, gint64 deadline_us, JsonObject *options);
/** The same, waited for. */
gboolean qmp_commands_blockdev_add (QmpClient *client, QmpWait wait, JsonObject *options, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** TlsCredsX509Properties (QAPI) and what object-add wants besides. @endpoint: "client" or "server", who shows and
 * wants a certificate; @folder: absolute, laid out as QEMU has it. Returns: (transfer full) */
JsonObject *qmp_commands_tls_credentials (const char *id, const char *endpoint, const char *folder);
/** object-add. @properties: ObjectOptions (transfer none) */
gboolean qmp_commands_object_add (QmpClient *client, QmpWait wait, JsonObject *properties, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** object-del */
/** yank of a block node: its connection is cut, and nothing that is under way on it is waited for. Since QEMU 6.0. */
gboolean qmp_commands_yank_node (QmpClient *client, QmpWait wait, const char *node, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
gboolean qmp_commands_object_del (QmpClient *client, QmpWait wait, const char *id, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** blockdev-reopen. @options: BlockdevOptions, of one node (transfer none) */
gboolean qmp_commands_blockdev_reopen (QmpClient *client, QmpWait wait, JsonObject *options, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
gboolean qmp_commands_blockdev_del (QmpClient *client, QmpWait wait, const char *node, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** One action of a transaction: the live head @node gets @overlay (a node added with "backing":null) on top. */
typedef struct {
  const char *node;
  const char *overlay;
} QmpSnapshotAction;
/** transaction of blockdev-snapshot: all of @actions or none. (element-type QmpSnapshotAction) */
QmpCall *qmp_commands_start_snapshot (QmpClient *client, gint64 deadline_us, const GPtrArray *actions);
/** The arguments that it sends. Returns: (transfer full) */
JsonObject *qmp_commands_snapshot_arguments (const GPtrArray *actions);
/** block_resize of a node. @size: bytes */
gboolean qmp_commands_block_resize (QmpClient *client, QmpWait wait, const char *node, gint64 size, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
