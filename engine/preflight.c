/*
 * Refuses what could not end well. Each check stands alone and names the VM,
 * the disk, the path, what is missing, and what to do; none changes anything.
 */
#include "engine/preflight.h"

#include "engine/error.h"
#include "engine/filesystem.h"
#include "engine/imagefile.h"
#include "engine/process.h"
#include "engine/space.h"
#include "qmp/error.h"
#include "qmp/features.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the VM ---- */

/* RunState (QAPI) in which another host has the disks, or QEMU itself is at work on them. */
static gboolean
check_status (const EngineVm *vm, GError **error)
{
  static const char *const busy[] = {"inmigrate", "postmigrate", "finish-migrate", "save-vm", "restore-vm",
                                     "colo",      NULL};

  if (vm->status == NULL || !g_strv_contains (busy, vm->status))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "wait until it runs or is paused", "VM '%s' is in state '%s'",
                    vm->record->name, vm->status);
  return FALSE;
}

/* MigrationStatus (QAPI). %TRUE in @call's answer where no migration is under way, or this QEMU knows none. */
static gboolean
check_migration (const EngineVm *vm, QmpCall *call, GError **error)
{
  static const char *const over[] = {"none", "completed", "cancelled", "failed", NULL};
  GError *failure = NULL;
  g_autofree char *status = qmp_commands_finish_query_migrate (call, vm->cancellable, &failure);

  if (status == NULL && g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND)) {
    g_error_free (failure);
    return TRUE;
  }
  if (status == NULL) {
    g_propagate_prefixed_error (error, failure, "VM '%s': ", vm->record->name);
    return FALSE;
  }
  if (g_strv_contains (over, status))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "wait for its end, or cancel it",
                    "VM '%s' is being migrated (status '%s')", vm->record->name, status);
  return FALSE;
}

/* A job on a chain that is about to grow would follow the wrong head; one that saves the VM's state, the same. */
static gboolean
refuse_job (EngineVm *vm, const QmpJob *job, GError **error)
{
  const char *name = vm->record->name;
  g_autofree char *hint = g_strdup_printf (
      "`chainctl job wait %s %s` waits for it, `chainctl job cancel %s %s` ends it", name, job->id, name, job->id);

  /* The journal tells more of it than its name. */
  if (engine_op_is_ours (job->id) && !engine_op_check_finished (vm, error))
    return FALSE;
  if (!engine_op_is_ours (job->id))
    engine_error_set (error, ENGINE_ERROR_REFUSED, hint, "VM '%s': the %s job '%s', which somebody else began, is %s",
                      name, job->type, job->id, job->status);
  else if (g_str_equal (job->status, "concluded"))
    engine_error_set (error, ENGINE_ERROR_REFUSED, "run `chainctl recover`, with the state folder that it belongs to",
                      "VM '%s': the %s job '%s' of another operation was left behind", name, job->type, job->id);
  else
    engine_error_set (error, ENGINE_ERROR_HELD, "wait for it", "VM '%s' is held by another operation: its %s job '%s'",
                      name, job->type, job->id);
  return FALSE;
}

/* One of somebody else's that is over and was only not dismissed is at work on nothing, but for a stream: see
 * engine/graph. */
static gboolean
is_in_the_way (const QmpJob *job)
{
  return engine_op_is_ours (job->id) || !g_str_equal (job->status, "concluded") || g_str_equal (job->type, "stream");
}

gboolean
engine_preflight_check_state (EngineVm *vm, GError **error)
{
  return check_status (vm, error) &&
         check_migration (vm, qmp_commands_start_query_migrate (vm->monitor, engine_context_deadline (vm->context)),
                          error);
}

gboolean
engine_preflight_check_vm (EngineVm *vm, GError **error)
{
  gint64 deadline_us = engine_context_deadline (vm->context);
  g_autoptr (QmpCall) migration = qmp_commands_start_query_migrate (vm->monitor, deadline_us);
  g_autoptr (QmpCall) listing = qmp_commands_start_query_jobs (vm->monitor, deadline_us);
  g_autoptr (GPtrArray) jobs = NULL;

  if (!check_status (vm, error) || !check_migration (vm, g_steal_pointer (&migration), error))
    return FALSE;
  jobs = qmp_commands_finish_query_jobs (g_steal_pointer (&listing), vm->cancellable, error);
  if (jobs == NULL)
    return FALSE;
  for (guint i = 0; i < jobs->len; i++)
    if (is_in_the_way (g_ptr_array_index (jobs, i)))
      return refuse_job (vm, g_ptr_array_index (jobs, i), error);
  return TRUE;
}

