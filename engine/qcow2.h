/*
 * As much of the qcow2 format as a chain needs: the header is read, and an
 * image that holds nothing yet is written. What a guest writes is QEMU's.
 */
#pragma once

#include <glib.h>

/** Bytes that a backing file name has at most. Source: QEMU docs/interop/qcow2.txt, "Header". */
#define ENGINE_QCOW2_MAX_BACKING 1023

/** Whether the file at @path begins as a qcow2 image does. Raises %ENGINE_ERROR_NO_SUCH_IMAGE. */
gboolean engine_qcow2_is (const char *path, gboolean *qcow2, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The virtual size in bytes that the qcow2 header at @path gives now; QEMU writes it there when it resizes. */
gboolean engine_qcow2_read_size (const char *path, gint64 *size, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * EngineQcow2: a qcow2 header
 * @backing: (nullable): the backing file name as it stands there
 * @backing_format: (nullable)
 * @virtual_size: bytes
 * @data_file: what the guest writes goes into another file, which the header names
 * @empty: no guest cluster is mapped: reading it is reading its backing image
 * @digest: hex SHA-256 of header, extensions and backing name, which no guest write changes
 * @stamp: the same, but for what QEMU changes by itself while it writes: where the tables are, marks, autoclear
 * features
 */
typedef struct {
  char *backing;
  char *backing_format;
  gint64 virtual_size;
  gboolean encrypted;
  gboolean extended_l2;
  gboolean data_file;
  gboolean empty;
  char *digest;
  char *stamp;
} EngineQcow2;

/**
 * engine_qcow2_read:
 * Reads the header at @path; never writes, takes no lock. Source: QEMU docs/interop/qcow2.txt, "Header",
 * "Header extensions". Raises %ENGINE_ERROR_NO_SUCH_IMAGE, %ENGINE_ERROR_FAILED for what is no sound qcow2.
 *
 * Returns: (transfer full)
 */
EngineQcow2 *engine_qcow2_read (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** @stamp of the qcow2 image that is open at @fd. Returns: (transfer full) (nullable): %NULL where it cannot be read */
char *engine_qcow2_read_stamp (int fd);

void engine_qcow2_free (EngineQcow2 *header);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineQcow2, engine_qcow2_free)

/**
 * EngineQcow2Blank: an image to which nothing has been written
 * @backing, @backing_format: (nullable): the image below it, as its header is to name it
 * @virtual_size: bytes, a multiple of 512
 * @cluster_size: bytes, a power of two from 512 to 2 MiB; 0: 64 KiB, as QEMU takes it
 * @extended_l2: whether its clusters have subclusters
 * @mark: (nullable): a word that no other image has, put behind the backing name where there is room: nothing reads it,
 *     QEMU keeps it until it writes the header anew, and @digest and @stamp of EngineQcow2 tell it
 */
typedef struct {
  const char *backing;
  const char *backing_format;
  gint64 virtual_size;
  gint64 cluster_size;
  gboolean extended_l2;
  const char *mark;
} EngineQcow2Blank;

/**
 * engine_qcow2_blank_size:
 * Bytes that @blank takes on disk at most: header, refcount table and blocks, L1 table; its names do not matter. -1
 * where its L1 table would be larger than QEMU allows. Source: QEMU block/qcow2.h, QCOW_MAX_L1_SIZE.
 */
gint64 engine_qcow2_blank_size (const EngineQcow2Blank *blank);

/** How many bytes its backing name may have: with the header it lies in the first cluster. Its name does not matter. */
gsize engine_qcow2_blank_max_backing (const EngineQcow2Blank *blank);

/**
 * engine_qcow2_write_blank:
 * @fd: an empty file
 * Writes version 3 without optional features, laid out as `blockdev-create` does it, so that QEMU opens it like one of
 * its own. Not synced. Source: QEMU docs/interop/qcow2.txt, "Header", "Host cluster management", "Cluster mapping".
 * @errno tells why where it fails.
 */
gboolean engine_qcow2_write_blank (int fd, const EngineQcow2Blank *blank) G_GNUC_WARN_UNUSED_RESULT;
