/*
 * Everything about a VM that is not as it should be now: what `check` reports,
 * and `doctor` too.
 */
#pragma once

#include "engine/graph.h"
#include "engine/problem.h"

/**
 * engine_findings_add:
 * @graph: (nullable): %NULL where the VM does not run, or its graph cannot be had
 * @problems: (element-type EngineProblem): what is found is added here
 * Holds database, live graph, qcow2 headers and files against each other. Changes nothing.
 */
gboolean engine_findings_add (EngineVm *vm, const EngineGraph *graph, GPtrArray *problems, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
