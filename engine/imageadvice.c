/*
 * Looks at the images of each disk and at the folders that hold them, or that are
 * to hold their next overlays. Whether an image is the right one, and whole, is
 * engine/findings'; what QEMU may do in a folder is engine/preflight's.
 */
#include "engine/imageadvice.h"

#include "engine/error.h"
#include "engine/filesystem.h"
#include "engine/imagefile.h"
#include "engine/preflight.h"
#include "engine/tree.h"

#include <sys/stat.h>

/* Measured: from here on switch and start-up get slower; from the second on they are at the limits of names and time.
 */
#define DEEP 30
#define TOO_DEEP 200
/* Files that may still be made, below which somebody should know. */
#define FEW_INODES 1000

/* ---- a disk ---- */

static void
find_depth (const EngineVm *vm, const EngineTree *tree, GPtrArray *problems)
{
  const EngineTreeImage *active = engine_tree_active (tree);
  g_autofree char *repair = NULL;
  guint depth = 0;

  for (const EngineTreeImage *image = active; image != NULL; image = image->parent)
    depth++;
  if (depth <= DEEP)
    return;
  repair = g_strdup_printf ("keep fewer snapshots: `chainctl commit %s --top SNAPSHOT` merges all up to that one into "
                            "the base, while the VM runs",
                            vm->record->name);
  engine_problem_add (problems, "deep-chain", FALSE, tree->disk->name, active->image->path, repair,
                      "VM '%s', disk '%s': its chain has %u images; more than %u make snapshots and start-up slower%s",
                      vm->record->name, tree->disk->name, depth, DEEP,
                      depth >= TOO_DEEP ? ", and with this many they begin to fail" : "");
}

/* All images of the disk: what lies on a branch holds snapshots too. */
static void
find_open_files (const EngineVm *vm, const EngineTree *tree, GPtrArray *problems)
{
  for (guint i = 0; i < tree->images->len; i++) {
    const ChainsImage *image = ((const EngineTreeImage *)g_ptr_array_index (tree->images, i))->image;
    g_autofree char *quoted = g_shell_quote (image->path);
    g_autofree char *repair = g_strdup_printf ("`chmod o-w %s`", quoted);
    EngineImagefile file;

    if (!g_path_is_absolute (image->path) || !engine_imagefile_stat (image->path, &file, NULL) ||
        (file.mode & S_IWOTH) == 0)
      continue;
    engine_problem_add (problems, "image-world-writable", FALSE, tree->disk->name, image->path, repair,
                        "VM '%s', disk '%s': every user of this host may write to '%s' (mode %04o)", vm->record->name,
                        tree->disk->name, image->path, file.mode);
  }
}

static gboolean
loses_flushes (const EngineGraphDisk *disk)
{
  const EngineLayer *head = engine_graph_head (disk);
  gboolean loses = head->node->cache_no_flush || (head->file != NULL && head->file->cache_no_flush);

  for (guint i = 0; i < disk->filters->len; i++)
    loses = loses || ((const QmpNode *)g_ptr_array_index (disk->filters, i))->cache_no_flush;
  return loses;
}

static void
find_cache (const EngineVm *vm, const EngineGraphDisk *disk, GPtrArray *problems)
{
  const EngineLayer *head = engine_graph_head (disk);
  const QmpNode *bytes = head->file != NULL ? head->file : head->node;
  const EngineFilesystemType *type = engine_filesystem_type (head->path);

  if (loses_flushes (disk))
    engine_problem_add (problems, "cache-loses-flushes", TRUE, disk->name, head->path,
                        "start QEMU with cache=none or cache=writeback (-drive), without cache.no-flush (-blockdev)",
                        "VM '%s', disk '%s': QEMU ignores the guest's flushes (cache=unsafe, cache.no-flush): a power "
                        "cut loses data that the guest believes to be safe, and a snapshot's too",
                        vm->record->name, disk->name);
  if (head->local && type->kind == ENGINE_FILESYSTEM_NETWORK && !bytes->cache_direct)
    engine_problem_add (problems, "cache-on-network", FALSE, disk->name, head->path,
                        "start QEMU with cache=none (-drive), cache.direct=on (-blockdev)",
                        "VM '%s', disk '%s': this host caches '%s', which lies on %s: another host may see older data, "
                        "and errors of late writes come late or not at all",
                        vm->record->name, disk->name, head->path, type->name);
}

