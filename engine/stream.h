/*
 * The verb `stream`: pulls data upwards. No point in time changes: an image that holds a snapshot, or that another
 * one hangs off, stays where it is, as a branch.
 */
#pragma once

#include "engine/merge.h"

/**
 * EngineStreamRequest:
 * @disks: (nullable) (array zero-terminated=1): else all that have something to pull
 * @top: (nullable): a snapshot, whose image receives; else the active images
 * @base: (nullable): a snapshot, "base" or "none": what stays below the image that receives; %NULL: all that is owned
 *     is pulled
 * @speed: bytes a second, 0: no limit
 */
typedef struct {
  const char *vm;
  const char *const *disks;
  const char *top;
  const char *base;
  gint64 speed;
  gboolean detach;
} EngineStreamRequest;

/**
 * engine_stream_run:
 * @result: as engine_commit_run() has it
 * QAPI: block-stream, job-finalize. Raises %ENGINE_ERROR_REFUSED (also for a receiver with subclusters on a QEMU that
 * would abort), _INTERRUPTED, QMP_ERROR's and CHAINS_ERROR's.
 */
gboolean engine_stream_run (EngineContext *context, const EngineStreamRequest *request, EngineMergeResult **result,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
