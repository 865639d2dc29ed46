/*
 * What is or could go wrong on this host, whichever VM it is: the state folder
 * and the database in it, the programs and the timer that chainctl counts on.
 */
#pragma once

#include "engine/context.h"
#include "engine/problem.h"

/** Looks, and changes nothing. @problems: (element-type EngineProblem) */
void engine_hostadvice_find (EngineContext *context, GPtrArray *problems);

/**
 * engine_hostadvice_judge_timer:
 * @enabled, @active: (nullable): what `systemctl is-enabled` and `is-active` say of the timer that recovers at boot and
 * now and then; %NULL where systemctl cannot be asked, which is no finding
 * @problems: (element-type EngineProblem)
 */
void engine_hostadvice_judge_timer (const char *enabled, const char *active, GPtrArray *problems);
