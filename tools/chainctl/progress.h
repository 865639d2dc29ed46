/*
 * How far copies are, on stderr: a bar for each disk on a terminal, JSON lines for
 * scripts, a plain line now and then for a log.
 */
#pragma once

#include "tools/chainctl/output.h"

typedef struct _ChainctlProgress ChainctlProgress;

/**
 * chainctl_progress_new:
 * @word: (nullable): "auto", which is the default, "bar", "json", "none"
 * @verbose: where auto finds no terminal: plain lines; @quiet: auto is none
 * Returns: (transfer full) (nullable): %NULL where there is nobody to be told anything
 */
ChainctlProgress *chainctl_progress_new (const char *word, gboolean verbose, gboolean quiet);

/** What was drawn stays; the cursor is on the line below. */
void chainctl_progress_free (ChainctlProgress *progress);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainctlProgress, chainctl_progress_free)

/** EngineProgressFunc. @data: the ChainctlProgress */
void chainctl_progress_report (const EngineProgress *report, gpointer data);

/** Ctrl-C was typed. Where an operation of ours is at work, a person at a terminal is told how to go on with it, and
 * what a second one does. @progress: (nullable) */
void chainctl_progress_say_interrupted (ChainctlProgress *progress);
