/*
 * What a mirror is about to do, as the journal holds it: the copies, as an intent
 * with overlays has its images, and what is to become of them.
 */
#pragma once

#include "engine/intent.h"
#include "engine/job.h"

/** What happens once all disks are copied. */
typedef enum { ENGINE_MIRROR_FINISH, ENGINE_MIRROR_PIVOT, ENGINE_MIRROR_FOLLOW } EngineMirrorGoal;

/** MirrorSyncMode (QAPI): all that the disk holds; what its active image holds; what is written from now on. */
typedef enum { ENGINE_MIRROR_FULL, ENGINE_MIRROR_TOP, ENGINE_MIRROR_NONE } EngineMirrorSync;

/**
 * EngineMirrorIntent:
 * @copies: its overlays are the copies, one for each disk; its snapshot is what the guest leaves where it is moved
 * @roots: (element-type utf8): for each copy, the uppermost node below the device
 * @credentials: (nullable): id of the TLS credentials in QEMU
 * @blocking: each write of the guest goes to the copy before it is done
 * @turns: so it is once it shows that the copy would never end
 */
typedef struct {
  EngineMirrorGoal goal;
  EngineMirrorSync sync;
  EngineIntent *copies;
  GPtrArray *roots;
  char *credentials;
  gboolean blocking;
  gboolean turns;
  gint64 speed;
} EngineMirrorIntent;

/** Without copies yet. Returns: (transfer full) */
EngineMirrorIntent *engine_mirrorintent_new (EngineMirrorGoal goal, EngineMirrorSync sync);
void engine_mirrorintent_free (EngineMirrorIntent *intent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineMirrorIntent, engine_mirrorintent_free)

/** For the journal. Returns: (transfer full) */
JsonObject *engine_mirrorintent_to_json (const EngineMirrorIntent *intent);
/** From the journal. Raises %ENGINE_ERROR_FAILED where it is not one of ours. Returns: (transfer full) */
EngineMirrorIntent *engine_mirrorintent_from_json (const char *text, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether @copy is a file, or a block device; else it is an NBD export, and its path a URI. */
gboolean engine_mirrorintent_is_file (const EngineIntentOverlay *copy);

/** Ids of the job of copy @index, and of the node that QEMU puts above its source. Returns: (transfer full) */
char *engine_mirrorintent_job (const char *op, guint index);
char *engine_mirrorintent_filter (const char *op, guint index);

/** The job of each copy. Returns: (transfer full) (element-type EngineJob) */
GPtrArray *engine_mirrorintent_jobs (const EngineMirrorIntent *intent, const char *op);

/** The arguments of blockdev-mirror for copy @index. Returns: (transfer full) */
JsonObject *engine_mirrorintent_arguments (const EngineMirrorIntent *intent, const char *op, guint index);

/** As QAPI spells it. */
const char *engine_mirrorintent_sync_word (EngineMirrorSync sync);
