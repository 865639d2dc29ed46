/*
 * Findings drawn for people and for scripts alike, and judged: one of severity error
 * is exit 7. Which findings there are is the engine's.
 */
#include "tools/chainctl/problems.h"

#include "engine/problem.h"
#include "tools/chainctl/exit.h"
#include "tools/chainctl/render.h"

static JsonObject *
render (const EngineProblem *problem)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "code", problem->code);
  json_object_set_string_member (object, "severity", problem->is_error ? "error" : "warning");
  chainctl_render_string (object, "disk", problem->disk);
  chainctl_render_path (object, "path", problem->path);
  chainctl_render_string (object, "message", problem->message);
  chainctl_render_string (object, "repair", problem->repair);
  return object;
}

static void
say (ChainctlOutput *output, const EngineProblem *problem)
{
  g_autofree char *message = chainctl_output_printable (problem->message);
  g_autofree char *repair = problem->repair != NULL ? chainctl_output_printable (problem->repair) : NULL;

  chainctl_output_prose (output, "%s: %s", problem->is_error ? "error" : "warning", message);
  if (repair != NULL)
    chainctl_output_prose (output, "  to repair: %s", repair);
}

gboolean
chainctl_problems_show (ChainctlInvocation *invocation, const GPtrArray *problems, GError **error)
{
  JsonArray *rows = json_array_new ();

  for (guint i = 0; i < problems->len; i++) {
    json_array_add_object_element (rows, render (g_ptr_array_index (problems, i)));
    say (invocation->output, g_ptr_array_index (problems, i));
  }
  json_object_set_array_member (invocation->output->document, "problems", rows);
  if (problems->len == 0)
    chainctl_output_line (invocation->output, "%s: all is well.", invocation->vm);
  if (engine_problem_first_error (problems) == NULL)
    return TRUE;
  g_set_error (error, CHAINCTL_EXIT_ERROR, CHAINCTL_EXIT_ERROR_PROBLEMS, "VM '%s' has problems", invocation->vm);
  return FALSE;
}
