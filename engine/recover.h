/*
 * The verb `recover`: finishes or undoes what a dead operation left behind.
 */
#pragma once

#include "engine/vm.h"

/**
 * EngineRecovered: one operation that was brought to its end
 * @finished: it is now as if the verb had run; else as if it had not
 */
typedef struct {
  char *op;
  char *verb;
  char *vm;
  gboolean finished;
  char *message;
} EngineRecovered;

/**
 * engine_recover_vm:
 * Ends every unfinished operation of @vm. Waits for a watchdog that is at work in the place of its parent.
 * @recovered: (element-type EngineRecovered): what was done is added here
 * Raises %ENGINE_ERROR_HELD where the operation's process is alive, %ENGINE_ERROR_REFUSED where what is true cannot
 * be decided, QMP_ERROR's where QEMU cannot be asked; then the operation stays as it is.
 */
gboolean engine_recover_vm (EngineContext *context, const char *vm, GPtrArray *recovered, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** engine_recover_vm() for every registered VM that has one; goes on after a failure, and raises the first. */
gboolean engine_recover_all (EngineContext *context, GPtrArray *recovered, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether @vm has an unfinished operation, of a dead process or of one that is alive; never so in a dry run. */
gboolean engine_recover_is_due (EngineContext *context, const char *vm);

/**
 * engine_recover_first:
 * For the start of every other verb on @vm: ends what a dead process left unfinished, with a warning that says so.
 * Where its process is alive, nothing is done.
 */
gboolean engine_recover_first (EngineContext *context, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_recover_rescue:
 * For the watchdog (EngineWatchdogRescue), in the place of a process that died, or hangs, while it had @vm paused: what
 * the guest is to write to is made certain and written down before it runs again.
 */
gboolean engine_recover_rescue (EngineVm *vm, gboolean *was_reset, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** An empty list. Returns: (transfer full) (element-type EngineRecovered) */
GPtrArray *engine_recover_list_new (void);
