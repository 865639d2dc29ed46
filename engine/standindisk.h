/*
 * The disks of a VM that is shut off, whom nobody can ask: names, and chains of
 * images.
 */
#pragma once

#include "engine/vm.h"

/** One image of a chain. @options: (nullable): as engine_nodeoptions_to_json() gives them */
typedef struct {
  char *path;
  char *format;
  char *options;
} EngineStandinImage;

/** A disk: its name, and its images (element-type EngineStandinImage), the active one first. */
typedef struct {
  char *name;
  GPtrArray *images;
} EngineStandinDisk;

/** A disk without images yet. Returns: (transfer full) */
EngineStandinDisk *engine_standindisk_new (const char *name);
void engine_standindisk_free (EngineStandinDisk *disk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineStandinDisk, engine_standindisk_free)

/** One image more, below those that are there. @options: (nullable) */
void engine_standindisk_add (EngineStandinDisk *disk, const char *path, const char *format, const char *options);

/**
 * engine_standindisk_read:
 * Adds to @disk the image at @path and all that its header, and those below, name. What is no qcow2 is raw, unless
 * its name says otherwise; a header that does not give its backing image's format, or names what is no local file, is
 * refused: nothing is guessed. Raises %ENGINE_ERROR_NO_SUCH_IMAGE, %ENGINE_ERROR_REFUSED.
 */
gboolean engine_standindisk_read (EngineStandinDisk *disk, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_standindisk_list_registered:
 * Those of @vm that are not ignored, after a look at their images. Raises %ENGINE_ERROR_DRIFT.
 * Returns: (transfer full) (element-type EngineStandinDisk)
 */
GPtrArray *engine_standindisk_list_registered (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
