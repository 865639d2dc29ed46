/*
 * Images and snapshots: what is written is read back, a file has one owner, a
 * tree stays a tree, what is needed stays, references find what they mean.
 */
#include "chains/images.h"
#include "chains/snapshots.h"
#include "chains/transaction.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/support/suite.h"
#include "tests/unit/fixtures/chains/fixture.h"

#define NOT_UTF8 "/srv/\xff disk,\"1\"\n.qcow2"
#define ID_A "aaaa0000-0000-4000-8000-000000000001"
#define ID_B "aaaa1111-0000-4000-8000-000000000002"

typedef struct {
  FixtureFolder *folder;
  ChainsDb *db;
  gint64 vm;
  gint64 vda;
  gint64 vdb;
} Store;

static Store *
store_new (void)
{
  Store *store = g_new0 (Store, 1);

  store->folder = fixture_make_folder ();
  store->db = fixture_open (store->folder);
  store->vm = fixture_add_vm (store->db, "web");
  store->vda = fixture_add_disk (store->db, store->vm, 0, "vda");
  store->vdb = fixture_add_disk (store->db, store->vm, 1, "vdb");
  return store;
}

static void
store_free (Store *store)
{
  chains_db_free (store->db);
  fixture_remove_folder (store->folder);
  g_free (store);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Store, store_free)

static void
an_image_is_read_back_as_it_was_added (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsImage) image = fixture_make_image (store->vda, 0, NOT_UTF8, TRUE);
  g_autoptr (ChainsImage) read = NULL;
  g_autoptr (GError) error = NULL;

  image->created_by = g_strdup ("op-1");
  image->device = G_MAXUINT64;
  image->inode = 7;
  image->options = g_strdup ("{\"cache\":{\"direct\":true}}");
  image->frozen_size = 4096;
  image->frozen_mtime_ns = -5;
  image->frozen_ctime_ns = 6;
  image->frozen_header = g_strdup ("ab12");
  CU_ASSERT (chains_images_add (store->db, image, &error));
  SUPPORT_ASSERT_CLEAR (error);
  read = chains_images_get (store->db, image->id, NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (read);
  CU_ASSERT (read->disk == store->vda && read->parent == 0 && read->virtual_size == 1 << 30 && read->owned);
  CU_ASSERT (read->device == G_MAXUINT64 && read->inode == 7 && read->frozen_size == 4096);
  CU_ASSERT (read->frozen_mtime_ns == -5 && read->frozen_ctime_ns == 6);
  CU_ASSERT_STRING_EQUAL (read->path, NOT_UTF8);
  CU_ASSERT_STRING_EQUAL (read->format, "qcow2");
  CU_ASSERT_STRING_EQUAL (read->created_by, "op-1");
  CU_ASSERT_STRING_EQUAL (read->options, image->options);
  CU_ASSERT_STRING_EQUAL (read->frozen_header, "ab12");
}

static void
an_image_is_changed (void)
{
  g_autoptr (Store) store = store_new ();
  gint64 parent = fixture_add_image (store->db, store->vda, 0, "/base");
  g_autoptr (ChainsImage) image = fixture_make_image (store->vda, 0, "/old", TRUE);
  g_autoptr (ChainsImage) read = NULL;

  CU_ASSERT (chains_images_add (store->db, image, NULL));
  fixture_set_text (&image->path, NOT_UTF8);
  image->parent = parent;
  image->frozen_size = 1;
  image->owned = FALSE;
  CU_ASSERT (chains_images_update (store->db, image, NULL));
  read = chains_images_get (store->db, image->id, NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (read);
  CU_ASSERT (read->parent == parent && read->frozen_size == 1 && !read->owned);
  CU_ASSERT_STRING_EQUAL (read->path, NOT_UTF8);
}

static void
values_that_cannot_be_are_refused (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsImage) no_size = fixture_make_image (store->vda, 0, "/a", TRUE);
  g_autoptr (ChainsImage) no_path = fixture_make_image (store->vda, 0, "", TRUE);
  g_autoptr (ChainsImage) no_parent = fixture_make_image (store->vda, 4711, "/b", TRUE);
  g_autoptr (ChainsImage) no_json = fixture_make_image (store->vda, 0, "/c", TRUE);
  g_autoptr (ChainsImage) no_disk = fixture_make_image (4711, 0, "/d", TRUE);
  ChainsImage *const all[] = {no_size, no_path, no_parent, no_json, no_disk};

  no_size->virtual_size = 0;
  no_json->options = g_strdup ("\"word\"");
  for (guint i = 0; i < G_N_ELEMENTS (all); i++) {
    g_autoptr (GError) error = NULL;
    CU_ASSERT (!chains_images_add (store->db, all[i], &error));
    SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_INVALID);
    CU_ASSERT_EQUAL (all[i]->id, 0);
  }
}

