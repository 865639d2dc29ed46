/*
 * Waits for jobs. An event says that something has happened, a question what: so
 * an event that was lost with a connection costs a moment, and nothing else.
 */
#include "engine/job.h"

#include "engine/filesystem.h"
#include "qmp/error.h"

#include <string.h>

#define GONE "null"
#define TOLD_US (G_USEC_PER_SEC / 2)
#define UNTOLD_US (10 * G_USEC_PER_SEC)
/* So long what is left must not fall before a copy is said not to converge. */
#define WINDOW_US (10 * G_USEC_PER_SEC)
/* Room that a copy goes on for; or as much as it still needs, and some for tables. */
#define ENOUGH_ROOM (G_GINT64_CONSTANT (8) << 20)
#define ROOM_FOR_TABLES (G_GINT64_CONSTANT (256) << 10)

static void
job_free (EngineJob *job)
{
  g_free (job->disk);
  g_free (job->id);
  g_free (job->folder);
  g_free (job->status);
  g_free (job->error);
  g_free (job);
}

GPtrArray *
engine_job_list_new (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)job_free);
}

EngineJob *
engine_job_list_add (GPtrArray *jobs, const char *disk, const char *id, const char *folder)
{
  EngineJob *job = g_new0 (EngineJob, 1);

  job->disk = g_strdup (disk);
  job->id = g_strdup (id);
  job->folder = g_strdup (folder);
  job->status = g_strdup ("created");
  job->rate = -1;
  job->least_left = G_MAXINT64;
  g_ptr_array_add (jobs, job);
  return job;
}

/* ---- asking ---- */

static const QmpJob *
find_listed (const GPtrArray *listed, const char *id)
{
  for (guint i = 0; i < listed->len; i++)
    if (g_str_equal (((const QmpJob *)g_ptr_array_index (listed, i))->id, id))
      return g_ptr_array_index (listed, i);
  return NULL;
}

static void
learn_rate (EngineJob *job, gint64 current)
{
  gint64 now_us = g_get_monotonic_time ();

  if (job->asked_us != 0 && now_us - job->asked_us < TOLD_US / 2)
    return;
  if (job->asked_us != 0) {
    gint64 rate = MAX (current - job->current, 0) * G_USEC_PER_SEC / (now_us - job->asked_us);

    job->rate = job->rate < 0 ? rate : (3 * job->rate + rate) / 4;
  }
  job->asked_us = now_us;
  job->current = current;
}

static void
learn (EngineJob *job, const QmpJob *listed)
{
  g_free (job->status);
  job->status = g_strdup (listed != NULL ? listed->status : GONE);
  if (listed == NULL)
    return;
  learn_rate (job, listed->current);
  job->total = listed->total;
  /* It is asked for no more often than a rate can be made of; where it stands still, that is where it is. */
  if (!g_str_equal (job->status, "running"))
    job->current = listed->current;
  if (listed->error != NULL && job->error == NULL)
    job->error = g_strdup (listed->error);
}

gboolean
engine_job_refresh (EngineVm *vm, GPtrArray *jobs, GError **error)
{
  g_autoptr (GPtrArray) listed =
      vm->monitor != NULL ? qmp_commands_query_jobs (vm->monitor, engine_vm_wait (vm), error) : g_ptr_array_new ();

  for (guint i = 0; listed != NULL && i < jobs->len; i++) {
    EngineJob *job = g_ptr_array_index (jobs, i);

    learn (job, find_listed (listed, job->id));
  }
  return listed != NULL;
}

gboolean
engine_job_is_listed (const EngineJob *job)
{
  return !g_str_equal (job->status, GONE);
}

gboolean
engine_job_is_over (const EngineJob *job)
{
  return g_str_equal (job->status, "concluded") || g_str_equal (job->status, GONE);
}

gboolean
engine_job_has_failed (const EngineJob *job)
{
  return job->error != NULL || job->cancelled;
}

gboolean
engine_job_has_succeeded (const EngineJob *job)
{
  return engine_job_is_over (job) && !engine_job_has_failed (job);
}

gboolean
engine_job_begin (EngineVm *vm, const char *disk, const char *command, JsonObject *arguments, GError **error)
{
  g_autoptr (JsonNode) reply =
      qmp_client_execute (vm->monitor, command, arguments, engine_context_deadline (vm->context), NULL, error);

  if (reply == NULL)
    g_prefix_error (error, "VM '%s', disk '%s': %s: ", vm->record->name, disk, command);
  return reply != NULL;
}

