/*
 * Finds where a running QEMU and the database differ. Compares images by what
 * they are (inode and device), not by how their paths are written; a device
 * number that a reboot changed is forgiven where the path is the same.
 */
#include "engine/drift.h"

#include "chains/images.h"
#include "chains/snapshots.h"
#include "engine/error.h"
#include "engine/op.h"
#include "engine/tree.h"

#include <string.h>

/* What to do about a QEMU that is not on what the database calls active. Returns: (transfer full) */
static char *
start_right (const EngineVm *vm, const char *disk)
{
  return g_strdup_printf (
      "start QEMU on the active image%s (`chainctl path %s %s`), or take QEMU's word: `chainctl vm rescan %s --accept`",
      disk != NULL ? "" : "s", vm->record->name, disk != NULL ? disk : "DISK", vm->record->name);
}

/* What to do about what only has to be noted. Returns: (transfer full) */
static char *
rescan (const EngineVm *vm)
{
  return g_strdup_printf ("`chainctl vm rescan %s`", vm->record->name);
}

static gboolean
same_image (const EngineLayer *layer, const ChainsImage *image)
{
  if (layer->inode != 0 && image->inode != 0)
    return layer->inode == image->inode && (layer->device == image->device || g_str_equal (layer->path, image->path));
  return g_str_equal (layer->path, image->path);
}

/* What is wrong with the UUID at the monitor; %NULL where it is the VM's, or the VM was registered without one. */
static char *
describe_another (const EngineVm *vm)
{
  if (vm->record->uuid == NULL || vm->monitor == NULL || vm->standin != NULL ||
      g_strcmp0 (vm->record->uuid, vm->uuid) == 0)
    return NULL;
  return g_strdup_printf ("the QEMU at '%s' is another VM: it has UUID %s, and '%s' was registered with %s",
                          vm->record->qmp,
                          vm->uuid != NULL ? vm->uuid
                          : vm->daemon     ? "none (a storage daemon)"
                                           : "none",
                          vm->record->name, vm->record->uuid);
}

static char *
another_repair (const EngineVm *vm)
{
  return g_strdup_printf ("name the right monitor with `chainctl vm set %s --qmp`; if it is the same VM under a new "
                          "UUID: `chainctl vm rescan %s --accept`",
                          vm->record->name, vm->record->name);
}

static void
compare_uuid (const EngineVm *vm, GPtrArray *problems)
{
  g_autofree char *another = describe_another (vm);
  g_autofree char *repair = another != NULL ? another_repair (vm) : NULL;

  if (another != NULL)
    engine_problem_add (problems, "another-vm", TRUE, NULL, NULL, repair, "%s", another);
}

void
engine_drift_warn_of_another (EngineVm *vm)
{
  g_autofree char *another = describe_another (vm);

  if (another != NULL)
    engine_context_warn (vm->context, "another-vm", "%s", another);
}

gboolean
engine_drift_refuse_another (EngineVm *vm, GError **error)
{
  g_autofree char *another = describe_another (vm);
  g_autofree char *repair = another != NULL ? another_repair (vm) : NULL;

  if (another != NULL)
    engine_error_set (error, ENGINE_ERROR_DRIFT, repair, "VM '%s': %s", vm->record->name, another);
  return another == NULL;
}

EngineTreeImage *
engine_drift_find_image (const EngineTree *tree, const EngineLayer *layer)
{
  for (guint i = 0; i < tree->images->len; i++) {
    EngineTreeImage *image = g_ptr_array_index (tree->images, i);

    if (same_image (layer, image->image))
      return image;
  }
  return NULL;
}

static gboolean
is_above (const EngineTreeImage *image, const EngineTreeImage *below)
{
  while (image != NULL && image != below)
    image = image->parent;
  return image != NULL;
}

void
engine_drift_add_spoiled (const EngineTree *tree, const EngineTreeImage *written, GPtrArray *names)
{
  for (guint i = 0; i < tree->images->len; i++) {
    const EngineTreeImage *image = g_ptr_array_index (tree->images, i);

    for (guint j = 0; is_above (image, written) && j < image->snapshots->len; j++) {
      char *name = g_strdup_printf ("'%s'", (const char *)g_ptr_array_index (image->snapshots, j));

      if (g_ptr_array_find_with_equal_func (names, name, g_str_equal, NULL))
        g_free (name);
      else
        g_ptr_array_add (names, name);
    }
  }
}

char *
engine_drift_list (GPtrArray *names)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < names->len; i++)
    g_string_append_printf (text, "%s%s", i > 0 ? ", " : "", (const char *)g_ptr_array_index (names, i));
  return g_string_free (g_steal_pointer (&text), FALSE);
}

