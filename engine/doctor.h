/*
 * The verb `doctor`: what is or could go wrong with a VM and on this host, each
 * with what it means and what to do about it. Changes nothing.
 */
#pragma once

#include "engine/context.h"

/**
 * engine_doctor_run:
 * What `check` finds, and advice. A monitor that does not answer is a finding here, and what can be seen without it is
 * looked at all the same. Raises CHAINS_ERROR's, %ENGINE_ERROR_NO_SUCH_VM, %G_IO_ERROR_CANCELLED.
 * Returns: (transfer full) (element-type EngineProblem): empty where all is well
 */
GPtrArray *engine_doctor_run (EngineContext *context, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
