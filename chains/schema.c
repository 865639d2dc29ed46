/*
 * The tables and their migrations. Promises that a migration happens whole or
 * not at all, once, and that the file as it was before is kept. A version that
 * was released is never edited: a change to the tables is a further migration.
 */
#include "chains/schema.h"

#include <glib/gstdio.h>

#include "chains/error.h"
#include "chains/file.h"
#include "chains/transaction.h"

/*
 * Paths and addresses are BLOBs: a file name is any bytes but NUL. Row ids are never given twice (AUTOINCREMENT), since
 * an intent may outlive the rows that it names; sequences, since order is by them and not by the clock. JSON is only
 * glanced at: with trusted_schema off SQLite 3.40 lets no table call json_valid().
 */
static const char version_1[] =
    "CREATE TABLE vm (\n"
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,\n"
    "  name TEXT NOT NULL UNIQUE CHECK (length (name) BETWEEN 1 AND 64),\n"
    "  uuid TEXT,\n"
    "  qmp BLOB NOT NULL CHECK (length (qmp) > 0 AND instr (qmp, x'00') = 0),\n"
    "  agent BLOB,\n"
    "  guest BLOB,\n"
    "  quiesce TEXT NOT NULL CHECK (quiesce IN ('auto', 'require', 'off')),\n"
    "  created_us INTEGER NOT NULL\n"
    ") STRICT;\n"

    "CREATE TABLE disk (\n"
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,\n"
    "  vm INTEGER NOT NULL REFERENCES vm ON DELETE CASCADE,\n"
    "  position INTEGER NOT NULL CHECK (position >= 0),\n"
    "  name TEXT NOT NULL CHECK (name <> ''),\n"
    "  device TEXT,\n"
    "  ignored INTEGER NOT NULL CHECK (ignored IN (0, 1)),\n"
    "  base INTEGER,\n"
    "  active INTEGER,\n"
    "  UNIQUE (vm, name),\n"
    "  FOREIGN KEY (id, base) REFERENCES image (disk, id),\n"
    "  FOREIGN KEY (id, active) REFERENCES image (disk, id)\n"
    ") STRICT;\n"
    "CREATE INDEX disk_order ON disk (vm, position);\n"
    "CREATE INDEX disk_base ON disk (base);\n"
    "CREATE INDEX disk_active ON disk (active);\n"

    "CREATE TABLE image (\n"
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,\n"
    "  disk INTEGER NOT NULL REFERENCES disk ON DELETE CASCADE,\n"
    "  parent INTEGER CHECK (parent <> id),\n"
    "  path BLOB NOT NULL CHECK (length (path) > 0 AND instr (path, x'00') = 0),\n"
    "  format TEXT NOT NULL CHECK (format <> ''),\n"
    "  virtual_size INTEGER NOT NULL CHECK (virtual_size > 0),\n"
    "  owned INTEGER NOT NULL CHECK (owned IN (0, 1)),\n"
    "  created_by TEXT,\n"
    "  device INTEGER NOT NULL,\n"
    "  inode INTEGER NOT NULL,\n"
    "  options TEXT CHECK (options GLOB '{*}'),\n"
    "  frozen_size INTEGER CHECK (frozen_size > 0),\n"
    "  frozen_mtime_ns INTEGER,\n"
    "  frozen_ctime_ns INTEGER,\n"
    "  frozen_header TEXT,\n"
    "  UNIQUE (disk, id),\n"
    "  UNIQUE (disk, path),\n"
    "  FOREIGN KEY (disk, parent) REFERENCES image (disk, id)\n"
    ") STRICT;\n"
    "CREATE UNIQUE INDEX image_owned_path ON image (path) WHERE owned;\n"
    "CREATE INDEX image_path ON image (path);\n"
    "CREATE INDEX image_parent ON image (parent, disk);\n"
    "CREATE TRIGGER image_is_not_its_own_ancestor BEFORE UPDATE OF parent ON image\n"
    "WHEN new.parent IS NOT NULL AND EXISTS (\n"
    "  WITH RECURSIVE ancestor (id) AS (\n"
    "    SELECT new.parent\n"
    "    UNION SELECT image.parent FROM image JOIN ancestor USING (id) WHERE image.parent IS NOT NULL)\n"
    "  SELECT 1 FROM ancestor WHERE id = new.id)\n"
    "BEGIN\n"
    "  SELECT raise (ABORT, 'an image cannot be its own ancestor');\n"
    "END;\n"

    "CREATE TABLE snapshot (\n"
    "  sequence INTEGER PRIMARY KEY AUTOINCREMENT,\n"
    "  vm INTEGER NOT NULL REFERENCES vm ON DELETE CASCADE,\n"
    "  id TEXT NOT NULL UNIQUE CHECK (length (id) = 36 AND id = lower (id)),\n"
    "  name TEXT NOT NULL CHECK (length (name) BETWEEN 1 AND 64),\n"
    "  description TEXT,\n"
    "  created_us INTEGER NOT NULL,\n"
    "  protected INTEGER NOT NULL CHECK (protected IN (0, 1)),\n"
    "  automatic INTEGER NOT NULL CHECK (automatic IN (0, 1)),\n"
    "  consistency TEXT NOT NULL CHECK (consistency IN ('application', 'filesystem', 'crash', 'offline')),\n"
    "  reason TEXT,\n"
    "  frozen_us INTEGER NOT NULL CHECK (frozen_us >= -1),\n"
    "  UNIQUE (vm, name)\n"
    ") STRICT;\n"
    "CREATE INDEX snapshot_order ON snapshot (vm, sequence);\n"

    "CREATE TABLE snapshot_disk (\n"
    "  snapshot INTEGER NOT NULL REFERENCES snapshot ON DELETE CASCADE,\n"
    "  disk INTEGER NOT NULL REFERENCES disk ON DELETE CASCADE,\n"
    "  image INTEGER NOT NULL,\n"
    "  overlay INTEGER REFERENCES image ON DELETE SET NULL,\n"
    "  PRIMARY KEY (snapshot, disk),\n"
    "  FOREIGN KEY (disk, image) REFERENCES image (disk, id)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE INDEX snapshot_disk_image ON snapshot_disk (disk, image);\n"
    "CREATE INDEX snapshot_disk_overlay ON snapshot_disk (overlay);\n"

    "CREATE TABLE snapshot_tag (\n"
    "  snapshot INTEGER NOT NULL REFERENCES snapshot ON DELETE CASCADE,\n"
    "  tag TEXT NOT NULL CHECK (tag <> ''),\n"
    "  PRIMARY KEY (snapshot, tag)\n"
    ") STRICT, WITHOUT ROWID;\n"

    "CREATE TABLE operation (\n"
    "  sequence INTEGER PRIMARY KEY AUTOINCREMENT,\n"
    "  id TEXT NOT NULL UNIQUE CHECK (id <> ''),\n"
    "  vm INTEGER REFERENCES vm ON DELETE SET NULL,\n"
    "  vm_name TEXT NOT NULL,\n"
    "  verb TEXT NOT NULL CHECK (verb <> ''),\n"
    "  run_by TEXT NOT NULL,\n"
    "  pid INTEGER NOT NULL CHECK (pid > 0),\n"
    "  boot TEXT NOT NULL,\n"
    "  started_us INTEGER NOT NULL,\n"
    "  ended_us INTEGER,\n"
    "  state TEXT NOT NULL CHECK (state IN ('open', 'detached', 'done', 'undone', 'failed')),\n"
    "  intent TEXT NOT NULL CHECK (intent GLOB '{*}'),\n"
    "  error TEXT,\n"
    "  CHECK ((ended_us IS NULL) = (state IN ('open', 'detached')))\n"
    ") STRICT;\n"
    "CREATE UNIQUE INDEX operation_unfinished ON operation (vm) WHERE state IN ('open', 'detached');\n"
    "CREATE INDEX operation_order ON operation (vm_name, sequence);\n"

    "CREATE TABLE step (\n"
    "  operation INTEGER NOT NULL REFERENCES operation ON DELETE CASCADE,\n"
    "  number INTEGER NOT NULL CHECK (number > 0),\n"
    "  name TEXT NOT NULL CHECK (name <> ''),\n"
    "  detail TEXT CHECK (detail GLOB '{*}'),\n"
    "  begun_us INTEGER NOT NULL,\n"
    "  ended_us INTEGER,\n"
    "  PRIMARY KEY (operation, number)\n"
    ") STRICT, WITHOUT ROWID;\n";