/* The name is right, and the file is not the one that was registered: no start of QEMU would mend that. */
static void
add_replaced (const char *code, const char *disk, const char *path, GPtrArray *problems)
{
  engine_problem_add (problems, code, TRUE, disk, path, "put the image back that was there",
                      "disk '%s': what is at '%s' now is another file than the image that was there", disk, path);
}

/* QEMU runs on another image than the active one. The trap of the trade is that it is an older one of the same disk. */
static gboolean
add_wrong_active (EngineVm *vm, const ChainsDisk *record, const EngineLayer *layer, const ChainsImage *active,
                  GPtrArray *problems, GError **error)
{
  g_autoptr (GPtrArray) snapshots = chains_snapshots_list (vm->context->db, vm->record->id, error);
  g_autoptr (EngineTree) tree =
      snapshots != NULL ? engine_tree_read_disk (vm->context, chains_disk_copy (record), snapshots, error) : NULL;
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *repair = start_right (vm, record->name);
  const EngineTreeImage *written;
  g_autofree char *spoiled = NULL;

  if (tree == NULL)
    return FALSE;
  if (g_str_equal (layer->path, active->path)) {
    add_replaced ("wrong-active-image", record->name, layer->path, problems);
    return TRUE;
  }
  written = engine_drift_find_image (tree, layer);
  if (written != NULL)
    engine_drift_add_spoiled (tree, written, names);
  spoiled = engine_drift_list (names);
  engine_problem_add (
      problems, "wrong-active-image", TRUE, record->name, layer->path, repair,
      "disk '%s' runs on '%s', and its active image is '%s'%s%s", record->name, layer->path, active->path,
      names->len > 0 ? ": QEMU was started again on an old image, and what the guest writes there spoils " : "",
      spoiled);
  return TRUE;
}

static void
add_wrong_chain (EngineVm *vm, const char *disk, const char *has, const char *belongs, GPtrArray *problems)
{
  g_autofree char *repair = start_right (vm, disk);

  if (has == NULL)
    engine_problem_add (problems, "wrong-chain", TRUE, disk, belongs, repair,
                        "disk '%s': its chain ends above '%s', which belongs below", disk, belongs);
  else if (g_strcmp0 (has, belongs) == 0)
    add_replaced ("wrong-chain", disk, has, problems);
  else
    engine_problem_add (problems, "wrong-chain", TRUE, disk, has, repair,
                        "disk '%s' has '%s' in its chain where %s%s%s belongs", disk, has, belongs != NULL ? "'" : "",
                        belongs != NULL ? belongs : "nothing", belongs != NULL ? "'" : "");
}

static void
compare_size (EngineVm *vm, const char *disk, const EngineLayer *layer, const ChainsImage *image, GPtrArray *problems)
{
  g_autofree char *repair = rescan (vm);

  if (layer->node->virtual_size != image->virtual_size)
    engine_problem_add (problems, "resized", FALSE, disk, layer->path, repair,
                        "disk '%s' was resized from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT " bytes", disk,
                        image->virtual_size, layer->node->virtual_size);
}

/* Walks both chains downwards side by side below the active images: live layers and remembered images. */
static gboolean
compare_below (EngineVm *vm, const char *name, const EngineGraphDisk *disk, gint64 row, GPtrArray *problems,
               GError **error)
{
  for (guint i = 1; i < disk->layers->len || row != 0; i++) {
    const EngineLayer *layer = i < disk->layers->len ? g_ptr_array_index (disk->layers, i) : NULL;
    g_autoptr (ChainsImage) image = row != 0 ? chains_images_get (vm->context->db, row, error) : NULL;

    if (row != 0 && image == NULL)
      return FALSE;
    if (layer == NULL || image == NULL || !same_image (layer, image)) {
      add_wrong_chain (vm, name, layer != NULL ? layer->path : NULL, image != NULL ? image->path : NULL, problems);
      return TRUE;
    }
    row = image->parent;
  }
  return TRUE;
}

/* Of a known chain the active image alone. */
static gboolean
compare_chain (EngineVm *vm, const ChainsDisk *record, const EngineGraphDisk *disk, gboolean known, GPtrArray *problems,
               GError **error)
{
  const EngineLayer *head = engine_graph_head (disk);
  g_autoptr (ChainsImage) active = chains_images_get (vm->context->db, record->active, error);

  if (active == NULL)
    return FALSE;
  if (!same_image (head, active))
    return add_wrong_active (vm, record, head, active, problems, error);
  compare_size (vm, record->name, head, active, problems);
  return known || compare_below (vm, record->name, disk, active->parent, problems, error);
}

