/*
 * What file systems are told apart, and what is seen of the kernel's own, which can
 * do less than a disk's.
 */
#include "engine/filesystem.h"
#include "tests/support/suite.h"

#include <glib/gstdio.h>

static void
assert_type (guint32 magic, const char *name, EngineFilesystemKind kind)
{
  const EngineFilesystemType *type = engine_filesystem_type_of (magic);

  CU_ASSERT_STRING_EQUAL (type->name, name);
  CU_ASSERT_EQUAL (type->kind, kind);
}

/* Numbers from statfs(2). */
static void
types_are_told_by_their_numbers (void)
{
  assert_type (0x01021994, "tmpfs", ENGINE_FILESYSTEM_MEMORY);
  assert_type (0x858458f6, "ramfs", ENGINE_FILESYSTEM_MEMORY);
  assert_type (0x6969, "nfs", ENGINE_FILESYSTEM_NETWORK);
  assert_type (0xff534d42, "cifs", ENGINE_FILESYSTEM_NETWORK);
  assert_type (0xfe534d42, "cifs", ENGINE_FILESYSTEM_NETWORK);
  assert_type (0x01021997, "9p", ENGINE_FILESYSTEM_NETWORK);
  assert_type (0x65735546, "fuse", ENGINE_FILESYSTEM_NETWORK);
  assert_type (0xef53, "", ENGINE_FILESYSTEM_LOCAL);
  assert_type (0x58465342, "", ENGINE_FILESYSTEM_LOCAL);
}

static void
a_file_system_without_unnamed_files_and_birth_times_is_seen (void)
{
  EngineFilesystem proc;

  CU_ASSERT_FATAL (engine_filesystem_look ("/proc", &proc));
  CU_ASSERT_FALSE (proc.unnamed_files);
  CU_ASSERT_FALSE (proc.birth_times);
}

static void
looking_leaves_nothing_behind (void)
{
  g_autofree char *folder = g_dir_make_tmp ("chainctl-XXXXXX", NULL);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  EngineFilesystem system;

  CU_ASSERT_FATAL (engine_filesystem_look (folder, &system));
  CU_ASSERT (system.available > 0);
  CU_ASSERT (system.inodes > 0);
  CU_ASSERT (system.unnamed_files);
  CU_ASSERT_PTR_NULL (g_dir_read_name (dir));
  g_rmdir (folder);
}

static void
a_folder_that_is_not_there_cannot_be_looked_at (void)
{
  EngineFilesystem system;

  CU_ASSERT_FALSE (engine_filesystem_look ("/nowhere/at/all", &system));
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (types_are_told_by_their_numbers),
      SUPPORT_TEST (a_file_system_without_unnamed_files_and_birth_times_is_seen),
      SUPPORT_TEST (looking_leaves_nothing_behind),
      SUPPORT_TEST (a_folder_that_is_not_there_cannot_be_looked_at),
  };

  return support_suite_run ("filesystem", tests, G_N_ELEMENTS (tests), argc, argv);
}
