/*
 * Opens frozen images read-only, so that they can be written to again later: the
 * node of the file is opened for writing by itself should a merge need that.
 */
#include "engine/branch.h"

#include "chains/images.h"
#include "engine/error.h"
#include "engine/imagefile.h"

void
engine_branch_free (EngineBranch *branch)
{
  if (branch == NULL)
    return;
  g_ptr_array_unref (branch->options);
  g_free (branch->top);
  g_free (branch);
}

/* The live layer of @disk that is @image. */
static const EngineLayer *
find_live (const EngineGraphDisk *disk, const ChainsImage *image)
{
  EngineImagefile file;
  gboolean there = engine_imagefile_stat (image->path, &file, NULL);

  for (guint i = 0; i < disk->layers->len; i++) {
    const EngineLayer *layer = g_ptr_array_index (disk->layers, i);

    if (there && layer->inode != 0 ? layer->device == file.device && layer->inode == file.inode
                                   : g_str_equal (layer->path, image->path))
      return layer;
  }
  return NULL;
}

/* BlockdevOptions of a frozen image. @below: (nullable): a node */
static JsonObject *
image_json (const ChainsImage *image, const char *node, const char *below, const EngineNodeOptions *options)
{
  g_autofree char *file_node = g_strconcat (node, "f", NULL);
  JsonObject *file = engine_nodeoptions_file (options, image->path, file_node);
  JsonObject *object = engine_nodeoptions_format (options, image->format, node, file, below);

  json_object_set_boolean_member (file, "auto-read-only", TRUE);
  json_object_set_boolean_member (object, "read-only", TRUE);
  return object;
}

/* The images of @chain above the first one that is live. */
static guint
count_to_open (const EngineGraphDisk *disk, const GPtrArray *chain, const EngineLayer **shared)
{
  for (guint i = 0; i < chain->len; i++) {
    *shared = find_live (disk, g_ptr_array_index (chain, i));
    if (*shared != NULL)
      return i;
  }
  return chain->len;
}

EngineBranch *
engine_branch_plan (EngineOp *op, EngineIntent *intent, guint index, const EngineGraphDisk *disk, gint64 row,
                    const EngineNodeOptions *options, GError **error)
{
  g_autoptr (GPtrArray) chain = chains_images_get_chain (op->vm->context->db, row, error);
  g_autoptr (EngineBranch) branch = g_new0 (EngineBranch, 1);
  guint count;

  branch->options = g_ptr_array_new_with_free_func ((GDestroyNotify)json_object_unref);
  if (chain == NULL)
    return NULL;
  count = count_to_open (disk, chain, &branch->shared);
  branch->top = branch->shared != NULL ? g_strdup (branch->shared->node->name) : NULL;
  for (guint i = count; i > 0; i--) {
    g_autofree char *suffix = g_strdup_printf ("b%u", i - 1);
    char *node = engine_op_name (op, index, suffix);

    g_ptr_array_add (branch->options, image_json (g_ptr_array_index (chain, i - 1), node, branch->top, options));
    g_ptr_array_add (intent->opened, g_strdup (node));
    g_free (branch->top);
    branch->top = node;
  }
  return g_steal_pointer (&branch);
}

gboolean
engine_branch_open (EngineVm *vm, const EngineBranch *branch, GError **error)
{
  for (guint i = 0; i < branch->options->len; i++)
    if (!qmp_commands_blockdev_add (vm->monitor, engine_vm_wait (vm), g_ptr_array_index (branch->options, i), error))
      return FALSE;
  return TRUE;
}

void
engine_branch_plan_open (EngineVm *vm, const EngineBranch *branch)
{
  for (guint i = 0; i < branch->options->len; i++)
    engine_context_plan (vm->context, "qemu", "blockdev-add", g_ptr_array_index (branch->options, i));
}
