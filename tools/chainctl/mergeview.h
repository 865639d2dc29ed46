/*
 * What merges came to, as documents and for people: for every command that has to do
 * with them.
 */
#pragma once

#include "engine/merge.h"
#include "tools/chainctl/output.h"

/** "merges", "snapshots_removed", "active", "frozen_us", "paused_us"; where it goes on in QEMU "op" and "jobs" too, and
 * how to go on with it. */
void chainctl_mergeview_say (ChainctlOutput *output, const EngineMergeResult *result, const char *vm,
                             const GError *error);
