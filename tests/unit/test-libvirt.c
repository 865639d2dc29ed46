/*
 * What engine/libvirt takes for libvirt's: monitors, command lines, and the images
 * in domain definitions that the test writes.
 */
#include "engine/libvirt.h"
#include "tests/support/suite.h"

#include <glib/gstdio.h>

#define DEFINITION                                                                              \
  "<!-- WARNING -->\n<domain type='kvm'><name>web</name><metadata><name>no</name></metadata>\n" \
  "<devices><disk type='file'><source file='/i/o&apos;neill &amp; &lt;x&gt; &#228;.qcow2'/>\n"  \
  "<backingStore type='file'><source file='/i/base.qcow2'/></backingStore></disk>\n"            \
  "<disk type='block'><source dev='/dev/vg/web'/></disk>\n"                                     \
  "<filesystem><source file='/i/folder'/></filesystem></devices></domain>\n"

typedef struct {
  char *folder;
  char *file;
} Rig;

static void
rig_clear (Rig *rig)
{
  g_unlink (rig->file);
  g_rmdir (rig->folder);
  g_free (rig->file);
  g_free (rig->folder);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Rig, rig_clear)

static void
rig_init (Rig *rig, const char *name, const char *definition)
{
  rig->folder = g_dir_make_tmp ("libvirt-XXXXXX", NULL);
  rig->file = g_build_filename (rig->folder, name, NULL);
  CU_ASSERT_TRUE (g_file_set_contents (rig->file, definition, -1, NULL));
}

static void
assert_domain (const Rig *rig, const char *path, const char *expected)
{
  const char *const folders[] = {"/no/such/folder", rig->folder, NULL};
  g_autofree char *domain = engine_libvirt_find_domain (folders, path);

  CU_ASSERT_EQUAL (g_strcmp0 (domain, expected), 0);
}

static void
disks_of_a_definition_are_found_with_entities_and_devices (void)
{
  g_auto (Rig) rig = {0};

  rig_init (&rig, "web.xml", DEFINITION);
  assert_domain (&rig, "/i/o'neill & <x> \xc3\xa4.qcow2", "web");
  assert_domain (&rig, "/dev/vg/web", "web");
}

static void
what_is_no_disk_of_the_domain_is_not_found (void)
{
  g_auto (Rig) rig = {0};

  rig_init (&rig, "web.xml", DEFINITION);
  assert_domain (&rig, "/i/base.qcow2", NULL);
  assert_domain (&rig, "/i/folder", NULL);
  assert_domain (&rig, "/i/other", NULL);
}

static void
only_definitions_are_read (void)
{
  g_auto (Rig) rig = {0};

  rig_init (&rig, "web.xml.old", DEFINITION);
  assert_domain (&rig, "/dev/vg/web", NULL);
}

static void
a_definition_that_is_cut_short_still_names_its_disks (void)
{
  g_auto (Rig) rig = {0};

  rig_init (&rig, "cut.xml", "<domain><devices><disk><source file='/i/a'/></disk><disk><sou");
  assert_domain (&rig, "/i/a", "cut.xml");
}

static void
monitors_in_libvirts_folders_are_its_own (void)
{
  CU_ASSERT_TRUE (engine_libvirt_has_monitor ("/var/lib/libvirt/qemu/domain-1-web/monitor.sock"));
  CU_ASSERT_TRUE (engine_libvirt_has_monitor ("/run/libvirt/qemu/m"));
  CU_ASSERT_TRUE (engine_libvirt_has_monitor ("/home/me/.config/libvirt/qemu/lib/domain-1/monitor.sock"));
  CU_ASSERT_TRUE (engine_libvirt_has_monitor ("/home/me/.local/share/libvirt/m"));
  CU_ASSERT_FALSE (engine_libvirt_has_monitor ("/run/libvirt.sock"));
  CU_ASSERT_FALSE (engine_libvirt_has_monitor ("/srv/libvirt/m"));
}

static void
the_secret_on_the_command_line_is_its_mark (void)
{
  const char *keyval[] = {"qemu", "-object", "secret,id=masterKey0,format=raw,file=/x", NULL};
  const char *json[] = {"qemu", "-object", "{\"qom-type\":\"secret\",\"id\":\"masterKey0\"}", NULL};
  const char *other[] = {"qemu", "-object", "secret,id=key,data=masterKey0", NULL};
  const char *cut[] = {"qemu", "-object", NULL};

  CU_ASSERT_TRUE (engine_libvirt_has_arguments ((char **)keyval));
  CU_ASSERT_TRUE (engine_libvirt_has_arguments ((char **)json));
  CU_ASSERT_FALSE (engine_libvirt_has_arguments ((char **)other));
  CU_ASSERT_FALSE (engine_libvirt_has_arguments ((char **)cut));
  CU_ASSERT_FALSE (engine_libvirt_has_arguments (NULL));
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (disks_of_a_definition_are_found_with_entities_and_devices),
      SUPPORT_TEST (what_is_no_disk_of_the_domain_is_not_found),
      SUPPORT_TEST (only_definitions_are_read),
      SUPPORT_TEST (a_definition_that_is_cut_short_still_names_its_disks),
      SUPPORT_TEST (monitors_in_libvirts_folders_are_its_own),
      SUPPORT_TEST (the_secret_on_the_command_line_is_its_mark),
  };

  return support_suite_run ("libvirt", tests, G_N_ELEMENTS (tests), argc, argv);
}