static void
an_owned_path_has_one_owner_who_is_named (void)
{
  g_autoptr (Store) store = store_new ();
  gint64 other = fixture_add_disk (store->db, fixture_add_vm (store->db, "mail"), 0, "sda");
  g_autoptr (ChainsImage) again = fixture_make_image (other, 0, "/shared", TRUE);
  g_autoptr (GError) error = NULL;

  fixture_add_image (store->db, store->vda, 0, "/shared");
  CU_ASSERT (!chains_images_add (store->db, again, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_EXISTS);
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, "'/shared'"));
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, "'vda'"));
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, "'web'"));
}

static void
an_update_cannot_take_an_owned_path_either (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsImage) image = fixture_make_image (store->vdb, 0, "/mine", TRUE);
  g_autoptr (GError) error = NULL;

  fixture_add_image (store->db, store->vda, 0, "/yours");
  CU_ASSERT (chains_images_add (store->db, image, NULL));
  fixture_set_text (&image->path, "/yours");
  CU_ASSERT (!chains_images_update (store->db, image, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_EXISTS);
}

static void
a_foreign_path_may_serve_many_disks_but_each_once (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsImage) one = fixture_make_image (store->vda, 0, "/template", FALSE);
  g_autoptr (ChainsImage) two = fixture_make_image (store->vdb, 0, "/template", FALSE);
  g_autoptr (ChainsImage) again = fixture_make_image (store->vda, 0, "/template", FALSE);
  g_autoptr (GPtrArray) found = NULL;
  g_autoptr (GError) error = NULL;

  CU_ASSERT (chains_images_add (store->db, one, NULL));
  CU_ASSERT (chains_images_add (store->db, two, NULL));
  CU_ASSERT (!chains_images_add (store->db, again, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_EXISTS);
  found = chains_images_find (store->db, "/template", NULL);
  CU_ASSERT_FATAL (found->len == 2);
  CU_ASSERT (((ChainsImage *)found->pdata[0])->disk == store->vda);
  CU_ASSERT (((ChainsImage *)found->pdata[1])->disk == store->vdb);
}

static void
a_parent_is_of_the_same_disk (void)
{
  g_autoptr (Store) store = store_new ();
  gint64 elsewhere = fixture_add_image (store->db, store->vdb, 0, "/b");
  g_autoptr (ChainsImage) image = fixture_make_image (store->vda, elsewhere, "/a", TRUE);
  g_autoptr (GError) error = NULL;

  CU_ASSERT (!chains_images_add (store->db, image, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_INVALID);
}

static void
an_image_is_never_its_own_ancestor (void)
{
  g_autoptr (Store) store = store_new ();
  gint64 a = fixture_add_image (store->db, store->vda, 0, "/a");
  gint64 b = fixture_add_image (store->db, store->vda, a, "/b");
  gint64 c = fixture_add_image (store->db, store->vda, b, "/c");
  g_autoptr (ChainsImage) image = chains_images_get (store->db, a, NULL);
  const gint64 parents[] = {a, b, c};

  for (guint i = 0; i < G_N_ELEMENTS (parents); i++) {
    g_autoptr (GError) error = NULL;
    image->parent = parents[i];
    CU_ASSERT (!chains_images_update (store->db, image, &error));
    SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_INVALID);
  }
}

