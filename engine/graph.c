/*
 * From QEMU's nodes to the project's words: disks, chains, images. Judges
 * nothing against the database; that is engine/drift.
 */
#include "engine/graph.h"

#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/op.h"
#include "engine/standin.h"
#include "qmp/commands.h"

#include <string.h>

#define PERIPHERAL "/machine/peripheral/"
#define VIRTIO_BACKEND "/virtio-backend"
/* The first version known to answer whatever its jobs are. */
#define ASKABLE_SINCE 10

typedef struct {
  const char *prefix;
  const char *what;
} SkippedType;

/* QOM types of devices that hold a medium and are no disks. */
static const SkippedType skipped_types[] = {
    {"ide-cd", "CD-ROM"},     {"scsi-cd", "CD-ROM"},   {"floppy", "floppy"}, {"isa-fdc", "floppy"},
    {"cfi.pflash", "flash"},  {"nand", "flash"},       {"m25p80", "flash"},  {"sd-card", "SD card"},
    {"sysbus-fdc", "floppy"}, {"sun-fdtwo", "floppy"},
};

static void
layer_free (EngineLayer *layer)
{
  g_free (layer->path);
  g_free (layer);
}

static void
disk_free (EngineGraphDisk *disk)
{
  g_free (disk->name);
  g_free (disk->backend);
  g_free (disk->device);
  g_ptr_array_unref (disk->filters);
  g_ptr_array_unref (disk->layers);
  g_free (disk);
}

void
engine_graph_free (EngineGraph *graph)
{
  if (graph == NULL)
    return;
  g_clear_pointer (&graph->disks, g_ptr_array_unref);
  g_clear_pointer (&graph->nodes, qmp_nodes_free);
  g_free (graph);
}

/* A virtio device's medium hangs off a child of it. */
char *
engine_graph_qom_path (const char *device)
{
  if (device[0] != '/')
    return g_strconcat (PERIPHERAL, device, NULL);
  if (engine_graph_is_virtio_blk (device))
    return g_strndup (device, strlen (device) - strlen (VIRTIO_BACKEND));
  return g_strdup (device);
}

gboolean
engine_graph_is_virtio_blk (const char *device)
{
  return g_str_has_suffix (device, VIRTIO_BACKEND);
}

/* A machine's disk: its device's id, else its BlockBackend's name, else the last part of its QOM path. */
static char *
machine_disk_name (const char *device, const char *backend)
{
  g_autofree char *path = device != NULL ? engine_graph_qom_path (device) : NULL;

  if (path != NULL && g_str_has_prefix (path, PERIPHERAL)) {
    const char *id = path + strlen (PERIPHERAL);

    /* A USB stick's disk is a child of the device that has the id. */
    return g_strndup (id, strcspn (id, "/"));
  }
  if (*backend != '\0' || path == NULL)
    return g_strdup (backend);
  return g_path_get_basename (path);
}

static const char *
skip_reason (const QmpDevice *device, const char *type)
{
  if (device->removable && type == NULL)
    return "CD-ROM";
  for (gsize i = 0; type != NULL && i < G_N_ELEMENTS (skipped_types); i++)
    if (g_str_has_prefix (type, skipped_types[i].prefix))
      return skipped_types[i].what;
  return device->layers->len == 0 ? "no medium" : NULL;
}

/* QEMU names files as it was given them: a relative one means its own working directory. */
static char *
absolute_path (const EngineVm *vm, const char *path)
{
  g_autofree char *link = NULL;
  g_autofree char *folder = NULL;

  if (g_path_is_absolute (path))
    return g_strdup (path);
  link = g_strdup_printf ("/proc/%ld/cwd", (long)vm->qemu);
  folder = g_file_read_link (link, NULL);
  return folder != NULL ? g_canonicalize_filename (path, folder) : g_strdup (path);
}

/* A device may sit on a protocol node itself: what it reads there is raw. */
static const char *
format_of (const QmpNode *node)
{
  return g_str_equal (node->driver, "file") || g_str_equal (node->driver, "host_device") ? "raw" : node->driver;
}

