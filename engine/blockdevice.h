/*
 * Block devices as the kernel stacks them: a loop device is its file, a partition a
 * part of its disk, a device of the mapper lies on others. Told by /sys/dev/block.
 */
#pragma once

#include "engine/imagefile.h"

/**
 * engine_blockdevice_overlap:
 * Whether what is written to the file or block device @path may be read from the one at @other, and the other way
 * round: they are the same, or one lies on the other. Two partitions of one disk do not overlap. What sysfs does not
 * tell (a loop device's file in another mount namespace, say) is not seen. Source: Linux
 * Documentation/ABI/stable/sysfs-block.
 */
gboolean engine_blockdevice_overlap (const char *path, const char *other);

/** What the kernel has on the block device @file ("dm-0"), or %NULL. Returns: (transfer full) (nullable) */
char *engine_blockdevice_holder (const EngineImagefile *file);
