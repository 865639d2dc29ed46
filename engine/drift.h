/*
 * The database held against a live graph: does each disk run on the image that
 * the database calls active, on the chain that it remembers?
 */
#pragma once

#include "engine/graph.h"
#include "engine/problem.h"

/**
 * engine_drift_find:
 * @problems: (element-type EngineProblem): what is found is added here
 * Compares every registered disk of @vm with @graph, and the VM itself by its UUID.
 */
gboolean engine_drift_find (EngineVm *vm, const EngineGraph *graph, GPtrArray *problems, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** engine_drift_find(), the first error found raised as %ENGINE_ERROR_DRIFT; warnings go to the context. */
gboolean engine_drift_refuse (EngineVm *vm, const EngineGraph *graph, GError **error) G_GNUC_WARN_UNUSED_RESULT;
