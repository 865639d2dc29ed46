/*
 * The verb `vm set`: what is remembered of a VM, changed.
 */
#pragma once

#include "engine/vmview.h"

/**
 * EngineSettingsRequest:
 * @qmp: (nullable); @agent, @guest: (nullable): an address, or "none"
 * @quiesce: (nullable)
 * @ignore: (nullable) (array zero-terminated=1): replaces the list of ignored disks; "none" alone clears it
 * @own: (nullable) (array zero-terminated=1): images down to which the disks are owned
 */
typedef struct {
  const char *name;
  const char *qmp;
  const char *agent;
  const char *guest;
  const ChainsQuiesce *quiesce;
  const char *const *ignore;
  const char *const *own;
} EngineSettingsRequest;

/**
 * engine_settings_change:
 * Changes what is asked, in one commit. Nobody at the new monitor is no error; another VM there is
 * %ENGINE_ERROR_DRIFT. A disk that is ignored no more is checked as `vm add` checks it, which needs the VM running.
 * Raises %ENGINE_ERROR_NO_SUCH_DISK, %ENGINE_ERROR_NO_SUCH_IMAGE, %ENGINE_ERROR_REFUSED, QMP_ERROR's.
 *
 * Returns: (transfer full)
 */
EngineVmView *engine_settings_change (EngineContext *context, const EngineSettingsRequest *request, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