/* ---- events ---- */

static EngineJob *
find (GPtrArray *jobs, const char *id)
{
  for (guint i = 0; id != NULL && i < jobs->len; i++)
    if (g_str_equal (((EngineJob *)g_ptr_array_index (jobs, i))->id, id))
      return g_ptr_array_index (jobs, i);
  return NULL;
}

static const char *
peek_text (const QmpClientEvent *event, const char *member)
{
  JsonNode *node = event->data != NULL ? json_object_get_member (event->data, member) : NULL;

  return node != NULL && JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;
}

/* A job that dismisses itself leaves its end in its last event alone. */
static void
notice (GPtrArray *jobs, const QmpClientEvent *event)
{
  EngineJob *job = find (jobs, peek_text (event, "device"));
  const char *error;

  if (job == NULL)
    return;
  if (g_str_equal (event->name, "BLOCK_JOB_CANCELLED"))
    job->cancelled = TRUE;
  error = g_str_equal (event->name, "BLOCK_JOB_COMPLETED") ? peek_text (event, "error") : NULL;
  if (error != NULL && job->error == NULL)
    job->error = g_strdup (error);
}

/* What QEMU had said by the time at which it answered. */
static void
notice_all (EngineVm *vm, GPtrArray *jobs)
{
  for (QmpClientEvent *event = qmp_client_take_event (vm->monitor); event != NULL;
       event = qmp_client_take_event (vm->monitor)) {
    notice (jobs, event);
    qmp_client_event_free (event);
  }
}

