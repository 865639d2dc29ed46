/*
 * Takes addresses of NBD servers apart and puts them together. Whether somebody is
 * there is engine/nbdprobe's to find out.
 */
#include "engine/nbdaddress.h"

#include "engine/error.h"

#include <string.h>
#include <sys/stat.h>

#define DEFAULT_PORT "10809"
#define OF_DISK "%d"
#define EXPORT_NAME ":exportname="

void
engine_nbdaddress_free (EngineNbdAddress *address)
{
  if (address == NULL)
    return;
  g_free (address->host);
  g_free (address->port);
  g_free (address->path);
  g_free (address->export);
  g_free (address);
}

/* ---- taken apart ---- */

static gboolean
is_port (const char *text)
{
  guint64 number;

  return g_ascii_string_to_unsigned (text, 10, 1, G_MAXUINT16, &number, NULL);
}

/* "HOST", "HOST:PORT", "[IPV6]:PORT" */
static gboolean
parse_host (EngineNbdAddress *address, const char *text)
{
  const char *end = text[0] == '[' ? strchr (text, ']') : strchr (text, ':');
  const char *colon = end != NULL && end[0] == ']' ? end + 1 : end;

  if (text[0] == '[' && end == NULL)
    return FALSE;
  if (text[0] == '[')
    address->host = g_strndup (text + 1, (gsize)(end - text - 1));
  else
    address->host = end != NULL ? g_strndup (text, (gsize)(end - text)) : g_strdup (text);
  address->port = g_strdup (colon != NULL && colon[0] == ':' ? colon + 1 : DEFAULT_PORT);
  return address->host[0] != '\0' && (colon == NULL || colon[0] == ':' || colon[0] == '\0') && is_port (address->port);
}

/* "HOST:PORT/EXPORT" */
static gboolean
parse_tcp (EngineNbdAddress *address, const char *text)
{
  const char *slash = strchr (text, '/');
  g_autofree char *host = slash != NULL ? g_strndup (text, (gsize)(slash - text)) : g_strdup (text);

  address->export = g_strdup (slash != NULL ? slash + 1 : "");
  return parse_host (address, host);
}

static gboolean
is_socket (const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 && S_ISSOCK (st.st_mode);
}

/* "PATH/EXPORT": the socket tells where the one ends and the other begins. Where none is there, all is the path. */
static gboolean
parse_unix (EngineNbdAddress *address, const char *text)
{
  g_autofree char *path = g_canonicalize_filename (text, NULL);
  gsize at = strlen (text);

  while (at > 0 && !is_socket (path)) {
    g_autofree char *shorter = NULL;

    do
      at--;
    while (at > 0 && text[at] != '/');
    shorter = g_strndup (text, at);
    g_free (path);
    path = g_canonicalize_filename (at > 0 ? shorter : text, NULL);
  }
  address->export = g_strdup (at > 0 && text[at] == '/' ? text + at + 1 : "");
  address->path = g_steal_pointer (&path);
  return text[0] != '\0';
}

/* QEMU's own: "HOST:PORT:exportname=EXPORT", "unix:PATH:exportname=EXPORT" */
static gboolean
parse_qemu (EngineNbdAddress *address, const char *text)
{
  const char *name = strstr (text, EXPORT_NAME);
  g_autofree char *server = name != NULL ? g_strndup (text, (gsize)(name - text)) : g_strdup (text);

  address->export = g_strdup (name != NULL ? name + strlen (EXPORT_NAME) : "");
  if (!g_str_has_prefix (server, "unix:"))
    return parse_host (address, server);
  address->path = g_canonicalize_filename (server + strlen ("unix:"), NULL);
  return server[strlen ("unix:")] != '\0';
}

/* "%d" is no escaped byte, unless it goes on like one. Returns: (transfer full) */
static char *
escape_placeholder (const char *text)
{
  GString *escaped = g_string_new (NULL);

  for (; text[0] != '\0'; text++)
    if (g_str_has_prefix (text, OF_DISK) && !g_ascii_isxdigit (text[2]))
      g_string_append (escaped, "%25");
    else
      g_string_append_c (escaped, text[0]);
  return g_string_free (escaped, FALSE);
}

