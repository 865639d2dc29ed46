/*
 * A socket that is listened at for NBD: an address as a person writes it, bound
 * by us, so that what is wrong with it is known before anything begins, and
 * handed over to whoever serves.
 */
#pragma once

#include <glib.h>

typedef struct _EngineListener EngineListener;

/** How long a connection of a client that has gone without a word (a power cut, a network that is down) may seem to be
 * there: what is answered or asked meanwhile is lost. Seconds. */
#define ENGINE_LISTENER_DEAD_AFTER 60

/**
 * engine_listener_check:
 * Whether @address can be listened at, as engine_listener_open() would find out; leaves nothing.
 */
gboolean engine_listener_check (const char *address, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_listener_open:
 * @address: HOST:PORT, an IPv6 address in brackets; without HOST all addresses of this host; PORT 0: any that is free;
 *     or unix:PATH
 * Binds it; who is handed the socket listens. A file that is at PATH is left alone.
 * Raises %ENGINE_ERROR_USAGE for what is no address, %ENGINE_ERROR_EXISTS where it is taken, %ENGINE_ERROR_FAILED.
 * Returns: (transfer full)
 */
EngineListener *engine_listener_open (const char *address, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Closes it, and removes the socket's file, where it is still that one. */
void engine_listener_free (EngineListener *listener);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineListener, engine_listener_free)

/** Whether others than this host's own processes may reach it. */
gboolean engine_listener_is_open (const EngineListener *listener);

/** The socket. Borrowed. */
int engine_listener_get_fd (const EngineListener *listener);

/**
 * engine_listener_uri:
 * Where a client finds @export. Of all addresses of this host it has the host's name.
 * As engine_nbdaddress_uri() has it. Returns: (transfer full)
 */
char *engine_listener_uri (const EngineListener *listener, const char *export, gboolean tls);
