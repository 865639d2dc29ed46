/*
 * Models as JSON and back: what notes beside images and exported VMs are made
 * of. Reading is strict, since such a file may come from anywhere: a member that
 * is missing, of another type or out of its range is %ENGINE_ERROR_FAILED.
 */
#pragma once

#include "chains/model.h"

#include <json-glib/json-glib.h>

/** Object or array of at most @length bytes of UTF-8, not deeper than JSON of ours is. Returns: (transfer full) */
JsonNode *engine_document_parse (const char *text, gsize length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full): on one line, or indented. @object: (transfer none) */
char *engine_document_to_text (JsonObject *object, gboolean pretty);

/* Members. Strings and paths are copies (transfer full), objects and arrays borrowed; output arguments are untouched on
 * failure. A "nullable" member may be null, never missing. */
gboolean engine_document_get_string (JsonObject *object, const char *key, gboolean nullable, char **out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** A file name: any bytes, in base64 under KEY_b64 where they are no UTF-8. */
gboolean engine_document_get_path (JsonObject *object, const char *key, gboolean nullable, char **out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
gboolean engine_document_get_int (JsonObject *object, const char *key, gint64 least, gint64 most, gint64 *out,
                                  GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean engine_document_get_boolean (JsonObject *object, const char *key, gboolean *out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
gboolean engine_document_get_object (JsonObject *object, const char *key, JsonObject **out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** An array, each element of which is of @type: %JSON_NODE_OBJECT, or %JSON_NODE_VALUE for strings. */
gboolean engine_document_get_array (JsonObject *object, const char *key, JsonNodeType type, JsonArray **out,
                                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** @path: (nullable) */
void engine_document_set_path (JsonObject *object, const char *key, const char *path);

/* All of a model's members but its row ids. */
/** Returns: (transfer full) */
JsonObject *engine_document_from_vm (const ChainsVm *vm);
/** Without base and active. Returns: (transfer full) */
JsonObject *engine_document_from_disk (const ChainsDisk *disk);
/** Without its parent, and without the change time, which no copy keeps. Returns: (transfer full) */
JsonObject *engine_document_from_image (const ChainsImage *image);
/** Without its disks. Returns: (transfer full) */
JsonObject *engine_document_from_snapshot (const ChainsSnapshot *snapshot);

/** Returns: (transfer full) */
ChainsVm *engine_document_to_vm (JsonObject *object, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) */
ChainsDisk *engine_document_to_disk (JsonObject *object, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) */
ChainsImage *engine_document_to_image (JsonObject *object, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) */
ChainsSnapshot *engine_document_to_snapshot (JsonObject *object, GError **error) G_GNUC_WARN_UNUSED_RESULT;
