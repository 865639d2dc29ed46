/*
 * Puts notes together to VMs and snapshots. Promises all or nothing, and no
 * guess: two stories of one thing are refused. The images of a disk are
 * rebuilddisk's; what is live, `check` says afterwards.
 */
#include "engine/rebuild.h"

#include "chains/error.h"
#include "chains/registry.h"
#include "chains/snapshots.h"
#include "chains/transaction.h"
#include "engine/document.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/rebuilddisk.h"
#include "engine/scan.h"

#include <string.h>

/**
 * Run:
 * @notes: (element-type EngineNote): those that lie at their places, by VM and sequence. Borrowed.
 * @disks: (element-type EngineRebuildDisk)
 * @owned: (element-type utf8 EngineRebuildDisk): by device and inode of the images that are added and owned
 * @keep_sequences: no two snapshots claim the same one
 */
typedef struct {
  EngineContext *context;
  EngineScan *scan;
  GPtrArray *notes;
  GPtrArray *disks;
  GHashTable *owned;
  gboolean keep_sequences;
  EngineRebuilt *rebuilt;
} Run;

static void
run_clear (Run *run)
{
  g_clear_pointer (&run->disks, g_ptr_array_unref);
  g_clear_pointer (&run->notes, g_ptr_array_unref);
  g_clear_pointer (&run->owned, g_hash_table_unref);
  g_clear_pointer (&run->scan, engine_scan_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

/* ---- the notes ---- */

static int
compare_notes (gconstpointer a, gconstpointer b)
{
  const EngineNote *one = *(const EngineNote *const *)a;
  const EngineNote *other = *(const EngineNote *const *)b;
  int order = strcmp (one->vm->name, other->vm->name);

  if (order == 0 && one->snapshot->sequence != other->snapshot->sequence)
    order = one->snapshot->sequence < other->snapshot->sequence ? -1 : 1;
  return order != 0 ? order : one->disk->position - other->disk->position;
}

/* A note in a copy of the folder tells of images elsewhere, and may be old. */
static gboolean
lies_at_its_place (const EngineNote *note)
{
  g_autofree char *place = engine_note_place (note);
  EngineImagefile there, here;

  return engine_imagefile_stat (place, &there, NULL) && engine_imagefile_stat (note->path, &here, NULL) &&
         there.device == here.device && there.inode == here.inode;
}

static gboolean
collect_notes (Run *run, GError **error)
{
  for (guint i = 0; i < run->scan->notes->len; i++) {
    EngineNote *note = g_ptr_array_index (run->scan->notes, i);

    if (lies_at_its_place (note))
      g_ptr_array_add (run->notes, note);
    else
      engine_context_warn (run->context, "note-elsewhere",
                           "note '%s' is left out: it tells of '%s', which it is not beside", note->path,
                           note->overlay != NULL ? note->overlay->path : note->image->path);
  }
  g_ptr_array_sort (run->notes, compare_notes);
  run->rebuilt->notes = run->notes->len;
  if (run->notes->len > 0)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_NO_SUCH_IMAGE,
                    "VMs that never had a snapshot are registered by `chainctl vm add`",
                    "no note (*%s) lies beside an overlay in these folders", ENGINE_NOTE_SUFFIX);
  return FALSE;
}

/* A sequence that two snapshots claim is of two databases. */
static gboolean
have_sequences_of_their_own (const Run *run)
{
  g_autoptr (GHashTable) ids = g_hash_table_new (g_int64_hash, g_int64_equal);

  for (guint i = 0; i < run->notes->len; i++) {
    const ChainsSnapshot *snapshot = ((const EngineNote *)g_ptr_array_index (run->notes, i))->snapshot;
    const char *taken = g_hash_table_lookup (ids, &snapshot->sequence);

    if (snapshot->sequence == 0 || (taken != NULL && !g_str_equal (taken, snapshot->id)))
      return FALSE;
    g_hash_table_insert (ids, (gpointer)&snapshot->sequence, snapshot->id);
  }
  return TRUE;
}

static gboolean
refuse_two (const EngineNote *one, const EngineNote *other, const char *what, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_REFUSED, "move away the notes that are not to be believed",
                    "VM '%s': the notes '%s' and '%s' tell of %s", one->vm->name, one->path, other->path, what);
  return FALSE;
}

