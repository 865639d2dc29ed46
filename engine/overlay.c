/*
 * Makes overlays ready to be switched to. Everything here happens while the
 * guest runs; nothing here changes what the guest writes to.
 */
#include "engine/overlay.h"

#include "base/point.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/overlayfile.h"
#include "engine/qcow2.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_NAME_TRIES 1000
#define EXTENDED_L2_SINCE 10
#define MIN_EXTENDED_CLUSTER 16384

/* ---- names ---- */

char *
engine_overlay_stem (const char *path)
{
  char *name = g_path_get_basename (path);
  char *dot = strrchr (name, '.');

  if (dot != NULL && dot != name)
    *dot = '\0';
  return name;
}

static gboolean
is_taken (const char *path, const EngineIntent *intent)
{
  struct stat st;

  for (guint i = 0; i < intent->overlays->len; i++)
    if (g_str_equal (((const EngineIntentOverlay *)g_ptr_array_index (intent->overlays, i))->path, path))
      return TRUE;
  return lstat (path, &st) == 0;
}

/* The first of NAME.qcow2, NAME-2.qcow2 … that is not there. What comes in between is met when it is made. */
static char *
free_path (const char *directory, const EngineOverlayPlace *place, const EngineIntent *intent)
{
  g_autofree char *stem = engine_overlay_stem (place->stem_of);

  for (int i = 1; i < MAX_NAME_TRIES; i++) {
    g_autofree char *suffix = i == 1 ? g_strdup ("") : g_strdup_printf ("-%d", i);
    g_autofree char *name = g_strdup_printf ("%s.%s%s.qcow2", stem, place->name, suffix);
    g_autofree char *path = g_build_filename (directory, name, NULL);

    if (!is_taken (path, intent))
      return g_steal_pointer (&path);
  }
  return NULL;
}

static gboolean
check_name_length (const EngineOverlay *overlay, GError **error)
{
  g_autofree char *name = g_path_get_basename (overlay->intent->path);

  if (strlen (name) <= NAME_MAX)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "choose a shorter name for the snapshot",
                    "disk '%s': the overlay's file name '%s' is longer than %d bytes", overlay->disk->name, name,
                    NAME_MAX);
  return FALSE;
}

/* Its own path will stand in the header of the overlay above it. What lies below stands in its own, which somebody else
 * has written where it is reused. */
static gboolean
check_header (const EngineOverlay *overlay, GError **error)
{
  const EngineQcow2Blank blank = engine_overlay_blank (overlay);
  gsize most = overlay->intent->reused ? ENGINE_QCOW2_MAX_BACKING : engine_qcow2_blank_max_backing (&blank);
  const char *too_long = strlen (overlay->intent->backing) > most ? overlay->intent->backing : overlay->intent->path;

  if (strlen (too_long) <= most)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED,
                    most < ENGINE_QCOW2_MAX_BACKING ? "use a shorter path, or greater clusters ([overlay] cluster_size)"
                                                    : "use a folder with a shorter path",
                    "disk '%s': the path '%s' is longer than the %" G_GSIZE_FORMAT
                    " bytes that a qcow2 header can hold",
                    overlay->disk->name, too_long, most);
  return FALSE;
}

static gboolean
check_paths (const EngineOverlay *overlay, GError **error)
{
  const EngineLayer *head = engine_graph_head (overlay->disk);

  if (!check_header (overlay, error))
    return FALSE;
  if (!check_name_length (overlay, error))
    return FALSE;
  if (!g_utf8_validate (overlay->intent->path, -1, NULL) || !g_utf8_validate (head->path, -1, NULL)) {
    g_autofree char *shown = g_filename_display_name (overlay->intent->path);

    engine_error_set (error, ENGINE_ERROR_REFUSED, "use a folder whose name is UTF-8",
                      "disk '%s': '%s' is not UTF-8, and QMP carries no other names", overlay->disk->name, shown);
    return FALSE;
  }
  return TRUE;
}

static gboolean
choose_path (EngineOverlay *overlay, const EngineIntent *intent, const EngineOverlayPlace *place, GError **error)
{
  const EngineLayer *head = engine_graph_head (overlay->disk);
  g_autofree char *beside = g_path_get_dirname (head->path);

  if (place->reuse != NULL)
    overlay->intent->path = g_canonicalize_filename (place->reuse, NULL);
  else
    overlay->intent->path = free_path (place->directory != NULL ? place->directory : beside, place, intent);
  if (overlay->intent->path != NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_EXISTS, "choose another name or --dir",
                    "disk '%s': every file name for snapshot '%s' is taken", overlay->disk->name, place->name);
  return FALSE;
}

