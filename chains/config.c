/*
 * Reads the configuration strictly: what is not understood is an error, since a
 * mistyped key would otherwise be a setting that silently is not there.
 */
#include "chains/config.h"

#include "base/nearest.h"
#include "chains/error.h"

#include <grp.h>
#include <string.h>

#define DEFAULT_RESERVE (64 * (1 << 20))
/* QEMU block/qcow2.h: MIN_CLUSTER_BITS, MAX_CLUSTER_BITS; and what extended L2 entries need at least. */
#define MIN_CLUSTER 512
#define MAX_CLUSTER (2 << 20)
#define MIN_EXTENDED_CLUSTER (16 << 10)

static void
config_clear (gpointer data)
{
  ChainsConfig *config = data;

  g_free (config->overlay_dir);
  g_free (config->state_group);
}

ChainsConfig *
chains_config_new (void)
{
  ChainsConfig *config = g_rc_box_new0 (ChainsConfig);

  config->reserve = DEFAULT_RESERVE;
  return config;
}

ChainsConfig *
chains_config_ref (ChainsConfig *config)
{
  return g_rc_box_acquire (config);
}

void
chains_config_unref (ChainsConfig *config)
{
  if (config != NULL)
    g_rc_box_release_full (config, config_clear);
}

/* ---- values ---- */

/* Bytes, or with K, M or G behind: binary. */
static gboolean
parse_size (const char *text, gint64 *out)
{
  static const char suffixes[] = "KMG";
  char *end = NULL;
  guint64 number = g_ascii_strtoull (text, &end, 10);
  const char *suffix = *end != '\0' ? strchr (suffixes, g_ascii_toupper (*end)) : NULL;
  guint shift = suffix != NULL ? 10 * (guint)(suffix - suffixes + 1) : 0;

  if (!g_ascii_isdigit (text[0]) || (*end != '\0' && (suffix == NULL || end[1] != '\0')) ||
      number > ((guint64)G_MAXINT64 >> shift))
    return FALSE;
  *out = (gint64)(number << shift);
  return TRUE;
}

static gboolean
set_dir (ChainsConfig *config, const char *value)
{
  g_free (config->overlay_dir);
  config->overlay_dir = g_path_is_absolute (value) ? g_canonicalize_filename (value, NULL) : NULL;
  return config->overlay_dir != NULL;
}

static gboolean
set_cluster_size (ChainsConfig *config, const char *value)
{
  return parse_size (value, &config->cluster_size) && config->cluster_size >= MIN_CLUSTER &&
         config->cluster_size <= MAX_CLUSTER && (config->cluster_size & (config->cluster_size - 1)) == 0;
}

static gboolean
set_extended_l2 (ChainsConfig *config, const char *value)
{
  static const char *const words[] = {"auto", "on", "off", NULL};

  for (guint i = 0; words[i] != NULL; i++)
    if (g_str_equal (words[i], value)) {
      config->extended_l2 = (ChainsConfigSwitch)i;
      return TRUE;
    }
  return FALSE;
}

static gboolean
set_reserve (ChainsConfig *config, const char *value)
{
  return parse_size (value, &config->reserve);
}

static gboolean
set_seal (ChainsConfig *config, const char *value)
{
  config->seal = g_str_equal (value, "on");
  return config->seal || g_str_equal (value, "off");
}

static gboolean
set_group (ChainsConfig *config, const char *value)
{
  const struct group *found = getgrnam (value);

  if (found == NULL)
    return FALSE;
  g_free (config->state_group);
  config->state_group = g_strdup (value);
  config->state_gid = found->gr_gid;
  return TRUE;
}

/* ---- keys ---- */

typedef struct {
  const char *group;
  const char *key;
  gboolean (*set) (ChainsConfig *config, const char *value);
  const char *allowed;
} Key;

static const Key keys[] = {
    {"overlay", "dir", set_dir, "an absolute path"},
    {"overlay", "cluster_size", set_cluster_size, "a power of two from 512 to 2M"},
    {"overlay", "extended_l2", set_extended_l2, "one of auto, on, off"},
    {"overlay", "seal", set_seal, "one of on, off"},
    {"state", "group", set_group, "the name of a group on this host"},
    {"space", "reserve", set_reserve, "a number of bytes, or one with K, M or G behind it"},
};

