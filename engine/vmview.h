/*
 * A VM as it is shown: its record, its disks and whether it runs now. One form for
 * every verb that hands a VM back.
 */
#pragma once

#include "engine/graph.h"

/**
 * EngineVmDisk: a registered disk as it is now
 * @node: (nullable): its format node while the VM runs
 */
typedef struct {
  char *name;
  char *device;
  char *node;
  char *path;
  char *format;
  gint64 virtual_size;
  char *base;
  gboolean ignored;
} EngineVmDisk;

/** A device that is no disk. */
typedef struct {
  char *name;
  char *why;
} EngineVmSkipped;

/**
 * EngineVmView:
 * @disks: (element-type EngineVmDisk)
 * @skipped: (element-type EngineVmSkipped)
 * @adopted: (element-type utf8): names of the snapshots that were made of overlays that were there; `vm add` alone
 */
typedef struct {
  ChainsVm *record;
  EngineVmState state;
  GPtrArray *disks;
  GPtrArray *skipped;
  GPtrArray *adopted;
} EngineVmView;

void engine_vmview_free (EngineVmView *view);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineVmView, engine_vmview_free)

/**
 * engine_vmview_look:
 * @graph: (out) (transfer full) (nullable): %NULL where it does not run
 * Learns whether @vm runs, and its graph; what stands in the way is a warning, since the record can be shown all the
 * same, and so is another VM's answer. Raises only %G_IO_ERROR_CANCELLED.
 */
gboolean engine_vmview_look (EngineVm *vm, EngineGraph **graph, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** @vm as its rows and @graph (nullable) have it; takes its record. Returns: (transfer full) */
EngineVmView *engine_vmview_new (EngineVm *vm, const EngineGraph *graph, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The VM and how it is now; a VM that cannot be reached is shown as such, with a warning. Returns: (transfer full) */
EngineVmView *engine_vmview_show (EngineContext *context, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** All of them, by name. Returns: (transfer full) (element-type EngineVmView) */
GPtrArray *engine_vmview_list (EngineContext *context, GError **error) G_GNUC_WARN_UNUSED_RESULT;
