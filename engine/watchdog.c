/*
 * Both sides of the watchdog: the parent's, that starts, arms and disarms it
 * over a socket pair, and the process's own. It promises that no death and no
 * hang of the parent leaves a guest frozen or paused. Whether a freeze is
 * wanted, and what it means, is engine/guard's to say.
 */
#include "engine/watchdog.h"

#include "base/point.h"
#include "chains/holder.h"
#include "engine/error.h"
#include "engine/op.h"
#include "qmp/error.h"
#include "qmp/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

/* Where the process finds what it inherits. */
enum { CONTROL_FD = 3, LOCK_FD = 4, MONITOR_FD = 5, AGENT_FD = 6 };

#define ANSWER_TIMEOUT_MS 5000
#define RESCUE_US (120 * G_USEC_PER_SEC)
#define PAUSE_US (100 * 1000)
#define ATTEMPT_US (20 * G_USEC_PER_SEC)
/* How long a parent that was woken may take to let go of the database. */
#define WAKE_US (1500 * 1000)
#define WAKE_PAUSE_US (20 * 1000)

typedef enum { ORDER_ARM = 'a', ORDER_DISARM = 'd', ORDER_QUIT = 'q' } OrderKind;

/* What the parent says; one packet each, each answered by one byte. */
typedef struct {
  char kind;
  char resume;
  gint64 deadline_us;
} Order;

enum { ANSWER_READY = 'r', ANSWER_DONE = 'k', ANSWER_ACTED = 'x' };

/* It may outlive us: it must keep no pipe of our caller's open. What it has to say goes to the system's log. */
#define WATCHDOG_SPAWN_FLAGS (G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL)

struct _EngineWatchdog {
  GPid pid;
  int control;
  gboolean ready;
  gboolean armed;
  gboolean resume;
  guint unanswered; /* orders whose answers were not waited for */
};

/* ---- the parent's side ---- */

/* A descriptor for each place; /dev/null where there is none to inherit. */
static gboolean
spawn (const EngineVm *vm, int control, GPid *pid, GError **error)
{
  const char *agent = vm->agent != NULL ? vm->record->agent : "";
  const char *const argv[] = {"/proc/self/exe",   ENGINE_WATCHDOG_ARGUMENT, agent,
                              vm->context->state, vm->record->name,         NULL};
  int lock = vm->lock != NULL ? engine_lock_get_fd (vm->lock) : -1;
  int sources[] = {control, lock, qmp_transport_get_fd (qmp_client_get_io (vm->monitor)),
                   vm->agent != NULL ? qmp_transport_get_fd (qmp_qga_get_io (vm->agent)) : -1};
  int targets[] = {CONTROL_FD, LOCK_FD, MONITOR_FD, AGENT_FD};
  int used_sources[G_N_ELEMENTS (sources)], used_targets[G_N_ELEMENTS (sources)];
  gsize used = 0;

  for (gsize i = 0; i < G_N_ELEMENTS (sources); i++) {
    if (sources[i] < 0)
      continue;
    used_sources[used] = sources[i];
    used_targets[used++] = targets[i];
  }
  return g_spawn_async_with_pipes_and_fds (NULL, argv, NULL, WATCHDOG_SPAWN_FLAGS, NULL, NULL, -1, -1, -1, used_sources,
                                           used_targets, used, pid, NULL, NULL, NULL, error);
}

EngineWatchdog *
engine_watchdog_start (const EngineVm *vm, GError **error)
{
  g_autoptr (EngineWatchdog) watchdog = g_new0 (EngineWatchdog, 1);
  int pair[2];

  watchdog->control = -1;
  if (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "cannot start the watchdog: %s", g_strerror (errno));
    return NULL;
  }
  watchdog->control = pair[0];
  if (!base_point_before ("process", "watchdog", error) || !spawn (vm, pair[1], &watchdog->pid, error)) {
    close (pair[1]);
    return NULL;
  }
  base_point_after ("process", "watchdog");
  close (pair[1]);
  if (vm->lock != NULL)
    engine_lock_note_helper (vm->lock, watchdog->pid);
  return g_steal_pointer (&watchdog);
}

/* The next answer, or 0 where the watchdog is gone or says nothing. */
static char
read_answer (EngineWatchdog *watchdog)
{
  struct pollfd wait = {.fd = watchdog->control, .events = POLLIN};
  char answer = 0;
  int ready;

  do
    ready = poll (&wait, 1, ANSWER_TIMEOUT_MS);
  while (ready < 0 && errno == EINTR);
  if (ready <= 0 || recv (watchdog->control, &answer, 1, 0) != 1)
    return 0;
  return answer;
}

