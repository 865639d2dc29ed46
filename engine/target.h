/*
 * Where a disk is copied to: a new file, one that is there, or an NBD server's
 * export. Planned, and refused, before anything is made or opened.
 */
#pragma once

#include "engine/mirrorintent.h"
#include "engine/nbdaddress.h"
#include "engine/overlay.h"

/** Seconds that a copy waits for an NBD server that went away; the shorter one where the guest's writes wait too. */
#define ENGINE_TARGET_RECONNECT_S 10
#define ENGINE_TARGET_RECONNECT_BLOCKING_S 3

/**
 * EngineTargetRequest:
 * @to: (nullable): a path: a file, or a folder in which there is to be a file for each disk
 * @nbd: (nullable): else this
 * @credentials: (nullable): a folder with X.509 credentials, laid out as QEMU has it
 * @format: (nullable): "qcow2" or "raw" of @to; else qcow2, and raw on a block device
 * @existing: what is at @to is overwritten
 * @several: more than one disk is copied
 */
typedef struct {
  const char *to;
  const EngineNbdAddress *nbd;
  const char *credentials;
  const char *format;
  gboolean existing;
  gboolean several;
} EngineTargetRequest;

/**
 * EngineTargets: of all disks
 * @files: (element-type EngineOverlay)
 * @exports: (element-type JsonObject): BlockdevOptions
 */
typedef struct {
  GPtrArray *files;
  GPtrArray *exports;
} EngineTargets;

/** Empty ones. */
void engine_target_list_init (EngineTargets *targets);
void engine_target_list_clear (EngineTargets *targets);

/**
 * engine_target_plan:
 * @options: (transfer full): of the disk's active image
 * Plans the copy of @disk, and adds it to @mirror's copies and to @targets. An NBD server is asked what it has.
 * Raises %ENGINE_ERROR_REFUSED, %ENGINE_ERROR_EXISTS, %ENGINE_ERROR_NO_SUCH_IMAGE, %ENGINE_ERROR_USAGE,
 * %ENGINE_ERROR_UNREACHABLE.
 */
gboolean engine_target_plan (EngineOp *op, EngineMirrorIntent *mirror, const EngineGraphDisk *disk,
                             EngineNodeOptions *options, const EngineTargetRequest *request, EngineTargets *targets,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Waits, for as long as QEMU would, until each server among them answers. Raises %ENGINE_ERROR_UNREACHABLE. */
gboolean engine_target_await (EngineVm *vm, const EngineMirrorIntent *mirror, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Makes the files, opens the nodes, and sees that each is as large as its disk. */
gboolean engine_target_open (EngineVm *vm, const EngineMirrorIntent *mirror, const EngineTargets *targets,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** In a dry run: what engine_target_open() would do. */
void engine_target_plan_open (EngineVm *vm, const EngineTargets *targets);

/** What the TLS credentials in @folder are to QEMU: the arguments of object-add. Returns: (transfer full) */
JsonObject *engine_target_credentials (const EngineMirrorIntent *mirror, const char *folder);