/* When a VM was registered tells it from another one that had the same name before. */
static gboolean
check_one_vm (const Run *run, guint first, guint end, GError **error)
{
  const EngineNote *newest = g_ptr_array_index (run->notes, end - 1);

  for (guint i = first; i < end; i++) {
    const EngineNote *note = g_ptr_array_index (run->notes, i);

    if (note->vm->created_us != newest->vm->created_us || g_strcmp0 (note->vm->uuid, newest->vm->uuid) != 0)
      return refuse_two (note, newest, "two VMs of that name", error);
  }
  return TRUE;
}

/* ---- VMs and disks ---- */

static EngineRebuildDisk *
find_disk (const Run *run, const char *vm, const char *name)
{
  for (guint i = 0; i < run->disks->len; i++) {
    EngineRebuildDisk *disk = g_ptr_array_index (run->disks, i);

    if (g_str_equal (disk->vm, vm) && g_str_equal (disk->record->name, name))
      return disk;
  }
  return NULL;
}

static void
sort_into_disks (Run *run, guint first, guint end)
{
  for (guint i = first; i < end; i++) {
    EngineNote *note = g_ptr_array_index (run->notes, i);
    EngineRebuildDisk *disk = find_disk (run, note->vm->name, note->disk->name);

    if (disk == NULL) {
      disk = engine_rebuilddisk_new (note);
      g_ptr_array_add (run->disks, disk);
    }
    engine_rebuilddisk_learn (disk, note);
  }
}

static gboolean
add_vm (Run *run, guint first, guint end, GError **error)
{
  ChainsVm *vm = ((const EngineNote *)g_ptr_array_index (run->notes, end - 1))->vm;
  guint disks = run->disks->len;

  if (!check_one_vm (run, first, end, error) || !chains_registry_add_vm (run->context->db, vm, error))
    return FALSE;
  sort_into_disks (run, first, end);
  for (guint i = disks; i < run->disks->len; i++) {
    EngineRebuildDisk *disk = g_ptr_array_index (run->disks, i);

    disk->record->vm = vm->id;
    if (!engine_rebuilddisk_store (disk, run->context, run->owned, error))
      return FALSE;
  }
  run->rebuilt->vms++;
  return TRUE;
}

static gboolean
add_vms (Run *run, GError **error)
{
  guint first = 0;

  for (guint i = 1; i <= run->notes->len; i++) {
    const EngineNote *one = g_ptr_array_index (run->notes, first);
    const EngineNote *next = i < run->notes->len ? g_ptr_array_index (run->notes, i) : NULL;

    if (next != NULL && g_str_equal (one->vm->name, next->vm->name))
      continue;
    if (!add_vm (run, first, i, error))
      return FALSE;
    first = i;
  }
  return TRUE;
}

/* ---- snapshots ---- */

/* The notes of one snapshot, which have to agree. (element-type utf8 GPtrArray of EngineNote) by id */
static GHashTable *
group_by_snapshot (const Run *run)
{
  GHashTable *groups = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, (GDestroyNotify)g_ptr_array_unref);

  for (guint i = 0; i < run->notes->len; i++) {
    EngineNote *note = g_ptr_array_index (run->notes, i);
    GPtrArray *group = g_hash_table_lookup (groups, note->snapshot->id);

    if (group == NULL) {
      group = g_ptr_array_new ();
      g_hash_table_insert (groups, note->snapshot->id, group);
    }
    g_ptr_array_add (group, note);
  }
  return groups;
}

static char *
tell (const EngineNote *note)
{
  g_autoptr (JsonObject) object = engine_document_from_snapshot (note->snapshot);

  return engine_document_to_text (object, FALSE);
}