void
engine_watchdog_await (EngineWatchdog *watchdog)
{
  if (!watchdog->ready)
    watchdog->ready = read_answer (watchdog) == ANSWER_READY;
}

static gboolean
send_order (EngineWatchdog *watchdog, OrderKind kind, gint64 deadline_us, gboolean resume)
{
  Order order = {.kind = (char)kind, .resume = (char)resume, .deadline_us = deadline_us};

  engine_watchdog_await (watchdog);
  return watchdog->ready && send (watchdog->control, &order, sizeof order, MSG_NOSIGNAL) == sizeof order;
}

/* Sends the order, and reads all answers that are due. The first that is not `done` is what this returns. */
static char
give_order (EngineWatchdog *watchdog, OrderKind kind, gint64 deadline_us, gboolean resume)
{
  char first = ANSWER_DONE;

  if (!send_order (watchdog, kind, deadline_us, resume))
    return 0;
  for (watchdog->unanswered++; watchdog->unanswered > 0; watchdog->unanswered--) {
    char answer = read_answer (watchdog);

    if (first == ANSWER_DONE)
      first = answer;
  }
  return first;
}

/* @answer: to the last order; 0: none */
static gboolean
set_unable (char answer, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL,
                    answer == ANSWER_ACTED
                        ? "the watchdog process has brought the guest back in our place"
                        : "the watchdog process that would thaw the guest in our place is not alive");
  return FALSE;
}

gboolean
engine_watchdog_arm (EngineWatchdog *watchdog, gint64 deadline_us, gboolean resume, GError **error)
{
  char answer = give_order (watchdog, ORDER_ARM, deadline_us, resume);

  if (answer != ANSWER_DONE)
    return set_unable (answer, error);
  watchdog->armed = TRUE;
  watchdog->resume = resume;
  return TRUE;
}

gboolean
engine_watchdog_extend (EngineWatchdog *watchdog, gint64 deadline_us, GError **error)
{
  g_assert (watchdog->armed);
  if (send_order (watchdog, ORDER_ARM, deadline_us, watchdog->resume)) {
    watchdog->unanswered++;
    return TRUE;
  }
  return set_unable (0, error);
}

gboolean
engine_watchdog_disarm (EngineWatchdog *watchdog)
{
  watchdog->armed = FALSE;
  return give_order (watchdog, ORDER_DISARM, 0, FALSE) == ANSWER_DONE;
}

void
engine_watchdog_stop (EngineWatchdog *watchdog)
{
  gboolean leave = watchdog->armed;

  if (!leave && watchdog->pid != 0)
    give_order (watchdog, ORDER_QUIT, 0, FALSE);
  if (watchdog->control >= 0)
    close (watchdog->control);
  /* Its exit frees the VM's lock that it shares with us. */
  while (!leave && watchdog->pid != 0 && waitpid (watchdog->pid, NULL, 0) < 0 && errno == EINTR)
    continue;
  g_free (watchdog);
}

/* ---- the process ---- */

