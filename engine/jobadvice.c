/*
 * Holds the operations that were left to QEMU against its jobs. An operation that
 * is open is engine/findings': its process has the monitor, or recovery has work.
 */
#include "engine/jobadvice.h"

#include "base/fiber.h"
#include "chains/journal.h"
#include "engine/error.h"
#include "engine/inflight.h"
#include "engine/jobplace.h"
#include "engine/jobview.h"
#include "engine/mergeintent.h"
#include "engine/mirrorintent.h"
#include "engine/nbdprobe.h"

#define MIRROR "mirror"
/* So long a copy is looked at: many times what a job sleeps that is held to a speed. */
#define LOOK_US (3 * G_USEC_PER_SEC / 2)
#define SERVER_US (2 * G_USEC_PER_SEC)
#define SHORT_ID 8

/* One operation that goes on without a process. @mirror: (nullable): what it is; @jobs: (element-type EngineJobView):
 * those of it that QEMU has. Borrowed, but for @mirror. */
typedef struct {
  EngineVm *vm;
  const ChainsOp *op;
  EngineMirrorIntent *mirror;
  GPtrArray *jobs;
  GPtrArray *problems;
} Left;

static void
left_clear (Left *left)
{
  g_clear_pointer (&left->mirror, engine_mirrorintent_free);
  g_clear_pointer (&left->jobs, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Left, left_clear)

/* ---- words ---- */

/* "2026-11-29 10:00:00 +0000, 25 min ago" */
static char *
describe_since (gint64 since_us)
{
  gint64 seconds = MAX (g_get_real_time () - since_us, 0) / G_USEC_PER_SEC;
  g_autoptr (GDateTime) since = g_date_time_new_from_unix_local (since_us / G_USEC_PER_SEC);
  g_autofree char *time = since != NULL ? g_date_time_format (since, "%F %T %z") : g_strdup ("?");
  const struct {
    gint64 unit;
    const char *word;
  } units[] = {{24 * 60 * 60, "days"}, {60 * 60, "h"}, {60, "min"}, {1, "s"}};
  gsize i = 0;

  while (i + 1 < G_N_ELEMENTS (units) && seconds < 2 * units[i].unit)
    i++;
  return g_strdup_printf ("%s, %" G_GINT64_FORMAT " %s ago", time, seconds / units[i].unit, units[i].word);
}

/* "disk 'vda'", "disks 'vda', 'vdb'" */
static char *
describe_disks (const Left *left)
{
  g_autoptr (GString) text = g_string_new (left->jobs->len > 1 ? "disks" : "disk");

  for (guint i = 0; i < left->jobs->len; i++) {
    const char *disk = ((const EngineJobView *)g_ptr_array_index (left->jobs, i))->disk;

    g_string_append_printf (text, "%s '%s'", i > 0 ? "," : "", disk != NULL ? disk : "?");
  }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

/* The one disk that it is about; %NULL where there are several. */
static const char *
only_disk (const Left *left)
{
  return left->jobs->len == 1 ? ((const EngineJobView *)g_ptr_array_index (left->jobs, 0))->disk : NULL;
}

/* The command that does @what with the operation, in the quotes of a command. */
static char *
command (const Left *left, const char *what)
{
  return g_strdup_printf ("`chainctl job %s %s %.*s`", what, left->vm->record->name, SHORT_ID, left->op->id);
}

/* ---- one that is over ---- */

static void
add_over (const Left *left)
{
  engine_problem_add (left->problems, "operation-over", FALSE, NULL, NULL, "`chainctl recover`",
                      "VM '%s': the %s operation %s went on in QEMU without a process, and QEMU has no such job any "
                      "more: what came of it is not recorded yet",
                      left->vm->record->name, left->op->verb, left->op->id);
}

static gboolean
is_of_this_qemu (const Left *left)
{
  g_autoptr (EngineMergeIntent) merge =
      left->mirror == NULL ? engine_mergeintent_from_json (left->op->intent, NULL) : NULL;
  gint64 qemu = left->mirror != NULL ? left->mirror->copies->qemu : merge != NULL ? merge->qemu : 0;

  return engine_inflight_is_same_qemu (left->vm, qemu);
}

/* ---- jobs of it that do not get on ---- */

/* Where job @view of it writes; %NULL for what is no local file. Returns: (transfer full) */
static char *
find_folder (const Left *left, const EngineJobView *view)
{
  g_autoptr (EngineMergeIntent) merge =
      left->mirror == NULL ? engine_mergeintent_from_json (left->op->intent, NULL) : NULL;
  const char *path = NULL;

  for (guint i = 0; left->mirror != NULL && i < left->mirror->copies->overlays->len; i++) {
    const EngineIntentOverlay *copy = g_ptr_array_index (left->mirror->copies->overlays, i);

    if (g_strcmp0 (copy->disk, view->disk) == 0)
      path = copy->path;
  }
  for (guint i = 0; merge != NULL && i < merge->parts->len; i++) {
    const EngineMergePart *part = g_ptr_array_index (merge->parts, i);

    if (g_strcmp0 (part->disk, view->disk) == 0)
      path = part->receiver->path;
  }
  return path != NULL && g_path_is_absolute (path) ? g_path_get_dirname (path) : NULL;
}

static void
add_no_room (const Left *left, const EngineJobView *view)
{
  g_autofree char *folder = find_folder (left, view);
  g_autofree char *wait = command (left, "wait");
  g_autofree char *cancel = command (left, "cancel");
  g_autofree char *repair = g_strdup_printf ("make room%s%s; then %s goes on with it, or %s gives it up",
                                             folder != NULL ? " in " : "", folder != NULL ? folder : "", wait, cancel);

  engine_problem_add (left->problems, "job-without-room", TRUE, view->disk, folder, repair,
                      "VM '%s', disk '%s': its %s stands still, since there was no room for what it writes; the guest "
                      "is not harmed",
                      view->vm, view->disk, view->type);
}

static void
add_paused (const Left *left, const EngineJobView *view)
{
  g_autofree char *cancel = command (left, "cancel");
  g_autofree char *repair =
      g_strdup_printf ("`chainctl job resume %s %s` lets it go on, %s gives it up", view->vm, view->job, cancel);

  engine_problem_add (left->problems, "job-paused", FALSE, view->disk, NULL, repair,
                      "VM '%s', disk '%s': its %s was paused by somebody, and stands still", view->vm, view->disk,
                      view->type);
}

static void
add_ended (const Left *left, const EngineJobView *view)
{
  g_autofree char *wait = command (left, "wait");
  g_autofree char *repair = g_strdup_printf ("%s takes back what is left of it", wait);

  engine_problem_add (left->problems, "job-ended", TRUE, view->disk, NULL, repair,
                      "VM '%s', disk '%s': its %s %s%s, and the operation %s still holds the VM", view->vm, view->disk,
                      view->type, view->error != NULL ? "ended before its time: " : "was ended by somebody else",
                      view->error != NULL ? view->error : "", left->op->id);
}

/* %FALSE where nothing is wrong with it. */
static gboolean
find_hindered (const Left *left, const EngineJobView *view)
{
  if (view->no_room)
    add_no_room (left, view);
  else if (qmp_jobs_stands_still (view->status))
    add_paused (left, view);
  else if (g_str_equal (view->status, "concluded"))
    add_ended (left, view);
  else
    return FALSE;
  return TRUE;
}

/* ---- a server that is away ---- */

static void
find_server (const Left *left, const EngineIntentOverlay *copy)
{
  g_autoptr (EngineNbdAddress) address =
      g_path_is_absolute (copy->path) ? NULL : engine_nbdaddress_parse (copy->path, NULL);
  gint64 timeout_us = MIN (left->vm->context->timeout_us, SERVER_US);
  g_autofree char *cancel = NULL;
  g_autofree char *repair = NULL;

  if (address == NULL || engine_nbdprobe_find (address, timeout_us, left->vm->cancellable, NULL))
    return;
  cancel = command (left, "cancel");
  repair = g_strdup_printf ("start the server again: QEMU connects to it by itself; or %s gives the copy up", cancel);
  engine_problem_add (left->problems, "mirror-server-away", TRUE, copy->disk, NULL, repair,
                      "VM '%s', disk '%s': nobody listens at '%s', where the disk is copied to; some seconds after the "
                      "guest's next write the copy fails%s",
                      left->vm->record->name, copy->disk, copy->path,
                      left->mirror->blocking ? ", and until then that write waits" : "");
}

/* ---- one that goes on, and nobody is there ---- */

static gboolean
are_all (const Left *left, const char *status)
{
  for (guint i = 0; i < left->jobs->len; i++)
    if (!g_str_equal (((const EngineJobView *)g_ptr_array_index (left->jobs, i))->status, status))
      return FALSE;
  return TRUE;
}

/* When it was in step, as the journal has it. */
static gint64
find_in_step (const Left *left)
{
  g_autoptr (GPtrArray) steps = chains_journal_list_steps (left->vm->context->db, left->op->id, NULL);
  gint64 since_us = left->op->started_us;

  for (guint i = 0; steps != NULL && i < steps->len; i++) {
    const ChainsStep *step = g_ptr_array_index (steps, i);

    if (g_str_equal (step->name, "following"))
      since_us = step->begun_us;
  }
  return since_us;
}

static void
add_followed (const Left *left)
{
  const EngineIntentOverlay *first = g_ptr_array_index (left->mirror->copies->overlays, 0);
  g_autofree char *disks = describe_disks (left);
  g_autofree char *since = describe_since (find_in_step (left));
  g_autofree char *complete = command (left, "complete");
  g_autofree char *cancel = command (left, "cancel");
  g_autofree char *repair =
      g_strdup_printf ("%s ends it with whole copies of one instant, %s gives the copies up", complete, cancel);

  engine_problem_add (left->problems, "mirror-followed", FALSE, only_disk (left),
                      left->jobs->len == 1 && g_path_is_absolute (first->path) ? first->path : NULL, repair,
                      "VM '%s', %s: mirrored, and in step since %s (operation %s); nobody waits for its end, and until "
                      "then no other operation can begin",
                      left->vm->record->name, disks, since, left->op->id);
}

static void
add_ready (const Left *left)
{
  g_autofree char *disks = describe_disks (left);
  g_autofree char *since = describe_since (left->op->started_us);
  g_autofree char *complete = command (left, "complete");
  g_autofree char *cancel = command (left, "cancel");
  g_autofree char *repair = g_strdup_printf ("%s ends it as it was to end, %s gives it up", complete, cancel);

  engine_problem_add (left->problems, "operation-ready", FALSE, only_disk (left), NULL, repair,
                      "VM '%s', %s: the %s operation %s (begun %s) is ready to end, and nobody ends it; until then no "
                      "other operation can begin",
                      left->vm->record->name, disks, left->op->verb, left->op->id, since);
}

static void
add_detached (const Left *left)
{
  g_autofree char *disks = describe_disks (left);
  g_autofree char *since = describe_since (left->op->started_us);
  g_autofree char *wait = command (left, "wait");
  g_autofree char *cancel = command (left, "cancel");
  g_autofree char *repair = g_strdup_printf ("%s goes on with it, %s gives it up", wait, cancel);

  engine_problem_add (left->problems, "operation-detached", FALSE, only_disk (left), NULL, repair,
                      "VM '%s', %s: the %s operation %s (begun %s) goes on in QEMU, and nobody waits for it; until its "
                      "end no other operation can begin",
                      left->vm->record->name, disks, left->op->verb, left->op->id, since);
}

/* ---- one that gets nowhere ---- */

static gboolean
may_be_endless (const EngineJobView *view)
{
  return g_str_equal (view->status, "running") &&
         (g_str_equal (view->type, MIRROR) || g_str_equal (view->type, "commit"));
}

static const EngineJobView *
find_view (const GPtrArray *views, const char *job)
{
  for (guint i = 0; i < views->len; i++)
    if (g_str_equal (((const EngineJobView *)g_ptr_array_index (views, i))->job, job))
      return g_ptr_array_index (views, i);
  return NULL;
}

/* It copied meanwhile, and no less is left: the guest writes as fast. What a job has to do at all it finds out before
 * it copies anything. */
static void
compare (const Left *left, const EngineJobView *before, const EngineJobView *now)
{
  gint64 copied = now->current - before->current;
  gint64 grown = (now->total - now->current) - (before->total - before->current);
  g_autofree char *faster = NULL;
  g_autofree char *cancel = NULL;
  g_autofree char *repair = NULL;

  if (before->current == 0 || copied <= 0 || grown < 0 || !may_be_endless (now))
    return;
  faster = g_strdup_printf ("`chainctl job speed %s %s 0` takes its limit away", now->vm, now->job);
  cancel = command (left, "cancel");
  repair = g_strdup_printf ("%s%slet the guest write less%s; %s gives it up", now->speed > 0 ? faster : "",
                            now->speed > 0 ? "; or " : "",
                            left->mirror != NULL ? ", or mirror anew with --copy-mode write-blocking" : "", cancel);
  engine_problem_add (left->problems, "not-converging", FALSE, now->disk, NULL, repair,
                      "VM '%s', disk '%s': its %s copied %" G_GINT64_FORMAT
                      " bytes while it was looked at, and no less is left of it than before: the guest writes as fast",
                      now->vm, now->disk, now->type, copied);
}

static void
find_endless (const Left *left)
{
  g_autoptr (GPtrArray) later = engine_jobview_list_new ();
  gboolean any = FALSE;

  for (guint i = 0; i < left->jobs->len; i++)
    any = any || may_be_endless (g_ptr_array_index (left->jobs, i));
  if (!any)
    return;
  base_fiber_sleep (LOOK_US);
  if (!engine_jobview_list_all (left->vm, later, NULL))
    return;
  for (guint i = 0; i < left->jobs->len; i++) {
    const EngineJobView *before = g_ptr_array_index (left->jobs, i);
    const EngineJobView *now = may_be_endless (before) ? find_view (later, before->job) : NULL;

    if (now != NULL)
      compare (left, before, now);
  }
}

/* ---- all of it ---- */

static void
find_of_jobs (const Left *left)
{
  gboolean hindered = FALSE;

  for (guint i = 0; i < left->jobs->len; i++)
    hindered = find_hindered (left, g_ptr_array_index (left->jobs, i)) || hindered;
  for (guint i = 0; left->mirror != NULL && i < left->mirror->copies->overlays->len; i++)
    find_server (left, g_ptr_array_index (left->mirror->copies->overlays, i));
  if (hindered)
    return;
  if (!are_all (left, "ready") && !are_all (left, "pending"))
    add_detached (left);
  else if (left->mirror != NULL && left->mirror->goal == ENGINE_MIRROR_FOLLOW)
    add_followed (left);
  else
    add_ready (left);
  find_endless (left);
}

static void
find_of_operation (EngineVm *vm, const ChainsOp *op, const GPtrArray *views, GPtrArray *problems)
{
  g_auto (Left) left = {.vm = vm, .op = op, .jobs = g_ptr_array_new (), .problems = problems};

  if (g_str_equal (op->verb, MIRROR))
    left.mirror = engine_mirrorintent_from_json (op->intent, NULL);
  for (guint i = 0; i < views->len; i++)
    if (g_strcmp0 (((const EngineJobView *)g_ptr_array_index (views, i))->op, op->id) == 0)
      g_ptr_array_add (left.jobs, g_ptr_array_index (views, i));
  if (left.jobs->len == 0 || !is_of_this_qemu (&left))
    add_over (&left);
  else
    find_of_jobs (&left);
}

/* A process has it, or has died with it: then it is a finding of its own besides. */
static void
add_under_way (EngineVm *vm, GPtrArray *problems)
{
  g_autoptr (GError) held = NULL;

  if (!engine_op_check_finished (vm, &held) && held->domain == ENGINE_ERROR)
    engine_problem_add (problems, "busy", FALSE, NULL, NULL, engine_error_get_hint (held),
                        "%s: snapshots are refused until it is over", held->message);
}

static const char *
describe_doing (const EngineJobView *view)
{
  if (g_str_equal (view->status, "concluded"))
    return "has concluded without being dismissed";
  if (view->no_room)
    return "stands still for want of room";
  return view->io_failed ? "stands still after an I/O error" : "is under way";
}

/* None of ours, and never touched unasked: what holds up a verb is said, with where. */
static void
add_of_others (const EngineJobView *view, GPtrArray *problems)
{
  g_autofree char *where = view->disk != NULL ? g_strdup_printf (", disk '%s'", view->disk) : g_strdup ("");
  g_autofree char *image = view->path != NULL ? g_strdup_printf (" on '%s'", view->path) : g_strdup ("");
  g_autofree char *repair =
      g_str_equal (view->status, "concluded")
          ? g_strdup ("`job-dismiss`, on QEMU's monitor, by whoever began it")
          : g_strdup_printf ("`chainctl job wait %s %s`, or end it with the program that began it; `chainctl job "
                             "cancel %s %s` cancels it all the same",
                             view->vm, view->job, view->vm, view->job);

  engine_problem_add (problems, "busy", FALSE, view->disk, view->path, repair,
                      "VM '%s'%s: the %s job '%s'%s is not ours, and %s; operations on this VM are refused until it is "
                      "over",
                      view->vm, where, view->type, view->job, image, describe_doing (view));
}

void
engine_jobadvice_find (EngineVm *vm, const EngineGraph *graph, GPtrArray *problems)
{
  g_autoptr (GPtrArray) ops = chains_journal_list_unfinished (vm->context->db, vm->record->id, NULL);
  g_autoptr (GPtrArray) views = engine_jobview_list_new ();

  if (ops == NULL || vm->state == ENGINE_VM_UNREACHABLE ||
      (vm->monitor != NULL && !engine_jobview_list_all (vm, views, NULL)))
    return;
  if (graph != NULL && vm->monitor != NULL)
    engine_jobplace_find (vm, graph, views);
  for (guint i = 0; i < views->len; i++)
    if (!((const EngineJobView *)g_ptr_array_index (views, i))->ours)
      add_of_others (g_ptr_array_index (views, i), problems);
  for (guint i = 0; i < ops->len; i++) {
    const ChainsOp *op = g_ptr_array_index (ops, i);

    if (op->state == CHAINS_OP_DETACHED)
      find_of_operation (vm, op, views, problems);
    else if (views->len > 0)
      add_under_way (vm, problems);
  }
}
