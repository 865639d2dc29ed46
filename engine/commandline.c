/*
 * Reads what QEMU's options say: both spellings of options with parts (keys and
 * values, JSON), and of QMP monitors. What it does not know it passes over.
 */
#include "engine/commandline.h"

#include <string.h>

#define MAX_DEPTH 16
/* The parser recurses, and any user's process may have any words. A chain of a thousand images has two for each. */
#define MAX_BRACKETS 2500
#define AGENT_CHANNEL "org.qemu.guest_agent.0"

/* ---- options with parts ---- */

static void
add_part (GHashTable *options, const char *part, const char *implied)
{
  const char *equals = strchr (part, '=');

  if (equals != NULL)
    g_hash_table_replace (options, g_strndup (part, (gsize)(equals - part)), g_strdup (equals + 1));
  else if (implied != NULL)
    g_hash_table_replace (options, g_strdup (implied), g_strdup (part));
  else if (*part != '\0')
    g_hash_table_replace (options, g_strdup (part), g_strdup ("on"));
}

/* "a=b,c.d=e,,f" in QemuOpts' way: a comma is doubled to stand for itself. */
static void
parse_keyval (GHashTable *options, const char *text, const char *implied)
{
  g_autoptr (GString) part = g_string_new (NULL);

  for (const char *at = text;; at++) {
    if (*at == ',' && at[1] == ',') {
      g_string_append_c (part, *at++);
    } else if (*at == ',' || *at == '\0') {
      add_part (options, part->str, implied);
      implied = NULL;
      g_string_truncate (part, 0);
      if (*at == '\0')
        return;
    } else {
      g_string_append_c (part, *at);
    }
  }
}

/* QEMU nests options a few levels deep; what is deeper is none of ours. */
static void
flatten (GHashTable *options, const char *prefix, JsonObject *object, guint depth)
{
  JsonObjectIter iter;
  const char *member;
  JsonNode *value;

  json_object_iter_init (&iter, object);
  while (json_object_iter_next (&iter, &member, &value)) {
    char *key = *prefix != '\0' ? g_strconcat (prefix, ".", member, NULL) : g_strdup (member);

    if (JSON_NODE_HOLDS_OBJECT (value)) {
      if (depth < MAX_DEPTH)
        flatten (options, key, json_node_get_object (value), depth + 1);
      g_free (key);
    } else if (JSON_NODE_HOLDS_VALUE (value) && json_node_get_value_type (value) == G_TYPE_BOOLEAN) {
      g_hash_table_replace (options, key, g_strdup (json_node_get_boolean (value) ? "on" : "off"));
    } else if (JSON_NODE_HOLDS_VALUE (value) && json_node_get_value_type (value) == G_TYPE_STRING) {
      g_hash_table_replace (options, key, json_node_dup_string (value));
    } else {
      g_free (key);
    }
  }
}

JsonNode *
engine_commandline_parse_json (const char *text)
{
  g_autoptr (JsonNode) root = NULL;
  guint brackets = 0;

  for (const char *at = strpbrk (text, "{["); at != NULL && brackets <= MAX_BRACKETS; at = strpbrk (at + 1, "{["))
    brackets++;
  root = brackets <= MAX_BRACKETS ? json_from_string (text, NULL) : NULL;
  return root != NULL && JSON_NODE_HOLDS_OBJECT (root) ? g_steal_pointer (&root) : NULL;
}

void
engine_commandline_add_object (GHashTable *options, const char *prefix, JsonObject *object)
{
  flatten (options, prefix, object, 0);
}

GHashTable *
engine_commandline_parse_options (const char *text, const char *implied)
{
  GHashTable *options = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_autoptr (JsonNode) root = *text == '{' ? engine_commandline_parse_json (text) : NULL;

  if (*text != '{')
    parse_keyval (options, text, implied);
  else if (root != NULL)
    flatten (options, "", json_node_get_object (root), 0);
  return options;
}

static const char *
get (GHashTable *options, const char *key)
{
  return options != NULL ? g_hash_table_lookup (options, key) : NULL;
}

/* ---- the words of the command line ---- */

static void
monitor_free (EngineCommandlineMonitor *monitor)
{
  g_free (monitor->path);
  g_free (monitor);
}

void
engine_commandline_free (EngineCommandline *line)
{
  if (line == NULL)
    return;
  g_free (line->name);
  g_free (line->uuid);
  g_free (line->agent);
  g_clear_pointer (&line->monitors, g_ptr_array_unref);
  g_clear_pointer (&line->sockets, g_ptr_array_unref);
  g_free (line);
}

