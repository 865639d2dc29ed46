/*
 * Makes notes from the database and from text, and text from them. Promises that what
 * is read is fit for the database. Files are notefile's; which notes there ought to
 * be is notebook's to know.
 */
#include "engine/note.h"

#include "chains/images.h"
#include "engine/claim.h"
#include "engine/document.h"
#include "engine/error.h"

#define FORMAT_KEY "chainctl_note"
#define FORMAT 1

static GPtrArray *
images_new (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)chains_image_free);
}

static EngineNote *
note_new (void)
{
  EngineNote *note = g_new0 (EngineNote, 1);

  note->foreign = images_new ();
  return note;
}

void
engine_note_free (EngineNote *note)
{
  if (note == NULL)
    return;
  g_clear_pointer (&note->vm, chains_vm_free);
  g_clear_pointer (&note->disk, chains_disk_free);
  g_clear_pointer (&note->base, chains_image_free);
  g_clear_pointer (&note->foreign, g_ptr_array_unref);
  g_clear_pointer (&note->image, chains_image_free);
  g_clear_pointer (&note->below, g_ptr_array_unref);
  g_clear_pointer (&note->overlay, chains_image_free);
  g_free (note->parent);
  g_clear_pointer (&note->snapshot, chains_snapshot_free);
  g_free (note->active);
  g_free (note->path);
  g_free (note);
}

char *
engine_note_path (const char *overlay)
{
  return g_strconcat (overlay, ENGINE_NOTE_SUFFIX, NULL);
}

/* Of the id as much as tells it from the few others. */
char *
engine_note_path_beside (const char *image, const char *id)
{
  return g_strdup_printf ("%s.%.8s" ENGINE_NOTE_SUFFIX, image, id);
}

char *
engine_note_place (const EngineNote *note)
{
  return note->overlay != NULL ? engine_note_path (note->overlay->path)
                               : engine_note_path_beside (note->image->path, note->snapshot->id);
}

/* ---- JSON ---- */

static JsonObject *
snapshot_json (const ChainsSnapshot *snapshot)
{
  JsonObject *object = engine_document_from_snapshot (snapshot);
  JsonArray *disks = json_array_new ();

  for (guint i = 0; i < snapshot->disks->len; i++)
    json_array_add_string_element (disks,
                                   ((const ChainsSnapshotDisk *)g_ptr_array_index (snapshot->disks, i))->disk_name);
  json_object_set_array_member (object, "disks", disks);
  return object;
}

static JsonArray *
images_json (const GPtrArray *images)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < images->len; i++)
    json_array_add_object_element (array, engine_document_from_image (g_ptr_array_index (images, i)));
  return array;
}

static JsonObject *
disk_json (const EngineNote *note)
{
  JsonObject *object = engine_document_from_disk (note->disk);

  json_object_set_object_member (object, "base", engine_document_from_image (note->base));
  json_object_set_array_member (object, "foreign", images_json (note->foreign));
  return object;
}

char *
engine_note_to_text (const EngineNote *note, EngineNoteExtent extent)
{
  g_autoptr (JsonObject) object = json_object_new ();

  json_object_set_int_member (object, FORMAT_KEY, FORMAT);
  if ((extent & ENGINE_NOTE_VM) != 0)
    json_object_set_object_member (object, "vm", engine_document_from_vm (note->vm));
  json_object_set_object_member (object, "disk", disk_json (note));
  json_object_set_object_member (object, "snapshot", snapshot_json (note->snapshot));
  json_object_set_object_member (object, "image", engine_document_from_image (note->image));
  if (note->below != NULL)
    json_object_set_array_member (object, "below", images_json (note->below));
  if (note->overlay != NULL)
    json_object_set_object_member (object, "overlay", engine_document_from_image (note->overlay));
  else
    json_object_set_null_member (object, "overlay");
  if (note->alone)
    json_object_set_null_member (object, "parent");
  else if (note->parent != NULL)
    engine_document_set_path (object, "parent", note->parent);
  if ((extent & ENGINE_NOTE_ACTIVE) != 0 && note->active != NULL)
    engine_document_set_path (object, "active", note->active);
  return engine_document_to_text (object, FALSE);
}

static gboolean
parse_vm (EngineNote *note, JsonObject *object, GError **error)
{
  JsonObject *vm;

  if (!engine_document_get_object (object, "vm", &vm, error))
    return FALSE;
  note->vm = engine_document_to_vm (vm, error);
  return note->vm != NULL;
}

static gboolean
parse_image (JsonObject *object, const char *key, ChainsImage **image, GError **error)
{
  JsonObject *member;

  if (!engine_document_get_object (object, key, &member, error))
    return FALSE;
  *image = engine_document_to_image (member, error);
  return *image != NULL;
}

/* Of one that was merged away there is null. */
static gboolean
parse_overlay (EngineNote *note, JsonObject *object, GError **error)
{
  return (json_object_has_member (object, "overlay") && json_object_get_null_member (object, "overlay")) ||
         parse_image (object, "overlay", &note->overlay, error);
}

