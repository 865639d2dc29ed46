/*
 * A disk's images as a tree, read from the database: who hangs off whom, which
 * are active, behind the active one, or on a branch, which snapshots each holds.
 */
#pragma once

#include "chains/images.h"
#include "chains/registry.h"
#include "engine/context.h"

/** "active", "backing", "branch", "foreign", "missing" */
typedef enum {
  ENGINE_TREE_ACTIVE,
  ENGINE_TREE_BACKING,
  ENGINE_TREE_BRANCH,
  ENGINE_TREE_FOREIGN,
  ENGINE_TREE_MISSING,
} EngineTreeState;

const char *engine_tree_state_to_string (EngineTreeState state);

/**
 * EngineTreeJob: an operation that moves data into an image
 * @id: QEMU's, of the job
 * @status: (nullable): JobStatus (QAPI); %NULL where QEMU did not tell
 * @current, @total: bytes, 0 where it did not
 */
typedef struct {
  char *op;
  char *verb;
  char *id;
  char *status;
  gint64 current;
  gint64 total;
} EngineTreeJob;

/**
 * EngineTreeImage:
 * @image: borrowed from the tree
 * @parent: (nullable): of the same tree
 * @allocated: bytes on disk, 0 where missing
 * @snapshots: (element-type utf8): names of the snapshots whose data it holds, oldest first
 * @marks: (element-type utf8): engine_tree_mark() of each of @snapshots; borrowed
 * @children: (element-type EngineTreeImage)
 * @job: (nullable): see engine/treejobs
 */
typedef struct _EngineTreeImage EngineTreeImage;
struct _EngineTreeImage {
  const ChainsImage *image;
  EngineTreeImage *parent;
  EngineTreeState state;
  gint64 allocated;
  GPtrArray *snapshots;
  GPtrArray *marks;
  GPtrArray *children;
  EngineTreeJob *job;
};

/**
 * EngineTree: one disk
 * @images: (element-type EngineTreeImage): parents before children
 */
typedef struct {
  ChainsDisk *disk;
  GPtrArray *rows;
  GPtrArray *images;
} EngineTree;

/** What a person ought to see of a snapshot in a list: "automatic", "protected", both, or "". */
const char *engine_tree_mark (const ChainsSnapshot *snapshot);

/** Every registered disk of @vm. Returns: (transfer full) (element-type EngineTree) in guest order */
GPtrArray *engine_tree_read (EngineContext *context, const ChainsVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The tree of one disk. @disk: (transfer full). @snapshots: (element-type ChainsSnapshot). Returns: (transfer full) */
EngineTree *engine_tree_read_disk (EngineContext *context, ChainsDisk *disk, const GPtrArray *snapshots, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
void engine_tree_free (EngineTree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineTree, engine_tree_free)

/** The image of row id @row, or %NULL. Borrowed. */
EngineTreeImage *engine_tree_find (const EngineTree *tree, gint64 row);
/** The active image, the base; %NULL only in a damaged database. Borrowed. */
EngineTreeImage *engine_tree_active (const EngineTree *tree);
EngineTreeImage *engine_tree_base (const EngineTree *tree);
