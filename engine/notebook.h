/*
 * The notes of a VM: which there ought to be, which are missing or tell of
 * something else than the database, and writing them.
 */
#pragma once

#include "engine/problem.h"
#include "engine/vm.h"

/**
 * engine_notebook_record:
 * Writes the notes of a snapshot that was just added, inside the transaction that adds it: a death before its commit
 * leaves notes that recovery writes again, or removes with their overlays. A note that cannot be written is a warning.
 * Nothing in a dry run.
 */
void engine_notebook_record (EngineVm *vm, const ChainsSnapshot *snapshot);

/** Adds to @problems (element-type EngineProblem) a warning for each note that is missing, damaged, or outdated. */
gboolean engine_notebook_check (EngineVm *vm, GPtrArray *problems, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_notebook_refresh:
 * Writes what engine_notebook_check() would find missing or outdated, synced, with a warning that says how many; what
 * cannot be written is a warning too. For whoever holds @vm's lock. Nothing in a dry run.
 */
gboolean engine_notebook_refresh (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The same after a change that was just committed: what that made outdated is written, and not worth a word. */
void engine_notebook_follow (EngineVm *vm);
