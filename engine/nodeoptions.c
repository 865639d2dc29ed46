/*
 * Finds out how a live image's nodes were opened. Reads `-blockdev` (both
 * spellings) and `-drive` as flat tables of dotted keys; changes nothing. And says it
 * to QEMU again, for a node that is to be opened alike.
 */
#include "engine/nodeoptions.h"

#include "engine/commandline.h"
#include "engine/imagefile.h"
#include "engine/op.h"

#include <string.h>

typedef GHashTable Options; /* dotted key -> value */

static const char *
get (Options *options, const char *key)
{
  return options != NULL ? g_hash_table_lookup (options, key) : NULL;
}

typedef gboolean (*Matches) (Options *options, const char *wanted);

static gboolean
is_node (Options *options, const char *wanted)
{
  return g_strcmp0 (get (options, "node-name"), wanted) == 0;
}

static gboolean
is_file_node (Options *options, const char *wanted)
{
  return g_strcmp0 (get (options, "file.node-name"), wanted) == 0;
}

static gboolean
is_backend (Options *options, const char *wanted)
{
  return g_strcmp0 (get (options, "id"), wanted) == 0;
}

static gboolean
is_file (Options *options, const char *wanted)
{
  return g_strcmp0 (get (options, "file"), wanted) == 0;
}

/* The first `-blockdev` or `-drive` (@option) that @matches. */
static Options *
find (char **arguments, const char *option, Matches matches, const char *wanted)
{
  for (gsize i = 0; arguments != NULL && arguments[i] != NULL && arguments[i + 1] != NULL; i++) {
    const char *name = arguments[i] + (g_str_has_prefix (arguments[i], "--") ? 1 : 0);
    g_autoptr (GHashTable) options = NULL;

    if (!g_str_equal (name, option))
      continue;
    options = engine_commandline_parse_options (arguments[i + 1], NULL);
    if (matches (options, wanted))
      return g_steal_pointer (&options);
  }
  return NULL;
}

/* Only QEMU's own words; the older ones of -drive as what they stand for. */
static void
take (char **member, const char *value)
{
  static const char *const words[] = {"threads", "native", "io_uring", "ignore", "unmap", NULL};
  const char *word = g_strcmp0 (value, "on") == 0 ? "unmap" : g_strcmp0 (value, "off") == 0 ? "ignore" : value;

  if (word == NULL || !g_strv_contains (words, word))
    return;
  g_free (*member);
  *member = g_strdup (word);
}

/* A node of -blockdev, its file inline ("file.aio") or a -blockdev of its own. */
static gboolean
from_blockdev (EngineNodeOptions *options, const EngineLayer *head, char **arguments)
{
  g_autoptr (GHashTable) format = find (arguments, "-blockdev", is_node, head->node->name);
  const char *file_node = get (format, "file");
  g_autoptr (GHashTable) file = file_node != NULL ? find (arguments, "-blockdev", is_node, file_node) : NULL;

  if (format == NULL)
    return FALSE;
  take (&options->discard, get (format, "discard"));
  if (file_node != NULL) {
    take (&options->aio, get (file, "aio"));
    take (&options->file_discard, get (file, "discard"));
    return file != NULL;
  }
  /* QEMU lets an inline child pass discards on (bdrv_inherited_options). */
  take (&options->file_discard, "unmap");
  take (&options->file_discard, get (format, "file.discard"));
  take (&options->aio, get (format, "file.aio"));
  return TRUE;
}

/* file=json:{…} stands for the file.* options in it. */
static void
add_json_file (Options *drive)
{
  const char *file = get (drive, "file");
  g_autoptr (JsonNode) root = NULL;

  if (file == NULL || !g_str_has_prefix (file, "json:"))
    return;
  root = engine_commandline_parse_json (file + strlen ("json:"));
  if (root != NULL)
    engine_commandline_add_object (drive, json_object_has_member (json_node_get_object (root), "file") ? "" : "file",
                                   json_node_get_object (root));
}

static gboolean
from_drive (EngineNodeOptions *options, const EngineGraphDisk *disk, char **arguments)
{
  const EngineLayer *head = engine_graph_head (disk);
  g_autoptr (GHashTable) drive = NULL;

  if (*disk->backend != '\0')
    drive = find (arguments, "-drive", is_backend, disk->backend);
  if (drive == NULL)
    drive = find (arguments, "-drive", is_file, head->path);
  if (drive == NULL)
    drive = find (arguments, "-drive", is_node, head->node->name);
  if (drive == NULL)
    drive = find (arguments, "-drive", is_file_node, head->file != NULL ? head->file->name : "");
  if (drive == NULL)
    return FALSE;
  add_json_file (drive);
  take (&options->aio, get (drive, "aio"));
  take (&options->aio, get (drive, "file.aio"));
  take (&options->discard, get (drive, "discard"));
  take (&options->file_discard, "unmap");
  take (&options->file_discard, get (drive, "file.discard"));
  return TRUE;
}

