/*
 * One VM for the length of one run: its record, its lock, its sessions with
 * the monitor and the agent, and whether it runs.
 */
#pragma once

#include "chains/registry.h"
#include "engine/context.h"
#include "engine/lock.h"
#include "qmp/commands.h"
#include "qmp/nodes.h"
#include "qmp/qga.h"

/** "running", "paused", "shut-off", "unreachable" */
typedef enum {
  ENGINE_VM_RUNNING,
  ENGINE_VM_PAUSED,
  ENGINE_VM_SHUT_OFF,
  ENGINE_VM_UNREACHABLE,
} EngineVmState;

const char *engine_vm_state_to_string (EngineVmState state);

/**
 * EngineVm:
 * @context: borrowed
 * @cancellable: (nullable): borrowed; %NULL while something is done that Ctrl-C must not cut short
 * @disks: (element-type ChainsDisk): as registered
 * @lock: (nullable): held by verbs that change something
 * @monitor: (nullable): %NULL before engine_vm_connect() and where the VM does not run
 * @major_version: QEMU's, for known bugs only; 0 where unknown
 * @status: (nullable): RunState as query-status has it
 * @uuid: (nullable): as query-uuid has it; %NULL where QEMU was given none
 * @qemu: QEMU's process, 0 where unknown
 * @daemon: what answers is a storage daemon: no machine, no guest; its disks are its exports
 * @standin: (nullable): a throw-away storage daemon of ours that has a shut-off VM's images open; then @monitor is its
 * @agent: (nullable): a session that has answered a sync
 * @agent_failure: (nullable): why there is none
 */
typedef struct {
  EngineContext *context;
  GCancellable *cancellable;
  ChainsVm *record;
  GPtrArray *disks;
  EngineLock *lock;
  EngineVmState state;
  QmpClient *monitor;
  gint64 major_version;
  char *status;
  char *uuid;
  pid_t qemu;
  gboolean daemon;
  struct _EngineStandin *standin;
  QmpQga *agent;
  QmpCall *agent_sync;
  GError *agent_failure;
} EngineVm;

/**
 * engine_vm_open:
 * @verb: (nullable): takes the VM's lock for this verb; %NULL for those that only look
 * The registered VM @name. Nothing is connected yet. Returns: (transfer full)
 */
EngineVm *engine_vm_open (EngineContext *context, const char *name, const char *verb, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_vm_default_name:
 * The one VM that is registered. Raises %ENGINE_ERROR_NO_SUCH_VM where there is none, %ENGINE_ERROR_USAGE where
 * there are several. Returns: (transfer full)
 */
char *engine_vm_default_name (EngineContext *context, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** A VM that is not registered yet. @record: (transfer full). Returns: (transfer full) */
EngineVm *engine_vm_new (EngineContext *context, ChainsVm *record);
void engine_vm_free (EngineVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineVm, engine_vm_free)

/**
 * engine_vm_connect:
 * Opens the monitor and learns whether the VM runs. A dead socket with no lock
 * on any active image is `shut-off`, and no error: @vm's monitor stays %NULL.
 * Raises QMP_ERROR's where something is there that does not answer, and
 * %ENGINE_ERROR_UNREACHABLE where the socket is dead but the images are locked.
 */
gboolean engine_vm_connect (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_vm_attach:
 * @io: (transfer full): a connection to @vm's monitor that somebody else has opened, and may have died on
 * The same over that connection, for the watchdog.
 */
gboolean engine_vm_attach (EngineVm *vm, GIOStream *io, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Starts a session with the agent, where one is registered; finish it with the next. */
void engine_vm_start_agent (EngineVm *vm);
/** Whether an agent answers now; if not, @vm->agent_failure says why. */
gboolean engine_vm_finish_agent (EngineVm *vm);

/** A new connection to the agent in place of one that was lost; if there is none, @vm->agent_failure says why. */
gboolean engine_vm_reopen_agent (EngineVm *vm, gint64 deadline_us) G_GNUC_WARN_UNUSED_RESULT;

/** Whether @vm, connected, runs or is paused now: a person may have changed that while something was copied. */
gboolean engine_vm_refresh_state (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether @process, a QEMU's, is no more: while it still closes what it had open, too. */
gboolean engine_vm_has_died (pid_t process);

/** Whether QEMU has hung up at the monitor: it is gone, and its guest. An agent that is gone says nothing of that. */
gboolean engine_vm_is_gone (EngineVm *vm);

/**
 * engine_vm_reconnect:
 * Where the monitor was lost: closes the sessions and connects anew; where it was not, does nothing. A stand-in that
 * was lost is not started again: the VM is shut off, and has no monitor then. A QEMU that is about to vanish closes its
 * monitor before its images: it is given a moment to be gone, so that `shut-off` can be told from `unreachable`.
 */
gboolean engine_vm_reconnect (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether @uuid (nullable) tells one VM from another: QEMU says zeroes where it was given none. */
gboolean engine_vm_is_uuid (const char *uuid);

/** A session with the agent, if one is registered and the VM runs; that it does not answer is a warning. */
void engine_vm_try_agent (EngineVm *vm);

/** Its nodes, without devices. QAPI: query-named-block-nodes. Returns: (transfer full) */
QmpNodes *engine_vm_ask_for_nodes (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** How a command to this VM's peers waits now. */
QmpWait engine_vm_wait (const EngineVm *vm);

/** That each of @names (nullable) (array zero-terminated=1) is a registered disk; raises as the next does. */
gboolean engine_vm_check_disks (const EngineVm *vm, const char *const *names, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The registered disk called @name. Borrowed. Raises %ENGINE_ERROR_NO_SUCH_DISK, with the nearest name. */
ChainsDisk *engine_vm_find_disk (const EngineVm *vm, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
