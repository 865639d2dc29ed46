/*
 * Which image a disk is to be started on, once it is certain; in doubt none.
 * Shared by all that tell it, or start by it.
 */
#pragma once

#include "engine/graph.h"

/**
 * EngineStartup: one disk
 * @blockdev: as the value of a -blockdev option
 * @local: a file or block device of this host: else @blockdev cannot be relied on
 */
typedef struct {
  char *disk;
  char *path;
  char *format;
  char *blockdev;
  gboolean local;
} EngineStartup;

void engine_startup_free (EngineStartup *startup);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineStartup, engine_startup_free)

/** Whether nothing on @vm is unfinished. Raises %ENGINE_ERROR_REFUSED: which image is active is not certain then. */
gboolean engine_startup_check_operations (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether the file of @disk is all that the running QEMU has there. Raises %ENGINE_ERROR_REFUSED: it has a part of it,
 * or a filter; then the disk is ignored. */
gboolean engine_startup_check_live (const EngineVm *vm, const ChainsDisk *disk, const EngineGraph *graph,
                                    GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_startup_find:
 * The active image of @disk, all of its chain looked at. Raises %ENGINE_ERROR_DRIFT where an image is missing, was
 * changed since it was frozen, or names the wrong backing image; %ENGINE_ERROR_REFUSED where the file alone was not
 * what QEMU had when the disk was registered to be ignored. Returns: (transfer full)
 */
EngineStartup *engine_startup_find (EngineVm *vm, const ChainsDisk *disk, GError **error) G_GNUC_WARN_UNUSED_RESULT;
