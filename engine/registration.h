/*
 * The verbs `vm add`, `vm list`, `vm show`, `vm remove`: which VMs are looked
 * after, and what each is like now. Never touches an image.
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
 */
typedef struct {
  ChainsVm *record;
  EngineVmState state;
  GPtrArray *disks;
  GPtrArray *skipped;
} EngineVmView;

void engine_registration_view_free (EngineVmView *view);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineVmView, engine_registration_view_free)

/**
 * EngineRegistrationRequest:
 * @qmp: unix:PATH or PATH; @agent, @guest: (nullable) addresses
 * @ignore: (nullable) (array zero-terminated=1): disks that no verb touches unless they are named
 */
typedef struct {
  const char *name;
  const char *qmp;
  const char *agent;
  const char *guest;
  ChainsQuiesce quiesce;
  const char *const *ignore;
} EngineRegistrationRequest;

/**
 * engine_registration_add:
 * Registers a running VM: each disk's active image becomes its base, what lies below is foreign.
 * A silent agent is a warning. Raises CHAINS_ERROR_EXISTS, QMP_ERROR's, %ENGINE_ERROR_REFUSED where an image is
 * another VM's, %ENGINE_ERROR_UNSUPPORTED where this QEMU lacks what snapshots need.
 *
 * Returns: (transfer full)
 */
EngineVmView *engine_registration_add (EngineContext *context, const EngineRegistrationRequest *request, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The VM and how it is now; a VM that cannot be reached is shown as such, with a warning. Returns: (transfer full) */
EngineVmView *engine_registration_show (EngineContext *context, const char *name, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** All of them, by name, without disks. Returns: (transfer full) (element-type EngineVmView) */
GPtrArray *engine_registration_list (EngineContext *context, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Forgets the VM and its snapshots; its images stay as they are. Returns: (transfer full): what was forgotten */
EngineVmView *engine_registration_remove (EngineContext *context, const char *name, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