static gboolean
parse_uri (EngineNbdAddress *address, const char *text)
{
  g_autofree char *escaped = escape_placeholder (text);
  g_autoptr (GUri) uri = g_uri_parse (escaped, G_URI_FLAGS_ENCODED_QUERY, NULL);
  const char *query = uri != NULL ? g_uri_get_query (uri) : NULL;
  g_autoptr (GHashTable) words = query != NULL ? g_uri_parse_params (query, -1, "&", G_URI_PARAMS_NONE, NULL) : NULL;
  const char *path = words != NULL ? g_hash_table_lookup (words, "socket") : NULL;

  if (uri == NULL)
    return FALSE;
  address->tls = g_str_has_prefix (g_uri_get_scheme (uri), "nbds");
  address->export = g_strdup (g_uri_get_path (uri)[0] == '/' ? g_uri_get_path (uri) + 1 : "");
  if (strstr (g_uri_get_scheme (uri), "+unix") != NULL) {
    address->path = path != NULL ? g_canonicalize_filename (path, NULL) : NULL;
    return path != NULL;
  }
  address->host = g_strdup (g_uri_get_host (uri));
  address->port = g_uri_get_port (uri) > 0 ? g_strdup_printf ("%d", g_uri_get_port (uri)) : g_strdup (DEFAULT_PORT);
  return address->host != NULL && address->host[0] != '\0';
}

static gboolean
is_uri (const char *text)
{
  return g_str_has_prefix (text, "nbd://") || g_str_has_prefix (text, "nbds://") ||
         g_str_has_prefix (text, "nbd+unix://") || g_str_has_prefix (text, "nbds+unix://");
}

EngineNbdAddress *
engine_nbdaddress_parse (const char *text, GError **error)
{
  g_autoptr (EngineNbdAddress) address = g_new0 (EngineNbdAddress, 1);
  gboolean sound;

  if (is_uri (text))
    sound = parse_uri (address, text);
  else if (g_str_has_prefix (text, "nbd:"))
    sound = parse_qemu (address, text + strlen ("nbd:"));
  else if (g_str_has_prefix (text, "unix:"))
    sound = parse_unix (address, text + strlen ("unix:"));
  else
    sound = parse_tcp (address, text);
  if (sound)
    return g_steal_pointer (&address);
  engine_error_set (error, ENGINE_ERROR_USAGE, "HOST:PORT/EXPORT, [IPV6]:PORT/EXPORT or unix:PATH/EXPORT",
                    "'%s' is no address of an NBD server", text);
  return NULL;
}

/* ---- put together ---- */

gboolean
engine_nbdaddress_is_of_each (const EngineNbdAddress *address)
{
  return strstr (address->export, OF_DISK) != NULL;
}

char *
engine_nbdaddress_export (const EngineNbdAddress *address, const char *disk)
{
  g_auto (GStrv) parts = g_strsplit (address->export, OF_DISK, -1);

  return g_strjoinv (disk, parts);
}

char *
engine_nbdaddress_uri (const EngineNbdAddress *address, const char *export, gboolean tls)
{
  const char *scheme = tls ? "nbds" : "nbd";
  gboolean v6 = address->host != NULL && strchr (address->host, ':') != NULL;
  g_autofree char *name = g_uri_escape_string (export, "/:@", FALSE);
  g_autofree char *path = address->path != NULL ? g_uri_escape_string (address->path, "/:@", FALSE) : NULL;

  if (path != NULL)
    return g_strdup_printf ("%s+unix:///%s?socket=%s", scheme, name, path);
  return g_strdup_printf ("%s://%s%s%s:%s/%s", scheme, v6 ? "[" : "", address->host, v6 ? "]" : "", address->port,
                          name);
}

JsonObject *
engine_nbdaddress_to_json (const EngineNbdAddress *address)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "type", address->path != NULL ? "unix" : "inet");
  if (address->path != NULL) {
    json_object_set_string_member (object, "path", address->path);
    return object;
  }
  json_object_set_string_member (object, "host", address->host);
  json_object_set_string_member (object, "port", address->port);
  return object;
}
