/*
 * Lists of switched disks: made and freed here, filled by the verbs, rendered by
 * tools.
 */
#include "engine/switched.h"

static void
switched_disk_free (EngineSwitchedDisk *disk)
{
  g_free (disk->disk);
  g_free (disk->before);
  g_free (disk->after);
  g_free (disk);
}

GPtrArray *
engine_switched_list_new (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)switched_disk_free);
}

void
engine_switched_list_add (GPtrArray *list, const char *disk, const char *before, const char *after)
{
  EngineSwitchedDisk *switched = g_new0 (EngineSwitchedDisk, 1);

  switched->disk = g_strdup (disk);
  switched->before = g_strdup (before);
  switched->after = g_strdup (after);
  g_ptr_array_add (list, switched);
}
