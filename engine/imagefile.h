/*
 * Image files as the file system and the qcow2 format have them, looked at
 * without QEMU: identity and locks.
 */
#pragma once

#include <glib.h>

/**
 * EngineImagefile: what stat(2) says
 * @device, @inode: which file it is, by whatever name; of a block device, which device, by whatever node
 * @regular: a regular file; @block: a block device
 * @allocated: bytes on disk
 * @born_ns: when the file was made, 0 where the file system does not say
 */
typedef struct {
  guint64 device;
  guint64 inode;
  gint64 size;
  gint64 allocated;
  gint64 mtime_ns;
  gint64 ctime_ns;
  gint64 born_ns;
  gboolean regular;
  gboolean block;
  guint uid;
  guint gid;
  guint mode;
} EngineImagefile;

/** statx(2). Raises %ENGINE_ERROR_NO_SUCH_IMAGE where nothing is at @path. */
gboolean engine_imagefile_stat (const char *path, EngineImagefile *out, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The same of an open file. */
gboolean engine_imagefile_stat_fd (int fd, EngineImagefile *out, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Opens @path to read; a FIFO in an image's place does not make us wait for whoever writes to it. -1 with errno. */
int engine_imagefile_open (const char *path);

/**
 * engine_imagefile_is_locked:
 * Whether a process (QEMU, or one of its tools) has the image at @path open: it
 * then holds byte-range locks from offset 100 on. A missing file is not locked; one that cannot be looked at may
 * be, and so is called locked.
 * Source: QEMU block/file-posix.c, RAW_LOCK_PERM_BASE.
 */
gboolean engine_imagefile_is_locked (const char *path);

/**
 * engine_imagefile_resolve:
 * The file that backing name @name, as the header of the image at @path has it, means; of what is no file name
 * ("json:…", "nbd:…") a path at which there is nothing. Returns: (transfer full)
 */
char *engine_imagefile_resolve (const char *path, const char *name);

/**
 * engine_imagefile_names:
 * @name: (nullable): a backing name as the header of the image at @path has it
 * @target: (nullable): the image that it ought to mean
 * Whether it does, by device and inode where both are files; relative names begin at the image's folder.
 */
gboolean engine_imagefile_names (const char *path, const char *name, const char *target);

/** BlockdevDriver (QAPI) of the node that is opened on @path: that of a file, or of a block device. */
const char *engine_imagefile_driver (const char *path);

/** Removes the file at @path, whose it is being known. */
gboolean engine_imagefile_remove (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
