/*
 * Copies of the database, and back. What is copied how, chains/backup knows;
 * here is who has to stand still for it, and what a person should be told.
 */
#include "engine/state.h"

#include "chains/backup.h"
#include "chains/error.h"
#include "chains/registry.h"
#include "chains/snapshots.h"
#include "engine/error.h"
#include "engine/imagefile.h"
#include "engine/lock.h"

#include <string.h>

#define VERB "state restore"
#define LOCK_SUFFIX ".lock"

void
engine_state_copy_free (EngineStateCopy *copy)
{
  if (copy == NULL)
    return;
  g_free (copy->path);
  g_free (copy->kept);
  g_free (copy);
}

/* ---- backup ---- */

static gboolean
count (EngineContext *context, EngineStateCopy *copy, GError **error)
{
  g_autoptr (GPtrArray) vms = chains_registry_list_vms (context->db, error);

  for (guint i = 0; vms != NULL && i < vms->len; i++) {
    g_autoptr (GPtrArray) snapshots =
        chains_snapshots_list (context->db, ((const ChainsVm *)g_ptr_array_index (vms, i))->id, error);

    if (snapshots == NULL)
      return FALSE;
    copy->vms++;
    copy->snapshots += snapshots->len;
  }
  return vms != NULL;
}

static gboolean
plan_backup (EngineContext *context, const char *target, GError **error)
{
  g_autoptr (JsonObject) file = json_object_new ();
  g_autofree char *shown = g_filename_display_name (target);

  if (g_file_test (target, G_FILE_TEST_EXISTS)) {
    engine_error_set (error, ENGINE_ERROR_EXISTS, "choose another name", "'%s' exists already", target);
    return FALSE;
  }
  json_object_set_string_member (file, "path", shown);
  engine_context_plan (context, "file", "create", file);
  return TRUE;
}

EngineStateCopy *
engine_state_backup (EngineContext *context, const char *target, GError **error)
{
  g_autoptr (EngineStateCopy) copy = g_new0 (EngineStateCopy, 1);
  g_autofree char *absolute = g_canonicalize_filename (target, NULL);

  copy->path = g_steal_pointer (&absolute);
  if (!count (context, copy, error))
    return NULL;
  if (context->dry_run ? !plan_backup (context, copy->path, error)
                       : !chains_backup_make (context->db, copy->path, error))
    return NULL;
  return g_steal_pointer (&copy);
}

/* ---- restore ---- */

/**
 * Restore:
 * @names: (element-type utf8): a set of VMs: those of the old database, of the new one, and those with a lock
 * @locks: (element-type EngineLock)
 * @db: (nullable): the old database, %NULL where it is damaged
 */
typedef struct {
  EngineContext *context;
  ChainsBackup *backup;
  GHashTable *names;
  GPtrArray *locks;
  ChainsDb *db;
  gboolean existed;
} Restore;

