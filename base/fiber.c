/*
 * The scheduler: resumes each fiber whose condition is met, and sleeps in poll()
 * when there is none. The thread's own state, as GLib keeps its thread-default
 * main context: which scheduler, if any, this thread runs.
 * Source: getcontext(3), makecontext(3); sanitizer/common_interface_defs.h.
 */
#include "base/fiber.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define STACK_SIZE (512 * 1024)

typedef struct {
  ucontext_t context;
  guint8 *stack; /* its lowest page is out of bounds */
  BaseFiberFunc func;
  gpointer item;
  BaseFiberCondition is_met; /* what it waits for; %NULL: for nobody else to go on */
  gpointer user_data;
  gint64 urgent_until_us;
  gboolean done;
} Fiber;

typedef struct {
  ucontext_t context;
  GPtrArray *live; /* of Fiber */
  Fiber *current;
#ifdef __SANITIZE_ADDRESS__
  const void *bottom;
  gsize size;
#endif
} Scheduler;

static GPrivate thread_scheduler;

static Scheduler *
get_scheduler (void)
{
  return g_private_get (&thread_scheduler);
}

/* ---- switching stacks ---- */

/* The sanitizer follows the stack; without it these are nothing. */
static void
announce_fiber (Fiber *fiber, void **fake)
{
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber (fake, fiber->stack, STACK_SIZE);
#endif
}

static void
announce_scheduler (Scheduler *scheduler, void **fake)
{
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber (fake, scheduler->bottom, scheduler->size);
#endif
}

static void
arrive (Scheduler *scheduler, void *fake, gboolean in_fiber)
{
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber (fake, in_fiber ? &scheduler->bottom : NULL, in_fiber ? &scheduler->size : NULL);
#endif
}

static void
resume (Scheduler *scheduler, Fiber *fiber)
{
  void *fake = NULL;

  scheduler->current = fiber;
  announce_fiber (fiber, &fake);
  swapcontext (&scheduler->context, &fiber->context);
  arrive (scheduler, fake, FALSE);
  scheduler->current = NULL;
}

/* Back to the scheduler, until it resumes this fiber. */
static void
yield (Scheduler *scheduler, Fiber *fiber)
{
  void *fake = NULL;

  announce_scheduler (scheduler, &fake);
  swapcontext (&fiber->context, &scheduler->context);
  arrive (scheduler, fake, TRUE);
}

static void
enter (void)
{
  Scheduler *scheduler = get_scheduler ();
  Fiber *fiber = scheduler->current;

  arrive (scheduler, NULL, TRUE);
  fiber->func (fiber->item);
  fiber->done = TRUE;
  announce_scheduler (scheduler, NULL);
  setcontext (&scheduler->context);
}

/* ---- fibers ---- */

