/*
 * The VMs that are looked after, and their disks.
 */
#pragma once

#include "chains/db.h"
#include "chains/model.h"

/** Adds @vm and gives it its row id. Raises %CHAINS_ERROR_EXISTS, %CHAINS_ERROR_INVALID. */
gboolean chains_registry_add_vm (ChainsDb *db, ChainsVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Returns: (transfer full). Raises %CHAINS_ERROR_NOT_FOUND, with the nearest name where one is near. */
ChainsVm *chains_registry_get_vm (ChainsDb *db, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Returns: (transfer full) (element-type ChainsVm) by name */
GPtrArray *chains_registry_list_vms (ChainsDb *db, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Writes @vm's members (all but id and created). Raises %CHAINS_ERROR_NOT_FOUND and those of adding. */
gboolean chains_registry_update_vm (ChainsDb *db, const ChainsVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Forgets @vm, its disks, images and snapshots; its operations stay in the log. Touches no file. */
gboolean chains_registry_remove_vm (ChainsDb *db, gint64 vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Adds @disk and gives it its row id. Raises %CHAINS_ERROR_EXISTS where the VM has a disk of that name. */
gboolean chains_registry_add_disk (ChainsDb *db, ChainsDisk *disk, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Sets base, active, device, ignored and position of @disk. Raises %CHAINS_ERROR_NOT_FOUND. */
gboolean chains_registry_update_disk (ChainsDb *db, const ChainsDisk *disk, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Sets what is known of @disk in the QEMU that runs. @live: (nullable): JSON object. Raises %CHAINS_ERROR_NOT_FOUND.
 */
gboolean chains_registry_set_live (ChainsDb *db, gint64 disk, const char *live, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Forgets disk row @disk, its images, and its parts of snapshots. Touches no file. Raises %CHAINS_ERROR_NOT_FOUND. */
gboolean chains_registry_remove_disk (ChainsDb *db, gint64 disk, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Returns: (transfer full) (element-type ChainsDisk) in guest order */
GPtrArray *chains_registry_list_disks (ChainsDb *db, gint64 vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
