/*
 * The configuration file: what is not set has its default, what is set counts,
 * and what is not understood is an error that says where and what was meant.
 */
#include "chains/config.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "chains/error.h"
#include "tests/support/suite.h"

#define KIB (1 << 10)
#define MIB (1 << 20)

static ChainsConfig *
load (const char *text, GError **error)
{
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "config-XXXXXX", NULL);
  int fd = g_mkstemp (path);
  ChainsConfig *config;

  CU_ASSERT_FATAL (fd >= 0);
  CU_ASSERT_FATAL (write (fd, text, strlen (text)) == (ssize_t)strlen (text));
  close (fd);
  config = chains_config_load (path, error);
  CU_ASSERT (config != NULL || error == NULL || strstr ((*error)->message, path) != NULL);
  g_unlink (path);
  return config;
}

/* Loads what is right. */
static ChainsConfig *
load_right (const char *text)
{
  g_autoptr (GError) error = NULL;
  ChainsConfig *config = load (text, &error);

  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_FATAL (config != NULL);
  return config;
}

/* Loads what is wrong: the message has each of @words, which | parts. */
static void
assert_wrong (const char *text, const char *words)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ChainsConfig) config = load (text, &error);
  g_auto (GStrv) parts = g_strsplit (words, "|", -1);

  CU_ASSERT_PTR_NULL (config);
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_CONFIG);
  for (gsize i = 0; parts[i] != NULL; i++)
    CU_ASSERT_PTR_NOT_NULL (strstr (error->message, parts[i]));
}

static void
an_empty_file_leaves_all_defaults (void)
{
  g_autoptr (ChainsConfig) config = load_right ("# nothing\n\n[overlay]\n");

  CU_ASSERT_PTR_NULL (config->overlay_dir);
  CU_ASSERT_EQUAL (config->cluster_size, 0);
  CU_ASSERT_EQUAL (config->extended_l2, CHAINS_CONFIG_AUTO);
  CU_ASSERT_EQUAL (config->reserve, 64 * MIB);
  CU_ASSERT_FALSE (config->seal);
  CU_ASSERT_PTR_NULL (config->state_group);
}

static void
every_key_counts (void)
{
  g_autoptr (ChainsConfig) config = load_right ("[overlay]\ndir=/srv/over lays/../x\ncluster_size = 128K \n"
                                                "extended_l2=on\nseal=on\n[space]\nreserve=3G\n[state]\ngroup=root\n");

  CU_ASSERT_STRING_EQUAL (config->overlay_dir, "/srv/x");
  CU_ASSERT_EQUAL (config->cluster_size, 128 * KIB);
  CU_ASSERT_EQUAL (config->extended_l2, CHAINS_CONFIG_ON);
  CU_ASSERT_EQUAL (config->reserve, 3 * (gint64)1024 * MIB);
  CU_ASSERT_TRUE (config->seal);
  CU_ASSERT_STRING_EQUAL (config->state_group, "root");
  CU_ASSERT_EQUAL (config->state_gid, 0);
}

static void
sizes_are_bytes_or_binary_units (void)
{
  const char *const texts[] = {"0", "512", "1k", "1K", "1M", "2g"};
  const gint64 sizes[] = {0, 512, KIB, KIB, MIB, 2 * (gint64)1024 * MIB};

  for (guint i = 0; i < G_N_ELEMENTS (texts); i++) {
    g_autofree char *text = g_strdup_printf ("[space]\nreserve=%s\n", texts[i]);
    g_autoptr (ChainsConfig) config = load_right (text);

    CU_ASSERT_EQUAL (config->reserve, sizes[i]);
  }
}

static void
sizes_of_another_form_are_refused (void)
{
  const char *const texts[] = {"", "-1", "+1", "1.5M", "1T", "1MB", "M", "0x10", "1 M", "9223372036854775807K"};

  for (guint i = 0; i < G_N_ELEMENTS (texts); i++) {
    g_autofree char *text = g_strdup_printf ("[space]\nreserve=%s\n", texts[i]);

    assert_wrong (text, "[space]|reserve");
  }
}

