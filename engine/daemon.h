/*
 * A qemu-storage-daemon of ours: it has images open for as long as one verb
 * runs, we hold its only monitor, and it ends with us, however we end.
 */
#pragma once

#include "engine/standindisk.h"
#include "qmp/client.h"

#define ENGINE_DAEMON_PROGRAM "qemu-storage-daemon"

/** What it inherits first; the monitor lies before it. */
#define ENGINE_DAEMON_FIRST_FD 4

typedef struct _EngineDaemon EngineDaemon;

/**
 * EngineDaemonOrder: what it is started with
 * @name: what it is for; disk N of it is node NAME-N
 * @disks: (element-type EngineStandinDisk): opened with all that lies below them, each image with its own format
 * @read_only: nothing is to be written to
 * @words: (nullable) (array zero-terminated=1): more words for it, behind the disks
 * @fds, @n_fds: what else it inherits, as ENGINE_DAEMON_FIRST_FD and those behind it
 * @patience_us: how long its greeting is waited for, and its end
 */
typedef struct {
  const char *name;
  const GPtrArray *disks;
  gboolean read_only;
  const char *const *words;
  const int *fds;
  guint n_fds;
  gint64 patience_us;
} EngineDaemonOrder;

/**
 * engine_daemon_spawn:
 * @monitor: (out) (transfer full): its monitor, which engine_daemon_greet() shakes hands with
 * Raises %ENGINE_ERROR_UNSUPPORTED where there is no such program, %ENGINE_ERROR_FAILED.
 * Returns: (transfer full)
 */
EngineDaemon *engine_daemon_spawn (const EngineDaemonOrder *order, QmpClient **monitor, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_daemon_greet:
 * @major_version: (out): QEMU's, 0 where it does not say
 * Waits until it has all of its images open. Raises %ENGINE_ERROR_FAILED with its own words where it cannot, or with
 * what befell @monitor; %G_IO_ERROR_CANCELLED.
 */
gboolean engine_daemon_greet (EngineDaemon *daemon, QmpClient *monitor, GCancellable *cancellable,
                              gint64 *major_version, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Its process. */
GPid engine_daemon_get_pid (const EngineDaemon *daemon);

/** Whether it has ended. */
gboolean engine_daemon_has_died (const EngineDaemon *daemon);

/**
 * engine_daemon_connections:
 * The sockets that it has beyond those that it was given: whoever is connected to what it serves. Text that stays the
 * same as long as they do, and is empty where there are none. Source: proc(5), /proc/PID/fd. Returns: (transfer full)
 */
char *engine_daemon_connections (const EngineDaemon *daemon);

/** What it has said of its trouble, on one line, without its name and the options. Returns: (transfer full) */
char *engine_daemon_last_words (const EngineDaemon *daemon);

/**
 * engine_daemon_stop:
 * Ends it and waits until it has let go of the images; one that does not end in time is killed. Frees @daemon.
 * Returns: whether it ended well: all that it held of the images is in their files
 */
gboolean engine_daemon_stop (EngineDaemon *daemon);

/** The same, whichever way it ended. */
void engine_daemon_free (EngineDaemon *daemon);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineDaemon, engine_daemon_free)
