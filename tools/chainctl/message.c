/*
 * Prints to stderr at once. On a terminal what is long is broken at words; what a
 * terminal would obey is escaped.
 */
#include "tools/chainctl/message.h"

#include "tools/chainctl/render.h"
#include "tools/chainctl/wrap.h"

#include <stdio.h>
#include <unistd.h>

static void
print_json (const char *what, const char *message)
{
  g_autoptr (JsonObject) object = json_object_new ();
  g_autoptr (JsonNode) node = NULL;
  g_autofree char *line = NULL;

  chainctl_render_string (object, what, message);
  node = json_node_init_object (json_node_alloc (), object);
  line = json_to_string (node, FALSE);
  fprintf (stderr, "%s\n", line);
}

void
chainctl_message_print (const char *what, const char *message, gboolean json)
{
  g_autofree char *safe = chainctl_output_printable (message);
  gboolean is_error = g_str_equal (what, "error");
  g_autofree char *line = g_strconcat ("chainctl: ", is_error ? "" : what, is_error ? "" : ": ", safe, NULL);
  g_autofree char *wrapped = chainctl_wrap_text (line, chainctl_wrap_columns (STDERR_FILENO), 2);

  if (json)
    print_json (what, message);
  else
    fprintf (stderr, "%s\n", wrapped);
}
