/*
 * The verb `guest`: the guest's agent by hand.
 */
#pragma once

#include "engine/vm.h"

/**
 * engine_agent_run:
 * @action: "ping", "info", "status", "thaw"
 * Returns: (transfer full): what the agent said, in its own keys; where it said a bare word or number, under
 *     "status" and "thawed". Raises %ENGINE_ERROR_AGENT, %ENGINE_ERROR_AGENT_TIMEOUT.
 */
JsonObject *engine_agent_run (EngineContext *context, const char *vm, const char *action, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The actions, in the order of the help text. (array zero-terminated=1) */
const char *const *engine_agent_actions (void);
