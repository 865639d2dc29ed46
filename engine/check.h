/*
 * The verb `check`: database, live graph, qcow2 headers and files held against
 * each other. Changes nothing.
 */
#pragma once

#include "engine/problem.h"
#include "engine/vm.h"

/** Returns: (transfer full) (element-type EngineProblem): empty where all is well */
GPtrArray *engine_check_run (EngineContext *context, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
