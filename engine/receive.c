/*
 * Makes the images, starts a storage daemon on them, says where it is, and waits
 * until the senders are gone. Who copies what, and whether all of it came, only
 * the sender knows. An image is never removed once something is in it.
 */
#include "engine/receive.h"

#include "base/point.h"
#include "engine/error.h"
#include "engine/nbdserver.h"
#include "engine/overlayfile.h"
#include "engine/receiveplan.h"

#define NAME "receive"

/* The kernel tells nobody that a connection of another process has come or gone: so often we look. */
#define LOOK_US (G_USEC_PER_SEC / 4)

/* --timeout is about senders here; a daemon of ours on a busy host gets no less than its default. */
#define LEAST_PATIENCE_US (10 * G_USEC_PER_SEC)

/* How long a sender that is done may take to hang up. */
#define HANGING_UP_US G_USEC_PER_SEC

/**
 * Run:
 * @images: (element-type EngineNewimage); @disks: (element-type EngineStandinDisk): the same, with what lies below
 * @exports: (element-type EngineReceiveExport): the same, as they are told about
 */
typedef struct {
  EngineContext *context;
  const EngineReceiveRequest *request;
  EngineListener *listener;
  GPtrArray *images;
  GPtrArray *disks;
  GPtrArray *exports;
  EngineNbdserver *server;
  gboolean ends;
} Run;

static void
export_free (EngineReceiveExport *export)
{
  g_free (export->disk);
  g_free (export->path);
  g_free (export->uri);
  g_free (export);
}

static void
run_clear (Run *run)
{
  g_clear_pointer (&run->server, engine_nbdserver_free);
  g_clear_pointer (&run->listener, engine_listener_free);
  g_clear_pointer (&run->images, g_ptr_array_unref);
  g_clear_pointer (&run->disks, g_ptr_array_unref);
  g_clear_pointer (&run->exports, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_clear)

/* ---- check ---- */

static gboolean
check (Run *run, GError **error)
{
  run->images = engine_receiveplan_make (run->context, run->request, error);
  return run->images != NULL && engine_listener_check (run->request->listen, error);
}

static void
plan (Run *run)
{
  for (guint i = 0; i < run->images->len; i++) {
    const EngineNewimage *image = g_ptr_array_index (run->images, i);
    g_autoptr (JsonObject) file = json_object_new ();
    g_autoptr (JsonObject) export = json_object_new ();

    json_object_set_string_member (file, "path", image->path);
    json_object_set_string_member (file, "format", image->format);
    json_object_set_int_member (file, "size", image->virtual_size);
    if (image->backing != NULL)
      json_object_set_string_member (file, "backing", image->backing);
    engine_context_plan (run->context, "file", "create", file);
    json_object_set_string_member (export, "name", image->disk);
    json_object_set_string_member (export, "listen", run->request->listen);
    json_object_set_boolean_member (export, "tls", run->request->tls_creds != NULL);
    engine_context_plan (run->context, "qemu", "block-export-add", export);
  }
}

/* ---- prepare ---- */

static void
remove_images (Run *run)
{
  for (guint i = 0; i < run->images->len && !base_point_is_mutant ("received-not-removed"); i++)
    engine_newimage_remove (g_ptr_array_index (run->images, i));
}

/* An image with all that lies below it, opened so that zeroes and discards make holes in it. */
static EngineStandinDisk *
open_disk (const EngineNewimage *image, GError **error)
{
  EngineStandinDisk *disk = engine_standindisk_new (image->disk);

  engine_standindisk_add (disk, image->path, image->format, "{\"discard\":\"unmap\",\"file-discard\":\"unmap\"}");
  if (image->backing == NULL || engine_standindisk_read (disk, image->backing, error))
    return disk;
  engine_standindisk_free (disk);
  return NULL;
}

static gboolean
make_images (Run *run, GError **error)
{
  run->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_standindisk_free);
  for (guint i = 0; i < run->images->len; i++) {
    EngineNewimage *image = g_ptr_array_index (run->images, i);
    EngineStandinDisk *disk = NULL;

    if (!engine_newimage_make (run->context, image, error) || (disk = open_disk (image, error)) == NULL)
      return FALSE;
    g_ptr_array_add (run->disks, disk);
  }
  return TRUE;
}