gboolean
engine_preflight_check_features (EngineVm *vm, GError **error)
{
  static const struct {
    const char *command;
    const char *argument;
  } needed[] = {
      {"transaction", "actions.=blockdev-snapshot"},
      {"blockdev-add", "=qcow2.backing"},
      {"query-named-block-nodes", "flat"},
  };
  QmpWait wait = engine_vm_wait (vm);
  g_autoptr (QmpFeatures) features = qmp_features_query (vm->monitor, wait.deadline_us, wait.cancellable, error);

  for (gsize i = 0; features != NULL && i < G_N_ELEMENTS (needed); i++) {
    if (qmp_features_has_argument (features, needed[i].command, needed[i].argument))
      continue;
    engine_error_set (error, ENGINE_ERROR_UNSUPPORTED, "QEMU 5.0 and later have it",
                      "VM '%s': its QEMU has no %s with %s", vm->record->name, needed[i].command, needed[i].argument);
    return FALSE;
  }
  return features != NULL;
}

/* ---- a disk ---- */

static const char *
why_unfit (const EngineVm *vm, const EngineGraphDisk *disk)
{
  const EngineLayer *head = engine_graph_head (disk);

  if (engine_graph_is_read_only (vm, disk))
    return "it is read-only";
  if (head->node->encrypted)
    return "it is encrypted, and the overlay would not be";
  if (!head->local)
    return "its image is no local file";
  return engine_graph_why_nameless (head);
}

gboolean
engine_preflight_check_disk (EngineVm *vm, const EngineGraphDisk *disk, gboolean placed, GError **error)
{
  const EngineLayer *head = engine_graph_head (disk);
  const char *why = why_unfit (vm, disk);
  const char *hint = "leave it out with --exclude";
  EngineImagefile file;

  if (why == NULL && !placed && engine_imagefile_stat (head->path, &file, NULL) && !file.regular) {
    why = "its image is no regular file, beside which an overlay could lie";
    hint = "say with --dir, or with dir in [overlay] of the configuration, where its overlay is to go";
  }
  if (why == NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, hint, "VM '%s': disk '%s' (%s) cannot be snapshotted: %s",
                    vm->record->name, disk->name, head->path, why);
  return FALSE;
}

/* ---- where an overlay would go ---- */

/* One overlay that is planned. @qemu: (nullable): where it may be looked at; @chosen_by: what says where it goes;
 * @reused: the file is there already */
typedef struct {
  const EngineVm *vm;
  const EngineProcess *qemu;
  const char *disk;
  const char *active;
  const char *path;
  const char *folder;
  const char *chosen_by;
  gboolean reused;
} Place;

static gboolean refuse (const Place *place, const char *hint, GError **error, const char *format, ...)
    G_GNUC_PRINTF (4, 5);

/* @hint: what is to be done, unless another folder is chosen */
static gboolean
refuse (const Place *place, const char *hint, GError **error, const char *format, ...)
{
  g_autofree char *elsewhere = g_strdup_printf ("%schoose another folder with %s", hint, place->chosen_by);
  g_autofree char *why = NULL;
  va_list arguments;

  va_start (arguments, format);
  why = g_strdup_vprintf (format, arguments);
  va_end (arguments);
  engine_error_set (error, ENGINE_ERROR_REFUSED, elsewhere, "VM '%s', disk '%s': %s", place->vm->record->name,
                    place->disk, why);
  return FALSE;
}

static gboolean
check_same_file (const Place *place, GError **error)
{
  if (place->qemu == NULL || engine_process_has_open (place->qemu, place->active) != ENGINE_PROCESS_NO)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED,
                    "was the file moved or replaced, or does QEMU run in a mount namespace or container of its own?",
                    "VM '%s', disk '%s': QEMU (process %ld) sees another file at '%s' than we do",
                    place->vm->record->name, place->disk, (long)place->qemu->pid, place->active);
  return FALSE;
}

static gboolean
check_same_folder (const Place *place, GError **error)
{
  if (place->qemu == NULL || engine_process_sees (place->qemu, place->folder) != ENGINE_PROCESS_NO)
    return TRUE;
  return refuse (place, "mount it for QEMU under the same name, or ", error,
                 "QEMU (process %ld) has another mount namespace or root, and does not see the folder '%s' as we do",
                 (long)place->qemu->pid, place->folder);
}

/* What is lost at a power cut anyway may have its overlay there too. A device node in /dev is not its own data. */
static gboolean
check_durable (const Place *place, GError **error)
{
  const EngineFilesystemType *type = engine_filesystem_type (place->folder);
  EngineImagefile file;

  if (place->reused && engine_imagefile_stat (place->path, &file, NULL) && file.block)
    return TRUE;
  if (type->kind != ENGINE_FILESYSTEM_MEMORY || (engine_filesystem_type (place->active) == type &&
                                                 engine_imagefile_stat (place->active, &file, NULL) && file.regular))
    return TRUE;
  return refuse (place, "", error, "'%s' would lie in memory (%s), and be lost when this host stops", place->path,
                 type->name);
}

static gboolean
check_our_right (const Place *place, GError **error)
{
  if (place->reused || faccessat (AT_FDCWD, place->folder, W_OK | X_OK, AT_EACCESS) == 0)
    return TRUE;
  return refuse (place, "run chainctl as a user who may, or ", error,
                 "'%s' cannot be made: no right to make files in the folder '%s': %s", place->path, place->folder,
                 g_strerror (errno));
}

