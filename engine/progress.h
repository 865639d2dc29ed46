/*
 * What a copy has to tell while it runs. The engine reports, a tool draws; where
 * nobody listens, nothing is asked for.
 */
#pragma once

#include <glib.h>

/**
 * EngineProgressPhase: where a job is
 * @ENGINE_PROGRESS_COPY: data is on its way
 * @ENGINE_PROGRESS_READY: all is copied, and new writes go to both
 * @ENGINE_PROGRESS_STALLED: it waits for room; it goes on by itself once there is some
 * @ENGINE_PROGRESS_PAUSED: somebody has told it to stand still
 * @ENGINE_PROGRESS_SWITCH: the graph is being changed
 * @ENGINE_PROGRESS_DONE: it is over
 */
typedef enum {
  ENGINE_PROGRESS_COPY,
  ENGINE_PROGRESS_READY,
  ENGINE_PROGRESS_STALLED,
  ENGINE_PROGRESS_PAUSED,
  ENGINE_PROGRESS_SWITCH,
  ENGINE_PROGRESS_DONE,
} EngineProgressPhase;

/**
 * EngineProgress: one job at one moment. All strings are borrowed.
 * @current, @total: bytes, as query-jobs has them; @total may grow while the guest writes
 * @rate: bytes a second over the last few seconds, -1 while unknown
 */
typedef struct {
  const char *op;
  const char *vm;
  const char *disk;
  EngineProgressPhase phase;
  gint64 current;
  gint64 total;
  gint64 rate;
} EngineProgress;

/** Called at each change of phase, and at least once a second for each job that runs. */
typedef void (*EngineProgressFunc) (const EngineProgress *progress, gpointer data);

/** "copy", "ready", "stalled", "switch", "done" */
const char *engine_progress_phase_to_string (EngineProgressPhase phase);
