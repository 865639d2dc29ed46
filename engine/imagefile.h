/*
 * Image files as the file system and the qcow2 format have them, looked at
 * without QEMU: identity, locks, and the header.
 */
#pragma once

#include <glib.h>

/**
 * EngineImagefile: what stat(2) says
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

/** Whether the file at @path begins as a qcow2 image does. Raises %ENGINE_ERROR_NO_SUCH_IMAGE. */
gboolean engine_imagefile_is_qcow2 (const char *path, gboolean *qcow2, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The virtual size in bytes that the qcow2 header at @path gives now; QEMU writes it there when it resizes. */
gboolean engine_imagefile_read_size (const char *path, gint64 *size, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * EngineQcow2: a qcow2 header
 * @backing: (nullable): the backing file name as it stands there
 * @backing_format: (nullable)
 * @virtual_size: bytes
 * @empty: no guest cluster is mapped: reading it is reading its backing image
 * @digest: hex SHA-256 of header, extensions and backing name, which no guest write changes
 */
typedef struct {
  char *backing;
  char *backing_format;
  gint64 virtual_size;
  gboolean encrypted;
  gboolean extended_l2;
  gboolean empty;
  char *digest;
} EngineQcow2;

/**
 * engine_imagefile_read_qcow2:
 * Reads the header at @path; never writes, takes no lock. Source: QEMU docs/interop/qcow2.txt, "Header",
 * "Header extensions". Raises %ENGINE_ERROR_NO_SUCH_IMAGE, %ENGINE_ERROR_FAILED for what is no sound qcow2.
 *
 * Returns: (transfer full)
 */
EngineQcow2 *engine_imagefile_read_qcow2 (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void engine_imagefile_qcow2_free (EngineQcow2 *header);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineQcow2, engine_imagefile_qcow2_free)