static gboolean
is_our_group (guint gid)
{
  int count = getgroups (0, NULL);
  g_autofree gid_t *groups = g_new0 (gid_t, (gsize)MAX (count, 0) + 1);

  count = getgroups (count, groups);
  for (int i = 0; i < count; i++)
    if (groups[i] == gid)
      return TRUE;
  return gid == getegid ();
}

/* The overlay is given the active image's owner and mode, as far as we may give files away; see engine/overlay. */
static gboolean
may_open_new (const Place *place)
{
  EngineImagefile active, folder;
  gboolean gives_away;

  if (!engine_imagefile_stat (place->active, &active, NULL) || !engine_imagefile_stat (place->folder, &folder, NULL))
    return TRUE;
  gives_away = geteuid () == 0 || (active.uid == geteuid () && is_our_group (active.gid));
  if (!gives_away) {
    active.uid = geteuid ();
    active.gid = (folder.mode & S_ISGID) != 0 ? folder.gid : getegid ();
  }
  return engine_process_may_in (place->qemu, place->folder, active.uid, active.gid, active.mode,
                                ENGINE_PROCESS_READ | ENGINE_PROCESS_WRITE);
}

static gboolean
check_qemu_open (const Place *place, GError **error)
{
  gboolean reused = place->reused;

  if (reused ? engine_process_may (place->qemu, place->path, ENGINE_PROCESS_READ | ENGINE_PROCESS_WRITE)
             : may_open_new (place))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED,
                    reused ? "give it an owner and a mode that let QEMU's user write to it"
                           : "give the active image an owner and a mode that let QEMU's user write to it",
                    "VM '%s', disk '%s': QEMU runs as user %u and may not read and write '%s'%s",
                    place->vm->record->name, place->disk, place->qemu->uid, place->path,
                    reused ? "" : ", which gets the owner and mode of the active image where we may give them");
  return FALSE;
}

static gboolean
check_qemu_right (const Place *place, GError **error)
{
  g_autofree char *barrier = place->qemu != NULL ? engine_process_find_barrier (place->qemu, place->folder) : NULL;

  if (place->qemu == NULL)
    return TRUE;
  if (barrier == NULL)
    return check_qemu_open (place, error);
  return refuse (place, "let that user search the folder (chmod, setfacl), or ", error,
                 "QEMU runs as user %u and cannot reach '%s': it may not search the folder '%s'", place->qemu->uid,
                 place->path, barrier);
}

typedef gboolean (*CheckPlace) (const Place *place, GError **error);

/* In the order in which they are asked: a later one may make sense only where the earlier ones found nothing. */
static const struct {
  CheckPlace check;
  const char *code;
} place_checks[] = {
    {check_same_file, "another-file"},       {check_same_folder, "folder-not-seen"},
    {check_durable, "overlay-in-memory"},    {check_our_right, "folder-not-writable"},
    {check_qemu_right, "qemu-has-no-right"},
};

static gboolean
check_place (EngineVm *vm, const EngineProcess *qemu, const EngineOverlay *overlay, const char *chosen_by,
             GError **error)
{
  g_autofree char *folder = g_path_get_dirname (overlay->intent->path);
  Place place = {
      .vm = vm,
      .qemu = qemu,
      .disk = overlay->intent->disk,
      .active = engine_graph_head (overlay->disk)->path,
      .path = overlay->intent->path,
      .folder = folder,
      .chosen_by = chosen_by,
      .reused = overlay->intent->reused,
  };

  for (gsize i = 0; i < G_N_ELEMENTS (place_checks); i++)
    if (!place_checks[i].check (&place, error))
      return FALSE;
  return TRUE;
}

gboolean
engine_preflight_check_overlays (EngineVm *vm, const GPtrArray *overlays, const char *chosen_by, GError **error)
{
  g_autoptr (EngineProcess) qemu = engine_process_read (vm->qemu);

  for (guint i = 0; i < overlays->len; i++)
    if (!check_place (vm, qemu, g_ptr_array_index (overlays, i), chosen_by, error))
      return FALSE;
  return engine_space_check (vm, overlays, chosen_by, error);
}

void
engine_preflight_find_obstacle (const EngineVm *vm, const char *disk, const char *active, const char *folder,
                                GPtrArray *problems)
{
  g_autoptr (EngineProcess) qemu = engine_process_read (vm->qemu);
  g_autofree char *path = g_build_filename (folder, "a new overlay", NULL);
  Place place = {
      .vm = vm, .qemu = qemu, .disk = disk, .active = active, .path = path, .folder = folder, .chosen_by = "--dir"};
  GError *failure = NULL;

  for (gsize i = 0; i < G_N_ELEMENTS (place_checks); i++) {
    if (place_checks[i].check (&place, &failure))
      continue;
    engine_problem_add (problems, place_checks[i].code, TRUE, disk, folder, engine_error_get_hint (failure), "%s",
                        failure->message);
    g_error_free (failure);
    return;
  }
}
