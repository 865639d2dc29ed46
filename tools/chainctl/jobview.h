/*
 * Block jobs as documents and for people: one form for every command that shows
 * them.
 */
#pragma once

#include "engine/jobview.h"
#include "tools/chainctl/output.h"

/** Returns: (transfer full) */
JsonObject *chainctl_jobview_render (const EngineJobView *view);

/** "jobs", and a table. @views: (element-type EngineJobView) */
void chainctl_jobview_say (ChainctlOutput *output, const GPtrArray *views);

/** Whether all of @views wait for their last word. */
gboolean chainctl_jobview_are_ready (const GPtrArray *views);
