/*
 * The files that a merge writes to, and who may. Nobody else's are touched: what was
 * sealed is told by its file, as the journal has it.
 */
#include "engine/mergeseal.h"

#include "engine/error.h"
#include "engine/process.h"
#include "engine/seal.h"

#define WRITABLE 0222

static gboolean
is_sealed (const EngineImagefile *file)
{
  return file->regular && (file->mode & WRITABLE) == 0;
}

guint
engine_mergeseal_mode_of (const char *path, const char *active)
{
  EngineImagefile file, like;

  if (!engine_imagefile_stat (path, &file, NULL) || !is_sealed (&file))
    return 0;
  if (engine_imagefile_stat (active, &like, NULL) && like.mode != file.mode &&
      (like.mode & ~(guint)WRITABLE) == file.mode)
    return like.mode;
  return file.mode | 0200;
}

/* ---- who may ---- */

static gboolean
may_write (const EngineProcess *qemu, const char *path, guint mode)
{
  g_autofree char *folder = g_path_get_dirname (path);
  EngineImagefile file;

  if (mode == 0)
    return engine_process_may (qemu, path, ENGINE_PROCESS_READ | ENGINE_PROCESS_WRITE);
  return !engine_imagefile_stat (path, &file, NULL) ||
         engine_process_may_in (qemu, folder, file.uid, file.gid, mode, ENGINE_PROCESS_READ | ENGINE_PROCESS_WRITE);
}

static gboolean
check (const EngineVm *vm, const EngineProcess *qemu, const EngineMergePart *part, const EngineMergeImage *image,
       guint mode, GError **error)
{
  if (image == NULL || !g_path_is_absolute (image->path) || may_write (qemu, image->path, mode))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "give it an owner and a mode that let QEMU's user write to it",
                    "VM '%s', disk '%s': QEMU runs as user %u and may not write to '%s', which the merge changes",
                    vm->record->name, part->disk, qemu->uid, image->path);
  return FALSE;
}

gboolean
engine_mergeseal_check (EngineVm *vm, const EngineMergePart *part, GError **error)
{
  g_autoptr (EngineProcess) qemu = engine_process_read (vm->qemu);

  return qemu == NULL || (check (vm, qemu, part, part->receiver, part->receiver_mode, error) &&
                          check (vm, qemu, part, part->above, part->above_mode, error));
}

/* ---- opened up ---- */

static EngineSealFile
describe (const EngineMergePart *part, const EngineMergeImage *image)
{
  return (EngineSealFile){part->disk, image->path, image->device, image->inode};
}

static gboolean
open_up (EngineVm *vm, const EngineProcess *qemu, const EngineMergePart *part, const EngineMergeImage *image,
         guint mode, GError **error)
{
  EngineSealFile sealed;
  EngineImagefile file;

  if (mode == 0)
    return TRUE;
  sealed = describe (part, image);
  if (!engine_seal_open (vm->context, &sealed, mode, error))
    return FALSE;
  if (qemu == NULL || qemu->overrides || !engine_imagefile_stat (image->path, &file, NULL) || !is_sealed (&file))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED,
                    "let it be changed, or give it a mode that lets QEMU's user write to it",
                    "VM '%s', disk '%s': '%s' is sealed, and could not be opened up for the merge", vm->record->name,
                    part->disk, image->path);
  return FALSE;
}

gboolean
engine_mergeseal_open (EngineVm *vm, const EngineMergeIntent *intent, GError **error)
{
  g_autoptr (EngineProcess) qemu = engine_process_read (vm->qemu);

  for (guint i = 0; i < intent->parts->len; i++) {
    const EngineMergePart *part = g_ptr_array_index (intent->parts, i);

    if (!open_up (vm, qemu, part, part->receiver, part->receiver_mode, error) ||
        !open_up (vm, qemu, part, part->above, part->above_mode, error))
      return FALSE;
  }
  return TRUE;
}

/* ---- sealed again ---- */

static gboolean
seal (EngineVm *vm, const EngineMergePart *part, const EngineMergeImage *image, guint mode, GError **error)
{
  EngineSealFile file;

  if (mode == 0)
    return TRUE;
  file = describe (part, image);
  return engine_seal_close (vm->context, &file, mode, error);
}

gboolean
engine_mergeseal_close (EngineVm *vm, const EngineMergeIntent *intent, GPtrArray *merged, GError **error)
{
  for (guint i = 0; i < intent->parts->len; i++) {
    EngineMergePart *part = g_ptr_array_index (intent->parts, i);
    gboolean active = intent->kind == ENGINE_MERGE_COMMIT && engine_mergeintent_is_active (part) && merged != NULL &&
                      g_ptr_array_find (merged, part, NULL);

    if ((!active && !seal (vm, part, part->receiver, part->receiver_mode, error)) ||
        !seal (vm, part, part->above, part->above_mode, error))
      return FALSE;
  }
  return TRUE;
}