static gboolean
from_memory (EngineNodeOptions *options, const char *remembered)
{
  g_autoptr (GHashTable) memory = remembered != NULL ? engine_commandline_parse_options (remembered, NULL) : NULL;

  if (get (memory, "aio") == NULL)
    return FALSE;
  take (&options->aio, get (memory, "aio"));
  take (&options->discard, get (memory, "discard"));
  take (&options->file_discard, get (memory, "file-discard"));
  return TRUE;
}

GPtrArray *
engine_nodeoptions_list (char **arguments, const char *option)
{
  GPtrArray *list = g_ptr_array_new_with_free_func ((GDestroyNotify)g_hash_table_unref);

  for (gsize i = 0; arguments != NULL && arguments[i] != NULL && arguments[i + 1] != NULL; i++) {
    const char *name = arguments[i] + (g_str_has_prefix (arguments[i], "--") ? 1 : 0);
    const char *text = arguments[i + 1];
    Options *options;

    if (!g_str_equal (name, option))
      continue;
    options = engine_commandline_parse_options (text, NULL);
    add_json_file (options);
    g_hash_table_replace (options, g_strdup (""), g_strdup (text));
    g_ptr_array_add (list, options);
  }
  return list;
}

static void
from_nodes (EngineNodeOptions *options, const EngineLayer *head)
{
  options->direct = head->node->cache_direct;
  options->no_flush = head->node->cache_no_flush;
  options->file_direct = head->file != NULL ? head->file->cache_direct : options->direct;
  options->file_no_flush = head->file != NULL ? head->file->cache_no_flush : options->no_flush;
  options->detect_zeroes = g_strdup (head->node->detect_zeroes);
}

EngineNodeOptions *
engine_nodeoptions_find (const EngineGraphDisk *disk, char **arguments, const char *remembered)
{
  EngineNodeOptions *options = g_new0 (EngineNodeOptions, 1);
  const EngineLayer *head = engine_graph_head (disk);
  gboolean found;

  options->aio = g_strdup ("threads");
  options->discard = g_strdup ("ignore");
  options->file_discard = g_strdup ("ignore");
  from_nodes (options, head);
  /* A node that we added is not on the command line; what we gave it is remembered with its image. */
  found = engine_op_is_ours (head->node->name) && from_memory (options, remembered);
  found = found || from_blockdev (options, head, arguments) || from_drive (options, disk, arguments);
  found = found || from_memory (options, remembered);
  options->guessed = !found;
  return options;
}

void
engine_nodeoptions_free (EngineNodeOptions *options)
{
  if (options == NULL)
    return;
  g_free (options->aio);
  g_free (options->discard);
  g_free (options->file_discard);
  g_free (options->detect_zeroes);
  g_free (options);
}

char **
engine_nodeoptions_read_arguments (pid_t qemu)
{
  g_autofree char *path = g_strdup_printf ("/proc/%ld/cmdline", (long)qemu);
  g_autofree char *text = NULL;
  g_autoptr (GPtrArray) words = g_ptr_array_new_with_free_func (g_free);
  gsize length = 0;

  if (qemu == 0 || !g_file_get_contents (path, &text, &length, NULL))
    return NULL;
  for (gsize at = 0; at < length; at += strlen (text + at) + 1)
    g_ptr_array_add (words, g_strdup (text + at));
  g_ptr_array_add (words, NULL);
  return (char **)g_ptr_array_steal (words, NULL);
}

char *
engine_nodeoptions_to_json (const EngineNodeOptions *options)
{
  g_autoptr (JsonObject) object = json_object_new ();
  g_autoptr (JsonNode) node = NULL;

  json_object_set_string_member (object, "aio", options->aio);
  json_object_set_string_member (object, "discard", options->discard);
  json_object_set_string_member (object, "file-discard", options->file_discard);
  node = json_node_init_object (json_node_alloc (), object);
  return json_to_string (node, FALSE);
}

/* BlockdevCacheOptions */
static JsonObject *
cache_json (gboolean direct, gboolean no_flush)
{
  JsonObject *cache = json_object_new ();

  json_object_set_boolean_member (cache, "direct", direct);
  json_object_set_boolean_member (cache, "no-flush", no_flush);
  return cache;
}

JsonObject *
engine_nodeoptions_file (const EngineNodeOptions *options, const char *path, const char *node)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "driver", engine_imagefile_driver (path));
  json_object_set_string_member (object, "node-name", node);
  json_object_set_string_member (object, "filename", path);
  json_object_set_string_member (object, "aio", options->aio);
  json_object_set_string_member (object, "discard", options->file_discard);
  json_object_set_object_member (object, "cache", cache_json (options->file_direct, options->file_no_flush));
  return object;
}

JsonObject *
engine_nodeoptions_format (const EngineNodeOptions *options, const char *format, const char *node, JsonObject *file,
                           const char *below)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "driver", format);
  json_object_set_string_member (object, "node-name", node);
  json_object_set_object_member (object, "file", file);
  if (below != NULL)
    json_object_set_string_member (object, "backing", below);
  else if (g_str_equal (format, "qcow2"))
    json_object_set_null_member (object, "backing");
  json_object_set_string_member (object, "discard", options->discard);
  json_object_set_object_member (object, "cache", cache_json (options->direct, options->no_flush));
  return object;
}