/* What a run knew of a disk's nodes, so that the next need not ask for all of a deep chain. */
static const char version_2[] = "ALTER TABLE disk ADD COLUMN live TEXT CHECK (live GLOB '{*}');\n";

static const char *const migrations[] = {version_1, version_2};
static const ChainsSchema current = {G_N_ELEMENTS (migrations), migrations};

const ChainsSchema *
chains_schema_get_current (void)
{
  return &current;
}

static int
read_first_column (void *value, int n_columns, char **columns, char **names)
{
  *(char **)value = g_strdup (n_columns > 0 ? columns[0] : NULL);
  return 1; /* one row is enough */
}

gboolean
chains_schema_get_version (ChainsDb *db, int *version, GError **error)
{
  g_autofree char *value = NULL;

  /* Besides the version this reads the tables' definitions, so that damage there is found now. */
  if (!chains_db_execute (db, "read the tables", "SELECT count (*) FROM sqlite_schema", error))
    return FALSE;
  sqlite3_exec (chains_db_get_handle (db), "PRAGMA user_version", read_first_column, &value, NULL);
  if (value == NULL) {
    chains_db_set_error (db, "read the version", error);
    return FALSE;
  }
  *version = (int)g_ascii_strtoll (value, NULL, 10);
  return TRUE;
}

