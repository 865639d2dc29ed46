/*
 * What an operation that merges is about to do, as the journal holds it: all
 * that is needed to go on with it, to record what came of it, or to leave it.
 */
#pragma once

#include "engine/imagefile.h"
#include "engine/job.h"
#include "engine/op.h"

/** "commit": downwards; "stream": upwards */
typedef enum { ENGINE_MERGE_COMMIT, ENGINE_MERGE_STREAM } EngineMergeKind;

/** An image whose data moves, or (of a stream) that may not be needed any more. @made: the file is ours to remove */
typedef struct {
  gint64 row;
  char *path;
  char *node;
  char *file_node;
  gboolean made;
  guint64 device;
  guint64 inode;
} EngineMergeImage;

/**
 * EngineMergePart: one disk
 * @job, @filter: names in QEMU
 * @root: the uppermost node below the device; @qdev: (nullable): that device, as query-block has it
 * @receiver: the image that takes the data; of a commit the lowest, of a stream the uppermost
 * @above: (nullable): of a commit, the image above the merged ones; %NULL where the active one is merged
 * @below: (nullable): of a stream, what lies below @receiver afterwards
 * @images: (element-type EngineMergeImage): the uppermost first, without @receiver
 * @receiver_mode, @above_mode: of their files, where these are sealed (engine/seal) and have to be written to; else 0
 * @size, @mtime_ns: of the receiver's file beforehand
 */
typedef struct {
  char *disk;
  char *job;
  char *filter;
  char *root;
  char *qdev;
  EngineMergeImage *receiver;
  EngineMergeImage *above;
  EngineMergeImage *below;
  GPtrArray *images;
  guint receiver_mode;
  guint above_mode;
  gint64 size;
  gint64 mtime_ns;
} EngineMergePart;

/**
 * EngineMergeIntent:
 * @pivot: the guest is to be moved on to the receivers
 * @parts: (element-type EngineMergePart)
 * @destroyed: (element-type ChainsSnapshot): whose point in time is overwritten
 * @qemu: as in EngineIntent
 */
typedef struct {
  EngineMergeKind kind;
  gboolean pivot;
  gboolean keep_images;
  gint64 speed;
  gint64 qemu;
  GPtrArray *parts;
  GPtrArray *destroyed;
} EngineMergeIntent;

/** Without parts yet. Returns: (transfer full) */
EngineMergeIntent *engine_mergeintent_new (EngineMergeKind kind);
void engine_mergeintent_free (EngineMergeIntent *intent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineMergeIntent, engine_mergeintent_free)

/** @path: (nullable). Returns: (transfer full) */
EngineMergeImage *engine_mergeintent_image_new (gint64 row, const char *path);
/** Adds one. Borrowed. */
EngineMergePart *engine_mergeintent_add_part (EngineMergeIntent *intent, const char *disk);

/** Whether the guest's active image is among what is merged downwards: of one disk; and so that the guest has to be
 * moved. All parts of one operation have the same top. */
gboolean engine_mergeintent_is_active (const EngineMergePart *part);
gboolean engine_mergeintent_moves (const EngineMergeIntent *intent);

/** The job of each part. Returns: (transfer full) (element-type EngineJob) */
GPtrArray *engine_mergeintent_jobs (const EngineMergeIntent *intent);

/** Of the node that flushes a receiver (engine/nodeflush) in operation @op. Returns: (transfer full) */
char *engine_mergeintent_flush_node (const char *op, guint index);

/** The verb that it is of; whether @verb is one of these. */
const char *engine_mergeintent_verb (const EngineMergeIntent *intent);
gboolean engine_mergeintent_is_verb (const char *verb);

/** For the journal. Returns: (transfer full) */
JsonObject *engine_mergeintent_to_json (const EngineMergeIntent *intent);
/** From the journal. Raises %ENGINE_ERROR_FAILED where it is not one of ours. Returns: (transfer full) */
EngineMergeIntent *engine_mergeintent_from_json (const char *text, GError **error) G_GNUC_WARN_UNUSED_RESULT;
