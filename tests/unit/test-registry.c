/*
 * VMs and disks: what is written is read back, names are unique and legal, a
 * removal takes all but the log, and mistyped names are guessed.
 */
#include "base/nearest.h"
#include "chains/registry.h"
#include "chains/snapshots.h"

#include <string.h>

#include "chains/journal.h"
#include "tests/support/suite.h"
#include "tests/unit/fixtures/chains/fixture.h"

#define NOT_UTF8 "/srv/\xff\xfe/qmp.sock"

static void
a_vm_is_read_back_as_it_was_added (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsVm) vm = chains_vm_new ();
  g_autoptr (ChainsVm) read = NULL;

  vm->name = g_strdup ("web");
  vm->uuid = g_strdup ("00000000-0000-0000-0000-000000000001");
  vm->qmp = g_strdup (NOT_UTF8);
  vm->agent = g_strdup ("unix:" NOT_UTF8);
  vm->quiesce = CHAINS_QUIESCE_REQUIRE;
  vm->created_us = 42;
  CU_ASSERT (chains_registry_add_vm (db, vm, NULL));
  CU_ASSERT (vm->id > 0);

  read = chains_registry_get_vm (db, "web", NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (read);
  CU_ASSERT (read->id == vm->id && read->quiesce == CHAINS_QUIESCE_REQUIRE && read->created_us == 42);
  CU_ASSERT_STRING_EQUAL (read->name, vm->name);
  CU_ASSERT_STRING_EQUAL (read->uuid, vm->uuid);
  CU_ASSERT_STRING_EQUAL (read->qmp, vm->qmp);
  CU_ASSERT_STRING_EQUAL (read->agent, vm->agent);
  CU_ASSERT_PTR_NULL (read->guest);
}

static void
vms_are_listed_by_name (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (GPtrArray) vms = NULL;

  fixture_add_vm (db, "c");
  fixture_add_vm (db, "a");
  fixture_add_vm (db, "b");
  vms = chains_registry_list_vms (db, NULL);
  CU_ASSERT_FATAL (vms != NULL && vms->len == 3);
  CU_ASSERT_STRING_EQUAL (((ChainsVm *)vms->pdata[0])->name, "a");
  CU_ASSERT_STRING_EQUAL (((ChainsVm *)vms->pdata[1])->name, "b");
  CU_ASSERT_STRING_EQUAL (((ChainsVm *)vms->pdata[2])->name, "c");
}

static void
a_vm_name_is_given_once (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsVm) vm = chains_vm_new ();
  g_autoptr (GError) error = NULL;

  fixture_add_vm (db, "web");
  vm->name = g_strdup ("web");
  vm->qmp = g_strdup ("/other");
  CU_ASSERT (!chains_registry_add_vm (db, vm, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_EXISTS);
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, "'web'"));
  CU_ASSERT_EQUAL (vm->id, 0);
}

static void
a_vm_needs_a_legal_name (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsVm) vm = chains_vm_new ();
  g_autoptr (GError) error = NULL;

  vm->name = g_strdup ("latest");
  vm->qmp = g_strdup ("/qmp");
  CU_ASSERT (!chains_registry_add_vm (db, vm, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_INVALID);
}