static char *
list_paths (Store *store)
{
  g_autoptr (GPtrArray) images = chains_images_list (store->db, store->vda, NULL);
  GString *paths = g_string_new (NULL);

  for (guint i = 0; i < images->len; i++)
    g_string_append (paths, ((ChainsImage *)images->pdata[i])->path);
  return g_string_free (paths, FALSE);
}

static void
images_are_listed_parents_first_and_oldest_child_first (void)
{
  g_autoptr (Store) store = store_new ();
  gint64 a = fixture_add_image (store->db, store->vda, 0, "/a");
  gint64 b = fixture_add_image (store->db, store->vda, a, "/b");
  gint64 late = fixture_add_image (store->db, store->vda, a, "/c");
  g_autoptr (ChainsImage) moved = chains_images_get (store->db, b, NULL);
  g_autofree char *before = NULL;
  g_autofree char *after = NULL;

  fixture_add_image (store->db, store->vda, late, "/f");
  fixture_add_image (store->db, store->vda, b, "/d");
  fixture_add_image (store->db, store->vda, b, "/e");
  fixture_add_image (store->db, store->vdb, 0, "/of another disk");
  before = list_paths (store);
  CU_ASSERT_STRING_EQUAL (before, "/a/b/d/e/c/f");
  moved->parent = late;
  CU_ASSERT (chains_images_update (store->db, moved, NULL));
  after = list_paths (store);
  CU_ASSERT_STRING_EQUAL (after, "/a/c/b/d/e/f");
}

static void
a_deep_chain_is_listed (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (store->db, NULL);
  g_autoptr (GPtrArray) images = NULL;
  gint64 parent = 0;

  for (guint i = 0; i < 2000; i++) {
    g_autofree char *path = g_strdup_printf ("/%u", i);
    parent = fixture_add_image (store->db, store->vda, parent, path);
  }
  CU_ASSERT_FATAL (chains_transaction_commit (transaction, NULL));
  images = chains_images_list (store->db, store->vda, NULL);
  CU_ASSERT_FATAL (images != NULL && images->len == 2000);
  CU_ASSERT_STRING_EQUAL (((ChainsImage *)images->pdata[1999])->path, "/1999");
}

static gboolean
removal_is_refused (Store *store, gint64 image, const char *why)
{
  g_autoptr (GError) error = NULL;
  gboolean removed = chains_images_remove (store->db, image, &error);

  return !removed && g_error_matches (error, CHAINS_ERROR, CHAINS_ERROR_INVALID) && strstr (error->message, why);
}

static void
an_image_that_something_needs_is_not_forgotten (void)
{
  g_autoptr (Store) store = store_new ();
  gint64 a = fixture_add_image (store->db, store->vda, 0, "/a");
  gint64 b = fixture_add_image (store->db, store->vda, a, "/b");
  gint64 c = fixture_add_image (store->db, store->vda, b, "/c");
  g_autoptr (ChainsSnapshot) snapshot = fixture_make_snapshot (store->vm, NULL, "first");
  g_autoptr (ChainsDisk) disk = chains_disk_new ();

  disk->id = store->vda;
  disk->base = a;
  CU_ASSERT (chains_registry_update_disk (store->db, disk, NULL));
  fixture_add_part (snapshot, store->vda, c, 0);
  CU_ASSERT (chains_snapshots_add (store->db, snapshot, NULL));
  CU_ASSERT (removal_is_refused (store, a, "'vda'"));
  CU_ASSERT (removal_is_refused (store, b, "backing image"));
  CU_ASSERT (removal_is_refused (store, c, "'first'"));
  CU_ASSERT (chains_snapshots_remove (store->db, snapshot->id, NULL));
  CU_ASSERT (chains_images_remove (store->db, c, NULL));
  CU_ASSERT (chains_images_remove (store->db, b, NULL));
}