static gboolean
start_server (Run *run, GError **error)
{
  const EngineNbdserverOrder order = {
      .name = NAME,
      .disks = run->disks,
      .listener = run->listener,
      .tls_creds = run->request->tls_creds,
      .patience_us = MAX (run->context->timeout_us, LEAST_PATIENCE_US),
  };

  run->server = engine_nbdserver_start (&order, run->context->cancellable, error);
  if (run->server == NULL)
    g_prefix_error (error, "nothing can be served: ");
  return run->server != NULL;
}

static gboolean
sync_images (const Run *run, GError **error)
{
  g_autofree char *folder = g_canonicalize_filename (run->request->folder, NULL);

  if (!base_point_before ("file", "sync", error))
    return FALSE;
  for (guint i = 0; i < run->images->len; i++)
    if (!engine_newimage_sync (g_ptr_array_index (run->images, i), error))
      return FALSE;
  if (!engine_overlayfile_sync_folder (folder, error))
    return FALSE;
  base_point_after ("file", "sync");
  return TRUE;
}

static void
list_exports (Run *run)
{
  run->exports = g_ptr_array_new_with_free_func ((GDestroyNotify)export_free);
  for (guint i = 0; i < run->images->len; i++) {
    const EngineNewimage *image = g_ptr_array_index (run->images, i);
    EngineReceiveExport *export = g_new0 (EngineReceiveExport, 1);

    export->disk = g_strdup (image->disk);
    export->path = g_strdup (image->path);
    export->uri = engine_listener_uri (run->listener, image->disk, run->request->tls_creds != NULL);
    g_ptr_array_add (run->exports, export);
  }
}

/* The names of the new images are on the disk before anybody hears of them. */
static gboolean
prepare (Run *run, GError **error)
{
  run->listener = engine_listener_open (run->request->listen, error);
  if (run->listener == NULL)
    return FALSE;
  if (!make_images (run, error) || !sync_images (run, error) || !start_server (run, error)) {
    remove_images (run);
    return FALSE;
  }
  if (run->request->tls_creds == NULL && engine_listener_is_open (run->listener))
    engine_context_warn (run->context, "unprotected",
                         "without --tls-creds whoever reaches '%s' can read and write the new images, in clear text",
                         run->request->listen);
  list_exports (run);
  return TRUE;
}

/* ---- serve ---- */

/* What has come stays, and nobody knows whether it is all. */
static gboolean
fail_serving (const Run *run, const GError *failure, GError **error)
{
  engine_error_set (error, ENGINE_ERROR_PARTLY, "remove the images, and receive again",
                    "%s; what has come stays in '%s', and may not be all", failure->message, run->request->folder);
  return FALSE;
}

typedef enum { UNTOUCHED, IN_USE, OVER } Stage;

static gboolean
is_touched (const Run *run)
{
  for (guint i = 0; i < run->images->len; i++)
    if (engine_nbdserver_written (run->server, i) > 0)
      return TRUE;
  return FALSE;
}

/* Above an image that is here already there may be nothing to write: an empty overlay is a right copy, too. */
static gboolean
may_stay_empty (const Run *run)
{
  for (guint i = 0; i < run->images->len; i++)
    if (((const EngineNewimage *)g_ptr_array_index (run->images, i))->backing != NULL)
      return TRUE;
  return FALSE;
}

/*
 * How far it is, asked when nobody has come or gone for a while. Connections that never shook hands do not count here.
 * A disk to which nothing was written is not waited for once all others have come: there may be nothing to write.
 */
static gboolean
look (Run *run, Stage *stage, GError **error)
{
  gboolean touched = is_touched (run) || (run->ends && may_stay_empty (run)), in_use = FALSE;
  g_autoptr (GError) failure = NULL;

  if (touched && (!engine_nbdserver_take_back (run->server, TRUE, &in_use, &failure) ||
                  (!in_use && !engine_nbdserver_take_back (run->server, FALSE, &in_use, &failure))))
    return fail_serving (run, failure, error);
  *stage = !touched ? UNTOUCHED : in_use ? IN_USE : OVER;
  return TRUE;
}

