/*
 * A list of findings, in the order in which they were made. Who makes them decides
 * what is an error.
 */
#include "engine/problem.h"

static void
problem_free (EngineProblem *problem)
{
  g_free (problem->code);
  g_free (problem->disk);
  g_free (problem->path);
  g_free (problem->message);
  g_free (problem->repair);
  g_free (problem);
}

GPtrArray *
engine_problem_list_new (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)problem_free);
}

void
engine_problem_add (GPtrArray *problems, const char *code, gboolean is_error, const char *disk, const char *path,
                    const char *repair, const char *format, ...)
{
  EngineProblem *problem = g_new0 (EngineProblem, 1);
  va_list arguments;

  va_start (arguments, format);
  problem->code = g_strdup (code);
  problem->is_error = is_error;
  problem->disk = g_strdup (disk);
  problem->path = g_strdup (path);
  problem->message = g_strdup_vprintf (format, arguments);
  problem->repair = g_strdup (repair);
  va_end (arguments);
  g_ptr_array_add (problems, problem);
}

const EngineProblem *
engine_problem_first_error (const GPtrArray *problems)
{
  for (guint i = 0; i < problems->len; i++) {
    const EngineProblem *problem = g_ptr_array_index (problems, i);

    if (problem->is_error)
      return problem;
  }
  return NULL;
}
