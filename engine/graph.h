/*
 * QEMU's live graph read as chains: which devices are disks, what each is
 * called, and the images under it from the active one down to the lowest.
 * Works by node, never by file name, so it holds at any depth.
 */
#pragma once

#include "engine/vm.h"
#include "qmp/nodes.h"

/**
 * EngineLayer: one image of a live chain
 * @node: its format node; @file: (nullable): the node that holds its bytes. Borrowed from the graph.
 * @between: (nullable): the uppermost node between those two: a filter, or another format
 * @path: absolute path, or QEMU's own words where it is no local file
 * @format: as a header names it; "raw" also where the device sits on the bytes themselves
 * @local: a file or block device on this host
 * @device, @inode: its identity, 0 where not @local
 */
typedef struct {
  const QmpNode *node;
  const QmpNode *file;
  const QmpNode *between;
  char *path;
  const char *format;
  gboolean local;
  guint64 device;
  guint64 inode;
} EngineLayer;

/**
 * EngineGraphDisk: one device
 * @name: as the contract names disks: qdev id, else BlockBackend name, else its part of the QOM path
 * @backend: BlockBackend name, "" where it has none
 * @device: (nullable): as query-block has it
 * @skipped: (nullable): why it is no disk ("CD-ROM", "floppy", "flash", "SD card", "no medium")
 * @filters: (element-type QmpNode): filter nodes between the device and the active image. Borrowed nodes.
 * @layers: (element-type EngineLayer): the active image first
 */
typedef struct {
  char *name;
  char *backend;
  char *device;
  const char *skipped;
  GPtrArray *filters;
  GPtrArray *layers;
} EngineGraphDisk;

/** @known: it was not asked for in full (engine/known): each disk's first layer alone, the others being as remembered
 */
typedef struct {
  QmpNodes *nodes;
  GPtrArray *disks;
  gboolean known;
} EngineGraph;

/** Without disks yet. @nodes: (transfer full). Returns: (transfer full) */
EngineGraph *engine_graph_new (QmpNodes *nodes);

/** Asks @vm's monitor. Raises QMP_ERROR's, and %ENGINE_ERROR_REFUSED where QEMU would die of it. Returns: (transfer
 * full)
 */
EngineGraph *engine_graph_read (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void engine_graph_free (EngineGraph *graph);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineGraph, engine_graph_free)

/** The active image of @disk. Borrowed. */
const EngineLayer *engine_graph_head (const EngineGraphDisk *disk);

/** The name of the uppermost node below the device of @disk: a filter's, else the active image's. Borrowed. */
const char *engine_graph_root (const EngineGraphDisk *disk);

/** Whether the guest may not write to @disk. A dry run's stand-in has disks open read-only that are not. */
gboolean engine_graph_is_read_only (const EngineVm *vm, const EngineGraphDisk *disk);

/**
 * engine_graph_why_nameless:
 * Why @layer is not what its path and format say, so that a header which names it would mean something else: only a
 * part of the file, or data in another file. %NULL where all is well.
 */
const char *engine_graph_why_nameless (const EngineLayer *layer);

/** Borrowed, or %NULL. */
const EngineGraphDisk *engine_graph_find (const EngineGraph *graph, const char *name);

/** A disk that is known without asking: @node on @file, which is at @path. Returns: (transfer full) */
EngineGraphDisk *engine_graph_disk_new_known (const char *name, const char *device, const QmpNode *node,
                                              const QmpNode *file, const char *path);

/** The QOM path of a device as query-block names it. Returns: (transfer full) */
char *engine_graph_qom_path (const char *device);

/** Whether that is a virtio-blk device, which query-block names by the path of its backend. */
gboolean engine_graph_is_virtio_blk (const char *device);
