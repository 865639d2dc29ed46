/*
 * QEMU's command line, words with a NUL after each as /proc has them, and
 * before it what we remember of the image (JSON). Asked for a node of the
 * command line and for one of ours. Proves that every option is found or has its default.
 */
#include "engine/nodeoptions.h"
#include "tests/fuzz/fuzz.h"

static char **
split_words (const guint8 *data, gsize length)
{
  GPtrArray *words = g_ptr_array_new ();

  while (length > 0) {
    g_autoptr (GBytes) word = fuzz_take_part (&data, &length, '\0');
    g_ptr_array_add (words, g_strdup (g_bytes_get_data (word, NULL)));
  }
  g_ptr_array_add (words, NULL);
  return (char **)g_ptr_array_free (words, FALSE);
}

static void
ask (char *node_name, char **arguments, const char *remembered)
{
  char backend[] = "drive0", path[] = "/d/a.qcow2", detect_zeroes[] = "off", file_name[] = "file0";
  QmpNode node = {.name = node_name, .detect_zeroes = detect_zeroes};
  QmpNode file = {.name = file_name, .cache_direct = TRUE};
  EngineLayer layer = {.node = &node, .file = &file, .path = path};
  g_autoptr (GPtrArray) layers = g_ptr_array_new ();
  EngineGraphDisk disk = {.backend = backend, .layers = layers};

  g_ptr_array_add (layers, &layer);
  g_autoptr (EngineNodeOptions) options = engine_nodeoptions_find (&disk, arguments, remembered);
  g_assert (options->aio != NULL && options->discard != NULL && options->file_discard != NULL);

  /* What is remembered today is read tomorrow, and must then say the same. */
  g_autofree char *json = engine_nodeoptions_to_json (options);
  g_autoptr (EngineNodeOptions) again = engine_nodeoptions_find (&disk, NULL, json);
  g_assert (!again->guessed);
}

void
fuzz_one (const guint8 *data, gsize length)
{
  g_autoptr (GBytes) remembered = fuzz_take_part (&data, &length, '\0');
  g_auto (GStrv) arguments = split_words (data, length);
  char node[] = "node0", ours[] = "cc-0123456789abcdef-0";

  ask (node, arguments, g_bytes_get_data (remembered, NULL));
  ask (ours, arguments, NULL);
}
