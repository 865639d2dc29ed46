/*
 * What is at work on the images of a tree: operations that go on in QEMU, and jobs
 * that somebody else has started.
 */
#pragma once

#include "engine/tree.h"

/**
 * engine_treejobs_mark:
 * @trees: (element-type EngineTree): of @vm
 * @others: (element-type EngineJobView): receives the jobs that are not ours, each with disk and image where that can
 * be told
 * Marks the images that receive data, as the journal has it; how far that is, and what else is at work, QEMU is asked.
 * One that does not answer at once (its monitor serves one client at a time) is not waited for.
 */
gboolean engine_treejobs_mark (EngineContext *context, const ChainsVm *vm, GPtrArray *trees, GPtrArray *others,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;
