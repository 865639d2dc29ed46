/*
 * Snapshots with their parts and tags, as rows, in the order of their taking.
 * Promises that a snapshot is there whole or not at all, and that a list costs a
 * few statements however long it is.
 */
#include "chains/snapshots.h"

#include <string.h>

#include "base/nearest.h"
#include "chains/error.h"
#include "chains/query.h"
#include "chains/transaction.h"

#define SHORTEST_PREFIX 4

#define SNAPSHOT_COLUMNS \
  "sequence, vm, id, name, description, created_us, protected, automatic, consistency, reason, frozen_us"

#define IN_RANGE "snapshot.vm = ? AND snapshot.sequence BETWEEN ? AND ?"

static gboolean
check_utf8 (const char *what, const char *text, GError **error)
{
  if (text == NULL || g_utf8_validate (text, -1, NULL))
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_INVALID, "the %s is not UTF-8", what);
  return FALSE;
}

static gboolean
check_tags (const GPtrArray *tags, GError **error)
{
  for (guint i = 0; i < tags->len; i++) {
    if (*(const char *)tags->pdata[i] == '\0') {
      g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_INVALID, "a tag must not be empty");
      return FALSE;
    }
    if (!check_utf8 ("tag", tags->pdata[i], error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
check_name_is_free (ChainsDb *db, const ChainsSnapshot *snapshot, GError **error)
{
  g_autoptr (ChainsQuery) query = chains_query_new (
      db, "look for a snapshot", "SELECT 1 FROM snapshot WHERE vm = ? AND name = ? AND sequence <> ?", error);
  gboolean taken = FALSE;

  if (query == NULL)
    return FALSE;
  chains_query_bind_int (query, snapshot->vm);
  chains_query_bind_text (query, snapshot->name);
  chains_query_bind_int (query, snapshot->sequence);
  if (!chains_query_next (query, &taken, error))
    return FALSE;
  if (taken)
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_EXISTS, "the VM has a snapshot called '%s' already", snapshot->name);
  return !taken;
}

gboolean
chains_snapshots_check (ChainsDb *db, const ChainsSnapshot *snapshot, GError **error)
{
  return chains_model_check_name ("snapshot", snapshot->name, error) &&
         check_utf8 ("description", snapshot->description, error) && check_tags (snapshot->tags, error) &&
         check_name_is_free (db, snapshot, error);
}

static void
bind_snapshot (ChainsQuery *query, const ChainsSnapshot *snapshot)
{
  chains_query_bind_text (query, snapshot->name);
  chains_query_bind_text (query, snapshot->description);
  chains_query_bind_int (query, snapshot->protected != FALSE);
  chains_query_bind_int (query, snapshot->automatic != FALSE);
  chains_query_bind_text (query, chains_consistency_to_string (snapshot->consistency));
  chains_query_bind_text (query, snapshot->reason);
  chains_query_bind_int (query, snapshot->frozen_us);
}

static gboolean
insert_snapshot (ChainsDb *db, const ChainsSnapshot *snapshot, gint64 *sequence, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "add a snapshot",
                        "INSERT INTO snapshot (name, description, protected, automatic, consistency, reason, "
                        "frozen_us, vm, id, created_us, sequence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        error);

  if (query == NULL)
    return FALSE;
  bind_snapshot (query, snapshot);
  chains_query_bind_int (query, snapshot->vm);
  chains_query_bind_text (query, snapshot->id);
  chains_query_bind_int (query, snapshot->created_us);
  chains_query_bind_id (query, snapshot->sequence);
  if (!chains_query_run (query, error))
    return FALSE;
  *sequence = chains_query_get_inserted (query);
  return TRUE;
}

/* Only of a disk of the snapshot's own VM, and an overlay only of that disk: what the foreign keys cannot say. */
static gboolean
insert_disks (ChainsDb *db, gint64 sequence, const GPtrArray *disks, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "add a snapshot's disks",
                        "INSERT INTO snapshot_disk (snapshot, disk, image, overlay) "
                        "SELECT sequence, disk.id, ?, overlay.id FROM snapshot JOIN disk ON disk.vm = snapshot.vm "
                        "LEFT JOIN image AS overlay ON overlay.disk = disk.id AND overlay.id = ? "
                        "WHERE sequence = ? AND disk.id = ? AND overlay.id IS ?",
                        error);

  if (query == NULL)
    return FALSE;
  for (guint i = 0; i < disks->len; i++) {
    const ChainsSnapshotDisk *part = disks->pdata[i];

    chains_query_bind_int (query, part->image);
    chains_query_bind_id (query, part->overlay);
    chains_query_bind_int (query, sequence);
    chains_query_bind_int (query, part->disk);
    chains_query_bind_id (query, part->overlay);
    if (!chains_query_run (query, error))
      return FALSE;
    if (chains_query_get_changes (query) != 1) {
      g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_INVALID,
                   "a snapshot's disk and overlay must be of the VM: disk %" G_GINT64_FORMAT
                   ", overlay %" G_GINT64_FORMAT,
                   part->disk, part->overlay);
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean
insert_tags (ChainsDb *db, gint64 sequence, const GPtrArray *tags, GError **error)
{
  g_autoptr (ChainsQuery) query = chains_query_new (
      db, "add a snapshot's tags", "INSERT OR IGNORE INTO snapshot_tag (snapshot, tag) VALUES (?, ?)", error);

  if (query == NULL)
    return FALSE;
  for (guint i = 0; i < tags->len; i++) {
    chains_query_bind_int (query, sequence);
    chains_query_bind_text (query, tags->pdata[i]);
    if (!chains_query_run (query, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
chains_snapshots_add (ChainsDb *db, ChainsSnapshot *snapshot, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  gint64 sequence = 0;

  if (transaction == NULL || !chains_snapshots_check (db, snapshot, error))
    return FALSE;
  if (!insert_snapshot (db, snapshot, &sequence, error) || !insert_disks (db, sequence, snapshot->disks, error) ||
      !insert_tags (db, sequence, snapshot->tags, error) || !chains_transaction_commit (transaction, error))
    return FALSE;
  snapshot->sequence = sequence;
  return TRUE;
}

static gboolean
write_snapshot (ChainsDb *db, const ChainsSnapshot *snapshot, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "change a snapshot",
                        "UPDATE snapshot SET name = ?, description = ?, protected = ?, automatic = ?, consistency = ?, "
                        "reason = ?, frozen_us = ? WHERE sequence = ? AND id = ?",
                        error);

  if (query == NULL)
    return FALSE;
  bind_snapshot (query, snapshot);
  chains_query_bind_int (query, snapshot->sequence);
  chains_query_bind_text (query, snapshot->id);
  return chains_query_run_on_one (query, "snapshot", snapshot->id, error);
}

static gboolean
delete_parts (ChainsDb *db, gint64 sequence, const char *sql, GError **error)
{
  g_autoptr (ChainsQuery) query = chains_query_new (db, "change a snapshot", sql, error);

  if (query == NULL)
    return FALSE;
  chains_query_bind_int (query, sequence);
  return chains_query_run (query, error);
}

gboolean
chains_snapshots_update (ChainsDb *db, const ChainsSnapshot *snapshot, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);

  return transaction != NULL && chains_snapshots_check (db, snapshot, error) && write_snapshot (db, snapshot, error) &&
         delete_parts (db, snapshot->sequence, "DELETE FROM snapshot_disk WHERE snapshot = ?", error) &&
         delete_parts (db, snapshot->sequence, "DELETE FROM snapshot_tag WHERE snapshot = ?", error) &&
         insert_disks (db, snapshot->sequence, snapshot->disks, error) &&
         insert_tags (db, snapshot->sequence, snapshot->tags, error) && chains_transaction_commit (transaction, error);
}

static gboolean
move_parts (ChainsDb *db, const char *sql, gint64 from, gint64 to, GError **error)
{
  g_autoptr (ChainsQuery) query = chains_query_new (db, "change snapshots' disks", sql, error);

  if (query == NULL)
    return FALSE;
  chains_query_bind_id (query, to);
  chains_query_bind_int (query, from);
  return chains_query_run (query, error);
}

gboolean
chains_snapshots_move_parts (ChainsDb *db, gint64 from, gint64 image, gint64 overlay, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);

  return transaction != NULL &&
         move_parts (db, "UPDATE snapshot_disk SET image = ? WHERE image = ?", from, image, error) &&
         move_parts (db, "UPDATE snapshot_disk SET overlay = ? WHERE overlay = ?", from, overlay, error) &&
         chains_transaction_commit (transaction, error);
}

gboolean
chains_snapshots_remove (ChainsDb *db, const char *id, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL)
    return FALSE;
  query = chains_query_new (db, "remove a snapshot", "DELETE FROM snapshot WHERE id = ?", error);
  if (query == NULL)
    return FALSE;
  chains_query_bind_text (query, id);
  return chains_query_run_on_one (query, "snapshot", id, error) && chains_transaction_commit (transaction, error);
}

static gpointer
read_snapshot (ChainsQuery *query)
{
  ChainsSnapshot *snapshot = chains_snapshot_new ();
  g_autofree char *consistency = NULL;

  snapshot->sequence = chains_query_read_int (query);
  snapshot->vm = chains_query_read_int (query);
  snapshot->id = chains_query_read_text (query);
  snapshot->name = chains_query_read_text (query);
  snapshot->description = chains_query_read_text (query);
  snapshot->created_us = chains_query_read_int (query);
  snapshot->protected = chains_query_read_int (query) != 0;
  snapshot->automatic = chains_query_read_int (query) != 0;
  consistency = chains_query_read_text (query);
  chains_consistency_from_string (consistency, &snapshot->consistency);
  snapshot->reason = chains_query_read_text (query);
  snapshot->frozen_us = chains_query_read_int (query);
  return snapshot;
}

static void
read_part (ChainsQuery *query, ChainsSnapshot *snapshot)
{
  ChainsSnapshotDisk *part = chains_snapshot_disk_new ();

  part->disk = chains_query_read_int (query);
  part->image = chains_query_read_int (query);
  part->overlay = chains_query_read_int (query);
  part->disk_name = chains_query_read_text (query);
  part->image_path = chains_query_read_text (query);
  part->overlay_path = chains_query_read_text (query);
  g_ptr_array_add (snapshot->disks, part);
}

static void
read_tag (ChainsQuery *query, ChainsSnapshot *snapshot)
{
  g_ptr_array_add (snapshot->tags, chains_query_read_text (query));
}

typedef void (*PartReader) (ChainsQuery *query, ChainsSnapshot *snapshot);

/* Rows and snapshots are in the same order, and a row's first column is its snapshot: one pass does. */
static gboolean
fill (ChainsQuery *query, const GPtrArray *snapshots, PartReader reader, GError **error)
{
  gboolean row = FALSE;

  for (guint i = 0;;) {
    gint64 sequence = 0;

    if (!chains_query_next (query, &row, error))
      return FALSE;
    if (!row)
      return TRUE;
    sequence = chains_query_read_int (query);
    while (((ChainsSnapshot *)snapshots->pdata[i])->sequence != sequence)
      i++;
    reader (query, snapshots->pdata[i]);
  }
}

/* The snapshots of @vm from sequence @first to @last. */
typedef struct {
  gint64 vm;
  gint64 first;
  gint64 last;
} Range;

static ChainsQuery *
query_range (ChainsDb *db, const char *sql, const Range *range, GError **error)
{
  ChainsQuery *query = chains_query_new (db, "list snapshots", sql, error);

  if (query == NULL)
    return NULL;
  chains_query_bind_int (query, range->vm);
  chains_query_bind_int (query, range->first);
  chains_query_bind_int (query, range->last);
  return query;
}

static GPtrArray *
load_rows (ChainsDb *db, const Range *range, GError **error)
{
  g_autoptr (ChainsQuery) query =
      query_range (db, "SELECT " SNAPSHOT_COLUMNS " FROM snapshot WHERE " IN_RANGE " ORDER BY sequence", range, error);

  return query != NULL ? chains_query_collect (query, read_snapshot, (GDestroyNotify)chains_snapshot_free, error)
                       : NULL;
}

/* CROSS JOIN keeps SQLite to this order of loops, in which rows come sorted by themselves. */
static gboolean
load_disks (ChainsDb *db, const Range *range, const GPtrArray *snapshots, GError **error)
{
  g_autoptr (ChainsQuery) query =
      query_range (db,
                   "SELECT sequence, part.disk, part.image, part.overlay, disk.name, image.path, overlay.path "
                   "FROM snapshot CROSS JOIN disk USING (vm) "
                   "CROSS JOIN snapshot_disk AS part ON part.snapshot = sequence AND part.disk = disk.id "
                   "JOIN image ON image.id = part.image "
                   "LEFT JOIN image AS overlay ON overlay.id = part.overlay "
                   "WHERE " IN_RANGE " ORDER BY sequence, disk.position, disk.id",
                   range, error);

  return query != NULL && fill (query, snapshots, read_part, error);
}

static gboolean
load_tags (ChainsDb *db, const Range *range, const GPtrArray *snapshots, GError **error)
{
  g_autoptr (ChainsQuery) query =
      query_range (db,
                   "SELECT sequence, tag FROM snapshot JOIN snapshot_tag AS part ON part.snapshot = sequence "
                   "WHERE " IN_RANGE " ORDER BY sequence, tag",
                   range, error);

  return query != NULL && fill (query, snapshots, read_tag, error);
}

static GPtrArray *
load (ChainsDb *db, const Range *range, GError **error)
{
  g_autoptr (ChainsTransaction) view = chains_transaction_join (db, CHAINS_DB_READ, error);
  g_autoptr (GPtrArray) snapshots = view != NULL ? load_rows (db, range, error) : NULL;

  if (snapshots == NULL || !load_disks (db, range, snapshots, error) || !load_tags (db, range, snapshots, error))
    return NULL;
  return g_steal_pointer (&snapshots);
}

GPtrArray *
chains_snapshots_list (ChainsDb *db, gint64 vm, GError **error)
{
  return load (db, &(Range){vm, 0, G_MAXINT64}, error);
}

static gpointer
read_sequence (ChainsQuery *query)
{
  gint64 sequence = chains_query_read_int (query);

  return g_memdup2 (&sequence, sizeof sequence);
}

static gpointer
read_name (ChainsQuery *query)
{
  return chains_query_read_text (query);
}

static GPtrArray *
collect_by (ChainsDb *db, const char *sql, gint64 vm, const char *word, ChainsQueryReader reader, GError **error)
{
  g_autoptr (ChainsQuery) query = chains_query_new (db, "look for a snapshot", sql, error);

  if (query == NULL)
    return NULL;
  chains_query_bind_int (query, vm);
  if (word != NULL)
    chains_query_bind_text (query, word);
  return chains_query_collect (query, reader, g_free, error);
}

static GPtrArray *
find_by_name (ChainsDb *db, gint64 vm, const char *name, GError **error)
{
  return collect_by (db, "SELECT sequence FROM snapshot WHERE vm = ? AND name = ?", vm, name, read_sequence, error);
}

static GPtrArray *
find_latest (ChainsDb *db, gint64 vm, GError **error)
{
  return collect_by (db, "SELECT sequence FROM snapshot WHERE vm = ? ORDER BY sequence DESC LIMIT 1", vm, NULL,
                     read_sequence, error);
}

static GPtrArray *
find_by_prefix (ChainsDb *db, gint64 vm, const char *prefix, GError **error)
{
  g_autofree char *lower = g_ascii_strdown (prefix, -1);
  gsize length = strlen (lower);

  /* What no id contains could mean something to SQL's GLOB. */
  if (length < SHORTEST_PREFIX || strspn (lower, G_CSET_DIGITS "abcdef-") != length)
    return g_ptr_array_new ();
  return collect_by (db, "SELECT sequence FROM snapshot WHERE vm = ? AND id GLOB ? || '*' LIMIT 2", vm, lower,
                     read_sequence, error);
}

static GPtrArray *
find_sequences (ChainsDb *db, gint64 vm, const char *reference, GError **error)
{
  g_autoptr (GPtrArray) named = find_by_name (db, vm, reference, error);

  if (named == NULL || named->len > 0)
    return g_steal_pointer (&named);
  if (strcmp (reference, "latest") == 0)
    return find_latest (db, vm, error);
  return find_by_prefix (db, vm, reference, error);
}

static void
set_no_such_snapshot (ChainsDb *db, gint64 vm, const char *reference, GError **error)
{
  g_autoptr (GPtrArray) names =
      collect_by (db, "SELECT name FROM snapshot WHERE vm = ? ORDER BY name", vm, NULL, read_name, error);
  g_autofree char *shown = g_utf8_make_valid (reference, -1);
  const char *nearest = NULL;

  if (names == NULL)
    return;
  g_ptr_array_add (names, NULL);
  nearest = base_nearest_find (reference, (const char *const *)names->pdata);
  if (names->len == 1)
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND, "no snapshot '%s': the VM has none", shown);
  else if (nearest != NULL)
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND, "no snapshot '%s'; did you mean '%s'?", shown, nearest);
  else
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND, "no snapshot '%s'", shown);
}