static EngineLayer *
layer_new (const EngineVm *vm, const QmpNodesLayer *from)
{
  EngineLayer *layer = g_new0 (EngineLayer, 1);
  const char *path = qmp_nodes_layer_path (from);
  EngineImagefile file;

  layer->node = from->node;
  layer->file = from->file;
  layer->between = from->between;
  layer->path = path != NULL ? absolute_path (vm, path) : g_strdup (from->node->filename);
  layer->format = format_of (from->node);
  layer->local = path != NULL && g_path_is_absolute (layer->path);
  if (layer->local && engine_imagefile_stat (layer->path, &file, NULL)) {
    layer->device = file.device;
    layer->inode = file.inode;
  }
  return layer;
}

/*
 * A storage daemon's disk: the export's id, else the uppermost node that was not put there by us. A stand-in's nodes
 * are ours to name. %NULL where all are ours: an overlay that is about to be switched to, or was left over.
 */
static char *
daemon_disk_name (const EngineVm *vm, const QmpDevice *device)
{
  if (*device->backend != '\0')
    return g_strdup (device->backend);
  for (guint i = 0; i < device->layers->len; i++) {
    const char *node = ((const QmpNodesLayer *)g_ptr_array_index (device->layers, i))->node->name;

    if (node[0] != '#' && !engine_op_is_ours (node))
      return g_strdup (vm->standin != NULL ? engine_standin_name_of (vm->standin, node) : node);
  }
  return NULL;
}

static EngineGraphDisk *
disk_new (const EngineVm *vm, const QmpDevice *device, char *name, const char *type)
{
  EngineGraphDisk *disk = g_new0 (EngineGraphDisk, 1);

  disk->name = name;
  disk->backend = g_strdup (device->backend);
  disk->device = g_strdup (device->qdev);
  disk->skipped = skip_reason (device, type);
  disk->filters = g_ptr_array_new ();
  disk->layers = g_ptr_array_new_with_free_func ((GDestroyNotify)layer_free);
  for (guint i = 0; i < device->layers->len; i++) {
    const QmpNodesLayer *layer = g_ptr_array_index (device->layers, i);

    if (!qmp_nodes_is_filter (layer->node))
      g_ptr_array_add (disk->layers, layer_new (vm, layer));
    else if (disk->layers->len == 0)
      g_ptr_array_add (disk->filters, (gpointer)layer->node);
  }
  return disk;
}

/* One qom-get for each device, all under way at once; %NULL where there is nothing to ask. */
static GPtrArray *
start_types (EngineVm *vm, const GPtrArray *devices)
{
  GPtrArray *calls = g_ptr_array_new ();

  for (guint i = 0; i < devices->len; i++) {
    const QmpDevice *device = g_ptr_array_index (devices, i);
    g_autofree char *path = device->qdev != NULL ? engine_graph_qom_path (device->qdev) : NULL;
    gint64 deadline_us = engine_context_deadline (vm->context);

    g_ptr_array_add (calls, path == NULL ? NULL : qmp_commands_start_qom_get (vm->monitor, deadline_us, path, "type"));
  }
  return calls;
}

static gboolean
read_disks (EngineVm *vm, EngineGraph *graph, GError **error)
{
  const GPtrArray *devices = qmp_nodes_get_devices (graph->nodes);
  g_autoptr (GPtrArray) calls = start_types (vm, devices);
  gboolean cancelled = FALSE;

  for (guint i = 0; i < devices->len; i++) {
    QmpCall *call = g_ptr_array_index (calls, i);
    g_autoptr (GError) failure = NULL;
    g_autoptr (JsonNode) type = call != NULL ? qmp_call_finish (call, vm->cancellable, &failure) : NULL;
    const char *word = type != NULL && JSON_NODE_HOLDS_VALUE (type) ? json_node_get_string (type) : NULL;

    const QmpDevice *device = g_ptr_array_index (devices, i);
    char *name = vm->daemon ? daemon_disk_name (vm, device) : machine_disk_name (device->qdev, device->backend);

    cancelled = cancelled || g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    if (name != NULL)
      g_ptr_array_add (graph->disks, disk_new (vm, device, name, word));
  }
  return !cancelled || !g_cancellable_set_error_if_cancelled (vm->cancellable, error);
}

EngineGraph *
engine_graph_new (QmpNodes *nodes)
{
  EngineGraph *graph = g_new0 (EngineGraph, 1);

  graph->nodes = nodes;
  graph->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)disk_free);
  return graph;
}

