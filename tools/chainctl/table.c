/*
 * The table of commands, and how one is found by what was typed: one word or two,
 * with the nearest name for a typing mistake.
 */
#include "tools/chainctl/table.h"

#include "base/nearest.h"
#include "tools/chainctl/commands.h"
#include "tools/chainctl/exit.h"

#include <string.h>

const ChainctlCommand chainctl_table[] = {
    {"vm add", "NAME --qmp SOCKET", "register a VM",
     "Connects to the VM's monitor, shows its disks, and remembers them. Each disk's\n"
     "active image becomes its base; images below it are foreign: read, never\n"
     "written, moved or removed. --own and --adopt move the base down.",
     CHAINS_DB_WRITE, FALSE, FALSE, CHAINCTL_RECOVERY_NONE, 1, 1, chainctl_cmd_vm_add},
    {"vm list", "", "the VMs that are registered", NULL, CHAINS_DB_READ, FALSE, FALSE, CHAINCTL_RECOVERY_NONE, 0, 0,
     chainctl_cmd_vm_list},
    {"vm show", "[VM]", "one VM and its disks", NULL, CHAINS_DB_READ, TRUE, FALSE, CHAINCTL_RECOVERY_TRIED, 0, 0,
     chainctl_cmd_vm_show},
    {"vm set", "[VM]", "change what is remembered of a VM", NULL, CHAINS_DB_UPDATE, TRUE, FALSE,
     CHAINCTL_RECOVERY_NEEDED, 0, 0, chainctl_cmd_vm_set},
    {"vm rescan", "[VM]", "disks were added, replaced, resized",
     "Compares QEMU with the database. A disk that was added or resized is taken over.\n"
     "Where QEMU is on other images than the active ones nothing is changed, unless\n"
     "--accept says that QEMU is right.",
     CHAINS_DB_UPDATE, TRUE, FALSE, CHAINCTL_RECOVERY_NEEDED, 0, 0, chainctl_cmd_vm_rescan},
    {"vm discover", "[DIR…]", "find running QEMUs",
     "Shows the QEMUs of this host that have a QMP socket, and those that answer at a\n"
     "socket in DIR. A monitor that is in use is not disturbed.",
     CHAINS_DB_READ, FALSE, FALSE, CHAINCTL_RECOVERY_NONE, 0, G_MAXUINT, chainctl_cmd_vm_discover},
    {"vm remove", "VM", "forget a VM; its images stay", NULL, CHAINS_DB_UPDATE, FALSE, FALSE, CHAINCTL_RECOVERY_NONE, 1,
     1, chainctl_cmd_vm_remove},
    {"vm export", "[VM]", "a VM as a document for another host", NULL, CHAINS_DB_READ, TRUE, FALSE,
     CHAINCTL_RECOVERY_NEEDED, 0, 0, chainctl_cmd_vm_move_export},
    {"vm import", "FILE", "register a VM from such a document",
     "Its images have to be here already, at the same paths. FILE - is stdin.", CHAINS_DB_WRITE, FALSE, FALSE,
     CHAINCTL_RECOVERY_NONE, 1, 1, chainctl_cmd_vm_move_import},
    {"snapshot", "[VM [NAME]]", "one point in time of all disks",
     "All chosen disks get a new overlay in one transaction, the guest's file systems\n"
     "frozen where its agent allows it. All of the disks are switched, or none.",
     CHAINS_DB_UPDATE, TRUE, TRUE, CHAINCTL_RECOVERY_NEEDED, 0, 1, chainctl_cmd_snapshot},
    {"rollback", "VM SNAPSHOT", "go back to a snapshot",
     "The disks go on to new overlays on the snapshot's images; QEMU's process stays.\n"
     "What was active is kept as an automatic snapshot, so that there is a way back.\n"
     "The guest is reset where it has file systems of these disks mounted.",
     CHAINS_DB_UPDATE, TRUE, FALSE, CHAINCTL_RECOVERY_NEEDED, 1, 1, chainctl_cmd_rollback},
    {"protect", "VM SNAPSHOT...", "keep snapshots from being merged",
     "Such a one is not merged, deleted or pruned until --off lets go of it.", CHAINS_DB_UPDATE, TRUE, FALSE,
     CHAINCTL_RECOVERY_NEEDED, 1, G_MAXUINT, chainctl_cmd_protect},
    {"commit", "[VM]", "merge images downwards",
     "Moves the data of images into the base, or into the first image above --base,\n"
     "and forgets the snapshots whose point in time is overwritten. The active image\n"
     "is merged too unless --top is given: --pivot then moves the guest down, too.",
     CHAINS_DB_UPDATE, TRUE, FALSE, CHAINCTL_RECOVERY_NEEDED, 0, 0, chainctl_cmd_commit},
    {"stream", "[VM]", "pull data upwards",
     "Copies what lies below the active image (or that of --top) into it, down to\n"
     "--base, which stays below it. No snapshot changes.",
     CHAINS_DB_UPDATE, TRUE, FALSE, CHAINCTL_RECOVERY_NEEDED, 0, 0, chainctl_cmd_stream},
    {"mirror", "[VM]", "copy live disks elsewhere",
     "To files, or to an NBD server. --finish ends the copies in one instant, the\n"
     "guest's file systems frozen where its agent allows it; --pivot moves the guest\n"
     "to them; --follow keeps them in step until `chainctl job complete`.",
     CHAINS_DB_UPDATE, TRUE, FALSE, CHAINCTL_RECOVERY_NEEDED, 0, 0, chainctl_cmd_mirror},
    {"receive", "", "serve new images for copies that come over NBD",
     "The other end of `mirror --nbd`: makes an image for each --disk and serves them\n"
     "over NBD, until something was written and the sender has gone.",
     CHAINS_DB_READ, FALSE, FALSE, CHAINCTL_RECOVERY_NONE, 0, 0, chainctl_cmd_receive},
    {"jobs", "[VM]", "block jobs that are at work",
     "Those of an earlier process and of others too; without VM: of all VMs.", CHAINS_DB_READ, FALSE, FALSE,
     CHAINCTL_RECOVERY_NONE, 0, 1, chainctl_cmd_jobs},
    {"job wait", "VM JOB", "wait for a job, and do what is due then",
     "JOB may be an operation's id, or its beginning. Jobs of one operation belong\n"
     "together: where it was asked to pivot, that is done when all are ready.",
     CHAINS_DB_UPDATE, TRUE, FALSE, CHAINCTL_RECOVERY_NONE, 1, 1, chainctl_cmd_job_wait},
    {"job pause", "VM JOB", "let a job stand still", NULL, CHAINS_DB_READ, TRUE, FALSE, CHAINCTL_RECOVERY_NONE, 1, 1,
     chainctl_cmd_job_pause},
    {"job resume", "VM JOB", "let it go on", NULL, CHAINS_DB_READ, TRUE, FALSE, CHAINCTL_RECOVERY_NONE, 1, 1,
     chainctl_cmd_job_resume},
    {"job cancel", "VM JOB", "end a job; nothing is switched",
     "An operation of ours ends as a whole. What a commit has overwritten is gone;\n"
     "the files that a mirror has made are removed.",
     CHAINS_DB_UPDATE, TRUE, FALSE, CHAINCTL_RECOVERY_NONE, 1, 1, chainctl_cmd_job_cancel},
    {"job complete", "VM JOB", "bring a merge or a copy to its end",
     "All jobs of the operation are waited for. Then a merge moves the guest to what\n"
     "received the data; copies end, all in one instant, or the guest moves to them\n"
     "where they were begun with --pivot.",
     CHAINS_DB_UPDATE, TRUE, FALSE, CHAINCTL_RECOVERY_NONE, 1, 1, chainctl_cmd_job_complete},
    {"job speed", "VM JOB SPEED", "change a job's limit", "Bytes a second; K, M and G are binary; 0 is no limit.",
     CHAINS_DB_READ, TRUE, FALSE, CHAINCTL_RECOVERY_NONE, 2, 2, chainctl_cmd_job_speed},
    {"list", "[VM]", "the snapshots of a VM", NULL, CHAINS_DB_READ, TRUE, TRUE, CHAINCTL_RECOVERY_TRIED, 0, 0,
     chainctl_cmd_list},
    {"show", "VM SNAPSHOT", "one snapshot", NULL, CHAINS_DB_READ, TRUE, FALSE, CHAINCTL_RECOVERY_TRIED, 1, 1,
     chainctl_cmd_show},
    {"tree", "[VM]", "the images of a VM as a tree", NULL, CHAINS_DB_READ, TRUE, FALSE, CHAINCTL_RECOVERY_TRIED, 0, 0,
     chainctl_cmd_tree},
    {"path", "VM DISK", "the active image of a disk", NULL, CHAINS_DB_READ, TRUE, FALSE, CHAINCTL_RECOVERY_NEEDED, 1, 1,
     chainctl_cmd_path},
    {"log", "[VM]", "the operations on a VM", NULL, CHAINS_DB_READ, TRUE, FALSE, CHAINCTL_RECOVERY_TRIED, 0, 0,
     chainctl_cmd_log},
    {"check", "[VM]", "look for what is wrong", NULL, CHAINS_DB_READ, TRUE, TRUE, CHAINCTL_RECOVERY_TRIED, 0, 0,
     chainctl_cmd_check},
    {"doctor", "[VM]", "explain what is or could go wrong",
     "What check finds, and advice: the agent, the monitor, permissions, file systems,\n"
     "cache modes, deep chains, this host. Each finding says what to do about it.",
     CHAINS_DB_READ, TRUE, FALSE, CHAINCTL_RECOVERY_TRIED, 0, 0, chainctl_cmd_doctor},
    {"exec", "[VM] -- CMD...", "start a VM on its active images",
     "Replaces {DISK} in the arguments of CMD by that disk's active image, as the\n"
     "value of a -blockdev option, and becomes CMD. In doubt starts nothing.",
     CHAINS_DB_READ, TRUE, FALSE, CHAINCTL_RECOVERY_NEEDED, 0, 0, chainctl_cmd_exec},
    {"recover", "[VM]", "finish or undo what was interrupted",
     "Without VM: of every VM. The same is done by itself before any other command on\n"
     "a VM that has an interrupted operation.",
     CHAINS_DB_UPDATE, FALSE, TRUE, CHAINCTL_RECOVERY_NONE, 0, 1, chainctl_cmd_recover},
    {"guest", "VM ping|info|status|thaw", "the agent by hand", NULL, CHAINS_DB_READ, TRUE, FALSE,
     CHAINCTL_RECOVERY_TRIED, 1, 1, chainctl_cmd_guest},
    {"state backup", "FILE", "a copy of the database while it is in use", NULL, CHAINS_DB_READ, FALSE, FALSE,
     CHAINCTL_RECOVERY_NONE, 1, 1, chainctl_cmd_state_backup},
    {"state restore", "FILE", "put such a copy in the database's place",
     "Refused while an operation runs. What was there before is kept beside it.", CHAINS_DB_WRITE, FALSE, FALSE,
     CHAINCTL_RECOVERY_NONE, 1, 1, chainctl_cmd_state_restore},
    {"state rebuild", "DIR...", "make a lost database again",
     "From the notes and the headers of the images in these folders and below.", CHAINS_DB_WRITE, FALSE, FALSE,
     CHAINCTL_RECOVERY_NONE, 1, G_MAXUINT, chainctl_cmd_state_rebuild},
    {NULL},
};

