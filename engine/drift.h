/*
 * The database held against a live graph: does each disk run on the image that
 * the database calls active, on the chain that it remembers?
 */
#pragma once

#include "engine/graph.h"
#include "engine/problem.h"
#include "engine/tree.h"

/**
 * engine_drift_find:
 * @problems: (element-type EngineProblem): what is found is added here
 * Compares every registered disk of @vm with @graph, and the VM itself by its UUID.
 */
gboolean engine_drift_find (EngineVm *vm, const EngineGraph *graph, GPtrArray *problems, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** engine_drift_find(), the first error found raised as %ENGINE_ERROR_DRIFT; warnings go to the context. */
gboolean engine_drift_refuse (EngineVm *vm, const EngineGraph *graph, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_drift_refuse_another:
 * That the QEMU at the monitor of @vm, connected, has the UUID with which the VM was registered. Raises
 * %ENGINE_ERROR_DRIFT. Where nothing is connected, or the VM has no UUID, there is nothing to say.
 */
gboolean engine_drift_refuse_another (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** The same as a warning, "another-vm". */
void engine_drift_warn_of_another (EngineVm *vm);

/** The image of @tree that @layer is, by what it is and not by how its path is written; %NULL where none is. Borrowed.
 */
EngineTreeImage *engine_drift_find_image (const EngineTree *tree, const EngineLayer *layer);

/**
 * engine_drift_add_spoiled:
 * @names: (element-type utf8): in quotes; those not in it are added
 * The snapshots whose data changes when @written is written to: its own, and those of every image above it.
 */
void engine_drift_add_spoiled (const EngineTree *tree, const EngineTreeImage *written, GPtrArray *names);
/** Such names with commas between them. Returns: (transfer full) */
char *engine_drift_list (GPtrArray *names);
