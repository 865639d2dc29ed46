/*
 * An NBD server of ours: a storage daemon that exports disks at a socket that we
 * bound; and what can be learnt of its clients, which QEMU does not tell.
 */
#pragma once

#include "engine/daemon.h"
#include "engine/listener.h"

typedef struct _EngineNbdserver EngineNbdserver;

/**
 * EngineNbdserverOrder:
 * @name: what it is for; nodes and exports are called NAME-N, as EngineDaemonOrder has it
 * @disks: (element-type EngineStandinDisk): each is exported under its name, to be written to
 * @listener: where; has to be there as long as it is served
 * @tls_creds: (nullable): a folder with ca-cert.pem, server-cert.pem and server-key.pem; clients have to show one too
 * @patience_us: how long it may take to answer, and to end
 */
typedef struct {
  const char *name;
  const GPtrArray *disks;
  const EngineListener *listener;
  const char *tls_creds;
  gint64 patience_us;
} EngineNbdserverOrder;

/**
 * engine_nbdserver_start:
 * Returns once clients are served. Raises %ENGINE_ERROR_UNSUPPORTED, %ENGINE_ERROR_FAILED with the daemon's own words,
 * %G_IO_ERROR_CANCELLED. Returns: (transfer full)
 */
EngineNbdserver *engine_nbdserver_start (const EngineNbdserverOrder *order, GCancellable *cancellable, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Ends it, and those who are connected. Returns: whether all that was written is in the files. Frees @server. */
gboolean engine_nbdserver_stop (EngineNbdserver *server);

/** The same, whichever way it ended. */
void engine_nbdserver_free (EngineNbdserver *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineNbdserver, engine_nbdserver_free)

/**
 * engine_nbdserver_wait:
 * Sleeps until @until_us, on g_get_monotonic_time()'s clock. Raises %G_IO_ERROR_CANCELLED; %ENGINE_ERROR_FAILED where
 * the server is lost, with its last words.
 */
gboolean engine_nbdserver_wait (EngineNbdserver *server, gint64 until_us, GCancellable *cancellable, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_nbdserver_learn:
 * @changed: whether somebody has come, gone, or written further than anybody before, since this was asked last
 * Raises %ENGINE_ERROR_FAILED where the server is lost.
 */
gboolean engine_nbdserver_learn (EngineNbdserver *server, gboolean *changed, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The end of the last byte that had been written to disk @index when that was learnt; 0: none was. */
gint64 engine_nbdserver_written (const EngineNbdserver *server, guint index);

/**
 * engine_nbdserver_take_back:
 * @written: of the disks that have been written to, or of those that have not
 * @in_use: whether a client that has shaken hands is still there; then the exports behind that one stay
 * Ends the exports of those disks, for good, as long as nobody uses them. Raises %ENGINE_ERROR_FAILED where the server
 * is lost.
 */
gboolean engine_nbdserver_take_back (EngineNbdserver *server, gboolean written, gboolean *in_use, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
