/*
 * Operations from intent to outcome. A row is committed before the first side
 * effect of its verb, each step likewise, so that whoever finds the database
 * after a crash knows all that may have been begun.
 */
#pragma once

#include "chains/db.h"
#include "chains/model.h"

/** Adds @op (state open) and gives it its sequence. A VM that has an unfinished one raises %CHAINS_ERROR_EXISTS, naming
 * it. */
gboolean chains_journal_begin (ChainsDb *db, ChainsOp *op, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Replaces the intent of an open operation. */
gboolean chains_journal_set_intent (ChainsDb *db, const char *op, const char *intent, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** Another process goes on with an unfinished operation, which is open from now on. Raises %CHAINS_ERROR_NOT_FOUND,
 * %CHAINS_ERROR_INVALID. */
gboolean chains_journal_take_over (ChainsDb *db, const char *op, gint64 pid, const char *boot, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** A step of an open operation is about to run. @detail: (nullable): JSON object */
gboolean chains_journal_begin_step (ChainsDb *db, const char *op, const char *name, const char *detail, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** The same, for a step that means nothing once the machine itself has died: its commit does not wait for the disk. */
gboolean chains_journal_begin_step_unsynced (ChainsDb *db, const char *op, const char *name, const char *detail,
                                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** The step last begun under @name has run. Raises %CHAINS_ERROR_NOT_FOUND where none of that name is under way. */
gboolean chains_journal_end_step (ChainsDb *db, const char *op, const char *name, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** The outcome, or %CHAINS_OP_DETACHED, which an open operation can become. @error_message: (nullable). Legal from open
 * and detached only, else %CHAINS_ERROR_INVALID. */
gboolean chains_journal_end (ChainsDb *db, const char *op, ChainsOpState state, const char *error_message,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Returns: (transfer full). Raises %CHAINS_ERROR_NOT_FOUND. */
ChainsOp *chains_journal_get (ChainsDb *db, const char *op, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) (element-type ChainsOp) oldest first; @vm_name %NULL: of all VMs */
GPtrArray *chains_journal_list (ChainsDb *db, const char *vm_name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) (element-type ChainsOp): those of @vm (0: of all VMs) that are open or
 * detached */
GPtrArray *chains_journal_list_unfinished (ChainsDb *db, gint64 vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** How long the intents of all unfinished operations are together, in bytes. */
gboolean chains_journal_weigh_unfinished (ChainsDb *db, gint64 *bytes, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Returns: (transfer full) (element-type ChainsStep) in order */
GPtrArray *chains_journal_list_steps (ChainsDb *db, const char *op, GError **error) G_GNUC_WARN_UNUSED_RESULT;
