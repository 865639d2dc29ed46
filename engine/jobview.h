/*
 * A block job as a person sees it: facts for a tool to show, of whatever verb, and
 * of nobody's of ours.
 */
#pragma once

#include "engine/job.h"
#include "engine/op.h"

/** @disk, @op: (nullable). @path: (nullable): the image that one of somebody else's is at work on (engine/jobplace).
 * @no_room, @io_failed: it stands still for want of room, or after another I/O error
 * @error: (nullable): QEMU's words, once it has failed */
typedef struct {
  char *vm;
  char *disk;
  char *path;
  char *job;
  char *op;
  char *type;
  char *status;
  gint64 current;
  gint64 total;
  gint64 speed;
  gboolean no_room;
  gboolean io_failed;
  char *error;
  gboolean ours;
} EngineJobView;

void engine_jobview_free (EngineJobView *view);

/** An empty list. Returns: (transfer full) (element-type EngineJobView) */
GPtrArray *engine_jobview_list_new (void);

/** Adds @jobs (element-type EngineJob) of @op, which are of @type ("commit", "mirror") and limited to @speed, to
 * @views.
 */
void engine_jobview_list_add (GPtrArray *views, const EngineOp *op, const char *type, gint64 speed,
                              const GPtrArray *jobs);

/** Adds to @views the jobs of @vm, which is connected, in the order in which they were begun. What no unfinished
 * operation of this database has is not ours. QAPI: query-jobs, query-block-jobs */
gboolean engine_jobview_list_all (EngineVm *vm, GPtrArray *views, GError **error) G_GNUC_WARN_UNUSED_RESULT;
