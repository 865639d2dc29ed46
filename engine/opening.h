/*
 * How every verb begins that works on a VM's live graph: QEMU's monitor, or a
 * stand-in's where the VM is shut off; nobody else at work; and the database right.
 */
#pragma once

#include "engine/graph.h"

/**
 * engine_opening_run:
 * @vm: opened, with its lock
 * Connects, and reads the graph. Raises what engine_vm_connect(), engine_standin_start(), engine_preflight_check_vm()
 * and engine_drift_refuse() raise. Returns: (transfer full)
 */
EngineGraph *engine_opening_run (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
