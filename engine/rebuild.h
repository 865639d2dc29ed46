/*
 * The verb `state rebuild`: a lost database made again from the notes and the
 * image headers in the folders of the images.
 */
#pragma once

#include "engine/context.h"

/** EngineRebuilt: what is in the database now */
typedef struct {
  guint vms;
  guint snapshots;
  guint notes;
} EngineRebuilt;

/**
 * engine_rebuild_run:
 * @folders: (array zero-terminated=1)
 * VMs, disks, images and snapshots, in one transaction; what cannot be decided is refused and names the file. A VM that
 * never had a snapshot has no note, and is not among them.
 * Raises %ENGINE_ERROR_EXISTS where a VM is registered, %ENGINE_ERROR_NO_SUCH_IMAGE for a folder or an image that is
 * not there, %ENGINE_ERROR_REFUSED, CHAINS_ERROR's.
 */
gboolean engine_rebuild_run (EngineContext *context, const char *const *folders, EngineRebuilt *rebuilt, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
