/*
 * What the administrator has set, for all VMs: a key file (GKeyFile) with the
 * groups [overlay], [space] and [state]. What is not in it has its default.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/** "auto", "on", "off" */
typedef enum { CHAINS_CONFIG_AUTO, CHAINS_CONFIG_ON, CHAINS_CONFIG_OFF } ChainsConfigSwitch;

/**
 * ChainsConfig:
 * @overlay_dir: (nullable): [overlay] dir: folder of new overlays, absolute; else each lies beside its active image
 * @cluster_size: [overlay] cluster_size: bytes, 0: QEMU's own (64K)
 * @extended_l2: [overlay] extended_l2: subclusters in new overlays; auto: where QEMU is known to do them right
 * @seal: [overlay] seal: frozen images are made read-only for everybody; off unless set
 * @state_group: (nullable): [state] group: whose members may use the database too
 * @state_gid: its number, where @state_group is set
 * @reserve: [space] reserve: bytes that a verb leaves free beside what it needs; 64M unless set
 */
typedef struct {
  char *overlay_dir;
  gint64 cluster_size;
  ChainsConfigSwitch extended_l2;
  gboolean seal;
  char *state_group;
  gid_t state_gid;
  gint64 reserve;
} ChainsConfig;

/** All defaults. Returns: (transfer full) */
ChainsConfig *chains_config_new (void);

/**
 * chains_config_load:
 * Reads the file at @path. A group or key that is not known, a value that makes no sense and a file that cannot be read
 * are %CHAINS_ERROR_CONFIG: the message names the file, the group and the key, and what was probably meant.
 * Returns: (transfer full)
 */
ChainsConfig *chains_config_load (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Another reference to the same. Returns: (transfer full) */
ChainsConfig *chains_config_ref (ChainsConfig *config);
void chains_config_unref (ChainsConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsConfig, chains_config_unref)