static const ChainctlCommand *
find_name (const char *name)
{
  for (const ChainctlCommand *command = chainctl_table; command->name != NULL; command++)
    if (g_str_equal (command->name, name))
      return command;
  return NULL;
}

/* %TRUE where @word begins commands of two words. */
static gboolean
is_group (const char *word)
{
  for (const ChainctlCommand *command = chainctl_table; command->name != NULL; command++)
    if (g_str_has_prefix (command->name, word) && command->name[strlen (word)] == ' ')
      return TRUE;
  return FALSE;
}

/* Where in the list of all commands a heading stands: above which one. */
static const struct {
  const char *command;
  const char *heading;
} headings[] = {
    {"vm add", "Which VMs there are"},
    {"snapshot", "Points in time"},
    {"commit", "Moving data while the guest runs"},
    {"jobs", "Copies that are at work"},
    {"list", "Looking"},
    {"exec", "Starting, repairing, the rest"},
};

static void
append_heading (GString *text, const char *command)
{
  for (gsize i = 0; i < G_N_ELEMENTS (headings); i++)
    if (g_str_equal (headings[i].command, command))
      g_string_append_printf (text, "%s%s:\n", text->len > 0 ? "\n" : "", headings[i].heading);
}

char *
chainctl_table_describe (const char *group)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (const ChainctlCommand *command = chainctl_table; command->name != NULL; command++) {
    if (group == NULL)
      append_heading (text, command->name);
    else if (!g_str_has_prefix (command->name, group) || command->name[strlen (group)] != ' ')
      continue;
    g_string_append_printf (text, "  %-14s %s\n", command->name, command->summary);
  }
  return text->len > 0 ? g_string_free (g_steal_pointer (&text), FALSE) : NULL;
}

