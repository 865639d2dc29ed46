/*
 * Puts a VM into the form in which it is shown, from its rows and, where it runs,
 * from its live graph. Only looks: who may change something holds the lock elsewhere.
 */
#include "engine/vmview.h"

#include "base/fiber.h"
#include "chains/images.h"
#include "engine/drift.h"

static void
disk_view_free (EngineVmDisk *disk)
{
  g_free (disk->name);
  g_free (disk->device);
  g_free (disk->node);
  g_free (disk->path);
  g_free (disk->format);
  g_free (disk->base);
  g_free (disk);
}

static void
skipped_free (EngineVmSkipped *skipped)
{
  g_free (skipped->name);
  g_free (skipped->why);
  g_free (skipped);
}

void
engine_vmview_free (EngineVmView *view)
{
  if (view == NULL)
    return;
  g_clear_pointer (&view->record, chains_vm_free);
  g_clear_pointer (&view->disks, g_ptr_array_unref);
  g_clear_pointer (&view->skipped, g_ptr_array_unref);
  g_clear_pointer (&view->adopted, g_ptr_array_unref);
  g_free (view);
}

static gboolean
view_disk (EngineVmView *view, EngineVm *vm, const ChainsDisk *record, const EngineGraph *graph, GError **error)
{
  ChainsDb *db = vm->context->db;
  g_autoptr (ChainsImage) active = chains_images_get (db, record->active, error);
  g_autoptr (ChainsImage) base = active != NULL ? chains_images_get (db, record->base, error) : NULL;
  const EngineGraphDisk *live = graph != NULL ? engine_graph_find (graph, record->name) : NULL;
  EngineVmDisk *disk;

  if (base == NULL)
    return FALSE;
  disk = g_new0 (EngineVmDisk, 1);
  disk->name = g_strdup (record->name);
  disk->device = g_strdup (record->device);
  disk->node = live != NULL && live->skipped == NULL && vm->standin == NULL
                   ? g_strdup (engine_graph_head (live)->node->name)
                   : NULL;
  disk->path = g_strdup (active->path);
  disk->format = g_strdup (active->format);
  disk->virtual_size = active->virtual_size;
  disk->base = g_strdup (base->path);
  disk->ignored = record->ignored;
  g_ptr_array_add (view->disks, disk);
  return TRUE;
}

static void
view_skipped (EngineVmView *view, const EngineGraph *graph)
{
  for (guint i = 0; graph != NULL && i < graph->disks->len; i++) {
    const EngineGraphDisk *disk = g_ptr_array_index (graph->disks, i);
    EngineVmSkipped *skipped;

    if (disk->skipped == NULL)
      continue;
    skipped = g_new0 (EngineVmSkipped, 1);
    skipped->name = g_strdup (disk->name);
    skipped->why = g_strdup (disk->skipped);
    g_ptr_array_add (view->skipped, skipped);
  }
}

EngineVmView *
engine_vmview_new (EngineVm *vm, const EngineGraph *graph, GError **error)
{
  g_autoptr (EngineVmView) view = g_new0 (EngineVmView, 1);

  view->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)disk_view_free);
  view->skipped = g_ptr_array_new_with_free_func ((GDestroyNotify)skipped_free);
  view->adopted = g_ptr_array_new_with_free_func (g_free);
  view->state = vm->state;
  for (guint i = 0; i < vm->disks->len; i++)
    if (!view_disk (view, vm, g_ptr_array_index (vm->disks, i), graph, error))
      return NULL;
  view_skipped (view, graph);
  view->record = g_steal_pointer (&vm->record);
  return g_steal_pointer (&view);
}

/* ---- looked at ---- */

gboolean
engine_vmview_look (EngineVm *vm, EngineGraph **graph, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (engine_vm_connect (vm, &failure)) {
    *graph = vm->monitor != NULL ? engine_graph_read (vm, &failure) : NULL;
    if (failure == NULL) {
      engine_drift_warn_of_another (vm);
      return TRUE;
    }
  }
  vm->state = ENGINE_VM_UNREACHABLE;
  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  engine_context_warn (vm->context, "unreachable", "%s", failure->message);
  return TRUE;
}

EngineVmView *
engine_vmview_show (EngineContext *context, const char *name, GError **error)
{
  g_autoptr (EngineVm) vm = engine_vm_open (context, name, NULL, error);
  g_autoptr (EngineGraph) graph = NULL;

  if (vm == NULL || !engine_vmview_look (vm, &graph, error))
    return NULL;
  return engine_vmview_new (vm, graph, error);
}

/* One look of several. */
typedef struct {
  EngineContext *context;
  const char *name;
  EngineVmView *view;
  GError *error;
} Look;

static void
look_free (Look *look)
{
  engine_vmview_free (look->view);
  g_clear_error (&look->error);
  g_free (look);
}

static void
show_one (gpointer item)
{
  Look *look = item;

  look->view = engine_vmview_show (look->context, look->name, &look->error);
}

GPtrArray *
engine_vmview_list (EngineContext *context, GError **error)
{
  g_autoptr (GPtrArray) records = chains_registry_list_vms (context->db, error);
  g_autoptr (GPtrArray) looks = g_ptr_array_new_with_free_func ((GDestroyNotify)look_free);
  g_autoptr (GPtrArray) views = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_vmview_free);

  for (guint i = 0; records != NULL && i < records->len; i++) {
    Look *look = g_new0 (Look, 1);

    look->context = context;
    look->name = ((const ChainsVm *)g_ptr_array_index (records, i))->name;
    g_ptr_array_add (looks, look);
  }
  /* All at once: one that is silent costs its time, and no more. */
  base_fiber_run_all (looks, show_one, 0);
  for (guint i = 0; i < looks->len; i++) {
    Look *look = g_ptr_array_index (looks, i);

    if (look->view == NULL) {
      g_propagate_error (error, g_steal_pointer (&look->error));
      return NULL;
    }
    g_ptr_array_add (views, g_steal_pointer (&look->view));
  }
  return records != NULL ? g_steal_pointer (&views) : NULL;
}
