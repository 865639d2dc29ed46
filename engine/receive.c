/*
 * Makes the images, starts a storage daemon on them, says where it is, and waits
 * until the senders are gone. Who copies what, and whether all of it came, only
 * the sender knows. An image is never removed once something is in it.
 */
#include "engine/receive.h"

#include "base/point.h"
#include "engine/daemon.h"
#include "engine/error.h"
#include "engine/listener.h"
#include "engine/overlayfile.h"
#include "engine/receiveplan.h"
#include "qmp/error.h"
#include "qmp/exports.h"

#include <string.h>

#define NAME "receive"
#define TLS "tls"

/* QEMU 9.1's own limit, so that nobody's connections can take all of the daemon's descriptors; copies have some each.
 */
#define MOST_STRANGERS 100
#define MOST_PER_DISK 4

/* The kernel tells nobody that a connection of another process has come or gone: so often we look. */
#define LOOK_US (G_USEC_PER_SEC / 4)

/* How long a sender that is done may take to hang up. */
#define HANGING_UP_US G_USEC_PER_SEC

/**
 * Run:
 * @images: (element-type EngineNewimage); @disks: (element-type EngineStandinDisk): the same, with what lies below
 * @exports: (element-type EngineReceiveExport): the same, as they are told about
 * @gone: per disk, whether its export was taken back: nobody was connected any more
 * @connections: who was connected when we last looked; @changed_us: since when it is so
 */
typedef struct {
  EngineContext *context;
  const EngineReceiveRequest *request;
  EngineListener *listener;
  GPtrArray *images;
  GPtrArray *disks;
  GPtrArray *exports;
  EngineDaemon *daemon;
  QmpClient *monitor;
  gboolean *gone;
  char *connections;
  gint64 changed_us;
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
  g_clear_pointer (&run->monitor, qmp_client_free);
  g_clear_pointer (&run->daemon, engine_daemon_free);
  g_clear_pointer (&run->listener, engine_listener_free);
  g_clear_pointer (&run->images, g_ptr_array_unref);
  g_clear_pointer (&run->disks, g_ptr_array_unref);
  g_clear_pointer (&run->exports, g_ptr_array_unref);
  g_free (run->gone);
  g_free (run->connections);
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

/* @option with @value (transfer full) as JSON. */
static void
add_option (GPtrArray *words, const char *option, JsonObject *value)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);

  json_node_take_object (node, value);
  g_ptr_array_add (words, g_strdup (option));
  g_ptr_array_add (words, json_to_string (node, FALSE));
}

static void
add_credentials (GPtrArray *words, const char *folder)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "qom-type", "tls-creds-x509");
  json_object_set_string_member (object, "id", TLS);
  json_object_set_string_member (object, "endpoint", "server");
  json_object_set_boolean_member (object, "verify-peer", TRUE);
  json_object_set_string_member (object, "dir", folder);
  add_option (words, "--object", object);
}

static void
add_server (GPtrArray *words, const Run *run)
{
  JsonObject *server = json_object_new (), *address = json_object_new ();
  g_autofree char *fd = g_strdup_printf ("%d", ENGINE_DAEMON_FIRST_FD);

  json_object_set_string_member (address, "type", "fd");
  json_object_set_string_member (address, "str", fd);
  json_object_set_object_member (server, "addr", address);
  json_object_set_int_member (server, "max-connections", MOST_STRANGERS + MOST_PER_DISK * (gint64)run->images->len);
  if (run->request->tls_creds != NULL)
    json_object_set_string_member (server, "tls-creds", TLS);
  add_option (words, "--nbd-server", server);
}

static char *
node_of (guint index)
{
  return g_strdup_printf (NAME "-%u", index);
}

/* Its NBD server and its exports; an export's id is its node's name. */
static char **
server_words (const Run *run)
{
  g_autoptr (GPtrArray) words = g_ptr_array_new ();

  if (run->request->tls_creds != NULL)
    add_credentials (words, run->request->tls_creds);
  add_server (words, run);
  for (guint i = 0; i < run->images->len; i++) {
    JsonObject *export = json_object_new ();
    g_autofree char *node = node_of (i);

    json_object_set_string_member (export, "type", "nbd");
    json_object_set_string_member (export, "id", node);
    json_object_set_string_member (export, "node-name", node);
    json_object_set_string_member (export, "name", ((const EngineNewimage *)g_ptr_array_index (run->images, i))->disk);
    json_object_set_boolean_member (export, "writable", TRUE);
    add_option (words, "--export", export);
  }
  g_ptr_array_add (words, NULL);
  return (char **)g_ptr_array_steal (words, NULL);
}