static gboolean
is_program (const char *path, gboolean *daemon)
{
  g_autofree char *name = path != NULL ? g_path_get_basename (path) : NULL;

  *daemon = name != NULL && g_str_has_prefix (name, "qemu-storage-daemon");
  return name != NULL && (*daemon || g_str_has_prefix (name, "qemu-system-") || g_str_has_prefix (name, "qemu-kvm") ||
                          g_str_equal (name, "kvm"));
}

/* The value of option @name at @at: the next word, or what stands behind `=` in the daemon's way; %NULL where the word
 * is another option. */
static const char *
value_at (char **at, const char *name)
{
  const char *word = at[0] + (g_str_has_prefix (at[0], "--") ? 1 : 0);
  gsize length = strlen (name);

  if (*word != '-' || strncmp (word + 1, name, length) != 0)
    return NULL;
  if (word[length + 1] == '\0')
    return at[1];
  return word[length + 1] == '=' && at[0][1] == '-' ? word + length + 2 : NULL;
}

/* ---- character devices ---- */

static const char *
find_path (GHashTable *chardev)
{
  static const char *const keys[] = {"path", "backend.data.addr.data.path", "backend.data.addr.path",
                                     "backend.addr.path", "addr.path"};

  for (gsize i = 0; i < G_N_ELEMENTS (keys); i++)
    if (get (chardev, keys[i]) != NULL)
      return get (chardev, keys[i]);
  return NULL;
}

static gboolean
is_on (GHashTable *chardev, const char *key)
{
  g_autofree char *nested = g_strconcat ("backend.data.", key, NULL);
  g_autofree char *address = g_strconcat ("backend.data.addr.data.", key, NULL);
  const char *value = get (chardev, key) != NULL      ? get (chardev, key)
                      : get (chardev, nested) != NULL ? get (chardev, nested)
                                                      : get (chardev, address);

  return g_strcmp0 (value, "on") == 0 || g_strcmp0 (value, "yes") == 0 || g_strcmp0 (value, "true") == 0;
}

/* In JSON a socket listens unless it says that it does not. */
static gboolean
listens (GHashTable *chardev)
{
  if (get (chardev, "backend.type") != NULL)
    return g_strcmp0 (get (chardev, "backend.data.server"), "off") != 0;
  return is_on (chardev, "server");
}

static GHashTable *
find_chardev (char **arguments, const char *id)
{
  for (gsize i = 0; id != NULL && arguments[i] != NULL; i++) {
    const char *value = value_at (arguments + i, "chardev");
    g_autoptr (GHashTable) options = value != NULL ? engine_commandline_parse_options (value, "backend") : NULL;

    if (options != NULL && g_strcmp0 (get (options, "id"), id) == 0)
      return g_steal_pointer (&options);
  }
  return NULL;
}

static void
add_monitor (EngineCommandline *line, GHashTable *chardev)
{
  const char *path = chardev != NULL ? find_path (chardev) : NULL;
  gboolean is_socket = path != NULL && listens (chardev);
  EngineCommandlineMonitor *monitor = g_new0 (EngineCommandlineMonitor, 1);

  monitor->kind = !is_socket                    ? ENGINE_COMMANDLINE_OTHER
                  : is_on (chardev, "abstract") ? ENGINE_COMMANDLINE_ABSTRACT
                                                : ENGINE_COMMANDLINE_SOCKET;
  monitor->path = monitor->kind == ENGINE_COMMANDLINE_SOCKET ? g_strdup (path) : NULL;
  g_ptr_array_add (line->monitors, monitor);
}

/* ---- monitors ---- */

/* -qmp unix:PATH,server=on,wait=off, or -qmp chardev:ID */
static void
read_qmp (EngineCommandline *line, char **arguments, const char *value)
{
  g_autoptr (GHashTable) options = NULL;

  if (g_str_has_prefix (value, "chardev:"))
    options = find_chardev (arguments, value + strlen ("chardev:"));
  else if (g_str_has_prefix (value, "unix:"))
    options = engine_commandline_parse_options (value + strlen ("unix:"), "path");
  if (options != NULL && find_path (options) != NULL)
    g_ptr_array_add (line->sockets, g_strdup (find_path (options)));
  add_monitor (line, options);
}

