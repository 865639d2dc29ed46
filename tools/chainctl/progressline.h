/*
 * One report of progress as a line for people.
 */
#pragma once

#include "engine/progress.h"

/** At most @columns wide: what matters least is left out first. @colour: with colours. Returns: (transfer full) */
char *chainctl_progressline_fit (const EngineProgress *report, guint columns, gboolean colour);

/** All of it, for a log. Returns: (transfer full) */
char *chainctl_progressline_whole (const EngineProgress *report);
