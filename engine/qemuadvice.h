/*
 * What is or could go wrong with a VM's QEMU: its monitors, its command line,
 * its version, what a security module lets it open.
 */
#pragma once

#include "engine/graph.h"
#include "engine/problem.h"

/**
 * engine_qemuadvice_find:
 * @graph: (nullable): %NULL where it cannot be had
 * @trees: (element-type EngineTree): the disks as they are remembered
 * @problems: (element-type EngineProblem)
 * @vm need not be connected: what is known of its process is then used, what only the monitor tells is left out.
 */
void engine_qemuadvice_find (EngineVm *vm, const EngineGraph *graph, const GPtrArray *trees, GPtrArray *problems);