static void
what_is_gone_cannot_be_changed_or_found (void)
{
  g_autoptr (Store) store = store_new ();
  gint64 id = fixture_add_image (store->db, store->vda, 0, "/a");
  g_autoptr (ChainsImage) image = chains_images_get (store->db, id, NULL);
  g_autoptr (GError) changed = NULL, removed = NULL, got = NULL, snapshot = NULL;

  CU_ASSERT (chains_images_remove (store->db, id, NULL));
  CU_ASSERT (!chains_images_update (store->db, image, &changed));
  CU_ASSERT (!chains_images_remove (store->db, id, &removed));
  CU_ASSERT_PTR_NULL (chains_images_get (store->db, id, &got));
  CU_ASSERT (!chains_snapshots_remove (store->db, ID_A, &snapshot));
  SUPPORT_ASSERT_ERROR (changed, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
  SUPPORT_ASSERT_ERROR (removed, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
  SUPPORT_ASSERT_ERROR (got, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
  SUPPORT_ASSERT_ERROR (snapshot, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
}

static ChainsSnapshot *
make_full_snapshot (Store *store)
{
  gint64 a = fixture_add_image (store->db, store->vda, 0, "/a");
  gint64 a1 = fixture_add_image (store->db, store->vda, a, "/a1");
  gint64 b = fixture_add_image (store->db, store->vdb, 0, NOT_UTF8);
  ChainsSnapshot *snapshot = fixture_make_snapshot (store->vm, ID_A, "first");

  snapshot->description = g_strdup ("before the upgrade \xc3\xa4");
  snapshot->protected = TRUE;
  snapshot->automatic = TRUE;
  snapshot->consistency = CHAINS_CONSISTENCY_CRASH;
  snapshot->reason = g_strdup ("no agent");
  snapshot->frozen_us = 1234;
  fixture_add_part (snapshot, store->vdb, b, 0);
  fixture_add_part (snapshot, store->vda, a, a1);
  g_ptr_array_add (snapshot->tags, g_strdup ("weekly"));
  g_ptr_array_add (snapshot->tags, g_strdup ("nightly"));
  g_ptr_array_add (snapshot->tags, g_strdup ("weekly"));
  return snapshot;
}

static void
a_snapshot_is_read_back_as_it_was_added (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsSnapshot) snapshot = make_full_snapshot (store);
  g_autoptr (ChainsSnapshot) read = NULL;
  g_autoptr (GError) error = NULL;

  CU_ASSERT (chains_snapshots_add (store->db, snapshot, &error));
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT (snapshot->sequence > 0);
  read = chains_snapshots_find (store->db, store->vm, "first", NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (read);
  CU_ASSERT (read->sequence == snapshot->sequence && read->vm == store->vm && read->frozen_us == 1234);
  CU_ASSERT (read->created_us == snapshot->created_us && read->protected && read->automatic);
  CU_ASSERT_EQUAL (read->consistency, CHAINS_CONSISTENCY_CRASH);
  CU_ASSERT_STRING_EQUAL (read->id, ID_A);
  CU_ASSERT_STRING_EQUAL (read->name, "first");
  CU_ASSERT_STRING_EQUAL (read->description, snapshot->description);
  CU_ASSERT_STRING_EQUAL (read->reason, "no agent");
}

static void
a_snapshots_parts_are_in_guest_order_with_their_paths (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsSnapshot) snapshot = make_full_snapshot (store);
  g_autoptr (ChainsSnapshot) read = NULL;
  const ChainsSnapshotDisk *vda = NULL, *vdb = NULL;

  CU_ASSERT (chains_snapshots_add (store->db, snapshot, NULL));
  read = chains_snapshots_find (store->db, store->vm, ID_A, NULL);
  CU_ASSERT_FATAL (read != NULL && read->disks->len == 2 && read->tags->len == 2);
  vda = read->disks->pdata[0];
  vdb = read->disks->pdata[1];
  CU_ASSERT (vda->disk == store->vda && vda->image != 0 && vda->overlay != 0 && vdb->overlay == 0);
  CU_ASSERT_STRING_EQUAL (vda->disk_name, "vda");
  CU_ASSERT_STRING_EQUAL (vda->image_path, "/a");
  CU_ASSERT_STRING_EQUAL (vda->overlay_path, "/a1");
  CU_ASSERT_STRING_EQUAL (vdb->image_path, NOT_UTF8);
  CU_ASSERT_PTR_NULL (vdb->overlay_path);
  CU_ASSERT_STRING_EQUAL (read->tags->pdata[0], "nightly");
  CU_ASSERT_STRING_EQUAL (read->tags->pdata[1], "weekly");
}

static void
a_snapshot_of_an_unfrozen_guest_says_so (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsSnapshot) snapshot = fixture_make_snapshot (store->vm, NULL, "first");
  g_autoptr (ChainsSnapshot) read = NULL;

  CU_ASSERT (chains_snapshots_add (store->db, snapshot, NULL));
  read = chains_snapshots_find (store->db, store->vm, "first", NULL);
  CU_ASSERT_FATAL (read != NULL);
  CU_ASSERT (read->frozen_us == -1 && read->description == NULL && read->reason == NULL);
}

static void
a_snapshot_is_changed_with_its_parts_and_tags (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsSnapshot) snapshot = make_full_snapshot (store);
  g_autoptr (ChainsSnapshot) read = NULL;
  ChainsSnapshotDisk *part = snapshot->disks->pdata[1];

  CU_ASSERT (chains_snapshots_add (store->db, snapshot, NULL));
  snapshot->protected = FALSE;
  part->image = part->overlay;
  part->overlay = 0;
  g_ptr_array_set_size (snapshot->tags, 1);
  CU_ASSERT (chains_snapshots_update (store->db, snapshot, NULL));
  read = chains_snapshots_find (store->db, store->vm, "first", NULL);
  CU_ASSERT_FATAL (read != NULL && read->disks->len == 2 && read->tags->len == 1);
  part = read->disks->pdata[0];
  CU_ASSERT (!read->protected && part->overlay == 0);
  CU_ASSERT_STRING_EQUAL (part->image_path, "/a1");
}

static void
what_a_snapshot_had_in_an_image_is_in_another_one_that_took_it (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsSnapshot) snapshot = make_full_snapshot (store);
  g_autoptr (ChainsSnapshot) read = NULL;
  const ChainsSnapshotDisk *had = snapshot->disks->pdata[1], *part;

  CU_ASSERT (chains_snapshots_add (store->db, snapshot, NULL));
  CU_ASSERT (chains_snapshots_move_parts (store->db, had->overlay, had->overlay, had->image, NULL));
  CU_ASSERT (chains_snapshots_move_parts (store->db, had->image, had->overlay, 0, NULL));
  read = chains_snapshots_find (store->db, store->vm, "first", NULL);
  CU_ASSERT_FATAL (read != NULL && read->disks->len == 2);
  part = read->disks->pdata[0];
  CU_ASSERT (part->disk == had->disk && part->image == had->overlay && part->overlay == 0);
  part = read->disks->pdata[1];
  had = snapshot->disks->pdata[0];
  CU_ASSERT (part->disk == had->disk && part->image == had->image && part->overlay == had->overlay);
}

