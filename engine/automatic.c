/*
 * Names automatic snapshots. Records nothing: that is part of the moment at which the
 * guest is moved.
 */
#include "engine/automatic.h"

#include "chains/snapshots.h"

#define TIME_FORMAT "%Y%m%dT%H%M%SZ"

gboolean
engine_automatic_describe (EngineVm *vm, ChainsSnapshot *snapshot, const char *verb, const char *description,
                           GError **error)
{
  g_autoptr (GDateTime) now = g_date_time_new_now_utc ();
  g_autofree char *time = g_date_time_format (now, TIME_FORMAT);
  gboolean taken = TRUE;

  snapshot->id = g_uuid_string_random ();
  snapshot->description = g_strdup (description);
  snapshot->automatic = TRUE;
  for (int i = 1; taken; i++) {
    g_free (snapshot->name);
    snapshot->name =
        i == 1 ? g_strdup_printf ("before-%s-%s", verb, time) : g_strdup_printf ("before-%s-%s-%d", verb, time, i);
    if (!chains_snapshots_has (vm->context->db, vm->record->id, snapshot->name, &taken, error))
      return FALSE;
  }
  return TRUE;
}