static Fiber *
fiber_new (BaseFiberFunc func, gpointer item)
{
  Fiber *fiber = g_new0 (Fiber, 1);
  gsize page = (gsize)sysconf (_SC_PAGESIZE);

  fiber->func = func;
  fiber->item = item;
  fiber->stack = mmap (NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (fiber->stack == MAP_FAILED || mprotect (fiber->stack, page, PROT_NONE) != 0)
    g_error ("no memory for a stack");
  getcontext (&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack;
  fiber->context.uc_stack.ss_size = STACK_SIZE;
  makecontext (&fiber->context, enter, 0);
  return fiber;
}

static void
fiber_free (Fiber *fiber)
{
  munmap (fiber->stack, STACK_SIZE);
  g_free (fiber);
}

static void
start (Scheduler *scheduler, BaseFiberFunc func, gpointer item)
{
  Fiber *fiber = fiber_new (func, item);

  g_ptr_array_add (scheduler->live, fiber);
  resume (scheduler, fiber);
}

/* ---- whose turn it is ---- */

static gboolean
is_urgent (const Fiber *fiber, gint64 now_us)
{
  return !fiber->done && fiber->urgent_until_us > now_us;
}

/* The end of the last urgency, 0 where there is none. */
static gint64
find_urgency (const Scheduler *scheduler, gint64 now_us)
{
  gint64 until_us = 0;

  for (guint i = 0; i < scheduler->live->len; i++) {
    const Fiber *fiber = g_ptr_array_index (scheduler->live, i);

    if (is_urgent (fiber, now_us))
      until_us = MAX (until_us, fiber->urgent_until_us);
  }
  return until_us;
}

static void
bury (Scheduler *scheduler)
{
  for (guint i = scheduler->live->len; i > 0; i--)
    if (((Fiber *)g_ptr_array_index (scheduler->live, i - 1))->done)
      g_ptr_array_remove_index (scheduler->live, i - 1);
}

/* Resumes those that can go on. %FALSE where there were none. */
static gboolean
resume_ready (Scheduler *scheduler)
{
  gboolean resumed = FALSE;

  for (guint i = 0; i < scheduler->live->len; i++) {
    Fiber *fiber = g_ptr_array_index (scheduler->live, i);
    gint64 now_us = g_get_monotonic_time ();

    if (fiber->done || fiber->is_met == NULL || !fiber->is_met (fiber->user_data) ||
        (find_urgency (scheduler, now_us) != 0 && !is_urgent (fiber, now_us)))
      continue;
    resume (scheduler, fiber);
    resumed = TRUE;
  }
  bury (scheduler);
  return resumed;
}

/* One of those that wait for nobody else to go on. */
static gboolean
resume_idle (Scheduler *scheduler)
{
  for (guint i = 0; i < scheduler->live->len; i++) {
    Fiber *fiber = g_ptr_array_index (scheduler->live, i);

    if (fiber->is_met != NULL)
      continue;
    resume (scheduler, fiber);
    bury (scheduler);
    return TRUE;
  }
  return FALSE;
}

static gboolean
wake (gpointer data)
{
  *(gboolean *)data = TRUE;
  return G_SOURCE_REMOVE;
}

static GSource *
attach_timer (gint64 at_us, gboolean *rung)
{
  gint64 left_us = MAX (at_us - g_get_monotonic_time (), 0);
  GSource *timer = g_timeout_source_new ((guint)((left_us + 999) / 1000));

  g_source_set_callback (timer, wake, rung, NULL);
  g_source_attach (timer, g_main_context_get_thread_default ());
  return timer;
}

static void
detach_timer (GSource *timer)
{
  g_source_destroy (timer);
  g_source_unref (timer);
}

/* An event, or the end of the urgency that keeps others from going on. */
static void
sleep_for_event (const Scheduler *scheduler)
{
  gint64 until_us = find_urgency (scheduler, g_get_monotonic_time ());
  gboolean rung = FALSE;
  GSource *timer = until_us != 0 ? attach_timer (until_us, &rung) : NULL;

  g_main_context_iteration (g_main_context_get_thread_default (), TRUE);
  if (timer != NULL)
    detach_timer (timer);
}

static void
run_until_done (Scheduler *scheduler)
{
  if (resume_ready (scheduler) || g_main_context_iteration (g_main_context_get_thread_default (), FALSE))
    return;
  if (find_urgency (scheduler, g_get_monotonic_time ()) != 0 || !resume_idle (scheduler))
    sleep_for_event (scheduler);
}

/* Each fiber may hold some descriptors, and the limit that a shell gives is meant for programs that use select(). */
static void
allow_many_files (void)
{
  struct rlimit limit;

  if (getrlimit (RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
    return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit (RLIMIT_NOFILE, &limit);
}

void
base_fiber_run_all (const GPtrArray *items, BaseFiberFunc func, guint parallel)
{
  g_autoptr (GPtrArray) live = g_ptr_array_new_with_free_func ((GDestroyNotify)fiber_free);
  Scheduler scheduler = {.live = live};
  guint next = 0;

  g_assert (get_scheduler () == NULL);
  g_private_set (&thread_scheduler, &scheduler);
  if (items->len > 1)
    allow_many_files ();
  while (next < items->len || live->len > 0) {
    while (next < items->len && (parallel == 0 || live->len < parallel)) {
      start (&scheduler, func, g_ptr_array_index (items, next++));
      bury (&scheduler);
    }
    if (live->len > 0)
      run_until_done (&scheduler);
  }
  g_private_set (&thread_scheduler, NULL);
}

/* ---- inside ---- */

static Fiber *
get_current (void)
{
  const Scheduler *scheduler = get_scheduler ();

  return scheduler != NULL ? scheduler->current : NULL;
}

gboolean
base_fiber_is_inside (void)
{
  return get_current () != NULL;
}

void
base_fiber_wait (BaseFiberCondition is_met, gpointer user_data)
{
  Fiber *fiber = get_current ();

  while (fiber == NULL && !is_met (user_data))
    g_main_context_iteration (g_main_context_get_thread_default (), TRUE);
  if (fiber == NULL || is_met (user_data))
    return;
  fiber->is_met = is_met;
  fiber->user_data = user_data;
  yield (get_scheduler (), fiber);
}

static gboolean
is_set (gpointer user_data)
{
  return *(gboolean *)user_data;
}

void
base_fiber_sleep (gint64 duration_us)
{
  gboolean rung = FALSE;
  GSource *timer = attach_timer (g_get_monotonic_time () + duration_us, &rung);

  base_fiber_wait (is_set, &rung);
  detach_timer (timer);
}

void
base_fiber_wait_idle (void)
{
  Fiber *fiber = get_current ();

  g_assert (fiber != NULL);
  fiber->is_met = NULL;
  yield (get_scheduler (), fiber);
}

void
base_fiber_set_urgent (gint64 duration_us)
{
  Fiber *fiber = get_current ();

  if (fiber != NULL)
    fiber->urgent_until_us = duration_us != 0 ? g_get_monotonic_time () + duration_us : 0;
}
