/*
 * Starts and ends storage daemons. Every image of a chain is named to one with
 * its format, so that no header is believed. What is done with it, and what its
 * trouble means to whom, is its starter's affair.
 */
#include "engine/daemon.h"

#include "base/fiber.h"
#include "base/point.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/qcow2.h"
#include "qmp/features.h"
#include "qmp/transport.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_WORDS (4 * 1024 * 1024)

/* Where it finds its monitor. */
enum { MONITOR_FD = ENGINE_DAEMON_FIRST_FD - 1 };

/**
 * EngineDaemon:
 * @pid: 0 before it is started
 * @said: what it says on stderr, in memory
 * @command: its command line
 * @disks: what it has open
 * @n_given: how many descriptors it inherited, beside its monitor
 */
struct _EngineDaemon {
  GPid pid;
  int said;
  gint64 patience_us;
  char **command;
  GPtrArray *disks;
  guint n_given;
};

/* ---- its command line ---- */

static void
set_if_there (JsonObject *to, const char *member, JsonObject *from, const char *key)
{
  const char *value = from != NULL ? json_object_get_string_member_with_default (from, key, NULL) : NULL;

  if (value != NULL)
    json_object_set_string_member (to, member, value);
}

/* BlockdevOptions of one image, without what lies below it. */
static JsonObject *
image_json (const EngineStandinImage *image, gboolean read_only)
{
  JsonObject *node = json_object_new ();
  JsonObject *file = json_object_new ();
  g_autoptr (JsonNode) parsed = image->options != NULL ? json_from_string (image->options, NULL) : NULL;
  JsonObject *options = parsed != NULL && JSON_NODE_HOLDS_OBJECT (parsed) ? json_node_get_object (parsed) : NULL;

  json_object_set_string_member (file, "driver", engine_imagefile_driver (image->path));
  json_object_set_string_member (file, "filename", image->path);
  set_if_there (file, "discard", options, "file-discard");
  json_object_set_string_member (node, "driver", image->format);
  json_object_set_object_member (node, "file", file);
  json_object_set_boolean_member (node, "read-only", read_only);
  set_if_there (node, "discard", options, "discard");
  return node;
}

/* All of a chain in one, from the bottom up. Returns: (transfer full) */
static char *
chain_json (const EngineDaemonOrder *order, guint index)
{
  const EngineStandinDisk *disk = g_ptr_array_index (order->disks, index);
  g_autoptr (JsonNode) root = json_node_new (JSON_NODE_OBJECT);
  g_autofree char *name = g_strdup_printf ("%s-%u", order->name, index);
  JsonObject *below = NULL;

  for (guint i = disk->images->len; i > 0; i--) {
    const EngineStandinImage *image = g_ptr_array_index (disk->images, i - 1);
    JsonObject *node = image_json (image, order->read_only || i > 1);

    if (below != NULL)
      json_object_set_object_member (node, "backing", below);
    else if (g_str_equal (image->format, "qcow2"))
      json_object_set_null_member (node, "backing");
    below = node;
  }
  json_object_set_string_member (below, "node-name", name);
  json_node_take_object (root, below);
  return json_to_string (root, FALSE);
}

static char **
command_line (const EngineDaemonOrder *order)
{
  g_autoptr (GPtrArray) words = g_ptr_array_new ();

  g_ptr_array_add (words, g_strdup (ENGINE_DAEMON_PROGRAM));
  g_ptr_array_add (words, g_strdup ("--chardev"));
  g_ptr_array_add (words, g_strdup_printf ("socket,id=monitor,fd=%d", MONITOR_FD));
  g_ptr_array_add (words, g_strdup ("--monitor"));
  g_ptr_array_add (words, g_strdup ("chardev=monitor"));
  for (guint i = 0; i < order->disks->len; i++) {
    g_ptr_array_add (words, g_strdup ("--blockdev"));
    g_ptr_array_add (words, chain_json (order, i));
  }
  for (gsize i = 0; order->words != NULL && order->words[i] != NULL; i++)
    g_ptr_array_add (words, g_strdup (order->words[i]));
  g_ptr_array_add (words, NULL);
  return (char **)g_ptr_array_steal (words, NULL);
}

/* ---- the process ---- */

/* In the child: the terminal's Ctrl-C is for us to answer; and if we die, it dies. */
static void
leave_terminal (gpointer parent)
{
  setsid ();
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (getppid () != (pid_t)GPOINTER_TO_INT (parent))
    _exit (1);
}