static gboolean
is_open (int fd)
{
  int type;
  socklen_t length = sizeof type;

  return getsockopt (fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
}

/* What the process is told when it is started: the agent's address ("": none), the state's folder, the VM's name. */
typedef struct {
  const char *agent;
  const char *state;
  const char *vm;
  EngineWatchdogRescue rescue;
} Charge;

/* What became of the guest that stood still. */
typedef struct {
  gboolean was_reset; /* or is gone: nothing of it is frozen */
  gboolean fenced;    /* over a connection of our own, as the one that we inherited is cut or lost */
  pid_t qemu;         /* 0: not known */
} Rescued;

/* At the other end of the monitor that we inherited: QEMU is gone, and its guest, unless we have cut it ourselves. */
static gboolean
has_hung_up (void)
{
  struct pollfd monitor = {.fd = MONITOR_FD, .events = POLLRDHUP};

  return is_open (MONITOR_FD) && poll (&monitor, 1, 0) > 0 && (monitor.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* The monitor's own descriptor stays open: its end tells that QEMU is gone, and its guest. */
static gboolean
inherit (EngineVm *vm, GError **error)
{
  return engine_vm_attach (vm, qmp_transport_from_fd (fcntl (MONITOR_FD, F_DUPFD_CLOEXEC, 0)), error);
}

/* The state that the kernel gives process @pid, such as 'T' (stopped); 0 where it is gone. */
static char
process_state (pid_t pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/stat", pid);
  g_autofree char *text = NULL;
  const char *name_end;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return 0;
  name_end = strrchr (text, ')');
  return name_end != NULL && name_end[1] == ' ' ? name_end[2] : 0;
}

/* A parent that hangs inside a transaction keeps everybody from the database, and what becomes of that transaction is
 * not known before it is over. One that was stopped is woken, which ends it in a moment; what does not help is killed,
 * and SQLite takes it back. A disk that does not answer ('D') is nothing that a signal could hasten. */
static void
free_database (const Charge *charge)
{
  gint64 since_us = g_get_monotonic_time (), waited_us = 0;
  pid_t parent;

  if (base_point_is_mutant ("hung-parent-keeps-database"))
    return;
  while (waited_us < 2 * WAKE_US && chains_holder_is (charge->state, parent = getppid ())) {
    if (waited_us < WAKE_US)
      kill (parent, SIGCONT);
    else if (process_state (parent) != 'D')
      kill (parent, SIGKILL);
    g_usleep (WAKE_PAUSE_US);
    waited_us = g_get_monotonic_time () - since_us;
  }
}

/* A parent that only hangs may wake up at any moment, and what it still has to say must not reach QEMU any more: the
 * connection that we share is cut. */
static void
cut_off (const Charge *charge)
{
  if (base_point_is_mutant ("hung-parent-not-fenced"))
    return;
  shutdown (MONITOR_FD, SHUT_RDWR);
  free_database (charge);
}

/* Another connection is made; and a parent that wakes up may not record what is about to be settled otherwise. */
static gboolean
fence (EngineVm *vm, GError **error)
{
  if (base_point_is_mutant ("hung-parent-not-fenced"))
    return inherit (vm, error);
  return engine_op_overtake (vm, error) && engine_vm_reconnect (vm, error);
}

static gboolean
rescue (const Charge *charge, EngineContext *context, gboolean hangs, Rescued *rescued, GError **error)
{
  g_autoptr (EngineVm) vm = NULL;

  if (!engine_context_open (context, CHAINS_DB_UPDATE, error))
    return FALSE;
  vm = engine_vm_open (context, charge->vm, NULL, error);
  /* The connection may have been lost, and QEMU not: then a new one tells. */
  rescued->fenced = hangs || has_hung_up ();
  if (vm == NULL || !(rescued->fenced ? fence (vm, error) : inherit (vm, error)))
    return FALSE;
  rescued->qemu = vm->qemu;
  /* Shut off: nobody is there who could be thawed. An earlier attempt may have reset it. */
  rescued->was_reset = rescued->was_reset || vm->monitor == NULL;
  return vm->monitor == NULL || ((vm->state != ENGINE_VM_PAUSED || charge->rescue (vm, &rescued->was_reset, error)) &&
                                 qmp_commands_cont (vm->monitor, engine_vm_wait (vm), error));
}

/* A guest of which it is not certain what it is to write to stays as it is: that harms less than going on would. But
 * the database may be the parent's for a moment, or QEMU slow: what failed for that is tried again. */
static gboolean
run_again (const Charge *charge, gboolean hangs, Rescued *rescued)
{
  gint64 until_us = g_get_monotonic_time () + RESCUE_US;

  for (;;) {
    g_autoptr (EngineContext) context = engine_context_new (charge->state);
    g_autoptr (GError) failure = NULL;

    if (hangs)
      cut_off (charge);
    if (rescue (charge, context, hangs, rescued, &failure))
      return TRUE;
    syslog (LOG_ERR, "VM '%s' stays paused: %s; run `chainctl recover %s`", charge->vm, failure->message, charge->vm);
    if (g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_REFUSED) || (!hangs && has_hung_up ()) ||
        g_get_monotonic_time () > until_us)
      return FALSE;
    g_usleep (PAUSE_US);
  }
}

/* One look and, where it is frozen, one thaw. %TRUE once the agent says that it is thawed. */
static gboolean
thaw_once (QmpQga *agent, GError **error)
{
  gint64 deadline_us = g_get_monotonic_time () + ATTEMPT_US;
  QmpQgaFreezeState state;
  gint64 count;

  if (!qmp_qga_fsfreeze_status (agent, deadline_us, NULL, &state, error))
    return FALSE;
  if (state == QMP_QGA_THAWED)
    return TRUE;
  return qmp_qga_fsfreeze_thaw (agent, deadline_us, NULL, &count, error) &&
         qmp_qga_fsfreeze_status (agent, deadline_us, NULL, &state, error) && state == QMP_QGA_THAWED;
}

/* The channel that was inherited, or a new one at the same address where that was lost. */
static QmpQga *
open_agent (const char *address, gboolean inherited)
{
  gint64 deadline_us = g_get_monotonic_time () + ATTEMPT_US;
  GIOStream *io =
      inherited ? qmp_transport_from_fd (AGENT_FD) : qmp_transport_connect (address, deadline_us, NULL, NULL);

  return io != NULL ? qmp_qga_new (io) : NULL;
}

/* The monitor tells; where it was cut or lost before, the process does. */
static gboolean
qemu_is_gone (const Rescued *rescued)
{
  return rescued->fenced ? engine_vm_has_died (rescued->qemu) : has_hung_up ();
}

/* Until it is thawed, the guest is gone with its QEMU, or it has taken too long. The agent may come back meanwhile. */
static void
thaw (const char *address, const Rescued *rescued)
{
  gint64 until_us = g_get_monotonic_time () + RESCUE_US;
  g_autoptr (QmpQga) agent = open_agent (address, TRUE);

  while (!qemu_is_gone (rescued) && g_get_monotonic_time () < until_us) {
    g_autoptr (GError) failure = NULL;

    if (agent != NULL && thaw_once (agent, &failure))
      return;
    g_usleep (PAUSE_US);
    if (agent != NULL && !g_error_matches (failure, QMP_ERROR, QMP_ERROR_CLOSED))
      continue;
    g_clear_pointer (&agent, qmp_qga_free);
    agent = open_agent (address, FALSE);
  }
}

static void
bring_back (const Charge *charge, gboolean resume, gboolean hangs)
{
  Rescued rescued = {0};

  if (base_point_is_mutant ("watchdog-does-not-thaw"))
    return;
  syslog (LOG_WARNING, "VM '%s': the process that froze or paused its guest is gone, or late: bringing the guest back",
          charge->vm);
  if (resume && is_open (MONITOR_FD) && !run_again (charge, hangs, &rescued))
    return;
  if (!rescued.was_reset && is_open (AGENT_FD))
    thaw (charge->agent, &rescued);
}

/* Milliseconds until the deadline, rounded up; -1 for ever. */
static int
poll_timeout (gboolean armed, gint64 deadline_us)
{
  gint64 left_us = deadline_us - g_get_monotonic_time ();

  return !armed ? -1 : (int)CLAMP ((left_us + 999) / 1000, 0, G_MAXINT);
}

static void
answer (char what)
{
  if (send (CONTROL_FD, &what, 1, MSG_NOSIGNAL) != 1)
    g_debug ("the parent is gone");
}

int
engine_watchdog_main (char **words, EngineWatchdogRescue to_rescue)
{
  Charge charge;
  struct pollfd control = {.fd = CONTROL_FD, .events = POLLIN};
  Order order = {0};
  gboolean armed = FALSE, acted = FALSE;

  if (g_strv_length (words) != 3)
    return 2;
  charge = (Charge){words[0], words[1], words[2], to_rescue};
  /* A session of its own, deaf to the terminal's signals: Ctrl-C is for the parent. */
  setsid ();
  signal (SIGINT, SIG_IGN);
  signal (SIGTERM, SIG_IGN);
  signal (SIGHUP, SIG_IGN);
  signal (SIGPIPE, SIG_IGN);
  prctl (PR_SET_NAME, "chainctl-watch");
  openlog ("chainctl", LOG_PID, LOG_DAEMON);
  base_point_enter_watchdog ();
  answer (ANSWER_READY);
  for (;;) {
    Order next;
    int ready = poll (&control, 1, poll_timeout (armed, order.deadline_us));
    ssize_t got = ready > 0 ? recv (CONTROL_FD, &next, sizeof next, 0) : -1;

    if (ready < 0 && errno == EINTR)
      continue;
    if (ready == 0 || got != sizeof next) {
      if (armed)
        bring_back (&charge, order.resume, ready == 0);
      if (ready != 0)
        return 0;
      armed = FALSE;
      acted = TRUE;
      continue;
    }
    order = next;
    answer (acted ? ANSWER_ACTED : ANSWER_DONE);
    if (order.kind == ORDER_QUIT)
      return 0;
    armed = order.kind == ORDER_ARM && !acted;
    acted = FALSE;
  }
}
