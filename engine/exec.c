/*
 * Starts a VM safely: nothing is started unless it is certain which images are the
 * right ones, and no argument names a wrong one. Changes nothing, so there is
 * nothing to journal; from the start on QEMU's own locks guard the images.
 */
#include "engine/exec.h"

#include "base/nearest.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/startup.h"
#include "engine/tree.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define VERB "exec"

/** @disks: (element-type EngineStartup): those that are not ignored, and those that a placeholder names */
typedef struct {
  EngineVm *vm;
  const char *const *command;
  GPtrArray *disks;
} Run;

static void
run_clear (Run *run)
{
  g_clear_pointer (&run->disks, g_ptr_array_unref);
  g_clear_pointer (&run->vm, engine_vm_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

void
engine_exec_free (EngineExec *exec)
{
  if (exec == NULL)
    return;
  g_clear_pointer (&exec->vm, engine_vm_free);
  g_strfreev (exec->argv);
  g_free (exec);
}

/* ---- check: the program, the VM ---- */

static gboolean
check_program (const Run *run, GError **error)
{
  g_autofree char *found = g_find_program_in_path (run->command[0]);

  if (found != NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_FAILED, "is it installed, and in PATH?",
                    "VM '%s': there is no program '%s' to start; nothing was started", run->vm->record->name,
                    run->command[0]);
  return FALSE;
}

static gboolean
check_shut_off (Run *run, GError **error)
{
  if (!engine_vm_connect (run->vm, error))
    return FALSE;
  if (run->vm->monitor == NULL)
    return engine_startup_check_operations (run->vm, error);
  engine_error_set (error, ENGINE_ERROR_REFUSED, "two QEMUs on the same images would destroy them",
                    "VM '%s' runs already (%s at '%s'); nothing was started", run->vm->record->name,
                    engine_vm_state_to_string (run->vm->state), run->vm->record->qmp);
  return FALSE;
}

/* ---- what the arguments name ---- */

/* The next `{name}` from @text on. Returns: (transfer full) (nullable): the name; @start and @end: of the braces */
static char *
next_placeholder (const char *text, const char **start, const char **end)
{
  for (const char *at = strchr (text, '{'); at != NULL; at = strchr (at + 1, '{')) {
    gsize length = strspn (at + 1, CHAINS_MODEL_DISK_NAME_CHARACTERS);

    /* "${HOME}" is a shell's, "{3}" a pattern's. */
    if (!g_ascii_isalpha (at[1]) || at[1 + length] != '}' || (at > text && at[-1] == '$'))
      continue;
    *start = at;
    *end = at + length + 2;
    return g_strndup (at + 1, length);
  }
  return NULL;
}

static gboolean
has_placeholder (const Run *run, const char *name)
{
  for (gsize i = 0; run->command[i] != NULL; i++) {
    const char *start, *end = run->command[i];

    for (;;) {
      g_autofree char *found = next_placeholder (end, &start, &end);

      if (found == NULL)
        break;
      if (g_str_equal (found, name))
        return TRUE;
    }
  }
  return FALSE;
}

static gboolean
is_of_a_name (char c)
{
  return g_ascii_isalnum (c) || (c != '\0' && strchr ("._-/", c) != NULL) || (guchar)c >= 0x80;
}

/* Whether @text has @path in it as a whole: not as the end or the beginning of a longer one. */
static gboolean
has_path (const char *text, const char *path)
{
  for (const char *at = strstr (text, path); at != NULL; at = strstr (at + 1, path))
    if ((at == text || !is_of_a_name (at[-1])) && !is_of_a_name (at[strlen (path)]))
      return TRUE;
  return FALSE;
}

/* A relative path, a symbolic link or a second name is the same file. */
static gboolean
has_file (const char *text, const EngineImagefile *image)
{
  g_auto (GStrv) parts = g_strsplit_set (text, ",=\"' \t\n", -1);

  for (gsize i = 0; parts[i] != NULL; i++) {
    const char *path = g_str_has_prefix (parts[i], "file:") ? parts[i] + strlen ("file:") : parts[i];
    EngineImagefile file;

    if (engine_imagefile_stat (path, &file, NULL) && file.device == image->device && file.inode == image->inode)
      return TRUE;
  }
  return FALSE;
}

/* Which argument has the image at @path in it, in whatever words; %NULL: none. Borrowed. */
static const char *
find_argument (const Run *run, const char *path)
{
  g_auto (GStrv) parts = g_strsplit (path, ",", -1);
  g_autofree char *escaped = g_strjoinv (",,", parts);
  EngineImagefile image = {0};
  gboolean there = g_path_is_absolute (path) && engine_imagefile_stat (path, &image, NULL);

  for (gsize i = 0; run->command[i] != NULL; i++)
    if (has_path (run->command[i], path) || has_path (run->command[i], escaped) ||
        (there && has_file (run->command[i], &image)))
      return run->command[i];
  return NULL;
}

/* ---- check: the disks ---- */

static gboolean
refuse_image (const Run *run, const EngineTree *tree, const EngineTreeImage *image, const char *argument,
              GError **error)
{
  const EngineTreeImage *active = engine_tree_active (tree);
  g_autofree char *hint = g_strdup_printf ("write {%s} in its place", tree->disk->name);
  g_autofree char *snapshots = NULL;

  g_ptr_array_add (image->snapshots, NULL);
  snapshots = g_strjoinv ("', '", (char **)image->snapshots->pdata);
  engine_error_set (error, ENGINE_ERROR_REFUSED, hint,
                    "VM '%s', disk '%s': argument '%s' names '%s', which is not the active image ('%s' is): a guest "
                    "that writes to it would spoil %s%s%s; nothing was started",
                    run->vm->record->name, tree->disk->name, argument, image->image->path,
                    active != NULL ? active->image->path : "none",
                    *snapshots != '\0' ? "snapshot '" : "what is above it", snapshots, *snapshots != '\0' ? "'" : "");
  return FALSE;
}

/* An image of ours that is not active is frozen: others stand on it. */
static gboolean
check_images (const Run *run, GError **error)
{
  g_autoptr (GPtrArray) trees = engine_tree_read (run->vm->context, run->vm->record, error);

  for (guint i = 0; trees != NULL && i < trees->len; i++) {
    const EngineTree *tree = g_ptr_array_index (trees, i);

    for (guint j = 0; j < tree->images->len; j++) {
      const EngineTreeImage *image = g_ptr_array_index (tree->images, j);
      const char *argument = NULL;

      if (image->image->owned && image->image->id != tree->disk->active)
        argument = find_argument (run, image->image->path);
      if (argument != NULL)
        return refuse_image (run, tree, image, argument, error);
    }
  }
  return trees != NULL;
}

static gboolean
check_disks (Run *run, GError **error)
{
  for (guint i = 0; i < run->vm->disks->len; i++) {
    const ChainsDisk *disk = g_ptr_array_index (run->vm->disks, i);
    gboolean replaced = has_placeholder (run, disk->name);
    EngineStartup *startup;

    if (disk->ignored && !replaced)
      continue;
    startup = engine_startup_find (run->vm, disk, error);
    if (startup == NULL)
      return FALSE;
    g_ptr_array_add (run->disks, startup);
    if (!replaced && find_argument (run, startup->path) == NULL)
      engine_context_warn (run->vm->context, "disk-not-named",
                           "VM '%s': no argument names disk '%s' ({%s}, or '%s'), so the command may start without it",
                           run->vm->record->name, disk->name, disk->name, startup->path);
    if (!replaced || startup->local)
      continue;
    engine_error_set (error, ENGINE_ERROR_UNSUPPORTED, "name it in the command by words of your own",
                      "VM '%s', disk '%s': '%s' is no file or block device of this host, so {%s} cannot be replaced",
                      run->vm->record->name, disk->name, startup->path, disk->name);
    return FALSE;
  }
  return check_images (run, error);
}

/* ---- replace ---- */

static const char *
find_blockdev (const Run *run, const char *name)
{
  for (guint i = 0; i < run->disks->len; i++) {
    const EngineStartup *startup = g_ptr_array_index (run->disks, i);

    if (g_str_equal (startup->disk, name))
      return startup->blockdev;
  }
  return NULL;
}

static void
set_unknown (const Run *run, const char *name, const char *argument, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  g_autofree char *hint = NULL;
  const char *nearest;

  for (guint i = 0; i < run->vm->disks->len; i++)
    g_ptr_array_add (names, ((const ChainsDisk *)g_ptr_array_index (run->vm->disks, i))->name);
  g_ptr_array_add (names, NULL);
  nearest = base_nearest_find (name, (const char *const *)names->pdata);
  hint = nearest != NULL ? g_strdup_printf ("did you mean {%s}?", nearest)
                         : g_strdup_printf ("`chainctl vm show %s` lists its disks", run->vm->record->name);
  engine_error_set (error, ENGINE_ERROR_NO_SUCH_DISK, hint,
                    "VM '%s' has no disk '%s', which argument '%s' asks for; nothing was started",
                    run->vm->record->name, name, argument);
}

static char *
replace (const Run *run, const char *argument, GError **error)
{
  g_autoptr (GString) text = g_string_new (NULL);
  const char *rest = argument;

  for (;;) {
    const char *start, *end;
    g_autofree char *name = next_placeholder (rest, &start, &end);
    const char *blockdev = name != NULL ? find_blockdev (run, name) : NULL;

    if (name == NULL)
      break;
    if (blockdev == NULL) {
      set_unknown (run, name, argument, error);
      return NULL;
    }
    g_string_append_len (text, rest, start - rest);
    g_string_append (text, blockdev);
    rest = end;
  }
  g_string_append (text, rest);
  return g_string_free (g_steal_pointer (&text), FALSE);
}

static char **
replace_all (const Run *run, GError **error)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new_with_free_func (g_free);

  for (gsize i = 0; run->command[i] != NULL; i++) {
    char *argument = replace (run, run->command[i], error);

    if (argument == NULL)
      return NULL;
    g_ptr_array_add (argv, argument);
  }
  g_ptr_array_add (argv, NULL);
  return (char **)g_ptr_array_steal (argv, NULL);
}

/* ---- all of it ---- */

EngineExec *
engine_exec_prepare (EngineContext *context, const char *name, const char *const *command, GError **error)
{
  g_auto (Run) run = {.command = command};
  g_auto (GStrv) argv = NULL;
  EngineExec *exec;

  run.disks = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_startup_free);
  run.vm = engine_vm_open (context, name, VERB, error);
  if (run.vm == NULL || !check_shut_off (&run, error) || !check_disks (&run, error))
    return NULL;
  argv = replace_all (&run, error);
  if (argv == NULL || !check_program (&run, error))
    return NULL;
  exec = g_new0 (EngineExec, 1);
  exec->vm = g_steal_pointer (&run.vm);
  exec->argv = g_steal_pointer (&argv);
  return exec;
}

void
engine_exec_start (EngineExec *exec, GError **error)
{
  int saved;

  /* The lock and the rest are closed by the kernel: all that is ours is close-on-exec, what was handed to us is not. */
  g_clear_pointer (&exec->vm->context->db, chains_db_free);
  execvp (exec->argv[0], exec->argv);
  saved = errno;
  engine_error_set (error, ENGINE_ERROR_FAILED, NULL, "VM '%s': cannot start '%s': %s; nothing was started",
                    exec->vm->record->name, exec->argv[0], g_strerror (saved));
}
