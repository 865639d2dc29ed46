/*
 * The verb `vm rescan`: what has become of a VM's disks since it was registered.
 */
#pragma once

#include "engine/vmview.h"

/**
 * EngineRescanChange:
 * @disk: (nullable): %NULL where it is about the VM itself
 * @what: in words
 */
typedef struct {
  char *disk;
  char *what;
} EngineRescanChange;

/** @changes: (element-type EngineRescanChange) */
typedef struct {
  EngineVmView *view;
  GPtrArray *changes;
} EngineRescanResult;

void engine_rescan_result_free (EngineRescanResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineRescanResult, engine_rescan_result_free)

/**
 * engine_rescan_run:
 * Compares the live graph of VM @name with the database. What is harmless (a disk was added, or resized) is taken over.
 * What is not is %ENGINE_ERROR_DRIFT, naming each, and then nothing is changed; with @accept it is taken over too: QEMU
 * is the truth. Raises %ENGINE_ERROR_SHUT_OFF where there is no QEMU, and those of taking in a disk.
 *
 * Returns: (transfer full)
 */
EngineRescanResult *engine_rescan_run (EngineContext *context, const char *name, gboolean accept, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