gboolean
chains_schema_check_version (ChainsDb *db, const ChainsSchema *schema, int version, GError **error)
{
  if (version >= 0 && version <= schema->n_migrations)
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_NEWER,
               "database '%s' has version %d, this chainctl knows only up to %d: use the newer chainctl that made it",
               chains_db_get_path (db), version, schema->n_migrations);
  return FALSE;
}

static gboolean
check_references (ChainsDb *db, GError **error)
{
  g_autofree char *broken = NULL;

  sqlite3_exec (chains_db_get_handle (db), "PRAGMA foreign_key_check", read_first_column, &broken, NULL);
  if (broken == NULL)
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_CORRUPT,
               "cannot migrate database '%s': table '%s' would refer to rows that do not exist",
               chains_db_get_path (db), broken);
  return FALSE;
}

static gboolean
run_migration (ChainsDb *db, const ChainsSchema *schema, int version, GError **error)
{
  g_autofree char *doing = g_strdup_printf ("migrate from version %d to %d", version, version + 1);
  g_autofree char *set_version = g_strdup_printf ("PRAGMA user_version = %d", version + 1);

  return chains_db_execute (db, doing, schema->migrations[version], error) && check_references (db, error) &&
         chains_db_execute (db, doing, set_version, error);
}

/* Another connection reads for the copy: ours holds the write lock, so that what is copied is what is migrated. */
static gboolean
keep_copy (ChainsDb *db, const char *copy, gboolean *made, GError **error)
{
  g_autoptr (GError) local = NULL;

  if (chains_file_copy (db, copy, made, &local))
    return TRUE;
  g_propagate_prefixed_error (error, g_steal_pointer (&local), "cannot migrate without a copy: ");
  return FALSE;
}

static gboolean
migrate_locked (ChainsDb *db, const ChainsSchema *schema, int version, gboolean keep_copies, GError **error)
{
  g_autofree char *copy = g_strdup_printf ("%s.v%d", chains_db_get_path (db), version);
  gboolean copied = FALSE;

  if (keep_copies && !keep_copy (db, copy, &copied, error))
    return FALSE;
  if (run_migration (db, schema, version, error))
    return TRUE;
  if (copied)
    g_unlink (copy); /* of nothing but what still stands; the next attempt copies what it finds */
  return FALSE;
}

static gboolean
migrate (ChainsDb *db, const ChainsSchema *schema, int version, gboolean keep_copies, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (db, error);
  int found = 0;

  if (transaction == NULL || !chains_schema_get_version (db, &found, error))
    return FALSE;
  /* Another process was faster. */
  if (found != version)
    return TRUE;
  return migrate_locked (db, schema, version, keep_copies, error) && chains_transaction_commit (transaction, error);
}

static void
set_foreign_keys (ChainsDb *db, gboolean enabled)
{
  sqlite3_db_config (chains_db_get_handle (db), SQLITE_DBCONFIG_ENABLE_FKEY, enabled, NULL);
}

gboolean
chains_schema_upgrade (ChainsDb *db, const ChainsSchema *schema, gboolean keep_copies, GError **error)
{
  int version = 0;

  for (;;) {
    gboolean migrated = FALSE;

    if (!chains_schema_get_version (db, &version, error) || !chains_schema_check_version (db, schema, version, error))
      return FALSE;
    if (version == schema->n_migrations)
      return TRUE;
    set_foreign_keys (db, FALSE);
    migrated = migrate (db, schema, version, keep_copies, error);
    set_foreign_keys (db, TRUE);
    if (!migrated)
      return FALSE;
  }
}