static void
an_overlay_that_is_gone_is_gone_from_the_snapshot (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsSnapshot) snapshot = make_full_snapshot (store);
  g_autoptr (ChainsSnapshot) read = NULL;
  const ChainsSnapshotDisk *part = snapshot->disks->pdata[1];

  CU_ASSERT (chains_snapshots_add (store->db, snapshot, NULL));
  CU_ASSERT (chains_images_remove (store->db, part->overlay, NULL));
  read = chains_snapshots_find (store->db, store->vm, "first", NULL);
  CU_ASSERT_FATAL (read != NULL && read->disks->len == 2);
  part = read->disks->pdata[0];
  CU_ASSERT (part->overlay == 0 && part->overlay_path == NULL);
}

static void
a_snapshot_name_is_legal_and_given_once_in_a_vm (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsSnapshot) first = fixture_make_snapshot (store->vm, NULL, "first");
  g_autoptr (ChainsSnapshot) again = fixture_make_snapshot (store->vm, NULL, "first");
  g_autoptr (ChainsSnapshot) base = fixture_make_snapshot (store->vm, NULL, "base");
  g_autoptr (ChainsSnapshot) elsewhere = fixture_make_snapshot (fixture_add_vm (store->db, "mail"), NULL, "first");
  g_autoptr (GError) taken = NULL;
  g_autoptr (GError) reserved = NULL;

  CU_ASSERT (chains_snapshots_add (store->db, first, NULL));
  CU_ASSERT (!chains_snapshots_add (store->db, again, &taken));
  SUPPORT_ASSERT_ERROR (taken, CHAINS_ERROR, CHAINS_ERROR_EXISTS);
  CU_ASSERT (!chains_snapshots_add (store->db, base, &reserved));
  SUPPORT_ASSERT_ERROR (reserved, CHAINS_ERROR, CHAINS_ERROR_INVALID);
  CU_ASSERT (chains_snapshots_add (store->db, elsewhere, NULL));
}

