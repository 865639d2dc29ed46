/*
 * Turns snapshots' names into images and nodes. QEMU itself protects nobody: it
 * would commit into an image under another open chain without a word.
 */
#include "engine/mergeplan.h"

#include "base/point.h"
#include "chains/snapshots.h"
#include "engine/error.h"
#include "engine/inspect.h"
#include "engine/mergeroom.h"
#include "engine/mergeseal.h"
#include "engine/needed.h"
#include "engine/preflight.h"
#include "engine/tree.h"
#include "qmp/jobs.h"

#include <string.h>
#include <sys/stat.h>

/* QEMU 7.2 dies where the new name does not fit into a header (docs/interop/qcow2.txt). */
#define MAX_BACKING_NAME 1023
#define EXTENDED_L2_STREAMS_SINCE 10

/* One disk while it is planned. @chain: (element-type ChainsImage): the live chain, the active image first. Borrowed.
 */
typedef struct {
  EngineOp *op;
  EngineMergeIntent *intent;
  const EngineMergePlanRequest *request;
  const GPtrArray *snapshots;
  const GPtrArray *exports;
  ChainsDisk *record;
  const EngineGraphDisk *disk;
  EngineTree *tree;
  GPtrArray *chain;
  guint top;
  guint bottom;
} Part;

