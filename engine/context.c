/*
 * Makes and frees the context; opens the database, a copy of it in a dry run; keeps
 * warnings and plan. Owns all that it points to.
 */
#include "engine/context.h"

#include "chains/sharing.h"
#include "engine/lock.h"
#include "qmp/call.h"

#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_US (10 * G_USEC_PER_SEC)

static void
warning_free (EngineWarning *warning)
{
  g_free (warning->code);
  g_free (warning->message);
  g_free (warning);
}

EngineContext *
engine_context_new (const char *state)
{
  EngineContext *context = g_new0 (EngineContext, 1);

  context->state = g_strdup (state);
  context->config = chains_config_new ();
  context->timeout_us = DEFAULT_TIMEOUT_US;
  context->cancellable = g_cancellable_new ();
  context->again = g_cancellable_new ();
  context->warnings = g_ptr_array_new_with_free_func ((GDestroyNotify)warning_free);
  context->plan = json_array_new ();
  return context;
}

EngineContext *
engine_context_new_like (const EngineContext *context)
{
  EngineContext *other = engine_context_new (context->state);

  chains_config_unref (other->config);
  other->config = chains_config_ref (context->config);
  other->timeout_us = context->timeout_us;
  other->lock_wait_us = context->lock_wait_us;
  other->dry_run = context->dry_run;
  g_set_object (&other->cancellable, context->cancellable);
  g_set_object (&other->again, context->again);
  other->progress = context->progress;
  other->progress_data = context->progress_data;
  return other;
}

EngineContext *
engine_context_new_sharing (const EngineContext *context)
{
  EngineContext *other = engine_context_new_like (context);

  other->db = context->db;
  other->shares_db = TRUE;
  return other;
}

gboolean
engine_context_take_warnings (EngineContext *context, EngineContext *from)
{
  g_ptr_array_extend_and_steal (context->warnings, g_steal_pointer (&from->warnings));
  from->warnings = g_ptr_array_new_with_free_func ((GDestroyNotify)warning_free);
  return TRUE;
}

void
engine_context_free (EngineContext *context)
{
  if (context == NULL)
    return;
  if (!context->shares_db)
    g_clear_pointer (&context->db, chains_db_free);
  g_clear_pointer (&context->config, chains_config_unref);
  g_clear_object (&context->cancellable);
  g_clear_object (&context->again);
  g_ptr_array_unref (context->warnings);
  json_array_unref (context->plan);
  g_free (context->op);
  g_free (context->state);
  g_free (context);
}

gboolean
engine_context_configure (EngineContext *context, const char *path, GError **error)
{
  ChainsConfig *config = chains_config_load (path, error);

  if (config == NULL)
    return FALSE;
  chains_config_unref (context->config);
  context->config = config;
  return TRUE;
}

/* For the owner of the database to do; that it cannot be done is no reason to do nothing else. */
static void
share (EngineContext *context)
{
  g_autoptr (GError) failure = NULL;
  struct stat st;

  if (stat (chains_db_get_path (context->db), &st) != 0 || st.st_uid != geteuid ())
    return;
  if (!engine_lock_share (context, &failure) ||
      !chains_sharing_apply (context->state, context->config->state_gid, &failure))
    engine_context_warn (context, "not-shared", "group '%s' cannot use the state folder: %s",
                         context->config->state_group, failure->message);
}

gboolean
engine_context_open (EngineContext *context, ChainsDbMode mode, GError **error)
{
  if (context->dry_run)
    mode = CHAINS_DB_PRETEND;
  context->db = chains_db_open (context->state, mode, ENGINE_CONTEXT_BUSY_MS, error);
  if (context->db == NULL)
    return FALSE;
  if (context->config->state_group != NULL && (mode == CHAINS_DB_WRITE || mode == CHAINS_DB_UPDATE))
    share (context);
  return TRUE;
}

gint64
engine_context_deadline (const EngineContext *context)
{
  return g_get_monotonic_time () + context->timeout_us;
}

void
engine_context_warn (EngineContext *context, const char *code, const char *format, ...)
{
  EngineWarning *warning = g_new0 (EngineWarning, 1);
  va_list arguments;

  va_start (arguments, format);
  warning->code = g_strdup (code);
  warning->message = g_strdup_vprintf (format, arguments);
  va_end (arguments);
  g_ptr_array_add (context->warnings, warning);
}

void
engine_context_plan (EngineContext *context, const char *to, const char *verb, JsonObject *what)
{
  JsonObject *entry = json_object_new ();

  json_object_set_string_member (entry, "to", to);
  json_object_set_string_member (entry, "execute", verb);
  json_object_set_object_member (entry, "arguments", what != NULL ? json_object_ref (what) : json_object_new ());
  json_array_add_object_element (context->plan, entry);
}
