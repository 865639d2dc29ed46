/*
 * A scripted peer: what QEMU or an agent would be, in a thread of its own. The
 * script is a plain function that sends, expects and replies in order. What goes
 * wrong in it (another command than expected, silence) fails the test at
 * support_peer_finish().
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

typedef struct _SupportPeer SupportPeer;

typedef void (*SupportPeerScript) (SupportPeer *peer, gconstpointer user_data);

/** A peer at one end of a socket pair; support_peer_take_io() gives the other. */
SupportPeer *support_peer_new (SupportPeerScript script, gconstpointer user_data);

/** A peer that listens on a unix socket in a new folder and takes one connection. */
SupportPeer *support_peer_new_listening (SupportPeerScript script, gconstpointer user_data);

/** The tested end of the socket pair. Returns: (transfer full) */
GIOStream *support_peer_take_io (SupportPeer *peer);

/** "unix:PATH" of a listening peer. */
const char *support_peer_get_address (SupportPeer *peer);

/**
 * support_peer_finish:
 * @peer: (transfer full)
 * Waits for the script's end and reports what went wrong in it as a failed
 * assertion. The connection stays open until here unless the script closes it.
 */
void support_peer_finish (SupportPeer *peer);

/* For scripts. */

void support_peer_send (SupportPeer *peer, const char *text);
void support_peer_send_bytes (SupportPeer *peer, const void *data, gsize length);
/** One write for each byte. */
void support_peer_send_bytewise (SupportPeer *peer, const char *text);

/**
 * support_peer_expect:
 * The next command must be @command.
 * @arguments: (out) (optional) (transfer full): an empty object where there are none
 *
 * Returns: (transfer full): its id, "" where it has none
 */
char *support_peer_expect (SupportPeer *peer, const char *command, JsonObject **arguments);

/** The next byte must be @byte. */
void support_peer_expect_byte (SupportPeer *peer, guint8 byte);

/** Everything up to the end of the connection, which must hold no further command. */
void support_peer_expect_end (SupportPeer *peer);

/** Replies with @json as what is returned. @id: (nullable) */
void support_peer_reply (SupportPeer *peer, const char *id, const char *json);
void support_peer_reply_error (SupportPeer *peer, const char *id, const char *class, const char *desc);
void support_peer_event (SupportPeer *peer, const char *name, int number);

/** The greeting and the answer to qmp_capabilities. */
void support_peer_greet (SupportPeer *peer);

/** 0xFF, guest-sync-delimited, and its answer. */
void support_peer_sync (SupportPeer *peer);

/** The first half: expects the sync. Returns: the id to be answered */
gint64 support_peer_expect_sync (SupportPeer *peer);
void support_peer_answer_sync (SupportPeer *peer, gint64 id);

void support_peer_close (SupportPeer *peer);
