/*
 * chainctl receive: says where the new images are as soon as they are served,
 * and stays until they have come. Its work is engine/receive's.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/exit.h"
#include "tools/chainctl/render.h"

#include "engine/receive.h"

#include <string.h>

typedef struct {
  char *listen;
  char *folder;
  char **disks;
  char **backings;
  char *tls_creds;
} Options;

static void
options_clear (Options *options)
{
  g_free (options->listen);
  g_free (options->folder);
  g_strfreev (options->disks);
  g_strfreev (options->backings);
  g_free (options->tls_creds);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

static void
disk_free (EngineReceiveDisk *disk)
{
  g_free (disk->name);
  g_free (disk->format);
  g_free (disk->backing);
  g_free (disk);
}

/* NAME=SIZE[:FORMAT] */
static EngineReceiveDisk *
parse_disk (const char *text, GError **error)
{
  const char *equals = strchr (text, '=');
  const char *colon = equals != NULL ? strchr (equals, ':') : NULL;
  g_autofree char *size = NULL;
  gint64 bytes;
  EngineReceiveDisk *disk;

  if (equals == NULL || equals == text || equals[1] == '\0') {
    chainctl_exit_set_usage (error, "--disk %s: not of the form NAME=SIZE[:FORMAT]", text);
    return NULL;
  }
  size = colon != NULL ? g_strndup (equals + 1, (gsize)(colon - equals) - 1) : g_strdup (equals + 1);
  if (!chainctl_command_size ("--disk", size, &bytes, error))
    return NULL;
  disk = g_new0 (EngineReceiveDisk, 1);
  disk->name = g_strndup (text, (gsize)(equals - text));
  disk->size = bytes;
  disk->format = g_strdup (colon != NULL ? colon + 1 : "qcow2");
  return disk;
}

static EngineReceiveDisk *
find_disk (const GPtrArray *disks, const char *name)
{
  for (guint i = 0; i < disks->len; i++)
    if (g_str_equal (((EngineReceiveDisk *)g_ptr_array_index (disks, i))->name, name))
      return g_ptr_array_index (disks, i);
  return NULL;
}

static gboolean
parse_backing (const GPtrArray *disks, const char *text, GError **error)
{
  const char *path;
  g_autofree char *name = chainctl_command_split_pair ("backing", text, &path, error);
  EngineReceiveDisk *disk = name != NULL ? find_disk (disks, name) : NULL;

  if (name == NULL)
    return FALSE;
  if (disk == NULL)
    return chainctl_exit_set_usage (error, "--backing %s: there is no --disk '%s'", text, name);
  if (disk->backing != NULL)
    return chainctl_exit_set_usage (error, "--backing %s: disk '%s' has one already", text, name);
  disk->backing = g_strdup (path);
  return TRUE;
}

/* Returns: (transfer full) (element-type EngineReceiveDisk) */
static GPtrArray *
parse_disks (const Options *options, GError **error)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func ((GDestroyNotify)disk_free);

  for (char **text = options->disks; text != NULL && *text != NULL; text++) {
    EngineReceiveDisk *disk = parse_disk (*text, error);

    if (disk == NULL)
      return NULL;
    g_ptr_array_add (disks, disk);
  }
  for (char **text = options->backings; text != NULL && *text != NULL; text++)
    if (!parse_backing (disks, *text, error))
      return NULL;
  return g_steal_pointer (&disks);
}

/* The answer, at once: whoever is to send waits for it. Where nobody can read it, nobody will send. */
static void
say_ready (const GPtrArray *exports, gpointer data)
{
  ChainctlInvocation *invocation = data;
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < exports->len; i++) {
    const EngineReceiveExport *export = g_ptr_array_index (exports, i);
    g_autofree char *disk = chainctl_output_printable (export->disk);
    JsonObject *object = json_object_new ();

    json_object_set_string_member (object, "disk", export->disk);
    json_object_set_string_member (object, "uri", export->uri);
    json_object_set_null_member (object, "bitmap");
    chainctl_render_path (object, "path", export->path);
    json_array_add_object_element (array, object);
    chainctl_output_line (invocation->output, "ready: %s at %s", disk, export->uri);
  }
  json_object_set_array_member (invocation->output->document, "exports", array);
  if (!chainctl_output_publish (invocation->output, invocation->context))
    g_cancellable_cancel (invocation->context->cancellable);
}

static void
say_received (ChainctlOutput *output, const GPtrArray *exports)
{
  for (guint i = 0; i < exports->len; i++) {
    const EngineReceiveExport *export = g_ptr_array_index (exports, i);
    g_autofree char *disk = chainctl_output_printable (export->disk);
    g_autofree char *path = chainctl_output_printable (export->path);
    g_autofree char *size = chainctl_output_size (export->allocated);

    chainctl_output_note (output, "%s: %s in %s", disk, size, path);
  }
  if (exports->len > 0)
    chainctl_output_note (output, "The sender has gone. Whether that is all, its exit status says.");
}

static gboolean
receive (ChainctlInvocation *invocation, const Options *options, GError **error)
{
  g_autoptr (GPtrArray) disks = parse_disks (options, error);
  g_autoptr (GPtrArray) exports = NULL;
  const EngineReceiveRequest request = {.listen = options->listen,
                                        .folder = options->folder,
                                        .disks = disks,
                                        .tls_creds = options->tls_creds,
                                        .ready = say_ready,
                                        .data = invocation};

  if (disks == NULL)
    return FALSE;
  if (options->listen == NULL || options->folder == NULL || disks->len == 0)
    return chainctl_exit_set_usage (error, "receive needs --listen, --to, and at least one --disk");
  for (guint i = 0; i < disks->len; i++)
    chainctl_output_plan (invocation->output, "a new image for '%s' is made in %s, and served at %s",
                          ((const EngineReceiveDisk *)g_ptr_array_index (disks, i))->name, options->folder,
                          options->listen);
  exports = engine_receive_run (invocation->context, &request, error);
  if (exports != NULL)
    say_received (invocation->output, exports);
  return exports != NULL;
}

gboolean
chainctl_cmd_receive (ChainctlInvocation *invocation, GError **error)
{
  g_auto (Options) options = {0};
  const GOptionEntry entries[] = {
      {"listen", 0, 0, G_OPTION_ARG_FILENAME, &options.listen, "where to serve", "HOST:PORT|unix:PATH"},
      {"to", 0, 0, G_OPTION_ARG_FILENAME, &options.folder, "the folder for the new images", "DIR"},
      {"disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.disks, "a disk to come (may be repeated; qcow2, raw)",
       "NAME=SIZE[:FORMAT]"},
      {"backing", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options.backings, "what lies below its new image", "NAME=PATH"},
      {"tls-creds", 0, 0, G_OPTION_ARG_FILENAME, &options.tls_creds, "serve with TLS, by the certificates there",
       "DIR"},
      {NULL},
  };

  return chainctl_command_parse_apart (invocation, entries, error) && receive (invocation, &options, error);
}