EngineGraphDisk *
engine_graph_disk_new_known (const char *name, const char *device, const QmpNode *node, const QmpNode *file,
                             const char *path)
{
  EngineGraphDisk *disk = g_new0 (EngineGraphDisk, 1);
  EngineLayer *layer = g_new0 (EngineLayer, 1);
  EngineImagefile stat;

  disk->name = g_strdup (name);
  disk->backend = g_strdup ("");
  disk->device = g_strdup (device);
  disk->filters = g_ptr_array_new ();
  disk->layers = g_ptr_array_new_with_free_func ((GDestroyNotify)layer_free);
  layer->node = node;
  layer->file = file;
  layer->path = g_strdup (path);
  layer->format = format_of (node);
  layer->local = TRUE;
  if (engine_imagefile_stat (path, &stat, NULL)) {
    layer->device = stat.device;
    layer->inode = stat.inode;
  }
  g_ptr_array_add (disk->layers, layer);
  return disk;
}

/*
 * A stream that has concluded and that nobody has dismissed holds a node that is half gone: QEMU 7.2 dies of the next
 * question for its nodes, 10.0 does not.
 */
static gboolean
check_askable (EngineVm *vm, GError **error)
{
  g_autoptr (GPtrArray) jobs = NULL;

  if (vm->major_version >= ASKABLE_SINCE)
    return TRUE;
  jobs = qmp_commands_query_jobs (vm->monitor, engine_vm_wait (vm), error);
  for (guint i = 0; jobs != NULL && i < jobs->len; i++) {
    const QmpJob *job = g_ptr_array_index (jobs, i);

    if (!g_str_equal (job->type, "stream") || !g_str_equal (job->status, "concluded"))
      continue;
    engine_error_set (error, ENGINE_ERROR_REFUSED, "dismiss it: `job-dismiss`, on QEMU's monitor",
                      "VM '%s': the stream job '%s' has concluded and was not dismissed by whoever began it; this QEMU "
                      "would crash if it were asked for its images now",
                      vm->record->name, job->id);
    return FALSE;
  }
  return jobs != NULL;
}

EngineGraph *
engine_graph_read (EngineVm *vm, GError **error)
{
  g_autoptr (EngineGraph) graph = engine_graph_new (NULL);
  QmpNodesScope scope = vm->daemon ? QMP_NODES_OF_DAEMON : QMP_NODES_OF_MACHINE;
  QmpNodesQuery *query;

  if (!check_askable (vm, error))
    return NULL;
  query = qmp_nodes_start (vm->monitor, scope, engine_context_deadline (vm->context));
  graph->nodes = qmp_nodes_finish (query, vm->cancellable, error);
  if (graph->nodes == NULL || !read_disks (vm, graph, error))
    return NULL;
  return g_steal_pointer (&graph);
}

const EngineLayer *
engine_graph_head (const EngineGraphDisk *disk)
{
  return g_ptr_array_index (disk->layers, 0);
}

const char *
engine_graph_root (const EngineGraphDisk *disk)
{
  if (disk->filters->len > 0)
    return ((const QmpNode *)g_ptr_array_index (disk->filters, 0))->name;
  return engine_graph_head (disk)->node->name;
}

gboolean
engine_graph_is_read_only (const EngineVm *vm, const EngineGraphDisk *disk)
{
  return engine_graph_head (disk)->node->read_only && !(vm->standin != NULL && vm->context->dry_run);
}

const char *
engine_graph_why_nameless (const EngineLayer *layer)
{
  if (layer->node->data_file)
    return "its data lies in an external data file";
  if (layer->between != NULL)
    return "between its format and its file is another node (a filter, or another format)";
  /* QEMU spells out a raw node's name in JSON where offset or size make it a part of its file. */
  if (g_str_equal (layer->format, "raw") && g_str_has_prefix (layer->node->filename, "json:"))
    return "QEMU uses only a part of the file (offset, size)";
  return NULL;
}

const EngineGraphDisk *
engine_graph_find (const EngineGraph *graph, const char *name)
{
  for (guint i = 0; i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);

    if (g_str_equal (disk->name, name))
      return disk;
  }
  return NULL;
}
