/*
 * QMP's envelopes, and strict ways into a JSON object: a member that is
 * missing or of another type is %QMP_ERROR_PROTOCOL, never a crash or a guess.
 * Source: QEMU docs/interop/qmp-spec.
 */
#pragma once

#include <json-glib/json-glib.h>

/**
 * qmp_message_command:
 * @arguments: (nullable) (transfer none)
 * @id: (nullable): left out for an agent
 * JSON knows only UTF-8: a string in @arguments that is none (a file name may be) is %QMP_ERROR_PROTOCOL here,
 * rather than a parse error at the peer that would cost the whole session.
 *
 * Returns: (transfer full): `{"execute":…,"arguments":…,"id":…}` and a line end
 */
GBytes *qmp_message_command (const char *command, JsonObject *arguments, const char *id, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * qmp_message_error:
 * The peer's `error` member as a GError that names @command and gives the peer's words: shortened where they are
 * endless and without control characters, as a guest's words may end on a terminal.
 */
GError *qmp_message_error (const char *command, JsonObject *error_member);

/* Required members. Output arguments are untouched on failure; strings and objects are borrowed. */
gboolean qmp_message_get_string (JsonObject *object, const char *member, const char **out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
gboolean qmp_message_get_int (JsonObject *object, const char *member, gint64 *out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
gboolean qmp_message_get_boolean (JsonObject *object, const char *member, gboolean *out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
gboolean qmp_message_get_object (JsonObject *object, const char *member, JsonObject **out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
gboolean qmp_message_get_array (JsonObject *object, const char *member, JsonArray **out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/* Optional members: the default where absent or null or of another type. */
const char *qmp_message_peek_string (JsonObject *object, const char *member);
JsonObject *qmp_message_peek_object (JsonObject *object, const char *member);
gint64 qmp_message_peek_int (JsonObject *object, const char *member, gint64 otherwise);
gboolean qmp_message_peek_boolean (JsonObject *object, const char *member, gboolean otherwise);

/* What a reply must be as a whole; @command is for the message. Borrowed from @reply. */
JsonObject *qmp_message_as_object (JsonNode *reply, const char *command, GError **error) G_GNUC_WARN_UNUSED_RESULT;
JsonArray *qmp_message_as_array (JsonNode *reply, const char *command, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Adds @member to @object; with no @value (nullable), nothing. */
void qmp_message_put_string (JsonObject *object, const char *member, const char *value);
