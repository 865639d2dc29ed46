/*
 * The verbs `vm export` and `vm import`: all that the database knows of one VM,
 * as a document for another host.
 */
#pragma once

#include "engine/context.h"

/**
 * engine_transfer_export:
 * Its record, disks, images and snapshots; not the log, which is this host's. Raises %ENGINE_ERROR_HELD where an
 * operation has not ended, CHAINS_ERROR's. Returns: (transfer full)
 */
JsonObject *engine_transfer_export (EngineContext *context, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_transfer_import:
 * @file: an exported document, bare or in its envelope; `-` is stdin
 * Registers that VM in one transaction: every image has to be at its path, with the header that it should have, and to
 * be no other VM's. QEMU is not asked. Snapshots come after those that are here.
 * Raises %ENGINE_ERROR_FAILED for what is no such document, %ENGINE_ERROR_EXISTS where the VM's name is taken,
 * %ENGINE_ERROR_NO_SUCH_IMAGE, %ENGINE_ERROR_REFUSED, CHAINS_ERROR's.
 *
 * Returns: (transfer full): the VM's name
 */
char *engine_transfer_import (EngineContext *context, const char *file, GError **error) G_GNUC_WARN_UNUSED_RESULT;
