/*
 * The verb `vm discover`: which QEMUs run on this host, and whose they are.
 */
#pragma once

#include "engine/vmview.h"

/**
 * EngineDiscovered:
 * @view: as a registered VM is shown, without disks; its record's name is the guest's, else one made up
 * @registered: (nullable): the name under which it is registered
 * @suggestion: a name under which it could be
 * @libvirt: libvirt manages it
 */
typedef struct {
  EngineVmView *view;
  char *registered;
  char *suggestion;
  gboolean libvirt;
} EngineDiscovered;

/**
 * engine_discover_run:
 * @folders: (array zero-terminated=1): whose sockets are tried too
 * QEMUs and storage daemons with a QMP socket, from /proc; and what answers like one at a socket in @folders. A monitor
 * that is registered is not connected to, one that is busy is left alone. What cannot be seen is a warning.
 *
 * Returns: (transfer full) (element-type EngineDiscovered) by name
 */
GPtrArray *engine_discover_run (EngineContext *context, const char *const *folders, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
