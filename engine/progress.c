/*
 * The words for a copy's phases. Who reports is engine/job; who draws them is a
 * tool.
 */
#include "engine/progress.h"

const char *
engine_progress_phase_to_string (EngineProgressPhase phase)
{
  static const char *const words[] = {"copy", "ready", "stalled", "paused", "switch", "done"};

  return words[phase];
}
