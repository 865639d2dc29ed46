/*
 * The engine's error domain, and the hint that travels with each error of it: what
 * went wrong is the message's, what to do next the hint's.
 */
#include "engine/error.h"

typedef struct {
  char *hint;
} EngineErrorPrivate;

static void
engine_error_private_init (EngineErrorPrivate *private)
{
  private->hint = NULL;
}

static void
engine_error_private_copy (const EngineErrorPrivate *from, EngineErrorPrivate *to)
{
  to->hint = g_strdup (from->hint);
}

static void
engine_error_private_clear (EngineErrorPrivate *private)
{
  g_clear_pointer (&private->hint, g_free);
}

G_DEFINE_EXTENDED_ERROR (EngineError, engine_error)

void
engine_error_set (GError **error, EngineError code, const char *hint, const char *format, ...)
{
  va_list arguments;

  if (error == NULL)
    return;
  va_start (arguments, format);
  *error = g_error_new_valist (ENGINE_ERROR, (int)code, format, arguments);
  va_end (arguments);
  engine_error_get_private (*error)->hint = g_strdup (hint);
}

const char *
engine_error_get_hint (const GError *error)
{
  if (error == NULL || error->domain != ENGINE_ERROR)
    return NULL;
  return engine_error_get_private (error)->hint;
}
