/*
 * The verb `protect`: a protected snapshot is not merged, deleted or pruned.
 */
#pragma once

#include "chains/model.h"
#include "engine/context.h"

/**
 * EngineProtectRequest:
 * @snapshots: (array zero-terminated=1): names, `latest`, or unique prefixes of ids
 * @off: they are protected no more
 */
typedef struct {
  const char *vm;
  const char *const *snapshots;
  gboolean off;
} EngineProtectRequest;

/**
 * engine_protect_run:
 * All of them or none, in one commit; those that are so already stay as they are. Asks no QEMU.
 * Raises %ENGINE_ERROR_HELD, CHAINS_ERROR's. Returns: (transfer full) (element-type ChainsSnapshot): as they are now,
 * in the order in which they were named
 */
GPtrArray *engine_protect_run (EngineContext *context, const EngineProtectRequest *request, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
