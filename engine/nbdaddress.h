/*
 * Where an NBD server listens, and which of its exports is meant: as people and
 * QEMU spell it, and as QMP takes it.
 */
#pragma once

#include <json-glib/json-glib.h>

/**
 * EngineNbdAddress: a TCP address, or a Unix socket's
 * @host, @port: (nullable): of TCP; an IPv6 address without brackets
 * @path: (nullable): of a Unix socket, absolute
 * @export: "" for the server's only one; may hold "%d" for the disk's name
 * @tls: it was said to be spoken to over TLS: nbds://…
 */
typedef struct {
  char *host;
  char *port;
  char *path;
  char *export;
  gboolean tls;
} EngineNbdAddress;

/**
 * engine_nbdaddress_parse:
 * Takes HOST[:PORT][/EXPORT], [IPV6][:PORT][/EXPORT], unix:PATH[/EXPORT] (where PATH is a socket that is there, or all
 * of it where nothing is), nbd[s]://…, nbd[s]+unix:///EXPORT?socket=PATH, and QEMU's nbd:HOST:PORT[:exportname=EXPORT]
 * and nbd:unix:PATH[:exportname=EXPORT]. The port is 10809 where none is given. Raises %ENGINE_ERROR_USAGE. Source:
 * QEMU docs/system/device-url-syntax.rst.inc; NBD doc/uri.md. Returns: (transfer full)
 */
EngineNbdAddress *engine_nbdaddress_parse (const char *text, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void engine_nbdaddress_free (EngineNbdAddress *address);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineNbdAddress, engine_nbdaddress_free)

/** Whether its export differs from disk to disk. */
gboolean engine_nbdaddress_is_of_each (const EngineNbdAddress *address);

/** The export of @disk: "%d" is replaced. Returns: (transfer full) */
char *engine_nbdaddress_export (const EngineNbdAddress *address, const char *disk);

/** "nbd://host:port/vda", "nbds://…" with @tls, "nbd+unix:///vda?socket=/path", escaped, as
 * engine_nbdaddress_parse() takes it. Returns: (transfer full) */
char *engine_nbdaddress_uri (const EngineNbdAddress *address, const char *export, gboolean tls);

/** SocketAddress (QAPI). Returns: (transfer full) */
JsonObject *engine_nbdaddress_to_json (const EngineNbdAddress *address);