/* -mon speaks to people unless it says otherwise, the daemon's --monitor to programs. */
static void
read_mon (EngineCommandline *line, char **arguments, const char *value)
{
  g_autoptr (GHashTable) options = engine_commandline_parse_options (value, "chardev");
  g_autoptr (GHashTable) chardev = NULL;
  const char *mode = get (options, "mode");

  if (g_strcmp0 (mode != NULL ? mode : line->daemon ? "control" : "readline", "control") != 0)
    return;
  chardev = find_chardev (arguments, get (options, "chardev"));
  add_monitor (line, chardev);
}

/* ---- the rest ---- */

static void
read_chardev (EngineCommandline *line, char **arguments, const char *value)
{
  g_autoptr (GHashTable) options = engine_commandline_parse_options (value, "backend");

  if (find_path (options) != NULL && !is_on (options, "abstract"))
    g_ptr_array_add (line->sockets, g_strdup (find_path (options)));
}

static void
read_device (EngineCommandline *line, char **arguments, const char *value)
{
  g_autoptr (GHashTable) options = engine_commandline_parse_options (value, "driver");
  g_autoptr (GHashTable) chardev = NULL;

  if (g_strcmp0 (get (options, "driver"), "virtserialport") != 0 ||
      g_strcmp0 (get (options, "name"), AGENT_CHANNEL) != 0)
    return;
  chardev = find_chardev (arguments, get (options, "chardev"));
  if (chardev == NULL || find_path (chardev) == NULL || !listens (chardev) || is_on (chardev, "abstract"))
    return;
  g_free (line->agent);
  line->agent = g_strdup (find_path (chardev));
}

static void
read_name (EngineCommandline *line, char **arguments, const char *value)
{
  g_autoptr (GHashTable) options = engine_commandline_parse_options (value, "guest");

  g_free (line->name);
  line->name = g_strdup (get (options, "guest"));
}

static void
read_uuid (EngineCommandline *line, char **arguments, const char *value)
{
  g_free (line->uuid);
  line->uuid = g_uuid_string_is_valid (value) ? g_ascii_strdown (value, -1) : NULL;
}

/* -monitor PATH is for people where -qmp is for programs: its socket must be known so that it is left alone. */
static void
read_readline (EngineCommandline *line, char **arguments, const char *value)
{
  g_autoptr (GHashTable) options =
      g_str_has_prefix (value, "unix:") ? engine_commandline_parse_options (value + strlen ("unix:"), "path") : NULL;

  if (options != NULL && find_path (options) != NULL)
    g_ptr_array_add (line->sockets, g_strdup (find_path (options)));
}

/* Of QEMU, of its storage daemon, of both. */
typedef enum { OF_QEMU = 1, OF_DAEMON = 2, OF_BOTH = 3 } Whose;

typedef struct {
  const char *name;
  Whose whose;
  void (*read) (EngineCommandline *line, char **arguments, const char *value);
} Option;

static const Option known_options[] = {
    {"chardev", OF_BOTH, read_chardev}, {"monitor", OF_DAEMON, read_mon},  {"mon", OF_QEMU, read_mon},
    {"qmp", OF_QEMU, read_qmp},         {"qmp-pretty", OF_QEMU, read_qmp}, {"monitor", OF_QEMU, read_readline},
    {"serial", OF_QEMU, read_readline}, {"name", OF_QEMU, read_name},      {"uuid", OF_QEMU, read_uuid},
    {"device", OF_QEMU, read_device},
};

static void
read_word (EngineCommandline *line, char **arguments, char **at)
{
  for (gsize i = 0; i < G_N_ELEMENTS (known_options); i++) {
    const Option *option = &known_options[i];
    const char *value =
        (option->whose & (line->daemon ? OF_DAEMON : OF_QEMU)) != 0 ? value_at (at, option->name) : NULL;

    if (value != NULL)
      option->read (line, arguments, value);
  }
}

EngineCommandline *
engine_commandline_parse (const char *program, char **arguments)
{
  EngineCommandline *line;
  gboolean daemon = FALSE;

  if (arguments == NULL || arguments[0] == NULL ||
      (!is_program (program, &daemon) && (program != NULL || !is_program (arguments[0], &daemon))))
    return NULL;
  line = g_new0 (EngineCommandline, 1);
  line->daemon = daemon;
  line->monitors = g_ptr_array_new_with_free_func ((GDestroyNotify)monitor_free);
  line->sockets = g_ptr_array_new_with_free_func (g_free);
  for (gsize i = 1; arguments[i] != NULL; i++)
    read_word (line, arguments, arguments + i);
  return line;
}
