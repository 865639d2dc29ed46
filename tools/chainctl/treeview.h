/*
 * Draws a disk's tree of images for people, in 80 columns.
 */
#pragma once

#include "engine/tree.h"
#include "tools/chainctl/output.h"

/** Draws @tree: the lowest image first, the active one last, branches beside the trunk. */
void chainctl_treeview_draw (ChainctlOutput *output, const EngineTree *tree);
