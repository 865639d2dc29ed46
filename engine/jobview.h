/*
 * A block job as a person sees it: facts for a tool to show, of whatever verb, and
 * of nobody's of ours.
 */
#pragma once

#include "engine/job.h"
#include "engine/op.h"

/** @disk, @op: (nullable) */
typedef struct {
  char *vm;
  char *disk;
  char *job;
  char *op;
  char *type;
  char *status;
  gint64 current;
  gint64 total;
  gint64 speed;
  gboolean ours;
} EngineJobView;

/** An empty list. Returns: (transfer full) (element-type EngineJobView) */
GPtrArray *engine_jobview_list_new (void);

/** Adds @jobs (element-type EngineJob) of @op, which are of @type ("commit", "mirror") and limited to @speed, to
 * @views.
 */
void engine_jobview_list_add (GPtrArray *views, const EngineOp *op, const char *type, gint64 speed,
                              const GPtrArray *jobs);
