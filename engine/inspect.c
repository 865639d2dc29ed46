/*
 * Looks at image files without QEMU: are they there, are the frozen ones as they
 * were, do the headers name the right backing images? Knows the database's rows
 * and the files; what QEMU runs on is engine/drift's.
 */
#include "engine/inspect.h"

#include "chains/snapshots.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/qcow2.h"

#define RESTORE "bring the file back, or restore it from a backup"

gboolean
engine_inspect_remember (ChainsImage *image, GError **error)
{
  g_autoptr (EngineQcow2) header = NULL;
  EngineImagefile file;

  if (!engine_imagefile_stat (image->path, &file, error))
    return FALSE;
  image->frozen_size = file.size;
  image->frozen_mtime_ns = file.mtime_ns;
  image->frozen_ctime_ns = file.ctime_ns;
  if (g_str_equal (image->format, "qcow2"))
    header = engine_qcow2_read (image->path, NULL);
  g_free (image->frozen_header);
  image->frozen_header = header != NULL ? g_strdup (header->digest) : NULL;
  return TRUE;
}

static void
check_header (const EngineTreeImage *image, const char *disk, GPtrArray *problems)
{
  const ChainsImage *row = image->image;
  g_autoptr (GError) failure = NULL;
  g_autoptr (EngineQcow2) header = engine_qcow2_read (row->path, &failure);
  const char *backing = image->parent != NULL ? image->parent->image->path : NULL;

  if (header == NULL) {
    engine_problem_add (problems, "bad-header", TRUE, disk, row->path, RESTORE, "%s", failure->message);
    return;
  }
  if (!engine_imagefile_names (row->path, header->backing, backing))
    engine_problem_add (problems, "wrong-backing-name", TRUE, disk, row->path,
                        "`qemu-img rebase -u` with the right name, while nothing uses it",
                        "'%s' names '%s' as its backing image, and that is '%s'", row->path,
                        header->backing != NULL ? header->backing : "none", backing != NULL ? backing : "none");
  if (row->frozen_header != NULL && !g_str_equal (row->frozen_header, header->digest))
    engine_problem_add (problems, "image-changed", TRUE, disk, row->path, RESTORE,
                        "the header of '%s' was changed since it was frozen: the snapshots on it may be spoiled",
                        row->path);
}

static void
check_frozen (const EngineTreeImage *image, const char *disk, GPtrArray *problems)
{
  const ChainsImage *row = image->image;
  EngineImagefile file;

  if (row->frozen_mtime_ns == 0 || !engine_imagefile_stat (row->path, &file, NULL) || file.block)
    return;
  if (file.size != row->frozen_size || file.mtime_ns != row->frozen_mtime_ns)
    engine_problem_add (problems, "image-changed", TRUE, disk, row->path, RESTORE,
                        "'%s' was written to since it was frozen: the snapshots on it and above it may be spoiled",
                        row->path);
  else if (file.ctime_ns != row->frozen_ctime_ns)
    engine_problem_add (problems, "image-touched", FALSE, disk, row->path, NULL,
                        "owner, mode, links or attributes of '%s' were changed since it was frozen", row->path);
}

void
engine_inspect_image (const EngineTreeImage *image, const char *disk, EngineInspectDepth depth, GPtrArray *problems)
{
  if (image->state == ENGINE_TREE_MISSING) {
    engine_problem_add (problems, "image-missing", TRUE, disk, image->image->path, RESTORE, "image '%s' is missing",
                        image->image->path);
    return;
  }
  if (image->image->owned)
    check_frozen (image, disk, problems);
  if (depth == ENGINE_INSPECT_HEADERS && image->image->owned && g_str_equal (image->image->format, "qcow2"))
    check_header (image, disk, problems);
}

gboolean
engine_inspect_chain (EngineVm *vm, const ChainsDisk *disk, EngineInspectDepth depth, GError **error)
{
  return engine_inspect_from (vm, disk, disk->active, depth, error);
}

gboolean
engine_inspect_from (EngineVm *vm, const ChainsDisk *disk, gint64 row, EngineInspectDepth depth, GError **error)
{
  g_autoptr (GPtrArray) problems = engine_problem_list_new ();
  g_autoptr (GPtrArray) none = g_ptr_array_new ();
  g_autoptr (EngineTree) tree = engine_tree_read_disk (vm->context, chains_disk_copy (disk), none, error);
  const EngineProblem *wrong;

  if (tree == NULL)
    return FALSE;
  for (const EngineTreeImage *image = engine_tree_find (tree, row); image != NULL; image = image->parent)
    engine_inspect_image (image, disk->name, depth, problems);
  wrong = engine_problem_first_error (problems);
  if (wrong == NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_DRIFT, wrong->repair, "VM '%s', disk '%s': %s", vm->record->name, disk->name,
                    wrong->message);
  return FALSE;
}