static void
part_clear (Part *part)
{
  g_clear_pointer (&part->tree, engine_tree_free);
  g_clear_pointer (&part->chain, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Part, part_clear)

static gboolean refuse (const Part *part, const char *hint, GError **error, const char *format, ...)
    G_GNUC_PRINTF (4, 5);

static gboolean
refuse (const Part *part, const char *hint, GError **error, const char *format, ...)
{
  g_autofree char *why = NULL;
  va_list arguments;

  va_start (arguments, format);
  why = g_strdup_vprintf (format, arguments);
  va_end (arguments);
  engine_error_set (error, ENGINE_ERROR_REFUSED, hint, "VM '%s', disk '%s': %s", part->op->vm->record->name,
                    part->record->name, why);
  return FALSE;
}

static const ChainsImage *
image_at (const Part *part, guint index)
{
  return g_ptr_array_index (part->chain, index);
}

/* ---- which images ---- */

static const ChainsSnapshot *
find_snapshot (const Part *part, const char *reference, GError **error)
{
  EngineVm *vm = part->op->vm;
  g_autoptr (ChainsSnapshot) found = chains_snapshots_find (vm->context->db, vm->record->id, reference, error);

  for (guint i = 0; found != NULL && i < part->snapshots->len; i++)
    if (g_str_equal (((const ChainsSnapshot *)g_ptr_array_index (part->snapshots, i))->id, found->id))
      return g_ptr_array_index (part->snapshots, i);
  return NULL;
}

/* Where in the live chain @reference's image is. @has: %FALSE where it has none of this disk */
static gboolean
find_in_chain (const Part *part, const char *reference, guint *index, gboolean *has, GError **error)
{
  const ChainsSnapshot *snapshot = find_snapshot (part, reference, error);
  gint64 row = 0;

  for (guint i = 0; snapshot != NULL && i < snapshot->disks->len; i++) {
    const ChainsSnapshotDisk *one = g_ptr_array_index (snapshot->disks, i);

    row = one->disk == part->record->id ? one->image : row;
  }
  *has = row != 0;
  for (guint i = 0; row != 0 && i < part->chain->len; i++)
    if (image_at (part, i)->id == row) {
      *index = i;
      return TRUE;
    }
  if (snapshot != NULL && row != 0)
    return refuse (part, "roll back to it first", error, "snapshot '%s' is on another branch than the active image",
                   snapshot->name);
  return snapshot != NULL;
}

static guint
find_row (const Part *part, gint64 row)
{
  guint index = 0;

  while (index < part->chain->len && image_at (part, index)->id != row)
    index++;
  return index;
}

/* The lowest image that is ours, of the live chain. */
static guint
lowest_owned (const Part *part)
{
  guint index = find_row (part, part->record->base);

  if (index < part->chain->len)
    return index;
  for (index = part->chain->len - 1; index > 0 && !image_at (part, index)->owned;)
    index--;
  return index;
}

static gboolean
is_word (const char *text, const char *word)
{
  return text != NULL && g_str_equal (text, word);
}

/* The first image above @base's: that one, and all below it, stays as it is. */
static gboolean
find_receiver_below (Part *part, gboolean *has, GError **error)
{
  const char *base = part->request->base;

  *has = TRUE;
  part->bottom = lowest_owned (part);
  if (base == NULL || is_word (base, "base"))
    return TRUE;
  if (!find_in_chain (part, base, &part->bottom, has, error))
    return FALSE;
  if (*has && part->bottom > 0)
    part->bottom--;
  return TRUE;
}

/* What stays below the receiver; the length of the chain where nothing does. */
static gboolean
find_stay (Part *part, gboolean *has, GError **error)
{
  const char *base = part->request->base;

  *has = TRUE;
  part->bottom = base == NULL ? lowest_owned (part) + 1 : part->chain->len;
  if (base == NULL || is_word (base, "none"))
    return TRUE;
  part->bottom = lowest_owned (part);
  return is_word (base, "base") || find_in_chain (part, base, &part->bottom, has, error);
}

/* @has: %FALSE where this disk has nothing of what was asked for */
static gboolean
find_ends (Part *part, gboolean *has, GError **error)
{
  *has = TRUE;
  part->top = 0;
  if (part->request->top != NULL && !find_in_chain (part, part->request->top, &part->top, has, error))
    return FALSE;
  if (!*has)
    return TRUE;
  return part->request->kind == ENGINE_MERGE_COMMIT ? find_receiver_below (part, has, error)
                                                    : find_stay (part, has, error);
}

static gboolean
has_anything (const Part *part)
{
  return part->request->kind == ENGINE_MERGE_COMMIT ? part->bottom > part->top : part->bottom > part->top + 1;
}

/* ---- who needs them ---- */

static gboolean
holds (const Part *part, const ChainsSnapshot *snapshot, guint first, guint last)
{
  for (guint i = 0; i < snapshot->disks->len; i++) {
    const ChainsSnapshotDisk *row = g_ptr_array_index (snapshot->disks, i);
    guint index = row->disk == part->record->id ? find_row (part, row->image) : part->chain->len;

    if (index >= first && index <= last && index < part->chain->len)
      return TRUE;
  }
  return FALSE;
}

/* What merges all the same: what lies above the image of that index. */
static char *
how_without (const Part *part, guint index)
{
  for (guint i = 0; i < part->snapshots->len; i++)
    if (holds (part, g_ptr_array_index (part->snapshots, i), index, index))
      return g_strdup_printf ("merge only what is above it: `--base %s`",
                              ((const ChainsSnapshot *)g_ptr_array_index (part->snapshots, i))->name);
  return g_strdup_printf ("`chainctl tree %s` shows the branches; choose a --base above it",
                          part->op->vm->record->name);
}

static gboolean
refuse_branch (const Part *part, guint index, const char *begins, GError **error)
{
  g_autofree char *hint = how_without (part, index);

  return refuse (part, hint, error, "'%s' is needed by another branch, which begins with '%s'",
                 image_at (part, index)->path, begins);
}

static gboolean
check_alone (const Part *part, guint index, GError **error)
{
  const EngineTreeImage *image = engine_tree_find (part->tree, image_at (part, index)->id);
  guint allowed = index == 0 ? 0 : 1;

  if (image->children->len <= allowed)
    return TRUE;
  for (guint i = 0; i < image->children->len; i++) {
    const EngineTreeImage *child = g_ptr_array_index (image->children, i);

    if (index == 0 || child->image->id != image_at (part, index - 1)->id)
      return refuse_branch (part, index, child->image->path, error);
  }
  return TRUE;
}

static gboolean
check_unshared (const Part *part, guint index, GError **error)
{
  const ChainsImage *image = image_at (part, index);
  g_autofree char *who = NULL;

  if (!engine_needed_by_disk (part->op->vm->context, part->record->id, image->path, &who, error))
    return FALSE;
  return who == NULL || refuse (part, "see `chainctl vm list`", error, "'%s' is needed by %s", image->path, who);
}

/* Who reads it there would read something else, or stand in the way of its end. */
static gboolean
check_not_exported (const Part *part, guint first, guint last, GError **error)
{
  for (guint i = first; i <= last && i < part->disk->layers->len; i++) {
    const char *id = engine_needed_by_export (part->op->vm, part->exports, part->disk, i);

    if (id != NULL)
      return refuse (part, "end the export first", error, "'%s' is served by the export '%s'", image_at (part, i)->path,
                     id);
  }
  return TRUE;
}

static gboolean
check_ours (const Part *part, guint index, GError **error)
{
  const ChainsImage *image = image_at (part, index);

  if (!image->owned)
    return refuse (part, NULL, error, "'%s' is foreign: it is read, and never written", image->path);
  if (!g_utf8_validate (image->path, -1, NULL))
    return refuse (part, "rename it", error, "an image's path is not UTF-8, and QMP carries no other");
  return TRUE;
}

static gboolean
is_among (const GPtrArray *snapshots, const char *id)
{
  for (guint i = 0; i < snapshots->len; i++)
    if (g_str_equal (((const ChainsSnapshot *)g_ptr_array_index (snapshots, i))->id, id))
      return TRUE;
  return FALSE;
}

static ChainsSnapshot *
copy_snapshot (EngineVm *vm, const ChainsSnapshot *snapshot, GError **error)
{
  return chains_snapshots_find (vm->context->db, vm->record->id, snapshot->id, error);
}

static gboolean
refuse_protected (const Part *part, const ChainsSnapshot *snapshot, GError **error)
{
  g_autofree char *hint =
      g_strdup_printf ("`chainctl protect %s %s --off` lets go of it", part->op->vm->record->name, snapshot->name);

  return refuse (part, hint, error, "snapshot '%s' is protected, and would be merged", snapshot->name);
}

/* Those below the top are overwritten; the top's own only moves. Neither happens to a protected one. */
static gboolean
find_destroyed (const Part *part, GError **error)
{
  for (guint i = 0; i < part->snapshots->len; i++) {
    const ChainsSnapshot *snapshot = g_ptr_array_index (part->snapshots, i);
    gboolean overwritten = holds (part, snapshot, part->top + 1, part->bottom);

    if (snapshot->protected && holds (part, snapshot, part->top, part->bottom))
      return refuse_protected (part, snapshot, error);
    if (overwritten && !is_among (part->intent->destroyed, snapshot->id)) {
      ChainsSnapshot *copy = copy_snapshot (part->op->vm, snapshot, error);

      if (copy == NULL)
        return FALSE;
      g_ptr_array_add (part->intent->destroyed, copy);
    }
  }
  return TRUE;
}

static gboolean
check_commit (const Part *part, GError **error)
{
  for (guint i = part->top; i <= part->bottom; i++)
    if (!check_ours (part, i, error) ||
        (!base_point_is_mutant ("merge-ignores-branches") && !check_alone (part, i, error)) ||
        !check_unshared (part, i, error))
      return FALSE;
  return check_not_exported (part, part->top, part->bottom, error);
}

static gboolean
check_stream (const Part *part, GError **error)
{
  const EngineLayer *receiver = g_ptr_array_index (part->disk->layers, part->top);
  EngineVm *vm = part->op->vm;

  if (receiver->node->extended_l2 && vm->major_version != 0 && vm->major_version < EXTENDED_L2_STREAMS_SINCE)
    return refuse (part, "merge downwards instead: `chainctl commit`", error,
                   "'%s' has subclusters, and QEMU %d aborts where it streams onto those", receiver->path,
                   (int)vm->major_version);
  return check_ours (part, part->top, error) && check_unshared (part, part->top, error) &&
         check_not_exported (part, part->top, part->bottom - 1, error);
}

/* ---- one disk ---- */

static EngineMergeImage *
describe (const Part *part, guint index)
{
  const ChainsImage *row = image_at (part, index);
  const EngineLayer *layer = g_ptr_array_index (part->disk->layers, index);
  EngineMergeImage *image = engine_mergeintent_image_new (row->id, row->path);
  EngineImagefile file;

  image->node = g_strdup (layer->node->name);
  image->file_node = layer->file != NULL ? g_strdup (layer->file->name) : NULL;
  if (engine_imagefile_stat (row->path, &file, NULL)) {
    image->device = file.device;
    image->inode = file.inode;
    image->made = row->created_by != NULL && file.device == row->device && file.inode == row->inode;
  }
  return image;
}

static void
describe_receiver (const Part *part, EngineMergePart *into, guint receiver)
{
  EngineImagefile file;

  into->receiver = describe (part, receiver);
  into->receiver_mode = engine_mergeseal_mode_of (into->receiver->path, image_at (part, 0)->path);
  if (engine_imagefile_stat (into->receiver->path, &file, NULL)) {
    into->size = file.size;
    into->mtime_ns = file.mtime_ns;
  }
}

static void
fill (const Part *part)
{
  guint index = part->intent->parts->len;
  EngineMergePart *into = engine_mergeintent_add_part (part->intent, part->record->name);
  gboolean commit = part->request->kind == ENGINE_MERGE_COMMIT;

  into->job = engine_op_name (part->op, index, "");
  into->filter = engine_op_name (part->op, index, "f");
  into->root = g_strdup (engine_graph_root (part->disk));
  into->qdev = g_strdup (part->op->vm->standin == NULL ? part->disk->device : NULL);
  describe_receiver (part, into, commit ? part->bottom : part->top);
  if (commit && part->top > 0) {
    into->above = describe (part, part->top - 1);
    into->above_mode = engine_mergeseal_mode_of (into->above->path, image_at (part, 0)->path);
  }
  if (!commit && part->bottom < part->chain->len)
    into->below = describe (part, part->bottom);
  for (guint i = commit ? part->top : part->top + 1; i < part->bottom; i++)
    g_ptr_array_add (into->images, describe (part, i));
}

static gboolean
check_names (const Part *part, guint receiver, GError **error)
{
  if (strlen (image_at (part, receiver)->path) <= MAX_BACKING_NAME)
    return TRUE;
  return refuse (part, "use shorter paths", error, "'%s' is longer than what a qcow2 header can name",
                 image_at (part, receiver)->path);
}

static gboolean
plan_disk (Part *part, gboolean *planned, GError **error)
{
  EngineVm *vm = part->op->vm;
  gboolean commit = part->request->kind == ENGINE_MERGE_COMMIT, has = FALSE;

  *planned = FALSE;
  part->tree = engine_tree_read_disk (vm->context, chains_disk_copy (part->record), part->snapshots, error);
  part->chain = part->tree != NULL ? chains_images_get_chain (vm->context->db, part->record->active, error) : NULL;
  if (part->chain == NULL || !find_ends (part, &has, error))
    return FALSE;
  if (!has || !has_anything (part))
    return TRUE;
  if (!engine_inspect_chain (vm, part->record, ENGINE_INSPECT_HEADERS, error) ||
      !(commit ? check_commit (part, error) : check_stream (part, error)) || (commit && !find_destroyed (part, error)))
    return FALSE;
  if (commit ? !check_names (part, part->bottom, error)
             : part->bottom < part->chain->len && !check_names (part, part->bottom, error))
    return FALSE;
  fill (part);
  *planned = TRUE;
  return engine_mergeseal_check (vm, g_ptr_array_index (part->intent->parts, part->intent->parts->len - 1), error);
}

/* ---- all of them ---- */

static gboolean
plan_disks (EngineOp *op, EngineMergeIntent *intent, const EngineGraph *graph, const EngineMergePlanRequest *request,
            const GPtrArray *snapshots, GError **error)
{
  g_autoptr (GPtrArray) exports = qmp_commands_query_exports (op->vm->monitor, engine_vm_wait (op->vm), error);

  for (guint i = 0; exports != NULL && i < op->vm->disks->len; i++) {
    ChainsDisk *record = g_ptr_array_index (op->vm->disks, i);
    const EngineGraphDisk *disk = engine_graph_find (graph, record->name);
    g_auto (Part) part = {.op = op, .intent = intent, .request = request, .snapshots = snapshots, .exports = exports};
    gboolean planned;

    if (request->disks != NULL ? !g_strv_contains (request->disks, record->name) : record->ignored)
      continue;
    part.record = record;
    part.disk = disk;
    if (disk == NULL || disk->skipped != NULL || disk->layers->len == 0)
      continue;
    if (!plan_disk (&part, &planned, error))
      return FALSE;
  }
  return exports != NULL;
}

EngineMergeIntent *
engine_mergeplan_new (EngineOp *op, const EngineGraph *graph, const EngineMergePlanRequest *request, GError **error)
{
  EngineVm *vm = op->vm;
  g_autoptr (EngineMergeIntent) intent = engine_mergeintent_new (request->kind);
  g_autoptr (GPtrArray) snapshots = chains_snapshots_list (vm->context->db, vm->record->id, error);
  g_autofree char *hint = g_strdup_printf ("see `chainctl tree %s`", vm->record->name);

  if (snapshots == NULL || !engine_vm_check_disks (vm, request->disks, error) ||
      !plan_disks (op, intent, graph, request, snapshots, error))
    return NULL;
  if (intent->parts->len > 0)
    return engine_mergeroom_check (vm, intent, error) ? g_steal_pointer (&intent) : NULL;
  engine_error_set (error, ENGINE_ERROR_USAGE, hint, "VM '%s': there is nothing to %s", vm->record->name,
                    request->kind == ENGINE_MERGE_COMMIT ? "merge" : "pull");
  return NULL;
}

JsonObject *
engine_mergeplan_arguments (const EngineMergeIntent *intent, const EngineMergePart *part)
{
  const EngineMergeImage *top = g_ptr_array_index (part->images, 0);
  gboolean commit = intent->kind == ENGINE_MERGE_COMMIT;

  if (commit)
    return qmp_jobs_commit_arguments (&(QmpJobsCommit){
        .id = part->job,
        .device = part->root,
        .top = top->node,
        .base = part->receiver->node,
        .backing_file = engine_mergeintent_is_active (part) ? NULL : part->receiver->path,
        .filter = part->filter,
        .speed = intent->speed,
    });
  return qmp_jobs_stream_arguments (&(QmpJobsStream){
      .id = part->job,
      .node = part->receiver->node,
      .base = part->below != NULL ? part->below->node : NULL,
      .backing_file = part->below != NULL ? part->below->path : NULL,
      .filter = part->filter,
      .speed = intent->speed,
  });
}
