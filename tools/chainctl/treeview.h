/*
 * Draws a disk's tree of images for people, in 80 columns.
 */
#pragma once

#include "engine/jobview.h"
#include "engine/tree.h"
#include "tools/chainctl/output.h"

/** Draws @tree: the lowest image first, the active one last, branches beside the trunk. @others: (element-type
 * EngineJobView): jobs that are not ours, each drawn at its image. */
void chainctl_treeview_draw (ChainctlOutput *output, const EngineTree *tree, const GPtrArray *others);

/** Draws those of @others that stand at no image of @trees (element-type EngineTree). */
void chainctl_treeview_draw_elsewhere (ChainctlOutput *output, const GPtrArray *trees, const GPtrArray *others);