static gboolean
parse_images (JsonObject *object, const char *key, GPtrArray *images, GError **error)
{
  JsonArray *array;

  if (!engine_document_get_array (object, key, JSON_NODE_OBJECT, &array, error))
    return FALSE;
  for (guint i = 0; i < json_array_get_length (array); i++) {
    ChainsImage *image = engine_document_to_image (json_array_get_object_element (array, i), error);

    if (image == NULL)
      return FALSE;
    g_ptr_array_add (images, image);
  }
  return TRUE;
}

/* Only what was the base once says it. */
static gboolean
parse_below (EngineNote *note, JsonObject *object, GError **error)
{
  if (!json_object_has_member (object, "below"))
    return TRUE;
  note->below = images_new ();
  return parse_images (object, "below", note->below, error);
}

static gboolean
parse_disk (EngineNote *note, JsonObject *object, GError **error)
{
  JsonObject *disk;

  if (!engine_document_get_object (object, "disk", &disk, error) ||
      !parse_images (disk, "foreign", note->foreign, error) || !parse_image (disk, "base", &note->base, error))
    return FALSE;
  note->disk = engine_document_to_disk (disk, error);
  return note->disk != NULL;
}

static gboolean
parse_snapshot (EngineNote *note, JsonObject *object, GError **error)
{
  JsonObject *snapshot;
  JsonArray *disks;

  if (!engine_document_get_object (object, "snapshot", &snapshot, error) ||
      !engine_document_get_array (snapshot, "disks", JSON_NODE_VALUE, &disks, error))
    return FALSE;
  note->snapshot = engine_document_to_snapshot (snapshot, error);
  for (guint i = 0; note->snapshot != NULL && i < json_array_get_length (disks); i++) {
    ChainsSnapshotDisk *part = chains_snapshot_disk_new ();

    part->disk_name = g_strdup (json_array_get_string_element (disks, i));
    g_ptr_array_add (note->snapshot->disks, part);
  }
  return note->snapshot != NULL;
}

/* Notes of before this was noted have none, and mean their overlay, or its image, too. */
static gboolean
parse_paths (EngineNote *note, JsonObject *object, GError **error)
{
  note->alone = json_object_has_member (object, "parent") && json_object_get_null_member (object, "parent");
  return (!json_object_has_member (object, "active") ||
          engine_document_get_path (object, "active", FALSE, &note->active, error)) &&
         (!json_object_has_member (object, "parent") || note->alone ||
          engine_document_get_path (object, "parent", FALSE, &note->parent, error));
}

static gboolean
names_its_disk (const EngineNote *note)
{
  for (guint i = 0; i < note->snapshot->disks->len; i++)
    if (g_str_equal (((const ChainsSnapshotDisk *)g_ptr_array_index (note->snapshot->disks, i))->disk_name,
                     note->disk->name))
      return TRUE;
  return FALSE;
}

/* What each member allows, and the database would not make sense of together. */
static gboolean
check_whole (const EngineNote *note, GError **error)
{
  const char *what = NULL;

  if (!names_its_disk (note))
    what = "its disk is none of its snapshot's";
  else if (!g_path_is_absolute (note->image->path) ||
           (note->overlay != NULL && !g_path_is_absolute (note->overlay->path)))
    what = "its images have no absolute paths";
  else if (note->overlay != NULL && g_str_equal (note->image->path, note->overlay->path))
    what = "its overlay lies on itself";
  else if (note->overlay == NULL && (note->active == NULL || note->parent != NULL || note->alone))
    what = "it has no overlay, and does not say what is active, or says what that lies on";
  else if (note->base->virtual_size == 0 || note->image->virtual_size == 0)
    what = "its images have no size";
  if (what == NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "%s", what);
  return FALSE;
}

EngineNote *
engine_note_parse (const char *text, gsize length, GError **error)
{
  g_autoptr (JsonNode) root = engine_document_parse (text, length, error);
  g_autoptr (EngineNote) note = note_new ();
  JsonObject *object;
  gint64 format;

  if (root == NULL)
    return NULL;
  object = JSON_NODE_HOLDS_OBJECT (root) ? json_node_get_object (root) : NULL;
  if (object == NULL || !json_object_has_member (object, FORMAT_KEY)) {
    engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "it is no note of chainctl's");
    return NULL;
  }
  if (!engine_document_get_int (object, FORMAT_KEY, 1, G_MAXINT64, &format, error))
    return NULL;
  if (format > FORMAT) {
    engine_error_set (error, ENGINE_ERROR_FAILED, "use the newer chainctl", "it was written by a newer chainctl");
    return NULL;
  }
  if (!parse_vm (note, object, error) || !parse_disk (note, object, error) || !parse_snapshot (note, object, error) ||
      !parse_image (object, "image", &note->image, error) || !parse_below (note, object, error) ||
      !parse_overlay (note, object, error) || !parse_paths (note, object, error) || !check_whole (note, error))
    return NULL;
  return g_steal_pointer (&note);
}

/* ---- from the database ---- */

static ChainsImage *
get_image (ChainsDb *db, gint64 row, GError **error)
{
  ChainsImage *image = chains_images_get (db, row, error);

  if (image != NULL)
    engine_claim_learn_birth (image);
  return image;
}

