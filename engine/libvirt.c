/*
 * Recognises what is libvirt's by its folders, its command lines and its domain
 * definitions. Asks no libvirt, needs none, and changes nothing of it.
 */
#include "engine/libvirt.h"

#include "engine/address.h"
#include "engine/commandline.h"
#include "engine/error.h"
#include "engine/imagefile.h"

#include <string.h>

#define SECRET "masterKey0"
#define RECIPE                                                                                                      \
  "either keep it with libvirt (`virsh snapshot-create-as`), or take it from there: `virsh domxml-to-native "       \
  "qemu-argv --domain NAME` prints its command line; `virsh shutdown NAME`, start that with `chainctl exec` and a " \
  "monitor of your own, and `virsh undefine NAME --keep-nvram` so that libvirt never starts it beside"

/* ---- a QEMU ---- */

static gboolean
has_folder (const char *path, const char *parent, const char *prefix)
{
  g_autofree char *needle = g_strconcat (parent, prefix, NULL);

  return strstr (path, needle) != NULL;
}

gboolean
engine_libvirt_has_monitor (const char *path)
{
  static const char *const system[] = {"/var/lib/libvirt/", "/run/libvirt/", "/var/run/libvirt/"};

  for (gsize i = 0; i < G_N_ELEMENTS (system); i++)
    if (g_str_has_prefix (path, system[i]))
      return TRUE;
  return has_folder (path, "/.config/", "libvirt") || has_folder (path, "/.local/share/", "libvirt") ||
         has_folder (path, "/.cache/", "libvirt") ||
         (g_str_has_prefix (path, "/run/user/") && strstr (path, "/libvirt/") != NULL);
}

gboolean
engine_libvirt_has_arguments (char **arguments)
{
  for (gsize i = 0; arguments != NULL && arguments[i] != NULL && arguments[i + 1] != NULL; i++) {
    g_autoptr (GHashTable) options = NULL;

    if (!g_str_equal (arguments[i], "-object") && !g_str_equal (arguments[i], "--object"))
      continue;
    options = engine_commandline_parse_options (arguments[i + 1], "qom-type");
    if (g_strcmp0 (g_hash_table_lookup (options, "id"), SECRET) == 0 &&
        g_strcmp0 (g_hash_table_lookup (options, "qom-type"), "secret") == 0)
      return TRUE;
  }
  return FALSE;
}

gboolean
engine_libvirt_check_monitor (const char *address, GError **error)
{
  const char *path = engine_address_path (address);
  g_autofree char *absolute = path != NULL ? g_canonicalize_filename (path, NULL) : NULL;

  if (absolute == NULL || !engine_libvirt_has_monitor (absolute))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, RECIPE, "the monitor '%s' is libvirt's: libvirt manages this VM",
                    absolute);
  return FALSE;
}

gboolean
engine_libvirt_check_arguments (const char *name, char **arguments, GError **error)
{
  if (!engine_libvirt_has_arguments (arguments))
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, RECIPE, "VM '%s': its QEMU was started by libvirt, which manages it",
                    name);
  return FALSE;
}

/* ---- domain definitions ---- */

char **
engine_libvirt_list_folders (void)
{
  char **folders = g_new0 (char *, 3);

  folders[0] = g_strdup ("/etc/libvirt/qemu");
  folders[1] = g_build_filename (g_get_user_config_dir (), "libvirt", "qemu", NULL);
  return folders;
}

/**
 * Search: one definition that is read
 * @name: the domain's name
 * @found: a disk of it is the image
 */
typedef struct {
  const char *path;
  EngineImagefile file;
  gboolean exists;
  GString *name;
  gboolean found;
} Search;

static const char *
parent_of (GMarkupParseContext *context)
{
  const GSList *stack = g_markup_parse_context_get_element_stack (context);

  return stack != NULL && stack->next != NULL ? stack->next->data : "";
}

static gboolean
is_image (const Search *search, const char *path)
{
  EngineImagefile file;

  if (g_str_equal (path, search->path))
    return TRUE;
  return search->exists && g_path_is_absolute (path) && engine_imagefile_stat (path, &file, NULL) &&
         file.device == search->file.device && file.inode == search->file.inode;
}

/* <disk><source file='…'/>, or dev='…'. A backing image stands in <backingStore>, and belongs to nobody by that. */
static void
start_element (GMarkupParseContext *context, const char *element, const char **names, const char **values,
               gpointer data, GError **error)
{
  Search *search = data;

  if (!g_str_equal (element, "source") || !g_str_equal (parent_of (context), "disk"))
    return;
  for (gsize i = 0; names[i] != NULL; i++)
    if (g_str_equal (names[i], "file") || g_str_equal (names[i], "dev"))
      search->found = search->found || is_image (search, values[i]);
}

static void
text (GMarkupParseContext *context, const char *words, gsize length, gpointer data, GError **error)
{
  Search *search = data;

  if (g_str_equal (g_markup_parse_context_get_element (context), "name") && g_str_equal (parent_of (context), "domain"))
    g_string_append_len (search->name, words, (gssize)length);
}

/* The domain's name, where it has the image. Returns: (transfer full) (nullable) */
static char *
search_definition (const char *file, Search *search)
{
  const GMarkupParser parser = {.start_element = start_element, .text = text};
  g_autoptr (GMarkupParseContext) context = NULL;
  g_autofree char *definition = NULL;
  gsize length;

  if (!g_file_get_contents (file, &definition, &length, NULL))
    return NULL;
  search->found = FALSE;
  g_string_truncate (search->name, 0);
  context = g_markup_parse_context_new (&parser, G_MARKUP_DEFAULT_FLAGS, search, NULL);
  /* A file that is cut short has still named what it names. */
  (void)!g_markup_parse_context_parse (context, definition, (gssize)length, NULL);
  if (!search->found)
    return NULL;
  return search->name->len > 0 ? g_strdup (search->name->str) : g_path_get_basename (file);
}

static char *
search_folder (const char *folder, Search *search)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *file = g_build_filename (folder, name, NULL);
    char *domain = g_str_has_suffix (name, ".xml") ? search_definition (file, search) : NULL;

    if (domain != NULL)
      return domain;
  }
  return NULL;
}

char *
engine_libvirt_find_domain (const char *const *folders, const char *path)
{
  g_autoptr (GString) name = g_string_new (NULL);
  Search search = {.path = path, .name = name};
  char *domain = NULL;

  search.exists = engine_imagefile_stat (path, &search.file, NULL);
  for (gsize i = 0; folders[i] != NULL && domain == NULL; i++)
    domain = search_folder (folders[i], &search);
  return domain;
}

gboolean
engine_libvirt_check_image (const char *disk, const char *path, GError **error)
{
  g_auto (GStrv) folders = engine_libvirt_list_folders ();
  g_autofree char *domain = engine_libvirt_find_domain ((const char *const *)folders, path);

  if (domain == NULL)
    return TRUE;
  engine_error_set (error, ENGINE_ERROR_REFUSED, RECIPE, "disk '%s': image '%s' is a disk of the libvirt domain '%s'",
                    disk, path, domain);
  return FALSE;
}