static void
find_unfit (EngineVm *vm, const EngineGraphDisk *disk, GPtrArray *problems)
{
  gboolean placed = vm->context->config->overlay_dir != NULL;
  g_autoptr (GError) failure = NULL;

  if (!engine_preflight_check_disk (vm, disk, placed, &failure))
    engine_problem_add (problems, "disk-unfit", FALSE, disk->name, engine_graph_head (disk)->path,
                        engine_error_get_hint (failure), "%s", failure->message);
}

/* ---- a folder ---- */

static void
find_kind (const EngineVm *vm, const char *disk, const char *folder, const EngineFilesystem *system,
           GPtrArray *problems)
{
  if (system->type->kind == ENGINE_FILESYSTEM_MEMORY)
    engine_problem_add (problems, "images-in-memory", FALSE, disk, folder, "move the disk to a folder on a disk",
                        "VM '%s', disk '%s': '%s' is in memory (%s): what lies there is lost when this host stops",
                        vm->record->name, disk, folder, system->type->name);
  if (system->type->kind == ENGINE_FILESYSTEM_NETWORK)
    engine_problem_add (problems, "network-file-system", FALSE, disk, folder,
                        "have one host at a time use these images; make sure that the server keeps locks and writes "
                        "what is synced before it says so (NFS: not `async`, `nolock`)",
                        "VM '%s', disk '%s': '%s' lies on %s: whether QEMU's locks hold against other hosts, and "
                        "whether synced data survives a power cut, is up to whoever serves it",
                        vm->record->name, disk, folder, system->type->name);
}

/* What recovery then has less of to tell files by. */
static void
find_lacks (const EngineVm *vm, const char *disk, const char *folder, const EngineFilesystem *system,
            GPtrArray *problems)
{
  if (!system->unnamed_files)
    engine_problem_add (problems, "no-unnamed-files", FALSE, disk, folder,
                        "nothing to do; or keep overlays on ext4, xfs or btrfs",
                        "VM '%s', disk '%s': the file system of '%s' makes no files without a name (O_TMPFILE): a "
                        "crash in the middle of a snapshot may leave an empty file there that nobody claims",
                        vm->record->name, disk, folder);
  if (!system->birth_times)
    engine_problem_add (problems, "no-birth-times", FALSE, disk, folder,
                        "nothing to do; or keep overlays on ext4, xfs or btrfs",
                        "VM '%s', disk '%s': the file system of '%s' does not say when a file was made: a file with a "
                        "number that was used before is told from another less surely",
                        vm->record->name, disk, folder);
}

/* Bytes by which the active images on file system @device may still grow. */
static gint64
growth_on (const GPtrArray *trees, guint64 device)
{
  gint64 growth = 0;

  for (guint i = 0; i < trees->len; i++) {
    const EngineTree *tree = g_ptr_array_index (trees, i);
    const EngineTreeImage *active = engine_tree_active (tree);
    EngineImagefile file;

    if (!tree->disk->ignored && active != NULL && g_path_is_absolute (active->image->path) &&
        engine_imagefile_stat (active->image->path, &file, NULL) && file.regular && file.device == device)
      growth += MAX (active->image->virtual_size - file.allocated, 0);
  }
  return growth;
}

