/*
 * What a folder's file system is like, as far as images care: does it outlive a
 * power cut, is it this host's own, what can it do, how much room is there.
 */
#pragma once

#include <glib.h>

/**
 * EngineFilesystemKind:
 * @ENGINE_FILESYSTEM_LOCAL: on a disk of this host, as far as can be told
 * @ENGINE_FILESYSTEM_MEMORY: gone at a power cut, and when the host stops
 * @ENGINE_FILESYSTEM_NETWORK: another machine's, or a process's: locks and syncs are as good as that one's
 */
typedef enum {
  ENGINE_FILESYSTEM_LOCAL,
  ENGINE_FILESYSTEM_MEMORY,
  ENGINE_FILESYSTEM_NETWORK,
} EngineFilesystemKind;

/** @name: as mount(8) calls it; @magic: 0, and no name, for any that makes no difference */
typedef struct {
  const char *name;
  guint32 magic;
  EngineFilesystemKind kind;
} EngineFilesystemType;

/** The type of the file system that holds @path; a device node is not its own data. Source: statfs(2). Borrowed. */
const EngineFilesystemType *engine_filesystem_type (const char *path);

/** The same by its number, as statfs(2) gives it. */
const EngineFilesystemType *engine_filesystem_type_of (guint32 magic);

/**
 * EngineFilesystem:
 * @unnamed_files: files can be made without a name (O_TMPFILE); %TRUE also where it cannot be tried
 * @birth_times: it says when a file was made
 * @available: bytes that we may still write; @inodes: files that we may still make, G_MAXINT64 where it has no limit
 */
typedef struct {
  const EngineFilesystemType *type;
  guint64 device;
  gboolean unnamed_files;
  gboolean birth_times;
  gint64 available;
  gint64 inodes;
} EngineFilesystem;

/** @available and @inodes alone, as in EngineFilesystem. Returns: %FALSE where they cannot be had; errno says why */
gboolean engine_filesystem_get_room (const char *folder, gint64 *available, gint64 *inodes) G_GNUC_WARN_UNUSED_RESULT;

/** Looks at the file system of @folder. Leaves nothing behind. Returns: %FALSE where it cannot be looked at */
gboolean engine_filesystem_look (const char *folder, EngineFilesystem *out) G_GNUC_WARN_UNUSED_RESULT;
