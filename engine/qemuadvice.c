/*
 * Looks at QEMU as a program: how it was started, what it can do, what it may
 * do. Command lines are read, never believed to be all there is: what is not found on
 * one is no finding.
 */
#include "engine/qemuadvice.h"

#include "chains/journal.h"
#include "engine/confinement.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/nodeoptions.h"
#include "engine/preflight.h"
#include "engine/tree.h"

#include <string.h>
#include <unistd.h>

/* The first that streams onto subclusters without an abort. */
#define SOUND_SUBCLUSTERS 10

/* ---- monitors ---- */

static guint
count_monitors (char **arguments)
{
  g_autoptr (GPtrArray) plain = engine_nodeoptions_list (arguments, "-qmp");
  g_autoptr (GPtrArray) pretty = engine_nodeoptions_list (arguments, "-qmp-pretty");
  g_autoptr (GPtrArray) all = engine_nodeoptions_list (arguments, "-mon");
  guint count = plain->len + pretty->len;

  for (guint i = 0; i < all->len; i++)
    count += g_strcmp0 (g_hash_table_lookup (g_ptr_array_index (all, i), "mode"), "control") == 0 ? 1 : 0;
  return count;
}

/* A configuration file may open more. A storage daemon has other words, and is started for one purpose. */
static void
find_one_monitor (const EngineVm *vm, char **arguments, GPtrArray *problems)
{
  g_autoptr (GPtrArray) files = engine_nodeoptions_list (arguments, "-readconfig");
  g_autofree char *repair = NULL;

  if (vm->daemon || files->len > 0 || count_monitors (arguments) != 1)
    return;
  repair = g_strdup_printf ("start QEMU with another for other programs: `-qmp unix:/run/%s.qmp2,server=on,wait=off`",
                            vm->record->name);
  engine_problem_add (problems, "one-monitor", FALSE, NULL, NULL, repair,
                      "VM '%s': QEMU has one QMP monitor in all, and a monitor serves one program at a time: another "
                      "one that is connected to it locks chainctl out",
                      vm->record->name);
}

/* ---- images on the command line ---- */

static void
add_path (GPtrArray *paths, const char *folder, const char *name)
{
  if (g_str_has_prefix (name, "file:"))
    name += strlen ("file:");
  if (*name != '\0' && !g_str_has_prefix (name, "json:"))
    g_ptr_array_add (paths, g_canonicalize_filename (name, folder));
}

/* A backing image that is named is the person's own word for what lies below, and no head of a disk. */
static void
add_filenames (GPtrArray *paths, const char *folder, GHashTable *options)
{
  GHashTableIter iter;
  gpointer key, value;

  g_hash_table_iter_init (&iter, options);
  while (g_hash_table_iter_next (&iter, &key, &value))
    if ((g_str_equal (key, "filename") || g_str_has_suffix (key, ".filename")) && strstr (key, "backing.") == NULL)
      add_path (paths, folder, value);
}

static void
add_option (GPtrArray *paths, const char *folder, char **arguments, const char *option, const char *key)
{
  g_autoptr (GPtrArray) list = engine_nodeoptions_list (arguments, option);

  for (guint i = 0; i < list->len; i++) {
    const char *name = key != NULL ? g_hash_table_lookup (g_ptr_array_index (list, i), key) : NULL;

    add_filenames (paths, folder, g_ptr_array_index (list, i));
    if (name != NULL)
      add_path (paths, folder, name);
  }
}

/* The image files that the command line names, absolute. Returns: (transfer full) (element-type filename) */
static GPtrArray *
list_paths (const EngineVm *vm, char **arguments)
{
  static const char *const drives[] = {"-hda", "-hdb", "-hdc", "-hdd"};
  g_autofree char *link = g_strdup_printf ("/proc/%ld/cwd", (long)vm->qemu);
  g_autofree char *folder = g_file_read_link (link, NULL);
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);

  add_option (paths, folder != NULL ? folder : "/", arguments, "-blockdev", NULL);
  add_option (paths, folder != NULL ? folder : "/", arguments, "-drive", "file");
  for (gsize i = 0; i < G_N_ELEMENTS (drives); i++)
    add_option (paths, folder != NULL ? folder : "/", arguments, drives[i], "");
  return paths;
}

static gboolean
is_named (const GPtrArray *paths, const char *image)
{
  for (guint i = 0; i < paths->len; i++)
    if (engine_imagefile_names ("/", g_ptr_array_index (paths, i), image))
      return TRUE;
  return FALSE;
}

/* An image of the disk's own that the command line names in place of the active one. */
static const EngineTreeImage *
find_old_image (const EngineTree *tree, const EngineTreeImage *active, const GPtrArray *paths)
{
  for (guint i = 0; i < tree->images->len; i++) {
    const EngineTreeImage *image = g_ptr_array_index (tree->images, i);

    if (image != active && image->image->owned && is_named (paths, image->image->path))
      return image;
  }
  return NULL;
}

