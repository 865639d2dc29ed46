/*
 * A note: what the database knows of a snapshot's part on one disk and no image
 * header holds, in a small file beside that part's overlay. From the notes and
 * the headers the database can be made again.
 */
#pragma once

#include "chains/db.h"
#include "chains/model.h"
#include "engine/context.h"

/** Behind the overlay's path. */
#define ENGINE_NOTE_SUFFIX ".chainctl"

/**
 * EngineNote:
 * @path: (nullable): where it was read
 * @base: of the disk, with format, size and options
 * @foreign: (element-type ChainsImage): what lies below the base, from the top down
 * @image: what the snapshot froze: format, size, and the file as it was then
 * @overlay: identity, options, and who made it; its size stands in its header
 * @parent: (nullable): the path of the image that the overlay lies on, where that is not @image: of a rollback, which
 *     begins another branch
 * @alone: the overlay lies on nothing: it is a whole copy of @image
 * @active: (nullable): the path of the disk's active image, where that is not the overlay
 * @snapshot: of its disks only the names
 */
typedef struct {
  char *path;
  ChainsVm *vm;
  ChainsDisk *disk;
  ChainsImage *base;
  GPtrArray *foreign;
  ChainsImage *image;
  ChainsImage *overlay;
  char *parent;
  gboolean alone;
  char *active;
  ChainsSnapshot *snapshot;
} EngineNote;

/** What of a note may change later, and so counts in the newest one alone: how the VM is reached; what is active. */
typedef enum {
  ENGINE_NOTE_LASTING = 0,
  ENGINE_NOTE_VM = 1 << 0,
  ENGINE_NOTE_ACTIVE = 1 << 1,
  ENGINE_NOTE_WHOLE = ENGINE_NOTE_VM | ENGINE_NOTE_ACTIVE,
} EngineNoteExtent;

void engine_note_free (EngineNote *note);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineNote, engine_note_free)

/** Where the note of the overlay at @overlay is. Returns: (transfer full) */
char *engine_note_path (const char *overlay);

/**
 * engine_note_describe:
 * @part: of @snapshot, with an overlay; @disk: the same disk
 * The note as the database would have it now. Returns: (transfer full)
 */
EngineNote *engine_note_describe (ChainsDb *db, const ChainsVm *vm, const ChainsDisk *disk,
                                  const ChainsSnapshot *snapshot, const ChainsSnapshotDisk *part, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** %ENGINE_NOTE_WHOLE: as it stands in the file. Returns: (transfer full) */
char *engine_note_to_text (const EngineNote *note, EngineNoteExtent extent);

/** Raises %ENGINE_ERROR_FAILED for what is no sound note of this version or an older one. Returns: (transfer full) */
EngineNote *engine_note_parse (const char *text, gsize length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** The note in the file @path. Raises also %ENGINE_ERROR_NO_SUCH_IMAGE. Returns: (transfer full) */
EngineNote *engine_note_read (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_note_write:
 * @durable: it is on the disk before this returns; else it costs no more than it must
 * Beside its overlay, whole or not at all, with the overlay's mode and owner; in the place of a note that is there, of
 * nothing else. Raises %ENGINE_ERROR_FAILED, %ENGINE_ERROR_EXISTS where something else has the name.
 */
gboolean engine_note_write (const EngineNote *note, gboolean durable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Removes the note of the overlay at @overlay, where there is one and it tells of the snapshot @id. */
gboolean engine_note_remove (const char *overlay, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Removes whatever note lies beside the overlay at @overlay, which nothing needs any more; one that stays is a
 * warning. */
void engine_note_forget (EngineContext *context, const char *overlay);
