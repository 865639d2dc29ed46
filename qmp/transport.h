/*
 * Connections to a monitor or an agent: an address becomes a connected,
 * non-blocking GIOStream. Knows sockets; knows nothing of what is said.
 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

/**
 * qmp_transport_check_address:
 * Whether @address is `unix:PATH`, `vsock:CID:PORT` or a bare PATH (taken as
 * a unix socket). A bare PATH that looks like another kind of address ("tcp:1",
 * a word and a colon) is refused: it is more likely a mistake, and `unix:tcp:1` can say it.
 * Raises %QMP_ERROR_ADDRESS, saying what is wrong with it.
 */
gboolean qmp_transport_check_address (const char *address, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * qmp_transport_connect:
 * @address: as above; a path may be longer than sun_path allows, and need not be UTF-8
 * @deadline_us: on g_get_monotonic_time()'s clock
 *
 * Connects. A full listen queue (QEMU serves one client and queues few) is
 * waited for until the deadline, then %QMP_ERROR_BUSY; nobody there is
 * %QMP_ERROR_CONNECT at once; permission denied too, naming the path; a vsock
 * peer that does not answer at all is %QMP_ERROR_TIMEOUT.
 * Waits on the thread-default main context, whose other sources go on meanwhile.
 *
 * Returns: (transfer full): a stream whose ends are pollable
 */
GIOStream *qmp_transport_connect (const char *address, gint64 deadline_us, GCancellable *cancellable, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * qmp_transport_from_fd:
 * @fd: (transfer full): a connected stream socket, made non-blocking and close-on-exec
 *
 * Returns: (transfer full)
 */
GIOStream *qmp_transport_from_fd (int fd);

/**
 * qmp_transport_send:
 * Writes what the socket takes at once, without SIGPIPE whatever the process does with that signal.
 *
 * Returns: bytes written, or -1 with %G_IO_ERROR_WOULD_BLOCK or what else went wrong
 */
gssize qmp_transport_send (GIOStream *stream, const void *data, gsize length, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The descriptor under a stream made here; stays the stream's own. */
int qmp_transport_get_fd (GIOStream *stream);

/** The peer's process (SO_PEERCRED), or 0 where the socket cannot say. */
pid_t qmp_transport_get_peer_pid (GIOStream *stream);