/* What other programs have as a command, and we as an option. @next: (nullable): the word behind it. Returns:
 * (nullable) */
static char *
option_instead (const char *typed, const char *next)
{
  gboolean known = next != NULL && (is_group (next) || find_name (next) != NULL);

  if (g_str_equal (typed, "version"))
    return g_strdup ("chainctl --version");
  if (g_str_equal (typed, "help"))
    return g_strdup_printf ("chainctl %s%s--help", known ? next : "", known ? " " : "");
  return NULL;
}

static void
set_unknown (const char *typed, const char *next, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  g_autofree char *instead = option_instead (typed, next);
  const char *nearest;

  for (const ChainctlCommand *command = chainctl_table; command->name != NULL; command++)
    g_ptr_array_add (names, (gpointer)command->name);
  g_ptr_array_add (names, NULL);
  nearest = base_nearest_find (typed, (const char *const *)names->pdata);
  if (instead != NULL)
    g_set_error (error, CHAINCTL_EXIT_ERROR, CHAINCTL_EXIT_ERROR_USAGE, "there is no command '%s'; use `%s`", typed,
                 instead);
  else if (nearest != NULL)
    g_set_error (error, CHAINCTL_EXIT_ERROR, CHAINCTL_EXIT_ERROR_USAGE, "there is no command '%s'; did you mean '%s'?",
                 typed, nearest);
  else
    g_set_error (error, CHAINCTL_EXIT_ERROR, CHAINCTL_EXIT_ERROR_USAGE,
                 "there is no command '%s'; see `chainctl --help`", typed);
}

const ChainctlCommand *
chainctl_table_find (const char *first, const char *second, guint *count, GError **error)
{
  g_autofree char *both = is_group (first) ? g_strdup_printf ("%s %s", first, second != NULL ? second : "") : NULL;
  const ChainctlCommand *command = find_name (both != NULL ? both : first);

  *count = both != NULL ? 2 : 1;
  if (command == NULL)
    set_unknown (both != NULL ? g_strchomp (both) : first, second, error);
  return command;
}