static const ChainsDisk *
find_record (const EngineVm *vm, const char *name)
{
  for (guint i = 0; i < vm->disks->len; i++) {
    const ChainsDisk *record = g_ptr_array_index (vm->disks, i);

    if (g_str_equal (record->name, name))
      return record;
  }
  return NULL;
}

static void
find_added (const EngineVm *vm, const EngineGraph *graph, GPtrArray *problems)
{
  for (guint i = 0; i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);
    g_autofree char *repair = rescan (vm);

    if (disk->skipped == NULL && find_record (vm, disk->name) == NULL)
      engine_problem_add (problems, "disk-added", FALSE, disk->name, engine_graph_head (disk)->path, repair,
                          "disk '%s' is not registered: it is left out", disk->name);
  }
}

static gboolean
is_in_a_chain (const EngineGraph *graph, const char *node)
{
  for (guint i = 0; i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);

    for (guint j = 0; j < disk->layers->len; j++) {
      const EngineLayer *layer = g_ptr_array_index (disk->layers, j);

      if (g_str_equal (layer->node->name, node) || (layer->file != NULL && g_str_equal (layer->file->name, node)))
        return TRUE;
    }
  }
  return FALSE;
}

static gboolean
is_at_work (const GPtrArray *ops, const char *node)
{
  for (guint i = 0; i < ops->len; i++)
    if (engine_op_is_of (((const ChainsOp *)g_ptr_array_index (ops, i))->id, node))
      return TRUE;
  return FALSE;
}

/* A node with a name of ours that no disk uses, nor an operation that goes on in QEMU: recovery has been here, so
 * another database knows it, or none does. */
static gboolean
find_strays (const EngineVm *vm, const EngineGraph *graph, GPtrArray *problems, GError **error)
{
  const GPtrArray *nodes = qmp_nodes_get_all (graph->nodes);
  g_autoptr (GPtrArray) ops = chains_journal_list_unfinished (vm->context->db, vm->record->id, error);

  for (guint i = 0; ops != NULL && i < nodes->len; i++) {
    const QmpNode *node = g_ptr_array_index (nodes, i);

    if (engine_op_is_ours (node->name) && !is_in_a_chain (graph, node->name) && !is_at_work (ops, node->name))
      engine_problem_add (problems, "node-left-over", TRUE, NULL, node->filename,
                          "is another chainctl at work on this VM, with another --state? else stop and start QEMU",
                          "QEMU has the node '%s' open, which no disk uses", node->name);
  }
  return ops != NULL;
}

static void
add_gone (const EngineVm *vm, const char *disk, GPtrArray *problems)
{
  g_autofree char *repair =
      g_strdup_printf ("if it is gone for good: `chainctl vm rescan %s --accept`", vm->record->name);

  engine_problem_add (problems, "disk-gone", TRUE, disk, NULL, repair,
                      "disk '%s' is registered, and QEMU has no such disk", disk);
}

gboolean
engine_drift_find (EngineVm *vm, const EngineGraph *graph, GPtrArray *problems, GError **error)
{
  compare_uuid (vm, problems);
  for (guint i = 0; i < vm->disks->len; i++) {
    const ChainsDisk *record = g_ptr_array_index (vm->disks, i);
    const EngineGraphDisk *disk = engine_graph_find (graph, record->name);

    if (record->ignored)
      continue;
    if (disk == NULL || disk->skipped != NULL)
      add_gone (vm, record->name, problems);
    else if (!compare_chain (vm, record, disk, graph->known, problems, error))
      return FALSE;
  }
  find_added (vm, graph, problems);
  return find_strays (vm, graph, problems, error);
}

gboolean
engine_drift_refuse (EngineVm *vm, const EngineGraph *graph, GError **error)
{
  g_autoptr (GPtrArray) problems = engine_problem_list_new ();
  const EngineProblem *wrong;

  if (!engine_drift_find (vm, graph, problems, error))
    return FALSE;
  for (guint i = 0; i < problems->len; i++) {
    const EngineProblem *problem = g_ptr_array_index (problems, i);

    if (!problem->is_error)
      engine_context_warn (vm->context, problem->code, "VM '%s': %s", vm->record->name, problem->message);
  }
  wrong = engine_problem_first_error (problems);
  if (wrong == NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_DRIFT, wrong->repair, "VM '%s': %s", vm->record->name, wrong->message);
  return FALSE;
}
