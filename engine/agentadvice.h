/*
 * What is or could go wrong with a VM's agent: whether snapshots are worth as
 * much as they could be, and why not.
 */
#pragma once

#include "engine/problem.h"
#include "engine/vm.h"

/**
 * engine_agentadvice_find:
 * @problems: (element-type EngineProblem)
 * Asks the agent, where one is registered and the guest may run. @vm need not be connected. Where `quiesce` is
 * `require`, what keeps a guest from being frozen is an error, else a warning; where it is `off` it is nothing.
 * A storage daemon has no guest that could have one.
 */
void engine_agentadvice_find (EngineVm *vm, GPtrArray *problems);