static void
a_vm_is_changed_in_all_but_id_and_birth (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsVm) vm = NULL;
  g_autoptr (ChainsVm) read = NULL;
  gint64 birth = 0;

  fixture_add_vm (db, "web");
  vm = chains_registry_get_vm (db, "web", NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (vm);
  birth = vm->created_us;
  fixture_set_text (&vm->name, "mail");
  fixture_set_text (&vm->guest, "vsock:3:1024");
  vm->quiesce = CHAINS_QUIESCE_OFF;
  vm->created_us = 1;
  CU_ASSERT (chains_registry_update_vm (db, vm, NULL));
  read = chains_registry_get_vm (db, "mail", NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (read);
  CU_ASSERT (read->id == vm->id && read->created_us == birth && read->quiesce == CHAINS_QUIESCE_OFF);
  CU_ASSERT_STRING_EQUAL (read->guest, "vsock:3:1024");
}

static void
a_vm_that_is_gone_cannot_be_changed_or_removed (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (ChainsVm) vm = NULL;
  g_autoptr (GError) changed = NULL;
  g_autoptr (GError) removed = NULL;

  fixture_add_vm (db, "web");
  vm = chains_registry_get_vm (db, "web", NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (vm);
  CU_ASSERT (chains_registry_remove_vm (db, vm->id, NULL));
  CU_ASSERT (!chains_registry_update_vm (db, vm, &changed));
  CU_ASSERT (!chains_registry_remove_vm (db, vm->id, &removed));
  SUPPORT_ASSERT_ERROR (changed, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
  SUPPORT_ASSERT_ERROR (removed, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
}

static void
an_unknown_vm_is_answered_with_the_nearest_name (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  g_autoptr (GError) near = NULL;
  g_autoptr (GError) far = NULL;

  fixture_add_vm (db, "webserver");
  CU_ASSERT_PTR_NULL (chains_registry_get_vm (db, "webservre", &near));
  CU_ASSERT_PTR_NULL (chains_registry_get_vm (db, "mail", &far));
  SUPPORT_ASSERT_ERROR (near, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
  SUPPORT_ASSERT_ERROR (far, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
  CU_ASSERT_PTR_NOT_NULL (strstr (near->message, "'webserver'"));
  CU_ASSERT_PTR_NOT_NULL (strstr (near->message, "did you mean"));
  CU_ASSERT_STRING_EQUAL (far->message, "no VM 'mail' is registered, only 'webserver'");
}

static void
disks_are_read_back_in_guest_order (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 vm = fixture_add_vm (db, "web");
  g_autoptr (GPtrArray) disks = NULL;

  fixture_add_disk (db, vm, 1, "vdb");
  fixture_add_disk (db, vm, 0, "vda");
  disks = chains_registry_list_disks (db, vm, NULL);
  CU_ASSERT_FATAL (disks != NULL && disks->len == 2);
  CU_ASSERT_STRING_EQUAL (((ChainsDisk *)disks->pdata[0])->name, "vda");
  CU_ASSERT_STRING_EQUAL (((ChainsDisk *)disks->pdata[1])->name, "vdb");
  CU_ASSERT (((ChainsDisk *)disks->pdata[0])->vm == vm && ((ChainsDisk *)disks->pdata[1])->position == 1);
}

static void
a_disk_is_changed (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 vm = fixture_add_vm (db, "web");
  g_autoptr (ChainsDisk) disk = chains_disk_new ();
  g_autoptr (GPtrArray) disks = NULL;
  const ChainsDisk *read = NULL;

  disk->id = fixture_add_disk (db, vm, 0, "vda");
  disk->device = g_strdup ("/machine/peripheral/vda/virtio-backend");
  disk->ignored = TRUE;
  disk->position = 3;
  disk->base = fixture_add_image (db, disk->id, 0, "/a.qcow2");
  disk->active = fixture_add_image (db, disk->id, disk->base, "/b.qcow2");
  CU_ASSERT (chains_registry_update_disk (db, disk, NULL));
  disks = chains_registry_list_disks (db, vm, NULL);
  CU_ASSERT_FATAL (disks != NULL && disks->len == 1);
  read = disks->pdata[0];
  CU_ASSERT (read->base == disk->base && read->active == disk->active && read->ignored && read->position == 3);
  CU_ASSERT_STRING_EQUAL (read->device, disk->device);
  CU_ASSERT_STRING_EQUAL (read->name, "vda");
}

static void
base_and_active_are_images_of_the_same_disk (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 vm = fixture_add_vm (db, "web");
  gint64 other = fixture_add_disk (db, vm, 1, "vdb");
  g_autoptr (ChainsDisk) disk = chains_disk_new ();
  g_autoptr (GError) error = NULL;

  disk->id = fixture_add_disk (db, vm, 0, "vda");
  disk->active = fixture_add_image (db, other, 0, "/b.qcow2");
  CU_ASSERT (!chains_registry_update_disk (db, disk, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_INVALID);
}

static void
a_disk_name_is_given_once_in_a_vm (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 vm = fixture_add_vm (db, "web");
  gint64 other = fixture_add_vm (db, "mail");
  g_autoptr (ChainsDisk) disk = chains_disk_new ();
  g_autoptr (GError) error = NULL;

  fixture_add_disk (db, vm, 0, "vda");
  fixture_add_disk (db, other, 0, "vda");
  disk->vm = vm;
  disk->name = g_strdup ("vda");
  CU_ASSERT (!chains_registry_add_disk (db, disk, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_EXISTS);
}

static void
add_everything (ChainsDb *db, gint64 vm)
{
  g_autoptr (ChainsDisk) disk = chains_disk_new ();
  g_autoptr (ChainsSnapshot) snapshot = fixture_make_snapshot (vm, NULL, "first");
  g_autoptr (ChainsOp) op = chains_op_new ();

  disk->id = fixture_add_disk (db, vm, 0, "vda");
  disk->base = fixture_add_image (db, disk->id, 0, "/base.qcow2");
  disk->active = fixture_add_image (db, disk->id, disk->base, "/top.qcow2");
  CU_ASSERT (chains_registry_update_disk (db, disk, NULL));
  fixture_add_part (snapshot, disk->id, disk->base, disk->active);
  g_ptr_array_add (snapshot->tags, g_strdup ("nightly"));
  CU_ASSERT (chains_snapshots_add (db, snapshot, NULL));
  op->id = g_strdup ("op-1");
  op->vm = vm;
  op->vm_name = g_strdup ("web");
  op->verb = g_strdup ("snapshot");
  op->by = g_strdup ("root");
  op->boot = g_strdup ("boot");
  op->pid = 1;
  CU_ASSERT (chains_journal_begin (db, op, NULL));
  CU_ASSERT (chains_journal_end (db, "op-1", CHAINS_OP_DONE, NULL, NULL));
}

static void
removing_a_vm_takes_all_of_it_but_its_log (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 vm = fixture_add_vm (db, "web");
  g_autoptr (GPtrArray) disks = NULL, images = NULL, snapshots = NULL, ops = NULL;
  g_autoptr (GError) error = NULL;

  add_everything (db, vm);
  CU_ASSERT (chains_registry_remove_vm (db, vm, &error));
  SUPPORT_ASSERT_CLEAR (error);
  disks = chains_registry_list_disks (db, vm, NULL);
  images = chains_images_find (db, "/base.qcow2", NULL);
  snapshots = chains_snapshots_list (db, vm, NULL);
  ops = chains_journal_list (db, "web", NULL);
  CU_ASSERT (disks->len == 0 && images->len == 0 && snapshots->len == 0);
  CU_ASSERT_FATAL (ops->len == 1);
  CU_ASSERT_EQUAL (((ChainsOp *)ops->pdata[0])->vm, 0);
  CU_ASSERT_STRING_EQUAL (((ChainsOp *)ops->pdata[0])->vm_name, "web");
}

static void
removing_a_disk_takes_its_images_and_no_other_disks (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 vm = fixture_add_vm (db, "web");
  gint64 vda = fixture_add_disk (db, vm, 0, "vda"), vdb = fixture_add_disk (db, vm, 1, "vdb");
  g_autoptr (GPtrArray) disks = NULL, gone = NULL, kept = NULL;
  g_autoptr (GError) error = NULL, again = NULL;

  fixture_add_image (db, vda, fixture_add_image (db, vda, 0, "/vda.qcow2"), "/vda.s.qcow2");
  fixture_add_image (db, vdb, 0, "/vdb.qcow2");
  CU_ASSERT (chains_registry_remove_disk (db, vda, &error));
  SUPPORT_ASSERT_CLEAR (error);
  disks = chains_registry_list_disks (db, vm, NULL);
  gone = chains_images_find (db, "/vda.s.qcow2", NULL);
  kept = chains_images_find (db, "/vdb.qcow2", NULL);
  CU_ASSERT (disks->len == 1 && gone->len == 0 && kept->len == 1);
  CU_ASSERT (!chains_registry_remove_disk (db, vda, &again));
  SUPPORT_ASSERT_ERROR (again, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
}

static void
row_ids_are_never_given_twice (void)
{
  g_autoptr (FixtureFolder) folder = fixture_make_folder ();
  g_autoptr (ChainsDb) db = fixture_open (folder);
  gint64 first = fixture_add_vm (db, "web");

  CU_ASSERT (chains_registry_remove_vm (db, first, NULL));
  CU_ASSERT (fixture_add_vm (db, "web") > first);
}

static const char *
nearest (const char *name)
{
  static const char *const names[] = {"web-1", "web-2", "mail", "database", "Build", "vda", NULL};

  return base_nearest_find (name, names);
}

static void
near_names_are_found (void)
{
  CU_ASSERT_STRING_EQUAL (nearest ("vad"), "vda");            /* two letters swapped are one mistake */
  CU_ASSERT_STRING_EQUAL (nearest ("databse"), "database");   /* one dropped */
  CU_ASSERT_STRING_EQUAL (nearest ("dattabase"), "database"); /* one added */
  CU_ASSERT_STRING_EQUAL (nearest ("dadabaze"), "database");  /* two replaced */
  CU_ASSERT_STRING_EQUAL (nearest ("build"), "Build");
  CU_ASSERT_STRING_EQUAL (nearest ("dat"), "database");
  CU_ASSERT_STRING_EQUAL (nearest ("web-3"), "web-1"); /* equally near: the first */
  CU_ASSERT_STRING_EQUAL (nearest ("web"), "web-1");
}

static void
far_names_are_not_found (void)
{
  g_autofree char *endless = g_strnfill (100000, 'm');

  CU_ASSERT_PTR_NULL (nearest ("dxdxbxse"));
  CU_ASSERT_PTR_NULL (nearest ("mxl"));
  CU_ASSERT_PTR_NOT_NULL (nearest ("mxil"));
  CU_ASSERT_PTR_NULL (nearest ("xx"));
  CU_ASSERT_PTR_NULL (nearest (""));
  CU_ASSERT_PTR_NULL (nearest (endless));
}

static void
the_nearest_name_does_not_depend_on_the_order (void)
{
  const char *const one[] = {"b1", "a1", NULL};
  const char *const other[] = {"a1", "b1", NULL};

  CU_ASSERT_STRING_EQUAL (base_nearest_find ("c1", one), "a1");
  CU_ASSERT_STRING_EQUAL (base_nearest_find ("c1", other), "a1");
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (a_vm_is_read_back_as_it_was_added),
      SUPPORT_TEST (vms_are_listed_by_name),
      SUPPORT_TEST (a_vm_name_is_given_once),
      SUPPORT_TEST (a_vm_needs_a_legal_name),
      SUPPORT_TEST (a_vm_is_changed_in_all_but_id_and_birth),
      SUPPORT_TEST (a_vm_that_is_gone_cannot_be_changed_or_removed),
      SUPPORT_TEST (an_unknown_vm_is_answered_with_the_nearest_name),
      SUPPORT_TEST (disks_are_read_back_in_guest_order),
      SUPPORT_TEST (a_disk_is_changed),
      SUPPORT_TEST (base_and_active_are_images_of_the_same_disk),
      SUPPORT_TEST (a_disk_name_is_given_once_in_a_vm),
      SUPPORT_TEST (removing_a_vm_takes_all_of_it_but_its_log),
      SUPPORT_TEST (removing_a_disk_takes_its_images_and_no_other_disks),
      SUPPORT_TEST (row_ids_are_never_given_twice),
      SUPPORT_TEST (near_names_are_found),
      SUPPORT_TEST (far_names_are_not_found),
      SUPPORT_TEST (the_nearest_name_does_not_depend_on_the_order),
  };

  return support_suite_run ("registry", tests, G_N_ELEMENTS (tests), argc, argv);
}
