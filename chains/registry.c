/*
 * VMs and their disks, as rows. Promises that names are legal and unique, and
 * that removing a VM leaves its operations. Images and snapshots have files of
 * their own here; no file of a disk is ever touched.
 */
#include "chains/registry.h"

#include "base/nearest.h"
#include "chains/error.h"
#include "chains/query.h"
#include "chains/transaction.h"

#define MOST_NAMES_SHOWN 5
#define VM_COLUMNS "id, name, uuid, qmp, agent, guest, quiesce, created_us"
#define DISK_COLUMNS "id, vm, position, name, device, ignored, base, active, live"

static gpointer
read_vm (ChainsQuery *query)
{
  ChainsVm *vm = chains_vm_new ();
  g_autofree char *quiesce = NULL;

  vm->id = chains_query_read_int (query);
  vm->name = chains_query_read_text (query);
  vm->uuid = chains_query_read_text (query);
  vm->qmp = chains_query_read_text (query);
  vm->agent = chains_query_read_text (query);
  vm->guest = chains_query_read_text (query);
  quiesce = chains_query_read_text (query);
  chains_quiesce_from_string (quiesce, &vm->quiesce);
  vm->created_us = chains_query_read_int (query);
  return vm;
}

static gpointer
read_disk (ChainsQuery *query)
{
  ChainsDisk *disk = chains_disk_new ();

  disk->id = chains_query_read_int (query);
  disk->vm = chains_query_read_int (query);
  disk->position = (int)chains_query_read_int (query);
  disk->name = chains_query_read_text (query);
  disk->device = chains_query_read_text (query);
  disk->ignored = chains_query_read_int (query) != 0;
  disk->base = chains_query_read_int (query);
  disk->active = chains_query_read_int (query);
  disk->live = chains_query_read_text (query);
  return disk;
}

static gpointer
read_name (ChainsQuery *query)
{
  return chains_query_read_text (query);
}

static gboolean
check_vm_name_is_free (ChainsDb *db, const ChainsVm *vm, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "look for a VM", "SELECT 1 FROM vm WHERE name = ? AND id <> ?", error);
  gboolean taken = FALSE;

  if (query == NULL)
    return FALSE;
  chains_query_bind_text (query, vm->name);
  chains_query_bind_int (query, vm->id);
  if (!chains_query_next (query, &taken, error))
    return FALSE;
  if (taken)
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_EXISTS, "a VM called '%s' is registered already", vm->name);
  return !taken;
}

static gboolean
check_vm (ChainsDb *db, const ChainsVm *vm, GError **error)
{
  return chains_model_check_name ("VM", vm->name, error) && check_vm_name_is_free (db, vm, error);
}

static void
bind_vm (ChainsQuery *query, const ChainsVm *vm)
{
  chains_query_bind_text (query, vm->name);
  chains_query_bind_text (query, vm->uuid);
  chains_query_bind_path (query, vm->qmp);
  chains_query_bind_path (query, vm->agent);
  chains_query_bind_path (query, vm->guest);
  chains_query_bind_text (query, chains_quiesce_to_string (vm->quiesce));
}

gboolean
chains_registry_add_vm (ChainsDb *db, ChainsVm *vm, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL || !check_vm (db, vm, error))
    return FALSE;
  query = chains_query_new (db, "add a VM",
                            "INSERT INTO vm (name, uuid, qmp, agent, guest, quiesce, created_us) "
                            "VALUES (?, ?, ?, ?, ?, ?, ?)",
                            error);
  if (query == NULL)
    return FALSE;
  bind_vm (query, vm);
  chains_query_bind_int (query, vm->created_us);
  if (!chains_query_run (query, error) || !chains_transaction_commit (transaction, error))
    return FALSE;
  vm->id = chains_query_get_inserted (query);
  return TRUE;
}

static GPtrArray *
list_vm_names (ChainsDb *db, GError **error)
{
  g_autoptr (ChainsQuery) query = chains_query_new (db, "list VMs", "SELECT name FROM vm ORDER BY name", error);
  GPtrArray *names = query != NULL ? chains_query_collect (query, read_name, g_free, error) : NULL;

  if (names != NULL)
    g_ptr_array_add (names, NULL);
  return names;
}

/* ", only 'a', 'b' …", or "" where there is none. @names ends with %NULL. */
static char *
describe_others (const GPtrArray *names)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i + 1 < names->len && i < MOST_NAMES_SHOWN; i++)
    g_string_append_printf (text, "%s'%s'", i > 0 ? ", " : ", only ", (const char *)g_ptr_array_index (names, i));
  return g_strconcat (text->str, names->len > MOST_NAMES_SHOWN + 1 ? " …" : "", NULL);
}

static void
set_no_such_vm (ChainsDb *db, const char *name, GError **error)
{
  g_autoptr (GPtrArray) names = list_vm_names (db, error);
  g_autofree char *shown = g_utf8_make_valid (name, -1);
  g_autofree char *others = NULL;
  const char *nearest = NULL;

  if (names == NULL)
    return;
  others = describe_others (names);
  nearest = base_nearest_find (name, (const char *const *)names->pdata);
  if (nearest != NULL)
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND, "no VM '%s' is registered; did you mean '%s'?", shown,
                 nearest);
  else
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND, "no VM '%s' is registered%s", shown, others);
}

ChainsVm *
chains_registry_get_vm (ChainsDb *db, const char *name, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "look for a VM", "SELECT " VM_COLUMNS " FROM vm WHERE name = ?", error);
  gboolean found = FALSE;

  if (query == NULL)
    return NULL;
  chains_query_bind_text (query, name);
  if (!chains_query_next (query, &found, error))
    return NULL;
  if (found)
    return read_vm (query);
  set_no_such_vm (db, name, error);
  return NULL;
}