static void
a_snapshot_that_cannot_be_added_whole_is_not_added (void)
{
  g_autoptr (Store) store = store_new ();
  gint64 other = fixture_add_disk (store->db, fixture_add_vm (store->db, "mail"), 0, "sda");
  gint64 image = fixture_add_image (store->db, other, 0, "/a");
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (store->db, NULL);
  g_autoptr (ChainsSnapshot) snapshot = fixture_make_snapshot (store->vm, NULL, "first");
  g_autoptr (GError) error = NULL;
  gboolean has = TRUE;

  fixture_add_part (snapshot, other, image, 0);
  CU_ASSERT (!chains_snapshots_add (store->db, snapshot, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_INVALID);
  CU_ASSERT_EQUAL (snapshot->sequence, 0);
  CU_ASSERT (chains_transaction_commit (transaction, NULL));
  CU_ASSERT (chains_snapshots_has (store->db, store->vm, "first", &has, NULL));
  CU_ASSERT (!has);
}

static void
an_overlay_is_of_the_same_disk (void)
{
  g_autoptr (Store) store = store_new ();
  gint64 a = fixture_add_image (store->db, store->vda, 0, "/a");
  gint64 b = fixture_add_image (store->db, store->vdb, 0, "/b");
  g_autoptr (ChainsSnapshot) snapshot = fixture_make_snapshot (store->vm, NULL, "first");
  g_autoptr (GError) error = NULL;

  fixture_add_part (snapshot, store->vda, a, b);
  CU_ASSERT (!chains_snapshots_add (store->db, snapshot, &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_INVALID);
}

static void
words_of_the_user_are_utf8 (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (ChainsSnapshot) described = fixture_make_snapshot (store->vm, NULL, "first");
  g_autoptr (ChainsSnapshot) tagged = fixture_make_snapshot (store->vm, NULL, "first");
  g_autoptr (ChainsSnapshot) empty = fixture_make_snapshot (store->vm, NULL, "first");
  ChainsSnapshot *const all[] = {described, tagged, empty};

  described->description = g_strdup ("\xff");
  g_ptr_array_add (tagged->tags, g_strdup ("\xff"));
  g_ptr_array_add (empty->tags, g_strdup (""));
  for (guint i = 0; i < G_N_ELEMENTS (all); i++) {
    g_autoptr (GError) error = NULL;
    CU_ASSERT (!chains_snapshots_add (store->db, all[i], &error));
    SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_INVALID);
  }
}

static void
add_snapshot (Store *store, const char *id, const char *name, gint64 created_us)
{
  g_autoptr (ChainsSnapshot) snapshot = fixture_make_snapshot (store->vm, id, name);

  snapshot->created_us = created_us;
  CU_ASSERT_FATAL (chains_snapshots_add (store->db, snapshot, NULL));
}

/* The name of what @reference finds, or the code of the error as a word. */
static char *
find (Store *store, const char *reference)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ChainsSnapshot) found = chains_snapshots_find (store->db, store->vm, reference, &error);

  if (found != NULL)
    return g_strdup (found->name);
  if (g_error_matches (error, CHAINS_ERROR, CHAINS_ERROR_AMBIGUOUS))
    return g_strdup ("ambiguous");
  if (g_error_matches (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND))
    return g_strdup ("not found");
  return g_strdup (error->message);
}

static gboolean
finds (Store *store, const char *reference, const char *expected)
{
  g_autofree char *found = find (store, reference);

  if (g_str_equal (found, expected))
    return TRUE;
  printf ("# '%s' finds '%s', not '%s'\n", reference, found, expected);
  return FALSE;
}

