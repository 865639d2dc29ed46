/*
 * Whether there is room for what a merge adds to its receivers.
 */
#pragma once

#include "engine/mergeintent.h"

/**
 * engine_mergeroom_check:
 * @intent: planned; receivers on one file system are added up
 * First by what the images take at most; only where that does not fit are their tables read, and it is counted. Raises
 * %ENGINE_ERROR_REFUSED with the bytes that are missing.
 */
gboolean engine_mergeroom_check (EngineVm *vm, const EngineMergeIntent *intent, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
