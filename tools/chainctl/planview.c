/*
 * Draws what a dry run would do. Which sentences these are is for each command to
 * say; the steps are the engine's.
 */
#include "tools/chainctl/planview.h"

static void
append_steps (GString *text, JsonArray *steps)
{
  for (guint i = 0; i < json_array_get_length (steps); i++) {
    JsonObject *entry = json_array_get_object_element (steps, i);
    g_autofree char *arguments = json_to_string (json_object_get_member (entry, "arguments"), FALSE);

    g_string_append_printf (text, "  %-5s %s %s\n", json_object_get_string_member (entry, "to"),
                            json_object_get_string_member (entry, "execute"), arguments);
  }
}

void
chainctl_planview_draw (GString *text, const char *sentences, JsonArray *steps)
{
  gboolean stepless = json_array_get_length (steps) == 0;
  g_autofree char *drawn = g_strdup (text->str);

  g_string_assign (text, "Nothing was changed. This would be done:\n");
  g_string_append (text, sentences);
  if (!stepless && *sentences != '\0')
    g_string_append (text, "By these steps:\n");
  if (stepless && *drawn != '\0')
    g_string_append_printf (text, "\n%s", drawn);
  append_steps (text, steps);
}
