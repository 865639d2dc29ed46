/*
 * What a receiver is about to make, checked while nothing is begun.
 */
#pragma once

#include "engine/newimage.h"
#include "engine/receive.h"

/**
 * engine_receiveplan_make:
 * Whether @request makes sense and its images can be made; warns where there may not be room for all of them.
 * Raises what engine_receive_run() does. Returns: (transfer full) (element-type EngineNewimage): in the order of its
 * disks, none made yet
 */
GPtrArray *engine_receiveplan_make (EngineContext *context, const EngineReceiveRequest *request, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