static const Key *
find_key (const char *group, const char *name)
{
  for (gsize i = 0; i < G_N_ELEMENTS (keys); i++)
    if (g_str_equal (keys[i].group, group) && g_str_equal (keys[i].key, name))
      return &keys[i];
  return NULL;
}

static gboolean
knows_group (const char *group)
{
  for (gsize i = 0; i < G_N_ELEMENTS (keys); i++)
    if (g_str_equal (keys[i].group, group))
      return TRUE;
  return FALSE;
}

/* Of the keys in @group, or with @group %NULL of the groups. Returns: (transfer full): a question, or "" */
static char *
did_you_mean (const char *group, const char *word)
{
  g_autoptr (GPtrArray) known = g_ptr_array_new ();
  const char *nearest;

  for (gsize i = 0; i < G_N_ELEMENTS (keys); i++)
    if (group == NULL || g_str_equal (keys[i].group, group))
      g_ptr_array_add (known, (gpointer)(group == NULL ? keys[i].group : keys[i].key));
  g_ptr_array_add (known, NULL);
  nearest = base_nearest_find (word, (const char *const *)known->pdata);
  return nearest != NULL ? g_strdup_printf ("; did you mean '%s'?", nearest) : g_strdup ("");
}

/* ---- the file ---- */

static gboolean
read_key (ChainsConfig *config, GKeyFile *file, const char *path, const char *group, const char *name, GError **error)
{
  const Key *key = find_key (group, name);
  g_autofree char *question = key == NULL ? did_you_mean (group, name) : NULL;
  g_autofree char *value = key != NULL ? g_key_file_get_string (file, group, name, NULL) : NULL;

  if (key == NULL) {
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_CONFIG, "configuration '%s', group [%s]: unknown key '%s'%s", path,
                 group, name, question);
    return FALSE;
  }
  if (value != NULL && key->set (config, g_strchomp (value)))
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_CONFIG, "configuration '%s', group [%s]: %s=%s is not %s", path, group,
               name, value != NULL ? value : "", key->allowed);
  return FALSE;
}

static gboolean
read_group (ChainsConfig *config, GKeyFile *file, const char *path, const char *group, GError **error)
{
  g_autofree char *question = did_you_mean (NULL, group);
  g_auto (GStrv) names = g_key_file_get_keys (file, group, NULL, NULL);

  if (!knows_group (group)) {
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_CONFIG, "configuration '%s': unknown group [%s]%s", path, group,
                 question);
    return FALSE;
  }
  for (gsize i = 0; names != NULL && names[i] != NULL; i++)
    if (!read_key (config, file, path, group, names[i], error))
      return FALSE;
  return TRUE;
}

/* What only makes sense together. */
static gboolean
check_whole (const ChainsConfig *config, const char *path, GError **error)
{
  if (config->extended_l2 != CHAINS_CONFIG_ON || config->cluster_size == 0 ||
      config->cluster_size >= MIN_EXTENDED_CLUSTER)
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_CONFIG,
               "configuration '%s', group [overlay]: extended_l2=on needs a cluster_size of 16K or more", path);
  return FALSE;
}

ChainsConfig *
chains_config_load (const char *path, GError **error)
{
  g_autoptr (GKeyFile) file = g_key_file_new ();
  g_autoptr (ChainsConfig) config = chains_config_new ();
  g_autoptr (GError) failure = NULL;
  g_auto (GStrv) groups = NULL;

  /* Translations are kept so that "dir[de]" is seen, and refused, and not passed over. */
  if (!g_key_file_load_from_file (file, path, G_KEY_FILE_KEEP_TRANSLATIONS, &failure)) {
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_CONFIG, "configuration '%s': %s", path, failure->message);
    return NULL;
  }
  groups = g_key_file_get_groups (file, NULL);
  for (gsize i = 0; groups[i] != NULL; i++)
    if (!read_group (config, file, path, groups[i], error))
      return NULL;
  return check_whole (config, path, error) ? g_steal_pointer (&config) : NULL;
}
