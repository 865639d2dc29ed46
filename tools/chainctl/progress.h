/*
 * How far copies are, on stderr: a bar for each disk on a terminal, JSON lines for
 * scripts, a plain line now and then for a log.
 */
#pragma once

#include "tools/chainctl/output.h"

typedef struct _ChainctlProgress ChainctlProgress;

/** @mode: "auto", "bar", "json", "none"; (nullable): auto. @verbose: where auto finds no terminal: plain lines.
 * Returns: (transfer full) (nullable): %NULL where nothing is to be told */
ChainctlProgress *chainctl_progress_new (const char *mode, gboolean verbose);

/** The bars make room for what is said next. Frees it. */
void chainctl_progress_end (ChainctlProgress *progress);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainctlProgress, chainctl_progress_end)

/** EngineProgressFunc. @data: the ChainctlProgress */
void chainctl_progress_report (const EngineProgress *report, gpointer data);