static gboolean
run (EngineDaemon *daemon, const EngineDaemonOrder *order, int monitor, GError **error)
{
  g_autofree int *sources = g_new (int, order->n_fds + 1);
  g_autofree int *targets = g_new (int, order->n_fds + 1);
  g_autoptr (GError) failure = NULL;

  sources[0] = monitor;
  targets[0] = MONITOR_FD;
  for (guint i = 0; i < order->n_fds; i++) {
    sources[i + 1] = order->fds[i];
    targets[i + 1] = ENGINE_DAEMON_FIRST_FD + (int)i;
  }
  if (!base_point_before ("process", order->name, error))
    return FALSE;
  if (g_spawn_async_with_pipes_and_fds (NULL, (const char *const *)daemon->command, NULL,
                                        G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL,
                                        leave_terminal, GINT_TO_POINTER (getpid ()), -1, -1, daemon->said, sources,
                                        targets, order->n_fds + 1, &daemon->pid, NULL, NULL, NULL, &failure)) {
    base_point_after ("process", order->name);
    return TRUE;
  }
  engine_error_set (error, ENGINE_ERROR_UNSUPPORTED, "install it (Debian: qemu-system-common or qemu-utils)",
                    ENGINE_DAEMON_PROGRAM " cannot be run: %s", failure->message);
  return FALSE;
}

EngineDaemon *
engine_daemon_spawn (const EngineDaemonOrder *order, QmpClient **monitor, GError **error)
{
  g_autoptr (EngineDaemon) daemon = g_new0 (EngineDaemon, 1);
  int pair[2];
  gboolean spawned;

  daemon->patience_us = order->patience_us;
  daemon->command = command_line (order);
  daemon->n_given = order->n_fds;
  daemon->disks = g_ptr_array_ref ((GPtrArray *)order->disks);
  daemon->said = memfd_create ("daemon-stderr", MFD_CLOEXEC);
  if (daemon->said < 0 || socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "cannot start %s: %s", ENGINE_DAEMON_PROGRAM,
                      g_strerror (errno));
    return NULL;
  }
  spawned = run (daemon, order, pair[1], error);
  close (pair[1]);
  if (!spawned) {
    close (pair[0]);
    return NULL;
  }
  *monitor = qmp_client_new (qmp_transport_from_fd (pair[0]));
  return g_steal_pointer (&daemon);
}

GPid
engine_daemon_get_pid (const EngineDaemon *daemon)
{
  return daemon->pid;
}

gboolean
engine_daemon_has_died (const EngineDaemon *daemon)
{
  siginfo_t info = {0};

  return waitid (P_PID, (id_t)daemon->pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid != 0;
}

/* The socket behind its descriptor @name, or %NULL where that is none, or one that was given to it. */
static char *
socket_behind (const char *folder, const char *name, guint n_given)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autofree char *target = g_file_read_link (path, NULL);

  if (target == NULL || !g_str_has_prefix (target, "socket:"))
    return NULL;
  return g_ascii_strtoull (name, NULL, 10) < ENGINE_DAEMON_FIRST_FD + n_given ? NULL : g_steal_pointer (&target);
}

static int
compare_text (gconstpointer one, gconstpointer other)
{
  return strcmp (*(const char *const *)one, *(const char *const *)other);
}

char *
engine_daemon_connections (const EngineDaemon *daemon)
{
  g_autofree char *folder = g_strdup_printf ("/proc/%d/fd", daemon->pid);
  g_autoptr (GPtrArray) sockets = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GDir) entries = g_dir_open (folder, 0, NULL);
  const char *name;

  while (entries != NULL && (name = g_dir_read_name (entries)) != NULL) {
    char *found = socket_behind (folder, name, daemon->n_given);

    if (found != NULL)
      g_ptr_array_add (sockets, found);
  }
  g_ptr_array_sort (sockets, compare_text);
  g_ptr_array_add (sockets, NULL);
  return g_strjoinv (" ", (char **)sockets->pdata);
}

/* ---- what it says ---- */

/* All that it has said, or the beginning of very much. Returns: (transfer full) */
static char *
read_words (const EngineDaemon *daemon)
{
  off_t end = lseek (daemon->said, 0, SEEK_END);
  gsize size = (gsize)CLAMP (end, 0, MAX_WORDS);
  char *text = g_malloc0 (size + 1);

  if (pread (daemon->said, text, size, 0) < 0)
    *text = '\0';
  return text;
}

/* Behind where in @text it repeats that option, a screenful of JSON; %NULL where it does not. */
static const char *
behind_option (const char *text, const char *option, const char *value)
{
  g_autofree char *echo = g_strconcat (option, " ", value, ": ", NULL);
  const char *at = strstr (text, echo);

  return at != NULL ? at + strlen (echo) : NULL;
}

/* @text on one line, without its end. Returns: (transfer full) */
static char *
on_one_line (const char *text)
{
  g_autofree char *valid = g_strchomp (g_utf8_make_valid (text, -1));
  g_auto (GStrv) lines = g_strsplit (valid, "\n", -1);

  return g_strjoinv ("; ", lines);
}

/* The lowest image that cannot be read, or is no qcow2 and should be one: of a backing image, QEMU gives no name. */
static const char *
find_culprit (const EngineStandinDisk *disk)
{
  const EngineStandinImage *active = g_ptr_array_index (disk->images, 0);

  for (guint i = disk->images->len; i > 0; i--) {
    const EngineStandinImage *image = g_ptr_array_index (disk->images, i - 1);
    gboolean qcow2;

    if (!engine_qcow2_is (image->path, &qcow2, NULL) || (g_str_equal (image->format, "qcow2") && !qcow2))
      return image->path;
  }
  return active->path;
}

