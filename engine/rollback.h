/*
 * The verb `rollback`: a VM's disks go back to a snapshot, QEMU's process staying.
 *
 *   [A] <- [B] <- [head]     back to A:     [A] <- [B] <- [head, frozen]
 *                                             \- [overlay, active]
 */
#pragma once

#include "engine/guard.h"
#include "engine/switched.h"

/** "auto", "always", "never" */
typedef enum {
  ENGINE_ROLLBACK_RESET_AUTO,
  ENGINE_ROLLBACK_RESET_ALWAYS,
  ENGINE_ROLLBACK_RESET_NEVER
} EngineRollbackReset;

/**
 * EngineRollbackRequest:
 * @snapshot: a name, `latest`, or a unique prefix of an id
 * @disks: (nullable) (array zero-terminated=1): else all that the snapshot has
 * @discard: the abandoned head is removed, and no automatic snapshot keeps it
 */
typedef struct {
  const char *vm;
  const char *snapshot;
  const char *const *disks;
  gboolean discard;
  EngineRollbackReset reset;
  const ChainsQuiesce *quiesce;
  gint64 freeze_timeout_us;
} EngineRollbackRequest;

/**
 * EngineRollbackResult:
 * @to: name of the snapshot
 * @automatic: (nullable): name of the snapshot that keeps the abandoned head
 * @active: (element-type EngineSwitchedDisk)
 * @removed: (element-type utf8): files that --discard removed
 * @frozen_us, @paused_us: -1 where it was not
 */
typedef struct {
  char *to;
  char *automatic;
  gboolean reset;
  GPtrArray *active;
  GPtrArray *removed;
  gint64 frozen_us;
  gint64 paused_us;
} EngineRollbackResult;

void engine_rollback_result_free (EngineRollbackResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineRollbackResult, engine_rollback_result_free)

/**
 * engine_rollback_run:
 * All disks or none. Failure at any step leaves the guest on what it had.
 * QAPI: qom-set (property `drive`), stop, cont, system_reset, blockdev-add. Raises %ENGINE_ERROR_REFUSED, _UNSUPPORTED,
 * _NOT_QUIESCED, _INTERRUPTED, _NOT_THAWED, QMP_ERROR's and CHAINS_ERROR's.
 */
gboolean engine_rollback_run (EngineContext *context, const EngineRollbackRequest *request,
                              EngineRollbackResult **result, GError **error) G_GNUC_WARN_UNUSED_RESULT;
