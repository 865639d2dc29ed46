/*
 * Holds the notes of a VM against its rows. A part of a snapshot has a note
 * where its overlay, or else its image, is a regular file; the VM's own record counts in
 * the newest snapshot's alone, and which image is active in each disk's newest,
 * since those are the ones that a rebuild believes.
 */
#include "engine/notebook.h"

#include "chains/snapshots.h"
#include "chains/transaction.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/note.h"
#include "engine/notefile.h"

#define REPAIR "`chainctl recover VM` writes it"

typedef struct {
  EngineNote *note; /* as it ought to be */
  char *path;
  char *disk;
  const char *code;
  char *what;
} Finding;

static void
finding_free (Finding *finding)
{
  g_clear_pointer (&finding->note, engine_note_free);
  g_free (finding->path);
  g_free (finding->disk);
  g_free (finding->what);
  g_free (finding);
}

static const ChainsDisk *
find_disk (const EngineVm *vm, gint64 row)
{
  for (guint i = 0; i < vm->disks->len; i++) {
    const ChainsDisk *disk = g_ptr_array_index (vm->disks, i);

    if (disk->id == row)
      return disk;
  }
  return NULL;
}

/* Nothing can be put beside a block device, and no note is missed where that is. */
static gboolean
can_have_note (const ChainsSnapshotDisk *part)
{
  const char *path = part->overlay != 0 ? part->overlay_path : part->image_path;
  EngineImagefile file;

  return path != NULL && engine_imagefile_stat (path, &file, NULL) && file.regular;
}

static gboolean
write_note (EngineVm *vm, const EngineNote *note, gboolean durable)
{
  g_autoptr (GError) failure = NULL;

  if (engine_notefile_write (note, durable, &failure))
    return TRUE;
  engine_context_warn (vm->context, "note-not-written",
                       "VM '%s', disk '%s': the note of snapshot '%s' was not written: %s", vm->record->name,
                       note->disk->name, note->snapshot->name, failure->message);
  return FALSE;
}

void
engine_notebook_record (EngineVm *vm, const ChainsSnapshot *snapshot)
{
  for (guint i = 0; !vm->context->dry_run && i < snapshot->disks->len; i++) {
    const ChainsSnapshotDisk *part = g_ptr_array_index (snapshot->disks, i);
    const ChainsDisk *disk = find_disk (vm, part->disk);
    g_autoptr (GError) failure = NULL;
    g_autoptr (EngineNote) note = NULL;

    if (disk == NULL || !can_have_note (part))
      continue;
    note = engine_note_describe (vm->context->db, vm->record, disk, snapshot, part, &failure);
    if (note != NULL)
      write_note (vm, note, FALSE);
    else
      engine_context_warn (vm->context, "note-not-written", "VM '%s', disk '%s': %s", vm->record->name, disk->name,
                           failure->message);
  }
}

static gboolean
is_same (const EngineNote *one, const EngineNote *other, EngineNoteExtent extent)
{
  g_autofree char *text = engine_note_to_text (one, extent);
  g_autofree char *other_text = engine_note_to_text (other, extent);

  return g_str_equal (text, other_text);
}

/* %NULL where the note that is there is right. @note: (transfer full) */
static Finding *
look (EngineNote *note, EngineNoteExtent extent)
{
  g_autoptr (EngineNote) expected = note;
  g_autofree char *path = engine_note_place (note);
  g_autoptr (GError) failure = NULL;
  g_autoptr (EngineNote) there = engine_notefile_read (path, &failure);
  Finding *finding;

  if (there != NULL && is_same (note, there, extent))
    return NULL;
  finding = g_new0 (Finding, 1);
  finding->disk = g_strdup (note->disk->name);
  if (there != NULL) {
    finding->code = "note-outdated";
    finding->what =
        g_strdup_printf ("note '%s' of snapshot '%s' is not as the database has it", path, note->snapshot->name);
  } else if (g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_NO_SUCH_IMAGE)) {
    finding->code = "note-missing";
    finding->what = g_strdup_printf ("note '%s' of snapshot '%s' is missing", path, note->snapshot->name);
  } else {
    finding->code = "note-damaged";
    finding->what = g_strdup (failure->message);
  }
  finding->path = g_steal_pointer (&path);
  finding->note = g_steal_pointer (&expected);
  return finding;
}

