/*
 * What is or could go wrong with a VM's images: where they lie, who may write to
 * them, how QEMU caches them, how deep their chains are, how much room they have.
 */
#pragma once

#include "engine/graph.h"
#include "engine/problem.h"

/**
 * engine_imageadvice_find:
 * @graph: (nullable): %NULL where the VM does not run, or it cannot be had: then nothing is said of caches
 * @trees: (element-type EngineTree): the disks as they are remembered; ignored ones are left out
 * @problems: (element-type EngineProblem)
 */
void engine_imageadvice_find (EngineVm *vm, const EngineGraph *graph, const GPtrArray *trees, GPtrArray *problems);
