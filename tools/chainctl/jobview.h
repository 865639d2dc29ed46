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

/** The same of what was not asked for: -q leaves the table out. */
void chainctl_jobview_note (ChainctlOutput *output, const GPtrArray *views);

/** Whether @error (nullable), with its hint, has said already that jobs go on in QEMU, and what to do about them. */
gboolean chainctl_jobview_is_told (const GError *error);

/** Whether all of @views wait for their last word. */
gboolean chainctl_jobview_are_ready (const GPtrArray *views);