static void
cluster_sizes_are_those_of_qcow2 (void)
{
  const char *const bad[] = {"0", "256", "513", "4M", "65535"};
  g_autoptr (ChainsConfig) least = load_right ("[overlay]\ncluster_size=512\n");
  g_autoptr (ChainsConfig) most = load_right ("[overlay]\ncluster_size=2M\n");

  CU_ASSERT_EQUAL (least->cluster_size, 512);
  CU_ASSERT_EQUAL (most->cluster_size, 2 * MIB);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autofree char *text = g_strdup_printf ("[overlay]\ncluster_size=%s\n", bad[i]);

    assert_wrong (text, "cluster_size|power of two");
  }
}

static void
subclusters_need_large_clusters (void)
{
  g_autoptr (ChainsConfig) automatic = load_right ("[overlay]\ncluster_size=8K\nextended_l2=auto\n");

  CU_ASSERT_EQUAL (automatic->cluster_size, 8 * KIB);
  assert_wrong ("[overlay]\ncluster_size=8K\nextended_l2=on\n", "extended_l2|16K");
}

static void
an_unknown_key_is_named_with_its_nearest (void)
{
  assert_wrong ("[overlay]\nclustersize=64K\n", "[overlay]|'clustersize'|did you mean 'cluster_size'");
  assert_wrong ("[space]\nreserv=1\n", "[space]|'reserv'|did you mean 'reserve'");
  assert_wrong ("[overlay]\nzzz=1\n", "[overlay]|'zzz'");
  assert_wrong ("[overlay]\nreserve=1\n", "[overlay]|'reserve'");
}

static void
an_unknown_group_is_named_with_its_nearest (void)
{
  assert_wrong ("[overlays]\n", "[overlays]|did you mean 'overlay'");
  assert_wrong ("[Space]\nreserve=1\n", "[Space]|did you mean 'space'");
}

static void
a_translated_key_is_no_key (void)
{
  assert_wrong ("[overlay]\ndir[de]=/srv\n", "'dir[de]'");
}

static void
values_that_make_no_sense_are_refused (void)
{
  assert_wrong ("[overlay]\ndir=relative\n", "dir=relative|absolute");
  assert_wrong ("[overlay]\ndir=\n", "absolute");
  assert_wrong ("[overlay]\nextended_l2=yes\n", "extended_l2=yes|auto, on, off");
  assert_wrong ("[overlay]\nextended_l2=\n", "auto, on, off");
  assert_wrong ("[overlay]\nseal=auto\n", "seal=auto|on, off");
  assert_wrong ("[state]\ngroup=no such group\n", "group=no such group|the name of a group");
  assert_wrong ("[state]\ngroup=\n", "the name of a group");
}

static void
what_is_no_key_file_is_refused (void)
{
  assert_wrong ("dir=/srv\n", "");
  assert_wrong ("[overlay\n", "");
  assert_wrong ("[overlay]\njust words\n", "");
  assert_wrong ("[overlay]\ndir=/srv/\xff\n", "");
}

static void
a_file_that_is_not_there_is_an_error (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ChainsConfig) config = chains_config_load ("/nowhere/chainctl.conf", &error);

  CU_ASSERT_PTR_NULL (config);
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_CONFIG);
  CU_ASSERT (strstr (error->message, "/nowhere/chainctl.conf") != NULL);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (an_empty_file_leaves_all_defaults),
      SUPPORT_TEST (every_key_counts),
      SUPPORT_TEST (sizes_are_bytes_or_binary_units),
      SUPPORT_TEST (sizes_of_another_form_are_refused),
      SUPPORT_TEST (cluster_sizes_are_those_of_qcow2),
      SUPPORT_TEST (subclusters_need_large_clusters),
      SUPPORT_TEST (an_unknown_key_is_named_with_its_nearest),
      SUPPORT_TEST (an_unknown_group_is_named_with_its_nearest),
      SUPPORT_TEST (a_translated_key_is_no_key),
      SUPPORT_TEST (values_that_make_no_sense_are_refused),
      SUPPORT_TEST (what_is_no_key_file_is_refused),
      SUPPORT_TEST (a_file_that_is_not_there_is_an_error),
  };

  return support_suite_run ("config", tests, G_N_ELEMENTS (tests), argc, argv);
}
