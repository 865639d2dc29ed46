/*
 * What a person would want to know of the jobs in a VM's QEMU: copies that nobody
 * waits for, that stand still or never end, and jobs of others.
 */
#pragma once

#include "engine/graph.h"
#include "engine/problem.h"

/**
 * engine_jobadvice_find:
 * @graph: (nullable): where it cannot be had
 * Adds to @problems. Where a copy of ours is under way that is looked at for a moment: whether it gets anywhere. An NBD
 * server that is copied to is connected to, and told nothing. QAPI: query-jobs, query-block-jobs,
 * x-debug-query-block-graph
 */
void engine_jobadvice_find (EngineVm *vm, const EngineGraph *graph, GPtrArray *problems);
