/*
 * The project's things as JSON, in the contract's keys: one form for every
 * command that shows them.
 */
#pragma once

#include "engine/snapshot.h"
#include "engine/tree.h"
#include "engine/vmview.h"
#include "tools/chainctl/output.h"

/** Sets @key to @text or to null. */
void chainctl_render_string (JsonObject *object, const char *key, const char *text);

/** Sets @key to @path; where it is no UTF-8, an escaped form, and the bytes under "<key>_b64". */
void chainctl_render_path (JsonObject *object, const char *key, const char *path);

/** Sets @key to @time_us (since 1970) as RFC 3339 UTC, or to null where it is 0. */
void chainctl_render_time (JsonObject *object, const char *key, gint64 time_us);

/** Sets @key to @us, or to null where it is -1. */
void chainctl_render_duration (JsonObject *object, const char *key, gint64 us);

/** @paths: (element-type utf8). Returns: (transfer full) */
JsonArray *chainctl_render_paths (const GPtrArray *paths);

/** "vm"; without @disks as in lists. Returns: (transfer full) */
JsonObject *chainctl_render_vm (const EngineVmView *view, gboolean disks);

/** How the disks in it are shown to people. */
extern const ChainctlOutputColumn chainctl_render_disk_columns[];

/** "snapshot". @vm is its VM's name. Returns: (transfer full) */
JsonObject *chainctl_render_snapshot (const ChainsSnapshot *snapshot, const char *vm);

/** One of "disks" of `tree`. Returns: (transfer full) */
JsonObject *chainctl_render_tree (const EngineTree *tree);

/** "active" of any verb that switches. Returns: (transfer full) */
JsonArray *chainctl_render_active (const GPtrArray *disks);