static gboolean
has_note_of (const ChainsSnapshot *snapshot, gint64 disk)
{
  for (guint i = 0; i < snapshot->disks->len; i++) {
    const ChainsSnapshotDisk *part = g_ptr_array_index (snapshot->disks, i);

    if (part->disk == disk && can_have_note (part))
      return TRUE;
  }
  return FALSE;
}

/* What a rebuild would believe of the note of @disk that the snapshot at @index has. */
static EngineNoteExtent
find_extent (const GPtrArray *snapshots, guint index, gint64 disk)
{
  if (index + 1 == snapshots->len)
    return ENGINE_NOTE_WHOLE;
  for (guint i = index + 1; i < snapshots->len; i++)
    if (has_note_of (g_ptr_array_index (snapshots, i), disk))
      return ENGINE_NOTE_LASTING;
  return ENGINE_NOTE_ACTIVE;
}

static gboolean
review_snapshot (EngineVm *vm, const GPtrArray *snapshots, guint index, GPtrArray *findings, GError **error)
{
  const ChainsSnapshot *snapshot = g_ptr_array_index (snapshots, index);

  for (guint i = 0; i < snapshot->disks->len; i++) {
    const ChainsSnapshotDisk *part = g_ptr_array_index (snapshot->disks, i);
    const ChainsDisk *disk = find_disk (vm, part->disk);
    EngineNoteExtent extent;
    EngineNote *note;
    Finding *finding;

    if (disk == NULL || !can_have_note (part))
      continue;
    note = engine_note_describe (vm->context->db, vm->record, disk, snapshot, part, error);
    if (note == NULL)
      return FALSE;
    extent = find_extent (snapshots, index, part->disk);
    if ((extent & ENGINE_NOTE_ACTIVE) == 0 && note->overlay != NULL)
      g_clear_pointer (&note->active, g_free);
    finding = look (note, extent);
    if (finding != NULL)
      g_ptr_array_add (findings, finding);
  }
  return TRUE;
}

/* Returns: (transfer full) (element-type Finding) */
static GPtrArray *
review (EngineVm *vm, GError **error)
{
  g_autoptr (ChainsTransaction) view = chains_transaction_join (vm->context->db, CHAINS_DB_READ, error);
  g_autoptr (GPtrArray) snapshots =
      view != NULL ? chains_snapshots_list (vm->context->db, vm->record->id, error) : NULL;
  g_autoptr (GPtrArray) findings = g_ptr_array_new_with_free_func ((GDestroyNotify)finding_free);

  for (guint i = 0; snapshots != NULL && i < snapshots->len; i++)
    if (!review_snapshot (vm, snapshots, i, findings, error))
      return NULL;
  return snapshots != NULL ? g_steal_pointer (&findings) : NULL;
}

gboolean
engine_notebook_check (EngineVm *vm, GPtrArray *problems, GError **error)
{
  g_autoptr (GPtrArray) findings = review (vm, error);

  for (guint i = 0; findings != NULL && i < findings->len; i++) {
    const Finding *finding = g_ptr_array_index (findings, i);
    gboolean damaged = g_str_equal (finding->code, "note-damaged");

    engine_problem_add (problems, finding->code, FALSE, finding->disk, finding->path,
                        damaged ? "move it away; then " REPAIR : REPAIR, "%s", finding->what);
  }
  return findings != NULL;
}

/* Whatever is missing or outdated; @written says how many. */
static gboolean
write_all (EngineVm *vm, guint *written, GError **error)
{
  g_autoptr (GPtrArray) findings = review (vm, error);

  *written = 0;
  for (guint i = 0; findings != NULL && i < findings->len; i++)
    *written += write_note (vm, ((const Finding *)g_ptr_array_index (findings, i))->note, TRUE) ? 1 : 0;
  return findings != NULL;
}

gboolean
engine_notebook_refresh (EngineVm *vm, GError **error)
{
  guint written;

  if (vm->context->dry_run)
    return TRUE;
  if (!write_all (vm, &written, error))
    return FALSE;
  if (written > 0)
    engine_context_warn (vm->context, "notes-written",
                         "VM '%s': %u notes beside its images were missing or outdated, "
                         "and are written again",
                         vm->record->name, written);
  return TRUE;
}

void
engine_notebook_follow (EngineVm *vm)
{
  g_autoptr (GError) failure = NULL;
  guint written;

  if (!vm->context->dry_run && !write_all (vm, &written, &failure))
    engine_context_warn (vm->context, "note-not-written", "VM '%s': its notes could not be brought up to date: %s",
                         vm->record->name, failure->message);
}
