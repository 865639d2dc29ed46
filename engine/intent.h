/*
 * What an operation that puts overlays on disks is about to do, as the journal
 * holds it: made before the first side effect, and all that is needed to
 * record the operation as done, or to take it back, by whoever is alive then.
 */
#pragma once

#include "engine/imagefile.h"
#include "engine/op.h"
#include "qmp/nodes.h"

/**
 * EngineIntentOverlay: one disk's part
 * @path: of the new overlay; of a copy, its file or its URI
 * @format: of what is at @path
 * @reused: the file is the user's, and is not removed
 * @device, @inode, @born_ns: identity of the file that is to appear at @path; 0 where the file system makes no
 *     unnamed files
 * @stamp: (nullable): of its header as it is made (EngineQcow2); %NULL: not compared
 * @node, @file_node: its names in QEMU
 * @backing, @backing_format: (nullable): the image that it goes on: for a snapshot, @head; for a rollback, the
 *     snapshot's; a full copy stands on none
 * @head: the image that is active until then, and frozen from then on
 * @head_mode: the mode of that image's file before it is sealed (engine/seal); 0: it is not to be sealed
 * @head_node, @qdev: (nullable): the node that the device is on until then, and its QOM path, where the device is
 *     moved from one to the other; of a copy, the node in whose place it comes, where filters above that stay
 * @options: as engine_nodeoptions_to_json() gives them
 * @live: (nullable): as engine_known_after() gives it; not in the journal
 */
typedef struct {
  char *disk;
  char *path;
  char *format;
  gboolean reused;
  guint64 device;
  guint64 inode;
  gint64 born_ns;
  char *stamp;
  char *node;
  char *file_node;
  char *backing;
  char *backing_format;
  char *head;
  guint head_mode;
  char *head_node;
  char *qdev;
  gint64 virtual_size;
  char *options;
  char *live;
} EngineIntentOverlay;

EngineIntentOverlay *engine_intent_overlay_new (void);

/** An image that nothing needs once the operation has happened: its row, and the file that is removed with it. */
typedef struct {
  gint64 row;
  char *path;
  guint64 device;
  guint64 inode;
} EngineIntentDiscard;

/**
 * EngineIntent:
 * @snapshot: (nullable): id, name, description, tags, protected, automatic; none where the heads are discarded
 * @overlays: (element-type EngineIntentOverlay)
 * @opened: (element-type utf8): further nodes that are opened for it, in their order
 * @retired: (element-type utf8): nodes that nothing needs once it has happened, those above others first
 * @discards: (element-type EngineIntentDiscard): those above others first
 * @freezes: the guest is to be frozen for the switch
 * @pauses: the VM runs, and is to be paused for the switch
 * @resets: the guest is to be reset behind it
 * @qemu: QEMU's process, 0 where unknown: another one later has another guest in it
 */
typedef struct {
  ChainsSnapshot *snapshot;
  GPtrArray *overlays;
  GPtrArray *opened;
  GPtrArray *retired;
  GPtrArray *discards;
  gboolean freezes;
  gboolean pauses;
  gboolean resets;
  gint64 qemu;
} EngineIntent;

EngineIntent *engine_intent_new (void);
void engine_intent_free (EngineIntent *intent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineIntent, engine_intent_free)

/** @file: (nullable): %NULL where no file is to be removed */
void engine_intent_add_discard (EngineIntent *intent, gint64 row, const char *path, const EngineImagefile *file);

/** @node: (nullable): nothing needs it once the operation has happened. One that QEMU's own options made, which has no
 * name of its own, goes by itself once it is left. */
void engine_intent_retire (EngineIntent *intent, const QmpNode *node);

/** For the journal. Returns: (transfer full) */
JsonObject *engine_intent_to_json (const EngineIntent *intent);

/** The same from a document of which it is only a part. Returns: (transfer full) */
EngineIntent *engine_intent_from_object (JsonObject *object, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** From the journal. Raises %ENGINE_ERROR_FAILED where it is not one of ours. Returns: (transfer full) */
EngineIntent *engine_intent_from_json (const char *text, GError **error) G_GNUC_WARN_UNUSED_RESULT;
