/*
 * What a run of a verb is given: where its state lies, how long it may wait,
 * whether it may change anything; and what it has to say on the way: warnings
 * and, in a dry run, the plan. Passed to everything; there are no globals.
 */
#pragma once

#include "chains/config.h"
#include "chains/db.h"
#include "engine/progress.h"

#include <json-glib/json-glib.h>

/** How long another process's write to the database is waited for, in milliseconds. */
#define ENGINE_CONTEXT_BUSY_MS 5000

/**
 * EngineWarning:
 * @code: a word for scripts, such as "agent-silent"
 */
typedef struct {
  char *code;
  char *message;
} EngineWarning;

/**
 * EngineContext:
 * @state: folder of the database and of the locks
 * @shares_db: @db is another context's, which outlives this one
 * @config: what the administrator has set; all defaults until engine_context_configure()
 * @timeout_us: how long to wait for a silent peer
 * @lock_wait_us: how long to wait for another operation on the VM; 0: not at all, -1: for ever
 * @dry_run: every check is done, nothing is changed
 * @cancellable: cancelled at SIGINT and SIGTERM
 * @again: cancelled at the second of them: what the first one let go on is to end
 * @progress: (nullable): whom a copy tells how far it is; @progress_data is its own
 * @warnings: (element-type EngineWarning)
 * @op: (nullable): id of the operation that was begun, or taken over, last
 * @plan: what a dry run would send and make, in order: objects with "to" and the thing itself
 */
typedef struct {
  char *state;
  ChainsDb *db;
  gboolean shares_db;
  ChainsConfig *config;
  gint64 timeout_us;
  gint64 lock_wait_us;
  gboolean dry_run;
  GCancellable *cancellable;
  GCancellable *again;
  EngineProgressFunc progress;
  gpointer progress_data;
  GPtrArray *warnings;
  char *op;
  JsonArray *plan;
} EngineContext;

/** Nothing is opened yet. @state: absolute. Returns: (transfer full) */
EngineContext *engine_context_new (const char *state);
/** Another with the same settings, and warnings of its own. Returns: (transfer full) */
EngineContext *engine_context_new_like (const EngineContext *context);

/** engine_context_new_like(), with the same open database: for one VM of several. Returns: (transfer full) */
EngineContext *engine_context_new_sharing (const EngineContext *context);

/** Moves @from's warnings to @context. Returns: %TRUE */
gboolean engine_context_take_warnings (EngineContext *context, EngineContext *from);

void engine_context_free (EngineContext *context);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineContext, engine_context_free)

/** Reads the key file at @path. Raises %CHAINS_ERROR_CONFIG. */
gboolean engine_context_configure (EngineContext *context, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_context_open:
 * Opens the database. @mode: %CHAINS_DB_READ for verbs that only look. A dry run has a copy in memory instead.
 * Raises CHAINS_ERROR's.
 */
gboolean engine_context_open (EngineContext *context, ChainsDbMode mode, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The deadline of a peer that is asked now, on g_get_monotonic_time()'s clock. */
gint64 engine_context_deadline (const EngineContext *context);

/** Adds a warning; @code is a word for scripts. */
void engine_context_warn (EngineContext *context, const char *code, const char *format, ...) G_GNUC_PRINTF (3, 4);

/** Notes for a dry run that @what (transfer none) would go to @to: "qemu", "agent", "file". */
void engine_context_plan (EngineContext *context, const char *to, const char *verb, JsonObject *what);