char *
engine_daemon_last_words (const EngineDaemon *daemon)
{
  static const char name[] = ENGINE_DAEMON_PROGRAM ": ";
  g_autofree char *text = read_words (daemon);
  const char *start = g_str_has_prefix (text, name) ? text + strlen (name) : text;
  guint disks = 0;

  for (gsize i = 0; daemon->command[i] != NULL && daemon->command[i + 1] != NULL; i++) {
    gboolean is_disk = g_str_equal (daemon->command[i], "--blockdev") && disks < daemon->disks->len;
    const EngineStandinDisk *disk = is_disk ? g_ptr_array_index (daemon->disks, disks++) : NULL;
    const char *reason = behind_option (text, daemon->command[i], daemon->command[i + 1]);
    g_autofree char *line = reason != NULL ? on_one_line (reason) : NULL;

    if (line != NULL && disk != NULL)
      return g_strdup_printf ("disk '%s', '%s': %s", disk->name, find_culprit (disk), line);
    if (line != NULL)
      return g_steal_pointer (&line);
  }
  return *start != '\0' ? on_one_line (start) : g_strdup ("it ended and said nothing");
}

gboolean
engine_daemon_greet (EngineDaemon *daemon, QmpClient *monitor, GCancellable *cancellable, gint64 *major_version,
                     GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autofree char *words = NULL;
  gint64 deadline_us = g_get_monotonic_time () + daemon->patience_us;
  g_autoptr (JsonNode) greeting =
      qmp_call_finish (qmp_client_start_handshake (monitor, deadline_us), cancellable, &failure);

  if (greeting != NULL) {
    *major_version = qmp_features_major_version (greeting);
    return TRUE;
  }
  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  if (lseek (daemon->said, 0, SEEK_END) > 0 || engine_daemon_has_died (daemon))
    words = engine_daemon_last_words (daemon);
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "%s", words != NULL ? words : failure->message);
  return FALSE;
}

/* ---- its end ---- */

typedef struct {
  const EngineDaemon *daemon;
  gint64 until_us;
} Ending;

static gboolean
is_over (gpointer user_data)
{
  const Ending *ending = user_data;

  return engine_daemon_has_died (ending->daemon) || g_get_monotonic_time () >= ending->until_us;
}

static gboolean
wake (gpointer user_data)
{
  return G_SOURCE_REMOVE;
}

static gboolean
wake_by_fd (int fd, GIOCondition condition, gpointer user_data)
{
  return G_SOURCE_REMOVE;
}

static void
detach (GSource *source)
{
  g_source_destroy (source);
  g_source_unref (source);
}

/* Its end, or the end of our patience; other runs go on meanwhile. */
static gboolean
await_end (const EngineDaemon *daemon)
{
  Ending ending = {daemon, g_get_monotonic_time () + daemon->patience_us};
  int handle = (int)syscall (SYS_pidfd_open, daemon->pid, 0);
  GSource *timer = g_timeout_source_new ((guint)(daemon->patience_us / 1000 + 1));
  GSource *end = handle >= 0 ? g_unix_fd_source_new (handle, G_IO_IN) : NULL;

  g_source_set_callback (timer, wake, NULL, NULL);
  g_source_attach (timer, g_main_context_get_thread_default ());
  if (end != NULL) {
    g_source_set_callback (end, G_SOURCE_FUNC (wake_by_fd), NULL, NULL);
    g_source_attach (end, g_main_context_get_thread_default ());
  }
  base_fiber_wait (is_over, &ending);
  detach (timer);
  g_clear_pointer (&end, detach);
  if (handle >= 0)
    close (handle);
  return engine_daemon_has_died (daemon);
}

/* One that hangs is killed: what it has open is as after a crash, which images survive. */
static gboolean
end_process (const EngineDaemon *daemon)
{
  int status = 0;

  kill (daemon->pid, SIGTERM);
  if (!await_end (daemon)) {
    kill (daemon->pid, SIGKILL);
    /* Where even that does not end it, it keeps what it has open. */
    if (!await_end (daemon))
      return FALSE;
  }
  while (waitpid (daemon->pid, &status, 0) < 0 && errno == EINTR)
    continue;
  return WIFEXITED (status) && WEXITSTATUS (status) == 0;
}

gboolean
engine_daemon_stop (EngineDaemon *daemon)
{
  gboolean well = daemon->pid == 0 || end_process (daemon);

  if (daemon->said >= 0)
    close (daemon->said);
  g_ptr_array_unref (daemon->disks);
  g_strfreev (daemon->command);
  g_free (daemon);
  return well;
}

void
engine_daemon_free (EngineDaemon *daemon)
{
  gboolean well = daemon == NULL || engine_daemon_stop (daemon);

  (void)well;
}