static void
latest_is_the_newest_by_sequence_not_by_clock (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (GPtrArray) all = NULL;

  CU_ASSERT (finds (store, "latest", "not found"));
  add_snapshot (store, NULL, "one", 2000);
  add_snapshot (store, NULL, "two", 1000); /* the clock was set back */
  CU_ASSERT (finds (store, "latest", "two"));
  all = chains_snapshots_list (store->db, store->vm, NULL);
  CU_ASSERT_FATAL (all->len == 2);
  CU_ASSERT_STRING_EQUAL (((ChainsSnapshot *)all->pdata[0])->name, "one");
  CU_ASSERT_STRING_EQUAL (((ChainsSnapshot *)all->pdata[1])->name, "two");
}

static void
a_snapshot_is_found_by_name_then_by_a_unique_prefix (void)
{
  g_autoptr (Store) store = store_new ();

  add_snapshot (store, ID_A, "one", 1);
  add_snapshot (store, ID_B, "two", 2);
  CU_ASSERT (finds (store, "one", "one"));
  CU_ASSERT (finds (store, "aaaa0", "one"));
  CU_ASSERT (finds (store, "AAAA1", "two"));
  CU_ASSERT (finds (store, ID_B, "two"));
  CU_ASSERT (finds (store, "aaaa", "ambiguous"));
  CU_ASSERT (finds (store, "aaa", "not found"));
  CU_ASSERT (finds (store, "", "not found"));
  CU_ASSERT (finds (store, "aaaa*", "not found"));
  CU_ASSERT (finds (store, "????", "not found"));
  CU_ASSERT (finds (store, ID_B "0", "not found"));
  add_snapshot (store, NULL, "aaaa", 3);
  CU_ASSERT (finds (store, "aaaa", "aaaa"));
}

static void
another_vms_snapshots_are_not_found (void)
{
  g_autoptr (Store) store = store_new ();

  add_snapshot (store, ID_A, "one", 1);
  store->vm = fixture_add_vm (store->db, "mail");
  CU_ASSERT (finds (store, "one", "not found"));
  CU_ASSERT (finds (store, ID_A, "not found"));
  CU_ASSERT (finds (store, "latest", "not found"));
}

static void
an_unknown_snapshot_is_answered_with_the_nearest_name (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (GError) error = NULL;

  add_snapshot (store, NULL, "upgrade", 1);
  CU_ASSERT_PTR_NULL (chains_snapshots_find (store->db, store->vm, "upgarde", &error));
  SUPPORT_ASSERT_ERROR (error, CHAINS_ERROR, CHAINS_ERROR_NOT_FOUND);
  CU_ASSERT_PTR_NOT_NULL (strstr (error->message, "'upgrade'"));
}

static void
a_name_is_had_or_not (void)
{
  g_autoptr (Store) store = store_new ();
  gboolean has = FALSE;

  add_snapshot (store, ID_A, "one", 1);
  CU_ASSERT (chains_snapshots_has (store->db, store->vm, "one", &has, NULL) && has);
  CU_ASSERT (chains_snapshots_has (store->db, store->vm, "latest", &has, NULL) && !has);
  CU_ASSERT (chains_snapshots_has (store->db, store->vm, ID_A, &has, NULL) && !has);
}

static void
add_many (Store *store, guint count)
{
  g_autoptr (ChainsTransaction) transaction = chains_transaction_begin (store->db, NULL);
  gint64 a = 0, b = 0;

  for (guint i = 0; i < count; i++) {
    g_autofree char *path_a = g_strdup_printf ("/srv/images/web/web.%u.qcow2", i);
    g_autofree char *path_b = g_strdup_printf ("/srv/images/web/data.%u.qcow2", i);
    g_autofree char *name = g_strdup_printf ("snapshot-%u", i);
    g_autoptr (ChainsSnapshot) snapshot = fixture_make_snapshot (store->vm, NULL, name);
    gint64 image_a = a, image_b = b;

    a = fixture_add_image (store->db, store->vda, 0, path_a);
    b = fixture_add_image (store->db, store->vdb, 0, path_b);
    fixture_add_part (snapshot, store->vda, image_a != 0 ? image_a : a, a);
    fixture_add_part (snapshot, store->vdb, image_b != 0 ? image_b : b, b);
    g_ptr_array_add (snapshot->tags, g_strdup ("nightly"));
    g_assert_true (chains_snapshots_add (store->db, snapshot, NULL));
  }
  g_assert_true (chains_transaction_commit (transaction, NULL));
}

