/*
 * Whether the guest has file systems of these disks mounted, as its agent tells.
 */
#pragma once

#include "engine/graph.h"

/** "no", "yes", or nobody can say */
typedef enum { ENGINE_MOUNTS_NONE, ENGINE_MOUNTS_SOME, ENGINE_MOUNTS_UNKNOWN } EngineMounts;

/**
 * engine_mounts_ask:
 * @disks: (element-type EngineGraphDisk)
 * A file system counts unless it is certain that it lies on other devices than these: each device is known by its PCI
 * address, a SCSI disk by that of its controller. Whatever stands in the way is %ENGINE_MOUNTS_UNKNOWN.
 * QAPI: query-pci; qemu-ga's guest-get-fsinfo
 */
EngineMounts engine_mounts_ask (EngineVm *vm, const GPtrArray *disks);