/* How it stands; a sender that has just said goodbye may not have hung up yet. */
static gboolean
look_closely (Run *run, Stage *stage, GError **error)
{
  gint64 until_us = g_get_monotonic_time () + HANGING_UP_US;
  g_autoptr (GError) failure = NULL;
  gboolean changed;

  do {
    if (!engine_nbdserver_learn (run->server, &changed, &failure))
      return fail_serving (run, failure, error);
    if (!look (run, stage, error))
      return FALSE;
    if (*stage == IN_USE &&
        !engine_nbdserver_wait (run->server, g_get_monotonic_time () + HANGING_UP_US / 20, NULL, &failure))
      return fail_serving (run, failure, error);
  } while (*stage == IN_USE && g_get_monotonic_time () < until_us);
  return TRUE;
}

static gboolean
interrupt (Run *run, GError **error)
{
  Stage stage = IN_USE;

  run->ends = TRUE;
  if (!look_closely (run, &stage, error))
    return FALSE;
  if (stage == OVER)
    return TRUE;
  if (stage == UNTOUCHED) {
    remove_images (run);
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED,
                 "interrupted before anything was written; the new images are removed");
    return FALSE;
  }
  engine_error_set (error, ENGINE_ERROR_INTERRUPTED, "remove the images, and receive again",
                    "interrupted while somebody was connected: what has come stays in '%s', and is not complete",
                    run->request->folder);
  return FALSE;
}

static gboolean
serve (Run *run, GError **error)
{
  gint64 changed_us = g_get_monotonic_time ();
  Stage stage = UNTOUCHED;

  run->request->ready (run->exports, run->request->data);
  while (stage != OVER) {
    g_autoptr (GError) failure = NULL;
    gboolean changed = FALSE;

    if (!engine_nbdserver_wait (run->server, g_get_monotonic_time () + LOOK_US, run->context->cancellable, &failure))
      return g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED) ? interrupt (run, error)
                                                                         : fail_serving (run, failure, error);
    if (!engine_nbdserver_learn (run->server, &changed, &failure))
      return fail_serving (run, failure, error);
    if (!changed && g_get_monotonic_time () - changed_us < run->context->timeout_us)
      continue;
    if (!changed && !look (run, &stage, error))
      return FALSE;
    changed_us = g_get_monotonic_time ();
  }
  return TRUE;
}

/* ---- record ---- */

/* Synced before the daemon ends, too, so that its end, for which there is a limit, has not much to write. */
static gboolean
finish (Run *run, GError **error)
{
  g_autoptr (GError) failure = NULL;
  gboolean synced = sync_images (run, &failure), ended;

  for (guint i = 0; i < run->exports->len; i++)
    ((EngineReceiveExport *)g_ptr_array_index (run->exports, i))->end = engine_nbdserver_written (run->server, i);
  ended = engine_nbdserver_stop (g_steal_pointer (&run->server));
  if (!synced || !ended || !sync_images (run, &failure)) {
    engine_error_set (error, ENGINE_ERROR_PARTLY, "check the images, or receive again",
                      "what has come may not be whole on the disk: %s",
                      failure != NULL ? failure->message : ENGINE_DAEMON_PROGRAM " had to be killed");
    return FALSE;
  }
  for (guint i = 0; i < run->exports->len; i++) {
    EngineReceiveExport *export = g_ptr_array_index (run->exports, i);

    export->allocated = engine_newimage_allocated (g_ptr_array_index (run->images, i));
    if (export->end == 0)
      engine_context_warn (run->context, "nothing-received", "disk '%s': nothing was written to it", export->disk);
  }
  return TRUE;
}

GPtrArray *
engine_receive_run (EngineContext *context, const EngineReceiveRequest *request, GError **error)
{
  g_auto (Run) run = {.context = context, .request = request};

  if (!check (&run, error))
    return NULL;
  if (context->dry_run) {
    plan (&run);
    return g_ptr_array_new ();
  }
  if (!prepare (&run, error) || !serve (&run, error) || !finish (&run, error))
    return NULL;
  return g_steal_pointer (&run.exports);
}