/* The user's own file has to be what we would have made: then it can be switched to, and read for what it is. */
static gboolean
check_reused (const EngineOverlay *overlay, GError **error)
{
  const EngineLayer *head = engine_graph_head (overlay->disk);
  g_autoptr (EngineQcow2) header = engine_qcow2_read (overlay->intent->path, error);
  const char *wrong = NULL;

  if (header == NULL)
    return FALSE;
  if (header->virtual_size != head->node->virtual_size)
    wrong = "its size is not the disk's";
  else if (g_strcmp0 (header->backing, head->path) != 0 && !base_point_is_mutant ("backing-not-checked"))
    wrong = "its backing file name is not the active image's absolute path";
  else if (g_strcmp0 (header->backing_format, head->format) != 0)
    wrong = "its backing format is not the active image's";
  else if (header->data_file)
    wrong = "it keeps its data in another file";
  else if (!header->empty)
    wrong = "it holds data";
  else if (header->encrypted != head->node->encrypted)
    wrong = "it and the active image are not both encrypted";
  else if (engine_imagefile_is_locked (overlay->intent->path))
    wrong = "it is in use";
  if (wrong == NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, "make it with `qemu-img create -f qcow2 -b ACTIVE -F FORMAT PATH`",
                    "disk '%s': '%s' cannot be the overlay: %s", overlay->disk->name, overlay->intent->path, wrong);
  return FALSE;
}

static EngineIntentOverlay *
intent_new (EngineOp *op, guint index, const EngineGraphDisk *disk, const EngineNodeOptions *options,
            const ChainsImage *on)
{
  const EngineLayer *head = engine_graph_head (disk);
  EngineIntentOverlay *intent = engine_intent_overlay_new ();

  intent->disk = g_strdup (disk->name);
  intent->format = g_strdup ("qcow2");
  intent->node = engine_op_name (op, index, "");
  intent->file_node = engine_op_name (op, index, "f");
  intent->head = g_strdup (head->path);
  intent->backing = g_strdup (on != NULL ? on->path : head->path);
  intent->backing_format = g_strdup (on != NULL ? on->format : head->format);
  intent->virtual_size = on != NULL ? on->virtual_size : head->node->virtual_size;
  intent->options = engine_nodeoptions_to_json (options);
  return intent;
}

/* QEMU before 10.0 aborts where it streams onto an overlay with subclusters, and needs clusters of 16K for them. */
static gboolean
wants_extended_l2 (const EngineVm *vm)
{
  const ChainsConfig *config = vm->context->config;

  if (config->extended_l2 != CHAINS_CONFIG_AUTO)
    return config->extended_l2 == CHAINS_CONFIG_ON;
  return vm->major_version >= EXTENDED_L2_SINCE &&
         (config->cluster_size == 0 || config->cluster_size >= MIN_EXTENDED_CLUSTER);
}

EngineOverlay *
engine_overlay_plan (EngineOp *op, EngineIntent *intent, const EngineGraphDisk *disk, EngineNodeOptions *options,
                     const EngineOverlayPlace *place, GError **error)
{
  g_autoptr (EngineOverlay) overlay = g_new0 (EngineOverlay, 1);
  EngineIntentOverlay *part = intent_new (op, intent->overlays->len, disk, options, place->on);
  gboolean planned;

  overlay->disk = disk;
  overlay->options = options;
  overlay->cluster_size = op->vm->context->config->cluster_size;
  overlay->extended_l2 = wants_extended_l2 (op->vm);
  overlay->fd = -1;
  overlay->intent = part;
  overlay->on_node = g_strdup (place->on_node);
  part->reused = place->reuse != NULL;
  planned = choose_path (overlay, intent, place, error) && check_paths (overlay, error) &&
            (!part->reused || check_reused (overlay, error));
  g_ptr_array_add (intent->overlays, part);
  return planned ? g_steal_pointer (&overlay) : NULL;
}

void
engine_overlay_free (EngineOverlay *overlay)
{
  if (overlay == NULL)
    return;
  engine_overlayfile_close (overlay);
  engine_nodeoptions_free (overlay->options);
  g_free (overlay->on_node);
  g_free (overlay);
}

/* ---- what QEMU is told ---- */

static JsonObject *
node_json (const EngineOverlay *overlay)
{
  const EngineIntentOverlay *intent = overlay->intent;
  JsonObject *file = engine_nodeoptions_file (overlay->options, intent->path, intent->file_node);
  JsonObject *object =
      engine_nodeoptions_format (overlay->options, intent->format, intent->node, file, overlay->on_node);

  json_object_set_string_member (object, "detect-zeroes", overlay->options->detect_zeroes);
  return object;
}

/* ---- all of it ---- */

EngineQcow2Blank
engine_overlay_blank (const EngineOverlay *overlay)
{
  const EngineIntentOverlay *intent = overlay->intent;

  return (EngineQcow2Blank){intent->backing,       intent->backing_format, intent->virtual_size,
                            overlay->cluster_size, overlay->extended_l2,   intent->node};
}

