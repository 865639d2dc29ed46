/*
 * libFuzzer's entry point, the same for each target. Random numbers are the
 * same in each run, or no input would find its way twice; a GLib warning is a
 * failure like a crash, because it means that a function was called wrongly.
 */
#include "tests/fuzz/fuzz.h"

#define SEED 1

int LLVMFuzzerInitialize (int *argc, char ***argv);
int LLVMFuzzerTestOneInput (const guint8 *data, gsize length);

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  g_log_set_always_fatal (G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);
  return 0;
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize length)
{
  g_random_set_seed (SEED);
  fuzz_one (data, length);
  while (g_main_context_iteration (NULL, FALSE))
    continue;
  return 0;
}

/* As qmp/stream cuts messages: no bracket closes what it did not open. After a value json-glib itself leaks the next.
 */
static gboolean
is_one_value (const guint8 *text, gsize length)
{
  gboolean in_string = FALSE;
  guint depth = 0;

  for (gsize at = 0; at < length; at++) {
    if (in_string && text[at] == '\\')
      at++;
    else if (text[at] == '"')
      in_string = !in_string;
    else if (!in_string && (text[at] == '{' || text[at] == '['))
      depth++;
    else if (!in_string && (text[at] == '}' || text[at] == ']') && --depth == 0)
      return at + 1 == length;
    if (depth == 0)
      return FALSE;
  }
  return FALSE;
}

JsonNode *
fuzz_json (const guint8 *text, gsize length)
{
  g_autoptr (JsonParser) parser = json_parser_new_immutable ();
  JsonNode *root = NULL;

  if (is_one_value (text, length) && json_parser_load_from_data (parser, (const char *)text, (gssize)length, NULL))
    root = json_parser_steal_root (parser);
  return root != NULL ? root : json_node_init_null (json_node_alloc ());
}

GBytes *
fuzz_take_part (const guint8 **data, gsize *length, guint8 border)
{
  const guint8 *end = *length > 0 ? memchr (*data, border, *length) : NULL;
  gsize size = end != NULL ? (gsize)(end - *data) : *length;
  guint8 *copy = g_malloc (size + 1);

  memcpy (copy, *data, size);
  copy[size] = '\0';
  *data += size + (end != NULL ? 1 : 0);
  *length -= size + (end != NULL ? 1 : 0);
  return g_bytes_new_take (copy, size);
}

JsonNode *
fuzz_take_json (const guint8 **data, gsize *length, guint8 border)
{
  g_autoptr (GBytes) part = fuzz_take_part (data, length, border);
  gsize size;
  const guint8 *text = g_bytes_get_data (part, &size);

  return fuzz_json (text, size);
}