static void
find_room (const EngineVm *vm, const GPtrArray *trees, const char *folder, const EngineFilesystem *system,
           GPtrArray *problems)
{
  gint64 reserve = vm->context->config->reserve, growth = growth_on (trees, system->device);
  const char *name = vm->record->name;

  if (system->available < reserve)
    engine_problem_add (problems, "no-space", TRUE, NULL, folder,
                        "free some space there, or set dir in [overlay] of the configuration",
                        "VM '%s': %" G_GINT64_FORMAT " bytes are free in '%s', and %" G_GINT64_FORMAT
                        " are to be left free ([space] reserve): snapshots there are refused, and the guest stops when "
                        "nothing is left",
                        name, system->available, folder, reserve);
  else if (system->available < growth)
    engine_problem_add (problems, "space-promised", FALSE, NULL, folder, "keep an eye on it; add space, or move a disk",
                        "VM '%s': %" G_GINT64_FORMAT " bytes are free in '%s', and its active images there may grow by "
                        "%" G_GINT64_FORMAT ": the guest stops when nothing is left",
                        name, system->available, folder, growth);
  if (system->inodes < FEW_INODES)
    engine_problem_add (problems, "few-inodes", system->inodes < (gint64)trees->len, NULL, folder,
                        "remove some files there",
                        "VM '%s': the file system of '%s' has room for %" G_GINT64_FORMAT
                        " more files: a snapshot makes one for each disk",
                        name, folder, system->inodes);
}

/* Each file system is spoken of once; @seen has their devices. */
static void
find_in_folder (EngineVm *vm, const GPtrArray *trees, const char *disk, const char *folder, GHashTable *seen,
                GPtrArray *problems)
{
  EngineFilesystem system;

  if (!engine_filesystem_look (folder, &system) || g_hash_table_contains (seen, &system.device))
    return;
  g_hash_table_add (seen, g_memdup2 (&system.device, sizeof system.device));
  find_kind (vm, disk, folder, &system, problems);
  find_lacks (vm, disk, folder, &system, problems);
  find_room (vm, trees, folder, &system, problems);
}

static void
find_in_folders (EngineVm *vm, const GPtrArray *trees, const EngineTree *tree, GHashTable *seen, GPtrArray *problems)
{
  const EngineTreeImage *active = engine_tree_active (tree);
  const char *configured = vm->context->config->overlay_dir, *disk = tree->disk->name;
  g_autofree char *folder = NULL;
  EngineImagefile file;

  if (active == NULL || !g_path_is_absolute (active->image->path) ||
      !engine_imagefile_stat (active->image->path, &file, NULL))
    return;
  folder = g_path_get_dirname (active->image->path);
  if (file.regular)
    find_in_folder (vm, trees, disk, folder, seen, problems);
  if (configured != NULL)
    find_in_folder (vm, trees, disk, configured, seen, problems);
  if (file.regular || configured != NULL)
    engine_preflight_find_obstacle (vm, disk, active->image->path, configured != NULL ? configured : folder, problems);
  else if (vm->monitor == NULL)
    engine_problem_add (problems, "disk-unfit", FALSE, disk, active->image->path,
                        "set dir in [overlay] of the configuration, or say --dir",
                        "VM '%s', disk '%s': '%s' is no regular file, beside which an overlay could lie",
                        vm->record->name, disk, active->image->path);
}

static void
find_live (EngineVm *vm, const EngineGraph *graph, const ChainsDisk *record, GPtrArray *problems)
{
  const EngineGraphDisk *disk = graph != NULL ? engine_graph_find (graph, record->name) : NULL;

  if (disk == NULL || disk->skipped != NULL)
    return;
  find_cache (vm, disk, problems);
  find_unfit (vm, disk, problems);
}

void
engine_imageadvice_find (EngineVm *vm, const EngineGraph *graph, const GPtrArray *trees, GPtrArray *problems)
{
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);

  for (guint i = 0; i < trees->len; i++) {
    const EngineTree *tree = g_ptr_array_index (trees, i);

    if (tree->disk->ignored)
      continue;
    find_depth (vm, tree, problems);
    find_open_files (vm, tree, problems);
    find_live (vm, graph, tree->disk, problems);
    find_in_folders (vm, trees, tree, seen, problems);
  }
}