static gboolean
check_agreement (const GPtrArray *group, GError **error)
{
  const EngineNote *first = g_ptr_array_index (group, 0);
  g_autofree char *story = tell (first);

  for (guint i = 1; i < group->len; i++) {
    const EngineNote *note = g_ptr_array_index (group, i);
    g_autofree char *other = tell (note);

    if (!g_str_equal (note->vm->name, first->vm->name) || !g_str_equal (other, story) ||
        g_str_equal (note->disk->name, ((const EngineNote *)g_ptr_array_index (group, i - 1))->disk->name))
      return refuse_two (first, note, "one snapshot, each otherwise", error);
  }
  return TRUE;
}

static const EngineNote *
find_note (const GPtrArray *group, const char *disk)
{
  for (guint i = 0; i < group->len; i++) {
    const EngineNote *note = g_ptr_array_index (group, i);

    if (g_str_equal (note->disk->name, disk))
      return note;
  }
  return NULL;
}

/* Fills in the rows of a part. @whole: %FALSE where its note is missing */
static gboolean
place_part (const Run *run, const GPtrArray *group, ChainsSnapshotDisk *part, gboolean *whole, GError **error)
{
  const EngineNote *first = g_ptr_array_index (group, 0);
  const EngineNote *note = find_note (group, part->disk_name);
  const EngineRebuildDisk *disk = find_disk (run, first->vm->name, part->disk_name);

  if (disk == NULL) {
    engine_error_set (error, ENGINE_ERROR_REFUSED, "name the folder of its images too",
                      "VM '%s': snapshot '%s' has the disk '%s' too (note '%s'), and no note of that disk is there",
                      first->vm->name, first->snapshot->name, part->disk_name, first->path);
    return FALSE;
  }
  *whole = *whole && note != NULL;
  if (note == NULL) {
    engine_context_warn (run->context, "snapshot-incomplete",
                         "VM '%s': snapshot '%s' is left out: its note of disk '%s' is missing", first->vm->name,
                         first->snapshot->name, part->disk_name);
    return TRUE;
  }
  part->disk = disk->record->id;
  part->image = engine_rebuilddisk_get_row (disk, note->image->path);
  part->overlay = note->overlay != NULL ? engine_rebuilddisk_get_row (disk, note->overlay->path) : 0;
  return TRUE;
}

static gboolean
add_snapshot (Run *run, const GPtrArray *group, GError **error)
{
  const EngineNote *first = g_ptr_array_index (group, 0);
  ChainsSnapshot *snapshot = first->snapshot;
  gboolean whole = TRUE;

  if (!check_agreement (group, error))
    return FALSE;
  for (guint i = 0; i < snapshot->disks->len; i++)
    if (!place_part (run, group, g_ptr_array_index (snapshot->disks, i), &whole, error))
      return FALSE;
  if (!whole)
    return TRUE;
  snapshot->vm = find_disk (run, first->vm->name, first->disk->name)->record->vm;
  if (!run->keep_sequences)
    snapshot->sequence = 0;
  run->rebuilt->snapshots++;
  return chains_snapshots_add (run->context->db, snapshot, error);
}

static int
compare_sequences (gconstpointer a, gconstpointer b)
{
  const EngineNote *one = g_ptr_array_index (*(GPtrArray *const *)a, 0);
  const EngineNote *other = g_ptr_array_index (*(GPtrArray *const *)b, 0);

  if (one->snapshot->sequence != other->snapshot->sequence)
    return one->snapshot->sequence < other->snapshot->sequence ? -1 : 1;
  return strcmp (one->snapshot->id, other->snapshot->id);
}

static gboolean
add_snapshots (Run *run, GError **error)
{
  g_autoptr (GHashTable) groups = group_by_snapshot (run);
  g_autoptr (GPtrArray) sorted = g_ptr_array_new ();
  GHashTableIter iter;
  gpointer group;

  g_hash_table_iter_init (&iter, groups);
  while (g_hash_table_iter_next (&iter, NULL, &group))
    g_ptr_array_add (sorted, group);
  g_ptr_array_sort (sorted, compare_sequences);
  for (guint i = 0; i < sorted->len; i++)
    if (!add_snapshot (run, g_ptr_array_index (sorted, i), error))
      return FALSE;
  return TRUE;
}

