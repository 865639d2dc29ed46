/*
 * One SQL statement with what it is for, so that its errors can say so.
 * Parameters are bound and columns are read one after the other, in the order
 * in which the SQL names them.
 */
#pragma once

#include "chains/db.h"

typedef struct _ChainsQuery ChainsQuery;

/** @doing: what the statement is for, as in "cannot DOING"; borrowed. Returns: (transfer full) */
ChainsQuery *chains_query_new (ChainsDb *db, const char *doing, const char *sql, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
void chains_query_free (ChainsQuery *query);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsQuery, chains_query_free)

/** The next parameter. */
void chains_query_bind_int (ChainsQuery *query, gint64 value);
/** A row id or a time: 0 is NULL. */
void chains_query_bind_id (ChainsQuery *query, gint64 value);
/** @text: (nullable) */
void chains_query_bind_text (ChainsQuery *query, const char *text);
/** @path: (nullable): any bytes but NUL, kept as a BLOB */
void chains_query_bind_path (ChainsQuery *query, const char *path);

/** Steps to the next row; @row says whether there is one. */
gboolean chains_query_next (ChainsQuery *query, gboolean *row, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Runs a statement without rows to its end; it can then be bound and run again. */
gboolean chains_query_run (ChainsQuery *query, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Runs a statement that is to change one row; where it finds none, @what @which raises %CHAINS_ERROR_NOT_FOUND. */
gboolean chains_query_run_on_one (ChainsQuery *query, const char *what, const char *which, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** How many rows the last run changed. */
int chains_query_get_changes (ChainsQuery *query);
/** The row id that the last run inserted. */
gint64 chains_query_get_inserted (ChainsQuery *query);

/* NULL reads as 0 and %NULL. */
gint64 chains_query_read_int (ChainsQuery *query);
/** Returns: (transfer full) (nullable): for text and for paths */
char *chains_query_read_text (ChainsQuery *query);

/** Makes an object of the current row. Returns: (transfer full) */
typedef gpointer (*ChainsQueryReader) (ChainsQuery *query);
/** Returns: (transfer full): what @reader made of every row, freed by @destroy */
GPtrArray *chains_query_collect (ChainsQuery *query, ChainsQueryReader reader, GDestroyNotify destroy, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