static gboolean
start_daemon (Run *run, GError **error)
{
  g_auto (GStrv) words = server_words (run);
  int listener = engine_listener_get_fd (run->listener);
  gint64 version;
  const EngineDaemonOrder order = {
      .name = NAME,
      .disks = run->disks,
      .words = (const char *const *)words,
      .fds = &listener,
      .n_fds = 1,
      .patience_us = run->context->timeout_us,
  };

  run->daemon = engine_daemon_spawn (&order, &run->monitor, error);
  if (run->daemon == NULL)
    return FALSE;
  if (engine_daemon_greet (run->daemon, run->monitor, run->context->cancellable, &version, error))
    return TRUE;
  g_prefix_error (error, "nothing can be served: ");
  return FALSE;
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
  run->gone = g_new0 (gboolean, run->images->len);
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
  if (!make_images (run, error) || !sync_images (run, error) || !start_daemon (run, error)) {
    g_clear_pointer (&run->monitor, qmp_client_free);
    g_clear_pointer (&run->daemon, engine_daemon_free);
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

static QmpWait
patience (const Run *run)
{
  /* Not cancellable: it is asked at Ctrl-C too. */
  return (QmpWait){engine_context_deadline (run->context), NULL};
}

static gboolean
has_lost_daemon (gpointer user_data)
{
  const Run *run = user_data;

  return qmp_client_get_error (run->monitor) != NULL;
}

/* What has come stays, and nobody knows whether it is all. */
static gboolean
fail_serving (const Run *run, const GError *failure, GError **error)
{
  g_autofree char *words = engine_daemon_has_died (run->daemon) ? engine_daemon_last_words (run->daemon) : NULL;

  engine_error_set (error, ENGINE_ERROR_PARTLY, "remove the images, and receive again",
                    "%s, which served the images in '%s', failed: %s; what has come stays there", ENGINE_DAEMON_PROGRAM,
                    run->request->folder, words != NULL ? words : failure->message);
  return FALSE;
}

/* What has been written to each disk by now. */
static gboolean
learn_written (Run *run, GError **error)
{
  g_autoptr (GHashTable) written = qmp_exports_query_written (run->monitor, patience (run), error);

  for (guint i = 0; written != NULL && i < run->exports->len; i++) {
    EngineReceiveExport *export = g_ptr_array_index (run->exports, i);
    g_autofree char *node = node_of (i);
    const gint64 *end = g_hash_table_lookup (written, node);

    if (end == NULL || *end == export->end)
      continue;
    export->end = *end;
    run->changed_us = g_get_monotonic_time ();
  }
  return written != NULL;
}

static void
learn_connections (Run *run)
{
  g_autofree char *now = engine_daemon_connections (run->daemon);

  if (g_strcmp0 (now, run->connections) == 0)
    return;
  g_free (run->connections);
  run->connections = g_steal_pointer (&now);
  run->changed_us = g_get_monotonic_time ();
}

/* One who comes, writes and goes between two looks leaves at least what was written. */
static gboolean
learn (Run *run, GError **error)
{
  g_autoptr (GError) failure = NULL;

  learn_connections (run);
  return learn_written (run, &failure) || fail_serving (run, failure, error);
}

/* Takes back the exports of disks that are @written, or not, as long as nobody is connected to them. */
static gboolean
take_back (Run *run, gboolean written, gboolean *in_use, GError **error)
{
  for (guint i = 0; i < run->exports->len && !*in_use; i++) {
    const EngineReceiveExport *export = g_ptr_array_index (run->exports, i);
    g_autofree char *node = node_of (i);
    g_autoptr (GError) failure = NULL;

    if (run->gone[i] || (export->end > 0) != written)
      continue;
    run->gone[i] = qmp_exports_delete_unused (run->monitor, patience (run), node, &failure);
    *in_use = g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND);
    if (*in_use && base_point_is_mutant ("sender-not-waited-for")) {
      g_clear_error (&failure);
      *in_use = FALSE;
    }
    if (failure != NULL && !*in_use) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
  }
  return TRUE;
}

typedef enum { UNTOUCHED, IN_USE, OVER } Stage;

/*
 * How far it is, asked when nobody has come or gone for a while. Connections that never shook hands do not count here.
 * A disk to which nothing was written is not waited for once all others have come: there may be nothing to write.
 */
static gboolean
look (Run *run, Stage *stage, GError **error)
{
  gboolean any = FALSE, in_use = FALSE;
  g_autoptr (GError) failure = NULL;

  for (guint i = 0; i < run->exports->len; i++)
    any = any || ((const EngineReceiveExport *)g_ptr_array_index (run->exports, i))->end > 0;
  if (any && (!take_back (run, TRUE, &in_use, &failure) || !take_back (run, FALSE, &in_use, &failure)))
    return fail_serving (run, failure, error);
  *stage = !any ? UNTOUCHED : in_use ? IN_USE : OVER;
  return TRUE;
}

/* How it stands; a sender that has just said goodbye may not have hung up yet. */
static gboolean
look_closely (Run *run, Stage *stage, GError **error)
{
  gint64 until_us = g_get_monotonic_time () + HANGING_UP_US;

  do {
    gint64 next_us = g_get_monotonic_time () + HANGING_UP_US / 20;
    g_autoptr (GError) passed = NULL;

    if (!learn (run, error) || !look (run, stage, error))
      return FALSE;
    if (*stage == IN_USE && qmp_call_wait_until (has_lost_daemon, run, next_us, NULL, &passed))
      return fail_serving (run, qmp_client_get_error (run->monitor), error);
  } while (*stage == IN_USE && g_get_monotonic_time () < until_us);
  return TRUE;
}

static gboolean
interrupt (Run *run, GError **error)
{
  Stage stage = IN_USE;

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
  Stage stage = UNTOUCHED;

  run->request->ready (run->exports, run->request->data);
  run->changed_us = g_get_monotonic_time ();
  while (stage != OVER) {
    g_autoptr (GError) failure = NULL;
    gint64 next_us = g_get_monotonic_time () + LOOK_US;

    if (qmp_call_wait_until (has_lost_daemon, run, next_us, run->context->cancellable, &failure))
      return fail_serving (run, qmp_client_get_error (run->monitor), error);
    if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED))
      return interrupt (run, error);
    if (!learn (run, error))
      return FALSE;
    if (g_get_monotonic_time () - run->changed_us < run->context->timeout_us)
      continue;
    if (!look (run, &stage, error))
      return FALSE;
    run->changed_us = g_get_monotonic_time ();
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

  g_clear_pointer (&run->monitor, qmp_client_free);
  ended = engine_daemon_stop (g_steal_pointer (&run->daemon));
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
