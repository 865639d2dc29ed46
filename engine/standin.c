/*
 * Starts and ends the stand-in. Every image of a chain is named to it with its
 * format, so that no header is believed; it inherits the VM's lock, which is
 * free only once the images are. What is done with it is the verbs' affair.
 */
#include "engine/standin.h"

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

#define PROGRAM "qemu-storage-daemon"
#define NODE "standin-%u"
#define MAX_WORDS (4 * 1024 * 1024)

/* Where it finds what it inherits. */
enum { MONITOR_FD = 3, LOCK_FD = 4 };

struct _EngineStandin {
  GPid pid;
  int words; /* what it says on stderr, in memory */
  gint64 patience_us;
  GPtrArray *names; /* of the disks; disk N is node standin-N */
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
  EngineImagefile stat;
  gboolean block = engine_imagefile_stat (image->path, &stat, NULL) && stat.block;
  g_autoptr (JsonNode) parsed = image->options != NULL ? json_from_string (image->options, NULL) : NULL;
  JsonObject *options = parsed != NULL && JSON_NODE_HOLDS_OBJECT (parsed) ? json_node_get_object (parsed) : NULL;

  json_object_set_string_member (file, "driver", block ? "host_device" : "file");
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
chain_json (const EngineStandinDisk *disk, guint index, gboolean read_only)
{
  g_autoptr (JsonNode) root = json_node_new (JSON_NODE_OBJECT);
  g_autofree char *name = g_strdup_printf (NODE, index);
  JsonObject *below = NULL;

  for (guint i = disk->images->len; i > 0; i--) {
    const EngineStandinImage *image = g_ptr_array_index (disk->images, i - 1);
    JsonObject *node = image_json (image, read_only || i > 1);

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
command_line (const GPtrArray *disks, gboolean read_only)
{
  g_autoptr (GPtrArray) words = g_ptr_array_new ();

  g_ptr_array_add (words, g_strdup (PROGRAM));
  g_ptr_array_add (words, g_strdup ("--chardev"));
  g_ptr_array_add (words, g_strdup_printf ("socket,id=monitor,fd=%d", MONITOR_FD));
  g_ptr_array_add (words, g_strdup ("--monitor"));
  g_ptr_array_add (words, g_strdup ("chardev=monitor"));
  for (guint i = 0; i < disks->len; i++) {
    g_ptr_array_add (words, g_strdup ("--blockdev"));
    g_ptr_array_add (words, chain_json (g_ptr_array_index (disks, i), i, read_only));
  }
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
spawn (EngineStandin *standin, const EngineVm *vm, char **words, int monitor, GError **error)
{
  int lock = vm->lock != NULL ? engine_lock_get_fd (vm->lock) : -1;
  const int sources[] = {monitor, lock};
  const int targets[] = {MONITOR_FD, LOCK_FD};
  g_autoptr (GError) failure = NULL;

  if (!base_point_before ("process", "standin", error))
    return FALSE;
  if (g_spawn_async_with_pipes_and_fds (NULL, (const char *const *)words, NULL,
                                        G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL,
                                        leave_terminal, GINT_TO_POINTER (getpid ()), -1, -1, standin->words, sources,
                                        targets, lock >= 0 ? 2 : 1, &standin->pid, NULL, NULL, NULL, &failure)) {
    base_point_after ("process", "standin");
    return TRUE;
  }
  engine_error_set (error, ENGINE_ERROR_UNSUPPORTED,
                    "install it (Debian: qemu-system-common or qemu-utils), or start the VM",
                    "VM '%s' is shut off, and %s, which would open its images, cannot be run: %s", vm->record->name,
                    PROGRAM, failure->message);
  return FALSE;
}

/* All that it has said, or the beginning of very much. Returns: (transfer full) */
static char *
read_words (const EngineStandin *standin)
{
  off_t end = lseek (standin->words, 0, SEEK_END);
  gsize size = (gsize)CLAMP (end, 0, MAX_WORDS);
  char *text = g_malloc0 (size + 1);

  if (pread (standin->words, text, size, 0) < 0)
    *text = '\0';
  return text;
}

/* Where in @text it says why disk @index cannot be opened: it repeats the option, a screenful of JSON, before that. */
static const char *
find_reason (const char *text, char **words, guint index)
{
  guint options = 0;

  for (gsize i = 0; words[i] != NULL; i++) {
    g_autofree char *echo = NULL;
    const char *at;

    if (!g_str_equal (words[i], "--blockdev") || options++ != index)
      continue;
    echo = g_strconcat (words[i], " ", words[i + 1], ": ", NULL);
    at = strstr (text, echo);
    return at != NULL ? at + strlen (echo) : NULL;
  }
  return NULL;
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

/* What it has said, without its own name and @command, which it was started with. Returns: (transfer full) */
static char *
last_words (const EngineStandin *standin, const GPtrArray *disks, char **command)
{
  g_autofree char *text = read_words (standin);
  const char *start = g_str_has_prefix (text, PROGRAM ": ") ? text + strlen (PROGRAM ": ") : text;

  for (guint i = 0; i < disks->len; i++) {
    const EngineStandinDisk *disk = g_ptr_array_index (disks, i);
    const char *reason = find_reason (text, command, i);
    g_autofree char *line = reason != NULL ? on_one_line (reason) : NULL;

    if (line != NULL)
      return g_strdup_printf ("disk '%s', '%s': %s", disk->name, find_culprit (disk), line);
  }
  return *start != '\0' ? on_one_line (start) : g_strdup ("it ended and said nothing");
}

static gboolean
has_died (const EngineStandin *standin)
{
  siginfo_t info = {0};

  return waitid (P_PID, (id_t)standin->pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid != 0;
}

static gboolean
shake_hands (EngineVm *vm, EngineStandin *standin, const GPtrArray *disks, char **command, GError **error)
{
  gint64 deadline_us = engine_context_deadline (vm->context);
  g_autoptr (GError) failure = NULL;
  g_autofree char *words = NULL;
  g_autofree char *hint = NULL;
  g_autoptr (JsonNode) greeting =
      qmp_call_finish (qmp_client_start_handshake (vm->monitor, deadline_us), vm->cancellable, &failure);

  if (greeting != NULL) {
    vm->major_version = qmp_features_major_version (greeting);
    return TRUE;
  }
  g_clear_pointer (&vm->monitor, qmp_client_free);
  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  words = lseek (standin->words, 0, SEEK_END) > 0 || has_died (standin) ? last_words (standin, disks, command) : NULL;
  /* One that is only about to be registered cannot be checked. */
  hint = vm->record->id != 0 ? g_strdup_printf ("see `chainctl check %s`", vm->record->name) : NULL;
  engine_error_set (error, ENGINE_ERROR_FAILED, hint, "VM '%s' is shut off, and its images cannot be opened: %s",
                    vm->record->name, words != NULL ? words : failure->message);
  return FALSE;
}

static EngineStandin *
standin_new (const EngineVm *vm, const GPtrArray *disks)
{
  EngineStandin *standin = g_new0 (EngineStandin, 1);

  standin->patience_us = vm->context->timeout_us;
  standin->words = memfd_create ("standin-stderr", MFD_CLOEXEC);
  standin->names = g_ptr_array_new_with_free_func (g_free);
  for (guint i = 0; i < disks->len; i++)
    g_ptr_array_add (standin->names, g_strdup (((const EngineStandinDisk *)g_ptr_array_index (disks, i))->name));
  return standin;
}

static gboolean
start (EngineVm *vm, const GPtrArray *disks, GError **error)
{
  g_autoptr (EngineStandin) standin = standin_new (vm, disks);
  g_auto (GStrv) words = command_line (disks, vm->context->dry_run);
  int pair[2];
  gboolean spawned;

  if (standin->words < 0 || socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "VM '%s': cannot start %s: %s", vm->record->name, PROGRAM,
                      g_strerror (errno));
    return FALSE;
  }
  spawned = spawn (standin, vm, words, pair[1], error);
  close (pair[1]);
  if (!spawned) {
    close (pair[0]);
    return FALSE;
  }
  if (vm->lock != NULL)
    engine_lock_note_helper (vm->lock, standin->pid);
  vm->monitor = qmp_client_new (qmp_transport_from_fd (pair[0]));
  if (!shake_hands (vm, standin, disks, words, error))
    return FALSE;
  vm->daemon = TRUE;
  vm->qemu = standin->pid;
  vm->standin = g_steal_pointer (&standin);
  return TRUE;
}

gboolean
engine_standin_start (EngineVm *vm, const GPtrArray *disks, GError **error)
{
  g_autoptr (GPtrArray) registered = disks == NULL ? engine_standindisk_list_registered (vm, error) : NULL;

  g_assert (vm->monitor == NULL && vm->state == ENGINE_VM_SHUT_OFF);
  if (disks == NULL && registered == NULL)
    return FALSE;
  return start (vm, disks != NULL ? disks : registered, error);
}

typedef struct {
  const EngineStandin *standin;
  gint64 until_us;
} Ending;

static gboolean
is_over (gpointer user_data)
{
  const Ending *ending = user_data;

  return has_died (ending->standin) || g_get_monotonic_time () >= ending->until_us;
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
await_end (const EngineStandin *standin)
{
  Ending ending = {standin, g_get_monotonic_time () + standin->patience_us};
  int handle = (int)syscall (SYS_pidfd_open, standin->pid, 0);
  GSource *timer = g_timeout_source_new ((guint)(standin->patience_us / 1000 + 1));
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
  return has_died (standin);
}

/* One that hangs is killed: what it has open is as after a crash, which images survive. */
static void
end_process (const EngineStandin *standin)
{
  kill (standin->pid, SIGTERM);
  if (!await_end (standin)) {
    kill (standin->pid, SIGKILL);
    /* Where even that does not end it, it keeps the lock. */
    if (!await_end (standin))
      return;
  }
  while (waitpid (standin->pid, NULL, 0) < 0 && errno == EINTR)
    continue;
}

void
engine_standin_stop (EngineStandin *standin)
{
  if (standin == NULL)
    return;
  if (standin->pid != 0)
    end_process (standin);
  if (standin->words >= 0)
    close (standin->words);
  g_ptr_array_unref (standin->names);
  g_free (standin);
}

const char *
engine_standin_name_of (const EngineStandin *standin, const char *node)
{
  for (guint i = 0; i < standin->names->len; i++) {
    g_autofree char *name = g_strdup_printf (NODE, i);

    if (g_str_equal (name, node))
      return g_ptr_array_index (standin->names, i);
  }
  return NULL;
}
