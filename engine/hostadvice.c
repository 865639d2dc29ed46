/*
 * Looks at what belongs to no VM. Only systemctl is run, to be asked; where systemd
 * does not run, nothing is said of timers.
 */
#include "engine/hostadvice.h"

#include "engine/imagefile.h"

#include <sys/stat.h>
#include <unistd.h>

#define TIMER "chainctl-recover.timer"
#define SYSTEMD_RUNS "/run/systemd/system" /* sd_booted(3) */

/* ---- the state folder ---- */

static void
find_damage (EngineContext *context, GPtrArray *problems)
{
  g_autofree char *damage = chains_db_find_damage (context->db);

  if (damage != NULL)
    engine_problem_add (problems, "database-damaged", TRUE, NULL, chains_db_get_path (context->db),
                        "stop using it, keep a copy of the file, and bring back an older one from your backups; the "
                        "images are not touched by this",
                        "the database '%s' is damaged: %s", chains_db_get_path (context->db), damage);
}

/* What others may do there they may do to the images: the database says which file is which. */
static void
find_open_folder (EngineContext *context, const EngineImagefile *folder, GPtrArray *problems)
{
  g_autofree char *quoted = g_shell_quote (context->state);
  g_autofree char *repair = g_strdup_printf ("`chmod g-w,o= %s`", quoted);

  if ((folder->mode & (S_IWGRP | S_IRWXO)) != 0)
    engine_problem_add (problems, "state-open", FALSE, NULL, context->state, repair,
                        "the state folder '%s' is open to others (mode %04o): who may write there decides which files "
                        "are images; 0700 is for its owner alone, 0750 for a group too",
                        context->state, folder->mode);
  if (geteuid () != 0 && folder->uid != geteuid () && access (context->state, W_OK | X_OK) != 0)
    engine_problem_add (problems, "state-not-writable", TRUE, NULL, context->state,
                        "run chainctl as that user, or name another folder with --state",
                        "the state folder '%s' belongs to user %u, and you may not write there: nothing that changes a "
                        "VM can be done",
                        context->state, folder->uid);
}

static void
find_open_file (const char *path, const EngineImagefile *folder, GPtrArray *problems)
{
  g_autofree char *quoted = g_shell_quote (path);
  g_autofree char *close = g_strdup_printf ("`chmod o= %s`", quoted);
  g_autofree char *give = g_strdup_printf ("`chown %u:%u %s`", folder->uid, folder->gid, quoted);
  EngineImagefile file;

  if (!engine_imagefile_stat (path, &file, NULL))
    return;
  if ((file.mode & S_IRWXO) != 0)
    engine_problem_add (problems, "state-open", FALSE, NULL, path, close, "'%s' is open to others (mode %04o)", path,
                        file.mode);
  /* A folder that has a group is shared: there each file is its maker's. */
  if (file.uid != folder->uid && (folder->mode & S_IRWXG) == 0)
    engine_problem_add (problems, "state-owner", FALSE, NULL, path, give,
                        "'%s' belongs to user %u, and its folder to user %u: was chainctl run as another user (sudo)? "
                        "The folder's owner may be locked out",
                        path, file.uid, folder->uid);
}

/* The files in folder @path, which is the state folder @state or one in it. */
static void
find_open_files (const char *path, const EngineImagefile *state, GPtrArray *problems)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *file = g_build_filename (path, name, NULL);

    find_open_file (file, state, problems);
  }
}

static void
find_open_state (EngineContext *context, GPtrArray *problems)
{
  g_autofree char *locks = g_build_filename (context->state, "locks", NULL);
  EngineImagefile folder;

  if (!engine_imagefile_stat (context->state, &folder, NULL))
    return;
  find_open_folder (context, &folder, problems);
  find_open_files (context->state, &folder, problems);
  find_open_files (locks, &folder, problems);
}

/* ---- programs ---- */

static void
find_no_program (GPtrArray *problems)
{
  g_autofree char *program = g_find_program_in_path ("qemu-storage-daemon");

  if (program == NULL)
    engine_problem_add (problems, "no-storage-daemon", FALSE, NULL, NULL,
                        "`apt install qemu-system-common` (Debian), or the package of your system that has it",
                        "there is no program 'qemu-storage-daemon' in PATH: VMs that are shut off cannot be worked on");
}

/* What `systemctl @verb` says of the timer; a systemctl that reaches nobody says nothing. Returns: (nullable) */
static char *
ask_systemctl (const char *verb)
{
  const char *const words[] = {"systemctl", verb, TIMER, NULL};
  char *said = NULL;

  if (!g_spawn_sync (NULL, (char **)words, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &said,
                     NULL, NULL, NULL))
    return NULL;
  g_strstrip (said);
  if (*said == '\0')
    g_clear_pointer (&said, g_free);
  return said;
}

void
engine_hostadvice_judge_timer (const char *enabled, const char *active, GPtrArray *problems)
{
  gboolean stays = enabled != NULL && g_str_has_prefix (enabled, "enabled");
  gboolean runs = active != NULL && g_str_equal (active, "active");

  if (enabled == NULL || active == NULL || (stays && runs))
    return;
  engine_problem_add (problems, "no-recover-timer", FALSE, NULL, NULL, "`systemctl enable --now " TIMER "`",
                      "the timer " TIMER " is not %s: what a crash of this host interrupts is then put right by the "
                      "next command on that VM, and not before",
                      runs ? "enabled" : "active");
}

/* The timer is the system's: a user's own VMs are none of its. */
static void
find_no_timer (GPtrArray *problems)
{
  g_autofree char *enabled = NULL;
  g_autofree char *active = NULL;

  if (geteuid () != 0 || !g_file_test (SYSTEMD_RUNS, G_FILE_TEST_IS_DIR))
    return;
  enabled = ask_systemctl ("is-enabled");
  active = ask_systemctl ("is-active");
  engine_hostadvice_judge_timer (enabled, active, problems);
}

void
engine_hostadvice_find (EngineContext *context, GPtrArray *problems)
{
  find_damage (context, problems);
  find_open_state (context, problems);
  find_no_program (problems);
  find_no_timer (problems);
}
