/*
 * The verbs `vm add` and `vm remove`: which VMs are looked after. Never touches an
 * image.
 */
#pragma once

#include "engine/vmview.h"

/** A disk that nobody can be asked for: what the guest calls it, and its active image. */
typedef struct {
  const char *name;
  const char *path;
} EngineRegistrationDisk;

/**
 * EngineRegistrationRequest:
 * @qmp: unix:PATH or PATH; @agent, @guest: (nullable) addresses
 * @ignore: (nullable) (array zero-terminated=1): disks that no verb touches unless they are named
 * @own: (nullable) (array zero-terminated=1): images below the active ones down to which the disks are owned
 * @adopt: overlays that exist become snapshots
 * @disks: (nullable) (element-type EngineRegistrationDisk): of a VM that is shut off, in guest order
 */
typedef struct {
  const char *name;
  const char *qmp;
  const char *agent;
  const char *guest;
  ChainsQuiesce quiesce;
  const char *const *ignore;
  const char *const *own;
  gboolean adopt;
  const GPtrArray *disks;
} EngineRegistrationRequest;

/**
 * engine_registration_add:
 * Registers a VM, running or (with @request's disks) shut off: each disk's active image becomes its base, what lies
 * below is foreign, unless @request owns or adopts it. A silent agent is a warning. Raises CHAINS_ERROR_EXISTS,
 * QMP_ERROR's, %ENGINE_ERROR_REFUSED where an image is another VM's or the VM is libvirt's, %ENGINE_ERROR_UNSUPPORTED
 * where this QEMU lacks what snapshots need, %ENGINE_ERROR_NO_SUCH_IMAGE for one to own that is in no chain.
 *
 * Returns: (transfer full)
 */
EngineVmView *engine_registration_add (EngineContext *context, const EngineRegistrationRequest *request, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Forgets the VM and its snapshots; its images stay as they are. Returns: (transfer full): what was forgotten */
EngineVmView *engine_registration_remove (EngineContext *context, const char *name, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
