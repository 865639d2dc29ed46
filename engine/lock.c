/*
 * The lock of a VM. Promises that no two live processes hold one VM, and that
 * a dead one holds none. Who else has QEMU's monitor is qmp/client's to say.
 */
#include "engine/lock.h"

#include "base/fiber.h"
#include "chains/sharing.h"
#include "engine/error.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETRY_US (20 * 1000)
/* How long a holder may take to write who it is. */
#define UNNAMED_US (200 * 1000)
/* Longer than a watchdog goes on: engine/watchdog's RESCUE_US and one attempt more. */
#define ORPHAN_WAIT_US (150 * G_USEC_PER_SEC)
/* A process that was killed has its files open a moment longer, and so has a watchdog that nobody had noted yet. */
#define DYING_US (3 * G_USEC_PER_SEC)

struct _EngineLock {
  char *path;
  int fd;
  char *verb;
  char *since;
};

/* The holder as the file tells it: "PID<tab>VERB<tab>SINCE<tab>HELPER". */
typedef struct {
  pid_t pid;
  char *verb;
  char *since;
  pid_t helper;
} Holder;

static void
holder_clear (Holder *holder)
{
  g_free (holder->verb);
  g_free (holder->since);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Holder, holder_clear)

static void
read_holder (const char *path, Holder *holder)
{
  g_autofree char *text = NULL;
  g_auto (GStrv) words = NULL;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return;
  words = g_strsplit (g_strchomp (text), "\t", 4);
  if (g_strv_length (words) != 4)
    return;
  holder->pid = (pid_t)g_ascii_strtoll (words[0], NULL, 10);
  holder->verb = g_strdup (words[1]);
  holder->since = g_strdup (words[2]);
  holder->helper = (pid_t)g_ascii_strtoll (words[3], NULL, 10);
}

static void
write_holder (const EngineLock *lock, pid_t helper)
{
  g_autofree char *text =
      g_strdup_printf ("%ld\t%s\t%s\t%ld\n", (long)getpid (), lock->verb, lock->since, (long)helper);

  /* What stands here is for a message, and for how long to wait; the lock itself is the kernel's. */
  if (ftruncate (lock->fd, 0) != 0 || pwrite (lock->fd, text, strlen (text), 0) < 0)
    g_debug ("holder not written: %s", g_strerror (errno));
}

/* %TRUE where @fd is still the file at @path: a retired lock's file is gone. */
static gboolean
still_there (int fd, const char *path)
{
  struct stat held, named;

  return fstat (fd, &held) == 0 && stat (path, &named) == 0 && held.st_ino == named.st_ino &&
         held.st_dev == named.st_dev;
}

/* A new lock file is for the group as well, before anybody waits for it. */
static void
share (const EngineContext *context, int fd)
{
  gid_t group = context->config->state_gid;
  struct stat st;

  if (context->config->state_group == NULL || context->dry_run || fstat (fd, &st) != 0 || st.st_uid != geteuid ())
    return;
  if ((st.st_gid != group && fchown (fd, (uid_t)-1, group) != 0) ||
      ((st.st_mode & 07777) != 0660 && fchmod (fd, 0660) != 0))
    g_debug ("lock not shared: %s", g_strerror (errno));
}

