/*
 * New images that hold nothing yet and belong to no VM of ours: made, never over
 * another file; on the disk; taken back.
 */
#pragma once

#include "engine/context.h"

/**
 * EngineNewimage:
 * @disk: for messages
 * @path: absolute
 * @format: "qcow2" or "raw"
 * @virtual_size: bytes, a multiple of 512
 * @backing, @backing_format: (nullable): of a qcow2, what lies below it, absolute; its owner, mode and label are taken
 * @fd: the file, open, once it is made; else -1
 */
typedef struct {
  char *disk;
  char *path;
  char *format;
  gint64 virtual_size;
  char *backing;
  char *backing_format;
  int fd;
} EngineNewimage;

/** Not made yet, with nothing below it. Returns: (transfer full) */
EngineNewimage *engine_newimage_new (const char *disk, const char *path, const char *format, gint64 virtual_size);
void engine_newimage_free (EngineNewimage *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineNewimage, engine_newimage_free)

/**
 * engine_newimage_check:
 * Whether it could be made as it is described: its size, the length of its backing name, and that nothing is at its
 * path. Raises %ENGINE_ERROR_USAGE, %ENGINE_ERROR_EXISTS.
 */
gboolean engine_newimage_check (const EngineNewimage *image, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_newimage_make:
 * Makes the file (mode 0600, but for @backing's) and writes what a blank image consists of. Not synced. Where it fails
 * nothing is left at its path but what was there before. Raises %ENGINE_ERROR_EXISTS, %ENGINE_ERROR_FAILED.
 */
gboolean engine_newimage_make (EngineContext *context, EngineNewimage *image, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Removes the file, where it was made and is still the one at its path. */
void engine_newimage_remove (EngineNewimage *image);

/** What is in the file is on the disk after this. Raises %ENGINE_ERROR_FAILED. */
gboolean engine_newimage_sync (const EngineNewimage *image, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Bytes that the file takes on the disk, 0 where that cannot be said. */
gint64 engine_newimage_allocated (const EngineNewimage *image);