GPtrArray *
chains_registry_list_vms (ChainsDb *db, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "list VMs", "SELECT " VM_COLUMNS " FROM vm ORDER BY name", error);

  return query != NULL ? chains_query_collect (query, read_vm, (GDestroyNotify)chains_vm_free, error) : NULL;
}

static gboolean
check_changed (ChainsQuery *query, const char *what, gint64 id, GError **error)
{
  if (chains_query_get_changes (query) == 1)
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND, "%s %" G_GINT64_FORMAT " is not registered any more", what,
               id);
  return FALSE;
}

gboolean
chains_registry_update_vm (ChainsDb *db, const ChainsVm *vm, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL || !check_vm (db, vm, error))
    return FALSE;
  query = chains_query_new (db, "change a VM",
                            "UPDATE vm SET name = ?, uuid = ?, qmp = ?, agent = ?, guest = ?, quiesce = ? WHERE id = ?",
                            error);
  if (query == NULL)
    return FALSE;
  bind_vm (query, vm);
  chains_query_bind_int (query, vm->id);
  return chains_query_run (query, error) && check_changed (query, "VM", vm->id, error) &&
         chains_transaction_commit (transaction, error);
}

gboolean
chains_registry_remove_vm (ChainsDb *db, gint64 vm, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL)
    return FALSE;
  query = chains_query_new (db, "remove a VM", "DELETE FROM vm WHERE id = ?", error);
  if (query == NULL)
    return FALSE;
  chains_query_bind_int (query, vm);
  return chains_query_run (query, error) && check_changed (query, "VM", vm, error) &&
         chains_transaction_commit (transaction, error);
}

static gboolean
check_disk_name_is_free (ChainsDb *db, const ChainsDisk *disk, GError **error)
{
  g_autoptr (ChainsQuery) query =
      chains_query_new (db, "look for a disk", "SELECT 1 FROM disk WHERE vm = ? AND name = ?", error);
  gboolean taken = FALSE;

  if (query == NULL)
    return FALSE;
  chains_query_bind_int (query, disk->vm);
  chains_query_bind_text (query, disk->name);
  if (!chains_query_next (query, &taken, error))
    return FALSE;
  if (taken)
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_EXISTS, "the VM has a disk called '%s' already", disk->name);
  return !taken;
}

static void
bind_disk (ChainsQuery *query, const ChainsDisk *disk)
{
  chains_query_bind_int (query, disk->position);
  chains_query_bind_text (query, disk->device);
  chains_query_bind_int (query, disk->ignored != FALSE);
  chains_query_bind_id (query, disk->base);
  chains_query_bind_id (query, disk->active);
}

gboolean
chains_registry_add_disk (ChainsDb *db, ChainsDisk *disk, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL || !check_disk_name_is_free (db, disk, error))
    return FALSE;
  query = chains_query_new (db, "add a disk",
                            "INSERT INTO disk (position, device, ignored, base, active, vm, name) "
                            "VALUES (?, ?, ?, ?, ?, ?, ?)",
                            error);
  if (query == NULL)
    return FALSE;
  bind_disk (query, disk);
  chains_query_bind_int (query, disk->vm);
  chains_query_bind_text (query, disk->name);
  if (!chains_query_run (query, error) || !chains_transaction_commit (transaction, error))
    return FALSE;
  disk->id = chains_query_get_inserted (query);
  return TRUE;
}

gboolean
chains_registry_update_disk (ChainsDb *db, const ChainsDisk *disk, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL)
    return FALSE;
  query = chains_query_new (db, "change a disk",
                            "UPDATE disk SET position = ?, device = ?, ignored = ?, base = ?, active = ? WHERE id = ?",
                            error);
  if (query == NULL)
    return FALSE;
  bind_disk (query, disk);
  chains_query_bind_int (query, disk->id);
  return chains_query_run (query, error) && check_changed (query, "disk", disk->id, error) &&
         chains_transaction_commit (transaction, error);
}

gboolean
chains_registry_set_live (ChainsDb *db, gint64 disk, const char *live, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL)
    return FALSE;
  query = chains_query_new (db, "note a disk's nodes", "UPDATE disk SET live = ? WHERE id = ?", error);
  if (query == NULL)
    return FALSE;
  chains_query_bind_text (query, live);
  chains_query_bind_int (query, disk);
  return chains_query_run (query, error) && check_changed (query, "disk", disk, error) &&
         chains_transaction_commit (transaction, error);
}

gboolean
chains_registry_remove_disk (ChainsDb *db, gint64 disk, GError **error)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_join (db, CHAINS_DB_WRITE, error);
  g_autoptr (ChainsQuery) query = NULL;

  if (transaction == NULL)
    return FALSE;
  query = chains_query_new (db, "remove a disk", "DELETE FROM disk WHERE id = ?", error);
  if (query == NULL)
    return FALSE;
  chains_query_bind_int (query, disk);
  return chains_query_run (query, error) && check_changed (query, "disk", disk, error) &&
         chains_transaction_commit (transaction, error);
}

GPtrArray *
chains_registry_list_disks (ChainsDb *db, gint64 vm, GError **error)
{
  g_autoptr (ChainsQuery) query = chains_query_new (
      db, "list disks", "SELECT " DISK_COLUMNS " FROM disk WHERE vm = ? ORDER BY position, id", error);

  if (query == NULL)
    return NULL;
  chains_query_bind_int (query, vm);
  return chains_query_collect (query, read_disk, (GDestroyNotify)chains_disk_free, error);
}
