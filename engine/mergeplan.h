/*
 * What a merge is to move, disk by disk; and who stands in its way: another
 * branch, a protected snapshot, another VM, a foreign image, too little room.
 */
#pragma once

#include "engine/graph.h"
#include "engine/mergeintent.h"

/**
 * EngineMergePlanRequest:
 * @disks: (nullable) (array zero-terminated=1): else all that have something to merge
 * @top, @base: (nullable): as EngineCommitRequest and EngineStreamRequest have them
 */
typedef struct {
  EngineMergeKind kind;
  const char *const *disks;
  const char *top;
  const char *base;
} EngineMergePlanRequest;

/**
 * engine_mergeplan_new:
 * Makes nothing. Raises %ENGINE_ERROR_REFUSED, naming who needs an image; %ENGINE_ERROR_USAGE where there is nothing to
 * merge; CHAINS_ERROR's for names of snapshots. Returns: (transfer full)
 */
EngineMergeIntent *engine_mergeplan_new (EngineOp *op, const EngineGraph *graph, const EngineMergePlanRequest *request,
                                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The arguments of the command that starts @part's job. Returns: (transfer full) */
JsonObject *engine_mergeplan_arguments (const EngineMergeIntent *intent, const EngineMergePart *part);
