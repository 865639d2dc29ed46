/*
 * What this QEMU can do, asked of QEMU itself (`query-qmp-schema`), never
 * guessed from its version; a version number serves only for a known bug.
 */
#pragma once

#include "qmp/client.h"

typedef struct _QmpFeatures QmpFeatures;

/** Asks @client. Returns: (transfer full) */
QmpFeatures *qmp_features_query (QmpClient *client, gint64 deadline_us, GCancellable *cancellable, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** From a reply to query-qmp-schema. Returns: (transfer full) */
QmpFeatures *qmp_features_parse (JsonNode *schema, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void qmp_features_free (QmpFeatures *features);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpFeatures, qmp_features_free)

/** Whether QEMU has @command, whatever its arguments. */
gboolean qmp_features_has_command (const QmpFeatures *features, const char *command);

/** QEMU's major version, from its @greeting (as qmp_client_start_handshake() returns it); 0 where that says none. */
gint64 qmp_features_major_version (JsonNode *greeting);

/**
 * qmp_features_has_argument:
 * @path: member names from the command's arguments downwards, joined by dots; arrays and alternates are
 *     entered; a variant's branch, and an enum's value, is entered as `=VALUE`:
 *     ("transaction", "actions.=blockdev-snapshot.data.overlay"),
 *     ("blockdev-add", "=qcow2.discard-no-unref"),
 *     ("block-stream", "on-error.=stop")
 */
gboolean qmp_features_has_argument (const QmpFeatures *features, const char *command, const char *path);