static void
forget_frozen (ChainsImage *image)
{
  image->frozen_size = 0;
  image->frozen_mtime_ns = 0;
  g_clear_pointer (&image->frozen_header, g_free);
}

/* The image @row and what lies below it, of which nothing is remembered but what they are. */
static GPtrArray *
get_bottom (ChainsDb *db, gint64 row, GError **error)
{
  GPtrArray *chain = chains_images_get_chain (db, row, error);

  for (guint i = 0; chain != NULL && i < chain->len; i++) {
    engine_claim_learn_birth (g_ptr_array_index (chain, i));
    forget_frozen (g_ptr_array_index (chain, i));
  }
  return chain;
}

/* Only what stays true of the base for as long as it is the base. */
static gboolean
describe_disk (EngineNote *note, ChainsDb *db, const ChainsDisk *disk, GError **error)
{
  note->disk = chains_disk_copy (disk);
  note->base = get_image (db, disk->base, error);
  if (note->base == NULL)
    return FALSE;
  forget_frozen (note->base);
  g_ptr_array_unref (note->foreign);
  note->foreign = get_bottom (db, note->base->parent, error);
  return note->foreign != NULL;
}

static gboolean
describe_parent (EngineNote *note, ChainsDb *db, const ChainsSnapshotDisk *part, GError **error)
{
  g_autoptr (ChainsImage) parent = NULL;

  note->alone = note->overlay->parent == 0;
  if (note->overlay->parent == part->image || note->alone)
    return TRUE;
  parent = chains_images_get (db, note->overlay->parent, error);
  if (parent == NULL)
    return FALSE;
  note->parent = g_strdup (parent->path);
  return TRUE;
}

/* Nothing else tells what the image that was the base once lies on, and that the VM owns no more than that. */
static gboolean
describe_below (EngineNote *note, ChainsDb *db, const ChainsSnapshotDisk *part, gint64 base, GError **error)
{
  g_autoptr (ChainsImage) parent = note->image->parent != 0 ? get_image (db, note->image->parent, error) : NULL;

  if (note->image->parent != 0 && parent == NULL)
    return FALSE;
  /* What an operation made has a note of its own. */
  if (part->image == base || note->image->created_by != NULL || (parent != NULL && parent->owned))
    return TRUE;
  note->below = get_bottom (db, note->image->parent, error);
  return note->below != NULL;
}

/* The overlay may be frozen by now, which is another note's affair; so is how the frozen image was opened. */
static gboolean
describe_images (EngineNote *note, ChainsDb *db, const ChainsSnapshotDisk *part, gint64 base, GError **error)
{
  note->image = get_image (db, part->image, error);
  if (note->image == NULL || !describe_below (note, db, part, base, error))
    return FALSE;
  g_clear_pointer (&note->image->created_by, g_free);
  g_clear_pointer (&note->image->options, g_free);
  if (part->overlay == 0)
    return TRUE;
  note->overlay = get_image (db, part->overlay, error);
  if (note->overlay == NULL)
    return FALSE;
  note->overlay->virtual_size = 0;
  forget_frozen (note->overlay);
  return describe_parent (note, db, part, error);
}

static gboolean
describe_active (EngineNote *note, ChainsDb *db, const ChainsDisk *disk, const ChainsSnapshotDisk *part, GError **error)
{
  g_autoptr (ChainsImage) active = NULL;

  if (disk->active == part->overlay)
    return TRUE;
  active = chains_images_get (db, disk->active, error);
  if (active == NULL)
    return FALSE;
  note->active = g_strdup (active->path);
  return TRUE;
}

static ChainsVm *
copy_vm (const ChainsVm *vm, GError **error)
{
  g_autoptr (JsonObject) object = engine_document_from_vm (vm);

  return engine_document_to_vm (object, error);
}

static ChainsSnapshot *
copy_snapshot (const ChainsSnapshot *snapshot, GError **error)
{
  g_autoptr (JsonObject) object = engine_document_from_snapshot (snapshot);
  ChainsSnapshot *copy = engine_document_to_snapshot (object, error);

  for (guint i = 0; copy != NULL && i < snapshot->disks->len; i++) {
    ChainsSnapshotDisk *part = chains_snapshot_disk_new ();

    part->disk_name = g_strdup (((const ChainsSnapshotDisk *)g_ptr_array_index (snapshot->disks, i))->disk_name);
    g_ptr_array_add (copy->disks, part);
  }
  return copy;
}

EngineNote *
engine_note_describe (ChainsDb *db, const ChainsVm *vm, const ChainsDisk *disk, const ChainsSnapshot *snapshot,
                      const ChainsSnapshotDisk *part, GError **error)
{
  g_autoptr (EngineNote) note = note_new ();

  note->vm = copy_vm (vm, error);
  note->snapshot = note->vm != NULL ? copy_snapshot (snapshot, error) : NULL;
  if (note->snapshot == NULL || !describe_disk (note, db, disk, error) ||
      !describe_images (note, db, part, disk->base, error) || !describe_active (note, db, disk, part, error))
    return NULL;
  return g_steal_pointer (&note);
}
