/*
 * Statements of registry, store and journal: binding, stepping, reading. Owns
 * the sqlite3_stmt; promises that every failure names the database and what was
 * being done. Transactions are left to db, SQL and meaning to the callers.
 */
#include "chains/query.h"

#include "chains/error.h"

#include <string.h>

struct _ChainsQuery {
  ChainsDb *db; /* borrowed */
  sqlite3_stmt *statement;
  const char *doing; /* borrowed */
  int bound;
  int read;
};

ChainsQuery *
chains_query_new (ChainsDb *db, const char *doing, const char *sql, GError **error)
{
  sqlite3_stmt *statement = chains_db_take_statement (db, sql);
  ChainsQuery *query = NULL;

  if (statement == NULL) {
    chains_db_set_error (db, doing, error);
    return NULL;
  }
  query = g_new0 (ChainsQuery, 1);
  query->db = db;
  query->statement = statement;
  query->doing = doing;
  return query;
}

void
chains_query_free (ChainsQuery *query)
{
  if (query == NULL)
    return;
  chains_db_give_statement (query->db, query->statement);
  g_free (query);
}

void
chains_query_bind_int (ChainsQuery *query, gint64 value)
{
  sqlite3_bind_int64 (query->statement, ++query->bound, value);
}

void
chains_query_bind_id (ChainsQuery *query, gint64 value)
{
  if (value == 0)
    sqlite3_bind_null (query->statement, ++query->bound);
  else
    chains_query_bind_int (query, value);
}

void
chains_query_bind_text (ChainsQuery *query, const char *text)
{
  sqlite3_bind_text (query->statement, ++query->bound, text, -1, SQLITE_TRANSIENT);
}

void
chains_query_bind_path (ChainsQuery *query, const char *path)
{
  sqlite3_bind_blob (query->statement, ++query->bound, path, path != NULL ? (int)strlen (path) : 0, SQLITE_TRANSIENT);
}

gboolean
chains_query_next (ChainsQuery *query, gboolean *row, GError **error)
{
  int result = sqlite3_step (query->statement);

  query->read = 0;
  if (result != SQLITE_ROW && result != SQLITE_DONE) {
    chains_db_set_error (query->db, query->doing, error);
    return FALSE;
  }
  *row = result == SQLITE_ROW;
  return TRUE;
}

gboolean
chains_query_run (ChainsQuery *query, GError **error)
{
  gboolean row = TRUE;

  while (row) {
    if (!chains_query_next (query, &row, error))
      return FALSE;
  }
  sqlite3_reset (query->statement);
  sqlite3_clear_bindings (query->statement);
  query->bound = 0;
  return TRUE;
}

int
chains_query_get_changes (ChainsQuery *query)
{
  return sqlite3_changes (chains_db_get_handle (query->db));
}

gint64
chains_query_get_inserted (ChainsQuery *query)
{
  return sqlite3_last_insert_rowid (chains_db_get_handle (query->db));
}

gint64
chains_query_read_int (ChainsQuery *query)
{
  return sqlite3_column_int64 (query->statement, query->read++);
}

char *
chains_query_read_text (ChainsQuery *query)
{
  int column = query->read++;
  const void *bytes = sqlite3_column_blob (query->statement, column);

  /* As bytes for TEXT too: a column of either type comes back exactly as it was bound. */
  if (bytes == NULL)
    return sqlite3_column_type (query->statement, column) == SQLITE_NULL ? NULL : g_strdup ("");
  return g_strndup (bytes, (gsize)sqlite3_column_bytes (query->statement, column));
}

GPtrArray *
chains_query_collect (ChainsQuery *query, ChainsQueryReader reader, GDestroyNotify destroy, GError **error)
{
  g_autoptr (GPtrArray) found = g_ptr_array_new_with_free_func (destroy);
  gboolean row = FALSE;

  for (;;) {
    if (!chains_query_next (query, &row, error))
      return NULL;
    if (!row)
      return g_steal_pointer (&found);
    g_ptr_array_add (found, reader (query));
  }
}

gboolean
chains_query_run_on_one (ChainsQuery *query, const char *what, const char *which, GError **error)
{
  if (!chains_query_run (query, error))
    return FALSE;
  if (chains_query_get_changes (query) == 1)
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND, "%s %s is not registered any more", what, which);
  return FALSE;
}