static void
restore_clear (Restore *restore)
{
  g_clear_pointer (&restore->db, chains_db_free);
  g_clear_pointer (&restore->locks, g_ptr_array_unref);
  g_clear_pointer (&restore->names, g_hash_table_unref);
  g_clear_pointer (&restore->backup, chains_backup_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Restore, restore_clear)

static gboolean
is_same_file (const char *one, const char *other)
{
  EngineImagefile a, b;

  return engine_imagefile_stat (one, &a, NULL) && engine_imagefile_stat (other, &b, NULL) && a.device == b.device &&
         a.inode == b.inode;
}

static gboolean
load (Restore *restore, const char *file, const char *path, GError **error)
{
  if (is_same_file (file, path)) {
    engine_error_set (error, ENGINE_ERROR_USAGE, NULL, "'%s' is the database itself", file);
    return FALSE;
  }
  restore->backup = chains_backup_load (file, error);
  return restore->backup != NULL;
}

/* A damaged database is what a backup is for; one of another program or of a newer version is not ours to replace. */
static gboolean
open_old (Restore *restore, const char *path, GError **error)
{
  ChainsDbMode mode = restore->context->dry_run ? CHAINS_DB_READ : CHAINS_DB_WRITE;
  g_autoptr (GError) failure = NULL;

  restore->existed = g_file_test (path, G_FILE_TEST_EXISTS);
  restore->db = chains_db_open (restore->context->state, mode, ENGINE_CONTEXT_BUSY_MS, &failure);
  if (restore->db != NULL)
    return TRUE;
  if (!g_error_matches (failure, CHAINS_ERROR, CHAINS_ERROR_CORRUPT) || !g_file_test (path, G_FILE_TEST_IS_REGULAR)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  engine_context_warn (restore->context, "database-damaged", "%s", failure->message);
  return TRUE;
}

static void
add_names_of_locks (Restore *restore)
{
  g_autofree char *folder = g_build_filename (restore->context->state, "locks", NULL);
  g_autoptr (GDir) open = g_dir_open (folder, 0, NULL);
  const char *name;

  while (open != NULL && (name = g_dir_read_name (open)) != NULL)
    if (g_str_has_suffix (name, LOCK_SUFFIX))
      g_hash_table_add (restore->names, g_strndup (name, strlen (name) - strlen (LOCK_SUFFIX)));
}

static void
add_names (Restore *restore)
{
  g_autoptr (GPtrArray) old = restore->db != NULL ? chains_registry_list_vms (restore->db, NULL) : NULL;
  g_autoptr (GPtrArray) new = chains_backup_list_vms (restore->backup);

  for (guint i = 0; old != NULL && i < old->len; i++)
    g_hash_table_add (restore->names, g_strdup (((const ChainsVm *)g_ptr_array_index (old, i))->name));
  for (guint i = 0; i < new->len; i++)
    g_hash_table_add (restore->names, g_strdup (g_ptr_array_index (new, i)));
  add_names_of_locks (restore);
}

/* In the order of their names: two of us never wait for each other. */
static gboolean
take_locks (Restore *restore, GError **error)
{
  g_autoptr (GList) names = g_list_sort (g_hash_table_get_keys (restore->names), (GCompareFunc)strcmp);

  for (GList *name = names; name != NULL; name = name->next) {
    EngineLock *lock = chains_model_check_name ("VM", name->data, NULL)
                           ? engine_lock_take (restore->context, name->data, VERB, error)
                           : NULL;

    if (lock != NULL)
      g_ptr_array_add (restore->locks, lock);
    else if (*error != NULL)
      return FALSE;
  }
  return TRUE;
}

/* The old database is read to its last page on the way; what cannot be kept is not replaced. */
static gboolean
put_back (Restore *restore, const char *path, char **kept, GError **error)
{
  if (restore->db == NULL)
    return chains_backup_replace (restore->backup, path, kept, error);
  return (!restore->existed || chains_backup_keep (restore->db, kept, error)) &&
         chains_backup_restore (restore->backup, restore->db, error);
}

/* An older version is brought up to date now, so that readers need no copy of it. */
static gboolean
reopen (Restore *restore, GError **error)
{
  g_clear_pointer (&restore->db, chains_db_free);
  restore->db = chains_db_open (restore->context->state, CHAINS_DB_WRITE, ENGINE_CONTEXT_BUSY_MS, error);
  return restore->db != NULL;
}

static void
plan_restore (EngineContext *context, const char *path)
{
  g_autoptr (JsonObject) file = json_object_new ();
  g_autofree char *shown = g_filename_display_name (path);

  json_object_set_string_member (file, "path", shown);
  engine_context_plan (context, "file", "replace", file);
}

static void
tell (Restore *restore, EngineStateCopy *copy)
{
  g_autoptr (GPtrArray) vms = chains_backup_list_vms (restore->backup);
  g_autoptr (GPtrArray) unfinished = chains_backup_list_unfinished (restore->backup);

  copy->vms = vms->len;
  copy->snapshots = chains_backup_count_snapshots (restore->backup);
  for (guint i = 0; i < unfinished->len; i++)
    engine_context_warn (restore->context, "operation-unfinished",
                         "when the copy was made, an operation was under way: %s; `chainctl recover` decides what came "
                         "of it",
                         (const char *)g_ptr_array_index (unfinished, i));
}

EngineStateCopy *
engine_state_restore (EngineContext *context, const char *file, GError **error)
{
  g_auto (Restore) restore = {.context = context};
  g_autoptr (EngineStateCopy) copy = g_new0 (EngineStateCopy, 1);
  g_autofree char *absolute = g_canonicalize_filename (file, NULL);
  GError *failure = NULL;

  copy->path = g_build_filename (context->state, "chainctl.db", NULL);
  restore.names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  restore.locks = g_ptr_array_new_with_free_func ((GDestroyNotify)engine_lock_release);
  if (!load (&restore, absolute, copy->path, error) || !open_old (&restore, copy->path, error))
    return NULL;
  add_names (&restore);
  if (!take_locks (&restore, &failure)) {
    g_propagate_error (error, failure);
    return NULL;
  }
  tell (&restore, copy);
  if (context->dry_run)
    plan_restore (context, copy->path);
  else if (!put_back (&restore, copy->path, &copy->kept, error) || !reopen (&restore, error))
    return NULL;
  return g_steal_pointer (&copy);
}