/* A person made an older image the active one again, and a note tells of it. */
static gboolean
warn_of_spoiled (const Run *run, GError **error)
{
  for (guint i = 0; i < run->disks->len; i++)
    if (!engine_rebuilddisk_warn_of_spoiled (g_ptr_array_index (run->disks, i), run->context, error))
      return FALSE;
  return TRUE;
}

/* ---- images that no note tells of ---- */

static const EngineRebuildDisk *
find_owner (const Run *run, const char *path)
{
  EngineImagefile file;
  g_autofree char *identity = NULL;

  if (path == NULL || !engine_imagefile_stat (path, &file, NULL))
    return NULL;
  identity = g_strdup_printf ("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT, file.device, file.inode);
  return g_hash_table_lookup (run->owned, identity);
}

static void
warn_of_strangers (const Run *run)
{
  for (guint i = 0; i < run->scan->images->len; i++) {
    const EngineScanImage *image = g_ptr_array_index (run->scan->images, i);
    const EngineRebuildDisk *disk = find_owner (run, image->backing);

    if (disk != NULL && find_owner (run, image->path) == NULL)
      engine_context_warn (run->context, "image-without-note",
                           "VM '%s', disk '%s': '%s' lies on '%s' by its header, and no note tells of it: it is not "
                           "taken in; the active image is '%s', as the newest note says",
                           disk->vm, disk->record->name, image->path, image->backing, engine_rebuilddisk_active (disk));
  }
}

/* ---- all of it ---- */

static gboolean
check_empty (EngineContext *context, GError **error)
{
  g_autoptr (GPtrArray) vms = chains_registry_list_vms (context->db, error);

  if (vms == NULL || vms->len == 0)
    return vms != NULL;
  engine_error_set (error, ENGINE_ERROR_EXISTS, "move it away first, with its -wal and -shm",
                    "database '%s' has VMs in it ('%s' for one), and stays as it is", chains_db_get_path (context->db),
                    ((const ChainsVm *)g_ptr_array_index (vms, 0))->name);
  return FALSE;
}

static gboolean
rebuild (Run *run, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (run->context->db, error);

  if (transaction == NULL || !check_empty (run->context, error) || !add_vms (run, error) ||
      !add_snapshots (run, error) || !warn_of_spoiled (run, error))
    return FALSE;
  warn_of_strangers (run);
  return chains_transaction_commit (transaction, error);
}

/* What the notes say together is held to what the database takes; that it does not is no wrong command line. */
static gboolean
refuse_invalid (GError *failure, GError **error)
{
  if (!g_error_matches (failure, CHAINS_ERROR, CHAINS_ERROR_INVALID) &&
      !g_error_matches (failure, CHAINS_ERROR, CHAINS_ERROR_EXISTS)) {
    g_propagate_error (error, failure);
    return FALSE;
  }
  engine_error_set (error, ENGINE_ERROR_REFUSED, "move away the notes that are not to be believed",
                    "the notes do not go together: %s", failure->message);
  g_error_free (failure);
  return FALSE;
}

gboolean
engine_rebuild_run (EngineContext *context, const char *const *folders, EngineRebuilt *rebuilt, GError **error)
{
  g_auto (Run) run = {.context = context, .rebuilt = rebuilt};
  GError *failure = NULL;

  if (!check_empty (context, error))
    return FALSE;
  *rebuilt = (EngineRebuilt){0};
  run.notes = g_ptr_array_new ();
  run.disks = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_rebuilddisk_free);
  run.owned = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  run.scan = engine_scan_folders (context, folders, error);
  if (run.scan == NULL || !collect_notes (&run, error))
    return FALSE;
  run.keep_sequences = have_sequences_of_their_own (&run);
  return rebuild (&run, &failure) || refuse_invalid (failure, error);
}
