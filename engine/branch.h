/*
 * Another branch of a disk's tree opened beside the live one: its images, from
 * the bottom up, each on the node below it, down to where a live node is met.
 */
#pragma once

#include "engine/intent.h"
#include "engine/nodeoptions.h"

/**
 * EngineBranch:
 * @options: (element-type JsonObject): for blockdev-add, the lowest first
 * @top: the node of its uppermost image
 * @shared: (nullable): the live layer that it stands on. Borrowed from the graph.
 */
typedef struct {
  GPtrArray *options;
  char *top;
  const EngineLayer *shared;
} EngineBranch;

/**
 * engine_branch_plan:
 * @index: of the disk in the operation
 * @row: of the branch's uppermost image
 * Names the nodes, and adds them to @intent's; opens nothing. Returns: (transfer full)
 */
EngineBranch *engine_branch_plan (EngineOp *op, EngineIntent *intent, guint index, const EngineGraphDisk *disk,
                                  gint64 row, const EngineNodeOptions *options, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
void engine_branch_free (EngineBranch *branch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineBranch, engine_branch_free)

/** QAPI: blockdev-add, with the node below as "backing": by a file's name QEMU would open it a second time. */
gboolean engine_branch_open (EngineVm *vm, const EngineBranch *branch, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** In a dry run: what engine_branch_open() would send. */
void engine_branch_plan_open (EngineVm *vm, const EngineBranch *branch);
