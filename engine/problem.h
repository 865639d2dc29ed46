/*
 * A finding: something about a VM, a disk, an image or the host that is or could
 * go wrong. Collected by engine/drift, engine/findings and whoever gives advice.
 */
#pragma once

#include <glib.h>

/**
 * EngineProblem:
 * @code: a word for scripts, such as "image-missing"
 * @is_error: severity error; else warning
 * @disk, @path, @repair: (nullable); @repair says what to do
 */
typedef struct {
  char *code;
  gboolean is_error;
  char *disk;
  char *path;
  char *message;
  char *repair;
} EngineProblem;

/** An empty list. Returns: (transfer full) (element-type EngineProblem) */
GPtrArray *engine_problem_list_new (void);

/** Adds one. @disk, @path and @repair may be %NULL. */
void engine_problem_add (GPtrArray *problems, const char *code, gboolean is_error, const char *disk, const char *path,
                         const char *repair, const char *format, ...) G_GNUC_PRINTF (7, 8);

/** The first of severity error, or %NULL. Borrowed. */
const EngineProblem *engine_problem_first_error (const GPtrArray *problems);
