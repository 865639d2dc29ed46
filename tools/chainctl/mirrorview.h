/*
 * What mirrors came to, as documents and for people: for `mirror`, and for `job`
 * where that ends one.
 */
#pragma once

#include "engine/mirrorresult.h"
#include "tools/chainctl/output.h"

/** "mirrors", "consistency", "active", "frozen_us", "paused_us"; where it goes on in QEMU "op" and "jobs" too, and how
 * to go on with it. @error: (nullable): what it ended with; one that says how to go on is not repeated */
void chainctl_mirrorview_say (ChainctlOutput *output, const EngineMirrorResult *result, const char *vm,
                              const GError *error);