/* Until QEMU says something, or @until_us. */
static gboolean
wait_for_word (EngineVm *vm, GPtrArray *jobs, gint64 until_us, GError **error)
{
  g_autoptr (GError) failure = NULL;
  QmpClientEvent *event = qmp_client_wait_event (vm->monitor, until_us, vm->cancellable, &failure);

  if (event != NULL) {
    notice (jobs, event);
    qmp_client_event_free (event);
  }
  notice_all (vm, jobs);
  if (failure == NULL || g_error_matches (failure, QMP_ERROR, QMP_ERROR_TIMEOUT))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

/* ---- telling ---- */

static EngineProgressPhase
phase_of (const EngineJob *job)
{
  if (engine_job_is_over (job))
    return ENGINE_PROGRESS_DONE;
  if (job->switching)
    return ENGINE_PROGRESS_SWITCH;
  if (job->stalled)
    return ENGINE_PROGRESS_STALLED;
  if (qmp_jobs_stands_still (job->status))
    return ENGINE_PROGRESS_PAUSED;
  if (g_str_equal (job->status, "ready") || g_str_equal (job->status, "pending"))
    return ENGINE_PROGRESS_READY;
  return ENGINE_PROGRESS_COPY;
}

static void
tell (EngineVm *vm, const char *op, const GPtrArray *jobs)
{
  EngineContext *context = vm->context;

  for (guint i = 0; context->progress != NULL && i < jobs->len; i++) {
    const EngineJob *job = g_ptr_array_index (jobs, i);
    const EngineProgress progress = {op,           vm->record->name, job->disk, phase_of (job),
                                     job->current, job->total,       job->rate};

    context->progress (&progress, context->progress_data);
  }
}

void
engine_job_tell_switch (EngineVm *vm, const char *op, GPtrArray *jobs)
{
  for (guint i = 0; i < jobs->len; i++)
    ((EngineJob *)g_ptr_array_index (jobs, i))->switching = TRUE;
  tell (vm, op, jobs);
}

/* ---- one that stands still, or never ends ---- */

static gboolean
has_room (const EngineJob *job)
{
  gint64 needed = MIN (MAX (job->total - job->current, 0) + ROOM_FOR_TABLES, ENOUGH_ROOM);
  gint64 available = 0, inodes;

  return !engine_filesystem_get_room (job->folder, &available, &inodes) || available >= needed;
}

static gboolean
look_after_stalled (EngineVm *vm, EngineJob *job, GHashTable *listed, GError **error)
{
  const QmpBlockJob *told = g_hash_table_lookup (listed, job->id);

  /* Somebody else's is not ours to let go on. */
  if (told == NULL || !told->no_room || job->folder == NULL) {
    job->stalled = FALSE;
    return TRUE;
  }
  if (!job->stalled)
    engine_context_warn (vm->context, "no-room",
                         "VM '%s', disk '%s': there was no room in '%s' to go on; the guest is not harmed, and the job "
                         "goes on once there is room",
                         vm->record->name, job->disk, job->folder);
  job->stalled = TRUE;
  return !has_room (job) || qmp_jobs_execute (vm->monitor, engine_vm_wait (vm), "job-resume", job->id, error);
}

static gboolean
look_after_standing (EngineVm *vm, GPtrArray *jobs, GError **error)
{
  g_autoptr (GHashTable) listed = NULL;

  for (guint i = 0; i < jobs->len; i++) {
    EngineJob *job = g_ptr_array_index (jobs, i);

    if (!qmp_jobs_stands_still (job->status)) {
      job->stalled = FALSE;
      continue;
    }
    if (listed == NULL)
      listed = qmp_jobs_query (vm->monitor, engine_vm_wait (vm), error);
    if (listed == NULL || !look_after_stalled (vm, job, listed, error))
      return FALSE;
  }
  return TRUE;
}

/* From now on the guest's writes wait for the copy, which so catches up. */
static gboolean
turn (EngineVm *vm, EngineJob *job, GError **error)
{
  g_autoptr (GError) failure = NULL;

  job->turns = FALSE;
  job->least_left = G_MAXINT64;
  engine_context_warn (vm->context, "write-blocking",
                       "VM '%s', disk '%s': the guest writes faster than its data is copied; its writes wait for the "
                       "copy from now on",
                       vm->record->name, job->disk);
  if (qmp_jobs_block_writes (vm->monitor, engine_vm_wait (vm), job->id, &failure))
    return qmp_jobs_set_speed (vm->monitor, engine_vm_wait (vm), job->id, 0, error);
  job->endless = g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND);
  if (job->endless)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

/* A new window, from what is left now. */
static void
mark_left (EngineJob *job, gint64 left)
{
  job->least_left = left;
  job->least_left_us = g_get_monotonic_time ();
  job->least_left_current = job->current;
}

/* It copies, and yet what is left of it has not fallen for a window: the guest writes faster than that. One that does
 * not copy meanwhile waits for its storage, or for its limit. */
static gboolean
look_after_endless (EngineVm *vm, EngineJob *job, GError **error)
{
  gint64 left = job->total - job->current;
  gboolean copies = job->current > job->least_left_current;

  if (job->total == 0) /* QEMU has not found out yet how much it is */
    return TRUE;
  if (!g_str_equal (job->status, "running") || left < job->least_left) {
    mark_left (job, left);
    return TRUE;
  }
  if (g_get_monotonic_time () - job->least_left_us < WINDOW_US)
    return TRUE;
  mark_left (job, job->least_left);
  if (!copies)
    return TRUE;
  if (job->turns)
    return turn (vm, job, error);
  engine_context_warn (vm->context, "not-converging",
                       "VM '%s', disk '%s': the guest writes faster than its data is copied; the job has no limit from "
                       "now on. Let the guest write less, or cancel: `chainctl job cancel %s %s`",
                       vm->record->name, job->disk, vm->record->name, job->id);
  return qmp_jobs_set_speed (vm->monitor, engine_vm_wait (vm), job->id, 0, error);
}

/* ---- waiting ---- */

static gboolean
has_reached (const EngineJob *job, EngineJobGoal goal)
{
  if (engine_job_is_over (job))
    return TRUE;
  return (goal == ENGINE_JOB_READY && g_str_equal (job->status, "ready")) ||
         (goal == ENGINE_JOB_PENDING && g_str_equal (job->status, "pending"));
}

static gboolean
have_all_reached (const GPtrArray *jobs, EngineJobGoal goal)
{
  for (guint i = 0; i < jobs->len; i++)
    if (!has_reached (g_ptr_array_index (jobs, i), goal))
      return FALSE;
  return TRUE;
}

/* Where one has failed, or will never end, there is nothing to wait for the others for. */
static gboolean
is_in_vain (const GPtrArray *jobs)
{
  for (guint i = 0; i < jobs->len; i++) {
    const EngineJob *job = g_ptr_array_index (jobs, i);

    if (job->endless || (engine_job_is_over (job) && engine_job_has_failed (job)))
      return TRUE;
  }
  return FALSE;
}

static gboolean
look_after (EngineVm *vm, GPtrArray *jobs, EngineJobGoal goal, GError **error)
{
  if (!look_after_standing (vm, jobs, error))
    return FALSE;
  for (guint i = 0; goal == ENGINE_JOB_READY && i < jobs->len; i++)
    if (!look_after_endless (vm, g_ptr_array_index (jobs, i), error))
      return FALSE;
  return TRUE;
}

gboolean
engine_job_wait (EngineVm *vm, const char *op, GPtrArray *jobs, EngineJobGoal goal, GError **error)
{
  return engine_job_wait_until (vm, op, jobs, goal, QMP_CALL_NO_DEADLINE, error);
}

gboolean
engine_job_wait_until (EngineVm *vm, const char *op, GPtrArray *jobs, EngineJobGoal goal, gint64 deadline_us,
                       GError **error)
{
  gint64 step_us = vm->context->progress != NULL || goal == ENGINE_JOB_READY ? TOLD_US : UNTOLD_US;

  for (;;) {
    if (!engine_job_refresh (vm, jobs, error))
      return FALSE;
    tell (vm, op, jobs);
    if (have_all_reached (jobs, goal) || (goal != ENGINE_JOB_OVER && is_in_vain (jobs))) {
      notice_all (vm, jobs);
      return TRUE;
    }
    if (g_get_monotonic_time () > deadline_us) {
      g_set_error (error, QMP_ERROR, QMP_ERROR_TIMEOUT, "the jobs did not end in time");
      return FALSE;
    }
    if (!look_after (vm, jobs, goal, error) ||
        !wait_for_word (vm, jobs, MIN (g_get_monotonic_time () + step_us, deadline_us), error))
      return FALSE;
  }
}

/* ---- ending ---- */

void
engine_job_plan_all (EngineVm *vm, const GPtrArray *jobs, const char *command)
{
  for (guint i = 0; i < jobs->len; i++) {
    g_autoptr (JsonObject) arguments = qmp_jobs_name (command, ((const EngineJob *)g_ptr_array_index (jobs, i))->id);

    engine_context_plan (vm->context, "qemu", command, arguments);
  }
}

gboolean
engine_job_tell_all (EngineVm *vm, const GPtrArray *jobs, const char *command, gint64 deadline_us, GError **error)
{
  g_autoptr (GPtrArray) calls = g_ptr_array_new (), told = g_ptr_array_new ();
  GError *first = NULL;

  for (guint i = 0; i < jobs->len; i++) {
    EngineJob *job = g_ptr_array_index (jobs, i);

    if (engine_job_is_over (job))
      continue;
    g_ptr_array_add (calls, qmp_jobs_start (vm->monitor, command, job->id, deadline_us));
    g_ptr_array_add (told, job);
  }
  for (guint i = 0; i < calls->len; i++) {
    g_autoptr (GError) failure = NULL;
    g_autoptr (JsonNode) reply = qmp_call_finish (g_ptr_array_index (calls, i), NULL, &failure);

    ((EngineJob *)g_ptr_array_index (told, i))->refused = reply == NULL;
    if (reply == NULL && first == NULL)
      first = g_steal_pointer (&failure);
  }
  if (first == NULL)
    return TRUE;
  g_propagate_error (error, first);
  return FALSE;
}

gboolean
engine_job_cancel (EngineVm *vm, const char *op, GPtrArray *jobs, GError **error)
{
  if (!engine_job_refresh (vm, jobs, error))
    return FALSE;
  for (guint i = 0; i < jobs->len; i++) {
    EngineJob *job = g_ptr_array_index (jobs, i);
    GError *failure = NULL;

    if (engine_job_is_over (job))
      continue;
    job->cancelled = TRUE;
    /* It may end between the question and this. */
    if (!qmp_jobs_cancel (vm->monitor, engine_vm_wait (vm), job->id, &failure) &&
        !qmp_error_forgive_refusal (failure, error))
      return FALSE;
  }
  return engine_job_wait (vm, op, jobs, ENGINE_JOB_OVER, error);
}

gboolean
engine_job_dismiss (EngineVm *vm, GPtrArray *jobs, GError **error)
{
  for (guint i = 0; i < jobs->len; i++) {
    const EngineJob *job = g_ptr_array_index (jobs, i);

    if (vm->monitor != NULL && g_str_equal (job->status, "concluded") &&
        !qmp_jobs_execute (vm->monitor, engine_vm_wait (vm), "job-dismiss", job->id, error))
      return FALSE;
  }
  return TRUE;
}
