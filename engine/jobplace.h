/*
 * Where a job of somebody else's is at work. Its name and type tell nothing of
 * that; QEMU's own list of who holds which node does.
 */
#pragma once

#include "engine/graph.h"
#include "engine/jobview.h"

/**
 * engine_jobplace_find:
 * @views: (element-type EngineJobView): of @vm, which is connected
 * Fills in disk and image of those that are not ours, where QEMU tells: of a commit the image that receives, of
 * another the one that is read. It only asks. QAPI: x-debug-query-block-graph
 */
void engine_jobplace_find (EngineVm *vm, const EngineGraph *graph, GPtrArray *views);
