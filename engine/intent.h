/*
 * What an operation that puts overlays on disks is about to do, as the journal
 * holds it: made before the first side effect, and all that is needed to
 * record the operation as done, or to take it back, by whoever is alive then.
 */
#pragma once

#include "engine/imagefile.h"
#include "engine/op.h"

/**
 * EngineIntentOverlay: one disk's part
 * @path: of the new overlay
 * @reused: the file is the user's, and is not removed
 * @device, @inode, @born_ns: identity of the file that is to appear at @path; 0 where the file system makes no
 *     unnamed files
 * @node, @file_node: its names in QEMU
 * @backing, @backing_format: the image that it goes on: the active one until then
 * @backing_mode: the mode of that image's file before it is sealed (engine/seal); 0: it is not to be sealed
 * @options: as engine_nodeoptions_to_json() gives them
 * @live: (nullable): as engine_known_after() gives it; not in the journal
 */
typedef struct {
  char *disk;
  char *path;
  gboolean reused;
  guint64 device;
  guint64 inode;
  gint64 born_ns;
  char *node;
  char *file_node;
  char *backing;
  char *backing_format;
  guint backing_mode;
  gint64 virtual_size;
  char *options;
  char *live;
} EngineIntentOverlay;

EngineIntentOverlay *engine_intent_overlay_new (void);

/**
 * EngineIntent:
 * @snapshot: id, name, description, tags, protected, automatic
 * @overlays: (element-type EngineIntentOverlay)
 * @freezes: the guest is to be frozen for the switch
 * @qemu: QEMU's process, 0 where unknown: another one later has another guest in it
 */
typedef struct {
  ChainsSnapshot *snapshot;
  GPtrArray *overlays;
  gboolean freezes;
  gint64 qemu;
} EngineIntent;

EngineIntent *engine_intent_new (void);
void engine_intent_free (EngineIntent *intent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineIntent, engine_intent_free)

/** For the journal. Returns: (transfer full) */
JsonObject *engine_intent_to_json (const EngineIntent *intent);

/** From the journal. Raises %ENGINE_ERROR_FAILED where it is not one of ours. Returns: (transfer full) */
EngineIntent *engine_intent_from_json (const char *text, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_intent_is_ours:
 * Whether @file, which is at the overlay's path now, is the one that the operation made, by inode and birth. Never so
 * where the file system gave it no identity beforehand.
 */
gboolean engine_intent_is_ours (const EngineIntentOverlay *overlay, const EngineImagefile *file);

/**
 * engine_intent_record:
 * @snapshot: (transfer none): the intent's, with consistency, reason, frozen_us and created_us filled in
 * @end: end the operation too; else it stays open for something that is still to be done
 * The overlays are active now: one commit writes images, snapshot and outcome.
 */
gboolean engine_intent_record (EngineVm *vm, const char *op, EngineIntent *intent, gboolean end, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_intent_undo:
 * @why: (nullable): what undid it, for the log
 * @end: as for engine_intent_record()
 * The overlays never became active: closes their nodes where QEMU runs, removes the files that we made, and ends the
 * operation. May be run again after a death in the middle. A file that cannot be shown to be ours stays, with a
 * warning.
 */
gboolean engine_intent_undo (EngineVm *vm, const char *op, const EngineIntent *intent, const char *why, gboolean end,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;