static void
ten_thousand_snapshots_are_listed_in_an_instant (void)
{
  g_autoptr (Store) store = store_new ();
  g_autoptr (GPtrArray) all = NULL;
  const ChainsSnapshot *last = NULL;
  clock_t started = 0; /* our own time, not that of others on a busy machine */
  clock_t took = 0;

  add_many (store, 10000);
  started = clock ();
  all = chains_snapshots_list (store->db, store->vm, NULL);
  took = clock () - started;
  printf ("# 10,000 snapshots of two disks: %.1f ms\n", (double)took * 1000 / CLOCKS_PER_SEC);
  CU_ASSERT_FATAL (all != NULL && all->len == 10000);
  last = all->pdata[9999];
  CU_ASSERT_FATAL (last->disks->len == 2 && last->tags->len == 1);
  CU_ASSERT_STRING_EQUAL (((ChainsSnapshotDisk *)last->disks->pdata[1])->image_path, "/srv/images/web/data.9998.qcow2");
  CU_ASSERT (took < CLOCKS_PER_SEC / 2); /* some ten times what it takes, for slow machines and sanitizers */
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (an_image_is_read_back_as_it_was_added),
      SUPPORT_TEST (an_image_is_changed),
      SUPPORT_TEST (values_that_cannot_be_are_refused),
      SUPPORT_TEST (an_owned_path_has_one_owner_who_is_named),
      SUPPORT_TEST (an_update_cannot_take_an_owned_path_either),
      SUPPORT_TEST (a_foreign_path_may_serve_many_disks_but_each_once),
      SUPPORT_TEST (a_parent_is_of_the_same_disk),
      SUPPORT_TEST (an_image_is_never_its_own_ancestor),
      SUPPORT_TEST (images_are_listed_parents_first_and_oldest_child_first),
      SUPPORT_TEST (a_deep_chain_is_listed),
      SUPPORT_TEST (an_image_that_something_needs_is_not_forgotten),
      SUPPORT_TEST (what_is_gone_cannot_be_changed_or_found),
      SUPPORT_TEST (a_snapshot_is_read_back_as_it_was_added),
      SUPPORT_TEST (a_snapshots_parts_are_in_guest_order_with_their_paths),
      SUPPORT_TEST (a_snapshot_of_an_unfrozen_guest_says_so),
      SUPPORT_TEST (a_snapshot_is_changed_with_its_parts_and_tags),
      SUPPORT_TEST (what_a_snapshot_had_in_an_image_is_in_another_one_that_took_it),
      SUPPORT_TEST (an_overlay_that_is_gone_is_gone_from_the_snapshot),
      SUPPORT_TEST (a_snapshot_name_is_legal_and_given_once_in_a_vm),
      SUPPORT_TEST (a_snapshot_that_cannot_be_added_whole_is_not_added),
      SUPPORT_TEST (an_overlay_is_of_the_same_disk),
      SUPPORT_TEST (words_of_the_user_are_utf8),
      SUPPORT_TEST (latest_is_the_newest_by_sequence_not_by_clock),
      SUPPORT_TEST (a_snapshot_is_found_by_name_then_by_a_unique_prefix),
      SUPPORT_TEST (another_vms_snapshots_are_not_found),
      SUPPORT_TEST (an_unknown_snapshot_is_answered_with_the_nearest_name),
      SUPPORT_TEST (a_name_is_had_or_not),
      SUPPORT_TEST (ten_thousand_snapshots_are_listed_in_an_instant),
  };

  return support_suite_run ("store", tests, G_N_ELEMENTS (tests), argc, argv);
}
