/*
 * Fibers: several runs at once on one thread. Each run is straight-line code on
 * a stack of its own; where one waits, the others go on. All waiting of the
 * program goes through here, in a fiber or not: asleep in poll(), on the
 * thread-default main context. Nothing runs in parallel, so nothing is locked:
 * what is not torn by a wait is whole.
 */
#pragma once

#include <gio/gio.h>

typedef void (*BaseFiberFunc) (gpointer item);
typedef gboolean (*BaseFiberCondition) (gpointer user_data);

/**
 * base_fiber_run_all:
 * Calls @func for each of @items in a fiber of its own, @parallel of them at once (0: all), in their order as far as
 * they start. Returns once all have returned. Not from inside a fiber. Raises the limit of open files as far as
 * allowed.
 */
void base_fiber_run_all (const GPtrArray *items, BaseFiberFunc func, guint parallel);

/** Whether the caller runs in a fiber. */
gboolean base_fiber_is_inside (void);

/** Waits until @is_met says so, which is asked after each event of the main context. */
void base_fiber_wait (BaseFiberCondition is_met, gpointer user_data);

/** Waits so long; other fibers, and the sources of the main context, go on. */
void base_fiber_sleep (gint64 duration_us);

/** In a fiber: waits until no other could go on without sleeping. */
void base_fiber_wait_idle (void);

/**
 * base_fiber_set_urgent:
 * In a fiber: until it is switched off again, or @duration_us has passed, only fibers that are urgent go on: for the
 * moment in which a guest stands still. 0 switches it off. Outside fibers it does nothing.
 */
void base_fiber_set_urgent (gint64 duration_us);