/* Whether the guest was moved to a copy: then what it was copied from is no part of its chain any more. */
static gboolean
is_copy (const EngineVm *vm, const EngineTreeImage *active, const EngineTreeImage *old)
{
  const EngineTreeImage *lowest = active;
  g_autoptr (ChainsOp) op = NULL;

  while (lowest->parent != NULL && lowest != old)
    lowest = lowest->parent;
  if (lowest == old || lowest->image->created_by == NULL)
    return FALSE;
  op = chains_journal_get (vm->context->db, lowest->image->created_by, NULL);
  return op != NULL && g_str_equal (op->verb, "mirror");
}

static void
find_old_command_line (const EngineVm *vm, const EngineTree *tree, const GPtrArray *paths, GPtrArray *problems)
{
  const EngineTreeImage *active = engine_tree_active (tree);
  const EngineTreeImage *old =
      active != NULL && !is_named (paths, active->image->path) ? find_old_image (tree, active, paths) : NULL;
  const char *name = vm->record->name, *disk = tree->disk->name;
  gboolean copied = old != NULL && is_copy (vm, active, old);
  g_autofree char *repair = NULL;

  if (old == NULL)
    return;
  repair = g_strdup_printf ("start it with `chainctl exec %s -- COMMAND`, and {%s} in COMMAND in place of "
                            "driver=…,file.driver=file,file.filename=…; nothing to do where that is done",
                            name, disk);
  engine_problem_add (problems, "old-image-on-command-line", FALSE, disk, old->image->path, repair,
                      "VM '%s', disk '%s': QEMU's command line names '%s', and the active image is '%s'%s: QEMU "
                      "started again by the same words runs on old data%s",
                      name, disk, old->image->path, active->image->path,
                      copied ? ", since a mirror moved the guest to a copy" : "",
                      copied ? ", without all that was written since" : ", and spoils the snapshots above it");
}

/* ---- what it may open ---- */

/* A label that we have too holds us alike: what it forbids shows in what we may do. */
static void
find_confined (const EngineVm *vm, GPtrArray *problems)
{
  g_autoptr (EngineConfinement) its = engine_confinement_read (vm->qemu);
  g_autoptr (EngineConfinement) ours = engine_confinement_read (getpid ());

  if (its == NULL || !its->enforced || (ours != NULL && g_str_equal (its->label, ours->label)))
    return;
  engine_problem_add (
      problems, "qemu-confined", FALSE, NULL, NULL,
      g_str_equal (its->module, "AppArmor")
          ? "`aa-status` lists the profiles; let this one have the folders of new overlays (\"/images/** rwk,\"; for "
            "libvirt's in /etc/apparmor.d/local/abstractions/libvirt-qemu), then `systemctl reload apparmor`; a "
            "refusal shows in `journalctl -k --grep DENIED`"
          : "`ls -Z` shows the labels: those of the folders of new overlays must be such that QEMU may open files "
            "there (`semanage fcontext`, `restorecon`); a refusal shows in `ausearch -m AVC`",
      "VM '%s': %s confines QEMU (process %ld) by '%s': it opens a new overlay only where that allows it, whatever "
      "owner and mode say",
      vm->record->name, its->module, (long)vm->qemu, its->label);
}

/* ---- what it can do ---- */

static void
find_too_old (EngineVm *vm, GPtrArray *problems)
{
  g_autoptr (GError) failure = NULL;

  if (!engine_preflight_check_features (vm, &failure) &&
      g_error_matches (failure, ENGINE_ERROR, ENGINE_ERROR_UNSUPPORTED))
    engine_problem_add (problems, "qemu-too-old", TRUE, NULL, NULL, engine_error_get_hint (failure), "%s",
                        failure->message);
}

static void
find_subclusters (const EngineVm *vm, const EngineGraphDisk *disk, GPtrArray *problems)
{
  if (vm->major_version == 0 || vm->major_version >= SOUND_SUBCLUSTERS)
    return;
  for (guint i = 0; i < disk->layers->len; i++) {
    const EngineLayer *layer = g_ptr_array_index (disk->layers, i);

    if (!layer->node->extended_l2)
      continue;
    engine_problem_add (problems, "stream-kills-qemu", FALSE, disk->name, layer->path,
                        "never block-stream into it before QEMU 10; set extended_l2 in [overlay] of the configuration "
                        "to auto or off",
                        "VM '%s', disk '%s': '%s' has subclusters (extended_l2), and QEMU %" G_GINT64_FORMAT
                        " dies of a block-stream into such an image",
                        vm->record->name, disk->name, layer->path, vm->major_version);
  }
}

void
engine_qemuadvice_find (EngineVm *vm, const EngineGraph *graph, const GPtrArray *trees, GPtrArray *problems)
{
  g_auto (GStrv) arguments = engine_nodeoptions_read_arguments (vm->qemu);
  g_autoptr (GPtrArray) paths = list_paths (vm, arguments);

  if (vm->monitor != NULL)
    find_too_old (vm, problems);
  find_one_monitor (vm, arguments, problems);
  for (guint i = 0; i < trees->len; i++)
    if (!((const EngineTree *)g_ptr_array_index (trees, i))->disk->ignored)
      find_old_command_line (vm, g_ptr_array_index (trees, i), paths, problems);
  for (guint i = 0; graph != NULL && i < graph->disks->len; i++)
    find_subclusters (vm, g_ptr_array_index (graph->disks, i), problems);
  if (vm->qemu != 0)
    find_confined (vm, problems);
}