/* Keeps the first failure of several, with the disk and the file it is about. */
static void
keep_first (GError **first, GError *failure, const EngineOverlay *overlay)
{
  if (failure == NULL)
    return;
  if (*first == NULL)
    g_propagate_prefixed_error (first, failure, "disk '%s': opening '%s': ", overlay->disk->name,
                                overlay->intent->path);
  else
    g_error_free (failure);
}

/* blockdev-add for all at once: QEMU does one after the other by itself. */
static gboolean
open_nodes (EngineVm *vm, const GPtrArray *overlays, GError **error)
{
  g_autoptr (GPtrArray) calls = g_ptr_array_new ();
  GError *first = NULL;

  for (guint i = 0; i < overlays->len; i++) {
    g_autoptr (JsonObject) options = node_json (g_ptr_array_index (overlays, i));
    gint64 deadline_us = engine_context_deadline (vm->context);

    g_ptr_array_add (calls, qmp_commands_start_blockdev_add (vm->monitor, deadline_us, options));
  }
  for (guint i = 0; i < overlays->len; i++) {
    GError *failure = NULL;
    g_autoptr (JsonNode) reply = qmp_call_finish (g_ptr_array_index (calls, i), vm->cancellable, &failure);

    keep_first (&first, failure, g_ptr_array_index (overlays, i));
  }
  if (first != NULL)
    g_propagate_error (error, first);
  return first == NULL;
}

gboolean
engine_overlay_prepare (EngineVm *vm, const GPtrArray *overlays, GError **error)
{
  for (guint i = 0; i < overlays->len; i++) {
    EngineOverlay *overlay = g_ptr_array_index (overlays, i);

    if (!overlay->intent->reused && !engine_overlayfile_make (vm, overlay, error))
      return FALSE;
  }
  return engine_overlayfile_sync (overlays, error) && open_nodes (vm, overlays, error);
}

/* What a header says of it, in the words of blockdev-create. */
static JsonObject *
file_json (const EngineOverlay *overlay)
{
  EngineQcow2Blank blank = engine_overlay_blank (overlay);
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "path", overlay->intent->path);
  json_object_set_string_member (object, "format", overlay->intent->format);
  json_object_set_int_member (object, "size", blank.virtual_size);
  if (blank.backing != NULL) {
    json_object_set_string_member (object, "backing-file", blank.backing);
    json_object_set_string_member (object, "backing-fmt", blank.backing_format);
  }
  if (blank.cluster_size != 0)
    json_object_set_int_member (object, "cluster-size", blank.cluster_size);
  json_object_set_boolean_member (object, "extended-l2", blank.extended_l2);
  return object;
}

void
engine_overlay_plan_prepare (EngineVm *vm, const GPtrArray *overlays)
{
  for (guint i = 0; i < overlays->len; i++) {
    const EngineOverlay *overlay = g_ptr_array_index (overlays, i);
    g_autoptr (JsonObject) file = file_json (overlay);
    g_autoptr (JsonObject) node = node_json (overlay);

    if (!overlay->intent->reused)
      engine_context_plan (vm->context, "file", "create", file);
    engine_context_plan (vm->context, "qemu", "blockdev-add", node);
  }
}

/* The size that the guest sees now: QEMU writes it into a qcow2 header when it resizes; of others it has to be asked.
 */
static gboolean
read_size (EngineVm *vm, const EngineLayer *head, gint64 *size, GError **error)
{
  g_autoptr (QmpNodes) nodes = NULL;
  const QmpNode *node;

  if (head->local && g_str_equal (head->format, "qcow2"))
    return engine_qcow2_read_size (head->path, size, error);
  nodes = engine_vm_ask_for_nodes (vm, error);
  if (nodes == NULL)
    return FALSE;
  node = qmp_nodes_find (nodes, head->node->name);
  if (node == NULL) {
    engine_error_set (error, ENGINE_ERROR_DRIFT, "run the command again", "somebody changed the node of '%s' meanwhile",
                      head->path);
    return FALSE;
  }
  *size = node->virtual_size;
  return TRUE;
}

gboolean
engine_overlay_match_sizes (EngineVm *vm, const GPtrArray *overlays, GError **error)
{
  for (guint i = 0; i < overlays->len; i++) {
    const EngineOverlay *overlay = g_ptr_array_index (overlays, i);
    gint64 size;

    if (!read_size (vm, engine_graph_head (overlay->disk), &size, error))
      return FALSE;
    if (size != overlay->intent->virtual_size &&
        !qmp_commands_block_resize (vm->monitor, engine_vm_wait (vm), overlay->intent->node, size, error))
      return FALSE;
    /* QEMU has written it into the header. */
    if (size != overlay->intent->virtual_size)
      g_clear_pointer (&overlay->intent->stamp, g_free);
    overlay->intent->virtual_size = size;
  }
  return TRUE;
}
