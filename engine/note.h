/*
 * A note: what the database knows of a snapshot's part on one disk and no image
 * header holds, in a small file beside that part's overlay; beside its image where
 * it has no overlay (any more). From the notes and the headers the database can be
 * made again.
 */
#pragma once

#include "chains/db.h"
#include "chains/model.h"

/** Behind the overlay's path. */
#define ENGINE_NOTE_SUFFIX ".chainctl"

/**
 * EngineNote:
 * @path: (nullable): where it was read
 * @base: of the disk, with format, size and options
 * @foreign: (element-type ChainsImage): what lies below the base, from the top down
 * @image: what the snapshot froze: format, size, and the file as it was then
 * @below: (nullable) (element-type ChainsImage): what lies below @image, from the top down, where that is the lowest of
 *     the VM's own and the base no more: of a stream
 * @overlay: (nullable): identity, options, and who made it; its size stands in its header. %NULL: it was merged away,
 *     and did not lie on @image: of a rollback
 * @parent: (nullable): the path of the image that the overlay lies on, where that is not @image: of a rollback, which
 *     begins another branch
 * @alone: the overlay lies on nothing: it is a whole copy of @image
 * @active: (nullable): the path of the disk's active image, where that is not the overlay; never %NULL without one
 * @snapshot: of its disks only the names
 */
typedef struct {
  char *path;
  ChainsVm *vm;
  ChainsDisk *disk;
  ChainsImage *base;
  GPtrArray *foreign;
  ChainsImage *image;
  GPtrArray *below;
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
/** Where that of the snapshot with that @id is, which froze @image and has no overlay: others may have notes beside it
 * too. Returns: (transfer full) */
char *engine_note_path_beside (const char *image, const char *id);
/** Where @note is to be. Returns: (transfer full) */
char *engine_note_place (const EngineNote *note);

/**
 * engine_note_describe:
 * @part: of @snapshot; @disk: the same disk
 * The note as the database would have it now. Returns: (transfer full)
 */
EngineNote *engine_note_describe (ChainsDb *db, const ChainsVm *vm, const ChainsDisk *disk,
                                  const ChainsSnapshot *snapshot, const ChainsSnapshotDisk *part, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** %ENGINE_NOTE_WHOLE: as it stands in the file. Returns: (transfer full) */
char *engine_note_to_text (const EngineNote *note, EngineNoteExtent extent);

/** Raises %ENGINE_ERROR_FAILED for what is no sound note of this version or an older one. Returns: (transfer full) */
EngineNote *engine_note_parse (const char *text, gsize length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