#define MOST_CANDIDATES 5

static void
set_ambiguous (ChainsDb *db, gint64 vm, const GPtrArray *found, const char *reference, GError **error)
{
  g_autoptr (GString) names = g_string_new (NULL);

  for (guint i = 0; i < MIN (found->len, MOST_CANDIDATES); i++) {
    gint64 sequence = *(const gint64 *)found->pdata[i];
    g_autoptr (GPtrArray) snapshots = load (db, &(Range){vm, sequence, sequence}, NULL);

    if (snapshots != NULL && snapshots->len == 1)
      g_string_append_printf (names, "%s%s", i > 0 ? ", " : "", ((const ChainsSnapshot *)snapshots->pdata[0])->name);
  }
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_AMBIGUOUS, "'%s' begins the ids of several snapshots: %s%s", reference,
               names->str, found->len > MOST_CANDIDATES ? " …" : "");
}

static gboolean
resolve (ChainsDb *db, gint64 vm, const char *reference, gint64 *sequence, GError **error)
{
  g_autoptr (GPtrArray) found = find_sequences (db, vm, reference, error);

  if (found == NULL)
    return FALSE;
  if (found->len == 0) {
    set_no_such_snapshot (db, vm, reference, error);
    return FALSE;
  }
  if (found->len > 1) {
    set_ambiguous (db, vm, found, reference, error);
    return FALSE;
  }
  *sequence = *(const gint64 *)found->pdata[0];
  return TRUE;
}

ChainsSnapshot *
chains_snapshots_find (ChainsDb *db, gint64 vm, const char *reference, GError **error)
{
  g_autoptr (ChainsTransaction) view = chains_transaction_join (db, CHAINS_DB_READ, error);
  g_autoptr (GPtrArray) snapshots = NULL;
  gint64 sequence = 0;

  if (view == NULL || !resolve (db, vm, reference, &sequence, error))
    return NULL;
  snapshots = load (db, &(Range){vm, sequence, sequence}, error);
  return snapshots != NULL ? g_ptr_array_steal_index (snapshots, 0) : NULL;
}

gboolean
chains_snapshots_has (ChainsDb *db, gint64 vm, const char *name, gboolean *has, GError **error)
{
  g_autoptr (GPtrArray) found = find_by_name (db, vm, name, error);

  if (found == NULL)
    return FALSE;
  *has = found->len > 0;
  return TRUE;
}