/* -1 with errno EWOULDBLOCK where somebody holds it. A lock that was retired while we took it is taken anew. */
static int
try_lock (const EngineContext *context, const char *path)
{
  /* Whose members may write to the folder might put a link there. */
  int flags = (context->dry_run ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC | O_NOFOLLOW;

  for (;;) {
    int fd = open (path, flags, 0600);
    int saved;

    if (fd < 0)
      return -1;
    share (context, fd);
    saved = flock (fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (saved == 0 && still_there (fd, path))
      return fd;
    close (fd);
    if (saved != 0 && saved != EINTR) {
      errno = saved;
      return -1;
    }
  }
}

static gboolean
is_alive (pid_t pid)
{
  return pid > 0 && (kill (pid, 0) == 0 || errno != ESRCH);
}

/* A watchdog that outlived its parent is about to bring the guest back: that is never refused, but waited for. */
static gboolean
may_wait (const EngineContext *context, const Holder *holder, gint64 since_us)
{
  gint64 waited_us = g_get_monotonic_time () - since_us;

  if (context->lock_wait_us < 0 || waited_us < context->lock_wait_us)
    return TRUE;
  if (holder->pid <= 0 || is_alive (holder->pid))
    return FALSE;
  return waited_us < (is_alive (holder->helper) ? ORPHAN_WAIT_US : DYING_US);
}

static void
set_held (const char *vm, const Holder *holder, GError **error)
{
  if (holder->verb == NULL)
    engine_error_set (error, ENGINE_ERROR_HELD, "wait for it with --wait", "another operation holds VM '%s'", vm);
  else
    engine_error_set (error, ENGINE_ERROR_HELD, "wait for it with --wait",
                      "VM '%s' is held by '%s' of process %ld, since %s", vm, holder->verb, (long)holder->pid,
                      holder->since);
}

static gboolean
make_folder (const EngineContext *context, const char *folder, GError **error)
{
  if (g_mkdir_with_parents (folder, 0700) == 0)
    return context->config->state_group == NULL ||
           chains_sharing_give (folder, context->config->state_gid, S_ISGID | 0770, error);
  engine_error_set (error, ENGINE_ERROR_FAILED, "name another folder with --state", "cannot make '%s': %s", folder,
                    g_strerror (errno));
  return FALSE;
}

static EngineLock *
lock_new (const char *path, const char *verb, int fd)
{
  EngineLock *lock = g_new0 (EngineLock, 1);
  g_autoptr (GDateTime) now = g_date_time_new_now_utc ();

  lock->path = g_strdup (path);
  lock->verb = g_strdup (verb);
  lock->since = g_date_time_format_iso8601 (now);
  lock->fd = fd;
  return lock;
}

static EngineLock *
taken (const EngineContext *context, const char *path, const char *verb, int fd)
{
  EngineLock *lock = lock_new (path, verb, fd);

  if (!context->dry_run)
    write_holder (lock, 0);
  return lock;
}

gboolean
engine_lock_share (const EngineContext *context, GError **error)
{
  g_autofree char *folder = g_build_filename (context->state, "locks", NULL);

  return make_folder (context, folder, error);
}

EngineLock *
engine_lock_take (EngineContext *context, const char *vm, const char *verb, GError **error)
{
  g_autofree char *folder = g_build_filename (context->state, "locks", NULL);
  g_autofree char *file = g_strconcat (vm, ".lock", NULL);
  g_autofree char *path = g_build_filename (folder, file, NULL);
  gint64 since_us = g_get_monotonic_time ();

  if (!context->dry_run && !make_folder (context, folder, error))
    return NULL;
  for (;;) {
    g_auto (Holder) holder = {0};
    int fd = try_lock (context, path);

    if (fd >= 0)
      return taken (context, path, verb, fd);
    if (context->dry_run && errno == ENOENT)
      return lock_new (path, verb, -1);
    if (errno != EWOULDBLOCK) {
      engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "cannot open the lock '%s': %s", path, g_strerror (errno));
      return NULL;
    }
    read_holder (path, &holder);
    /* Whoever has it just now has not written yet who that is. */
    if (holder.verb == NULL && g_get_monotonic_time () - since_us < UNNAMED_US) {
      base_fiber_sleep (RETRY_US);
      continue;
    }
    if (!may_wait (context, &holder, since_us)) {
      set_held (vm, &holder, error);
      return NULL;
    }
    if (g_cancellable_set_error_if_cancelled (context->cancellable, error))
      return NULL;
    base_fiber_sleep (RETRY_US);
  }
}

void
engine_lock_release (EngineLock *lock)
{
  if (lock == NULL)
    return;
  if (lock->fd >= 0)
    close (lock->fd);
  g_free (lock->verb);
  g_free (lock->since);
  g_free (lock->path);
  g_free (lock);
}

void
engine_lock_retire (EngineLock *lock)
{
  g_unlink (lock->path);
  engine_lock_release (lock);
}

void
engine_lock_note_helper (EngineLock *lock, pid_t helper)
{
  if (lock->fd >= 0)
    write_holder (lock, helper);
}

int
engine_lock_get_fd (const EngineLock *lock)
{
  return lock->fd;
}
