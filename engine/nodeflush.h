/*
 * What a storage daemon holds back of an image in memory, written to its file. A QEMU
 * is paused for that; a daemon has no guest, and no `stop`.
 */
#pragma once

#include "engine/vm.h"

/**
 * engine_nodeflush_run:
 * @node: whose; a job may be at work on it, and exports write to it
 * @name: of a node that is there meanwhile, and gone afterwards
 * QAPI: blockdev-add (preallocate), blockdev-reopen, blockdev-del. Raises QMP_ERROR's.
 */
gboolean engine_nodeflush_run (EngineVm *vm, const char *node, const char *name, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Closes the node of that name which a process that died has left, if it has. */
gboolean engine_nodeflush_end (EngineVm *vm, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
