/*
 * What libvirt looks after: its QEMUs and the images that its domains name. Two
 * managers of one chain undo each other's work, so those are refused.
 */
#pragma once

#include <glib.h>

/** Whether the monitor at @path is one that libvirt makes: below its own folders. */
gboolean engine_libvirt_has_monitor (const char *path);

/** Whether libvirt started the QEMU with command line @arguments (nullable): it hands each a secret, masterKey0. */
gboolean engine_libvirt_has_arguments (char **arguments);

/** That the monitor at @address is not libvirt's. Raises %ENGINE_ERROR_REFUSED, with a recipe. */
gboolean engine_libvirt_check_monitor (const char *address, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** That libvirt did not start the QEMU of VM @name. Raises %ENGINE_ERROR_REFUSED, with a recipe. */
gboolean engine_libvirt_check_arguments (const char *name, char **arguments, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Where libvirt keeps its domains' definitions: the system's, this user's. Returns: (transfer full) */
char **engine_libvirt_list_folders (void);

/**
 * engine_libvirt_find_domain:
 * @folders: (array zero-terminated=1): with domain definitions, *.xml; what cannot be read is passed over
 * The domain that has the image at @path as its disk, by name or by what it is. Returns: (transfer full) (nullable)
 */
char *engine_libvirt_find_domain (const char *const *folders, const char *path);

/** That no domain of engine_libvirt_list_folders() names the image at @path. Raises %ENGINE_ERROR_REFUSED. */
gboolean engine_libvirt_check_image (const char *disk, const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
