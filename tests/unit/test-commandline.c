/*
 * Command lines of QEMU and of its storage daemon, as engine/commandline reads
 * them: where QMP is spoken, in every spelling.
 */
#include "engine/commandline.h"
#include "tests/support/suite.h"

#define QEMU "/usr/bin/qemu-system-x86_64"
#define DAEMON "qemu-storage-daemon"

#define PARSE(...) parse ((const char *const[]){__VA_ARGS__, NULL})

static EngineCommandline *
parse (const char *const *words)
{
  return engine_commandline_parse (NULL, (char **)words);
}

static void
assert_monitor (const EngineCommandline *line, guint index, EngineCommandlineKind kind, const char *path)
{
  const EngineCommandlineMonitor *monitor;

  CU_ASSERT_FATAL (line != NULL && line->monitors->len > index);
  monitor = g_ptr_array_index (line->monitors, index);
  CU_ASSERT_EQUAL (monitor->kind, kind);
  CU_ASSERT_EQUAL (g_strcmp0 (monitor->path, path), 0);
}

static void
programs_are_told_by_their_names (void)
{
  const char *const names[] = {QEMU, "qemu-system-aarch64", "/usr/bin/kvm", "/usr/libexec/qemu-kvm", DAEMON};
  const char *const others[] = {"bash", "/usr/bin/kvm-something", "qemu-img", "vim qemu-system-x86_64", ""};

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (EngineCommandline) line = PARSE (names[i]);
    CU_ASSERT_PTR_NOT_NULL (line);
  }
  for (gsize i = 0; i < G_N_ELEMENTS (others); i++) {
    g_autoptr (EngineCommandline) line = PARSE (others[i]);
    CU_ASSERT_PTR_NULL (line);
  }
  CU_ASSERT_PTR_NULL (engine_commandline_parse (QEMU, NULL));
}

static void
the_executable_counts_more_than_what_a_process_calls_itself (void)
{
  const char *words[] = {QEMU, NULL};
  g_autoptr (EngineCommandline) renamed = engine_commandline_parse ("/usr/bin/python3", (char **)words);
  const char *odd[] = {"my-vm", NULL};
  g_autoptr (EngineCommandline) found = engine_commandline_parse (QEMU " (deleted)", (char **)odd);

  CU_ASSERT_PTR_NULL (renamed);
  CU_ASSERT_PTR_NOT_NULL (found);
}

static void
a_qmp_option_is_a_monitor (void)
{
  g_autoptr (EngineCommandline) line =
      PARSE (QEMU, "-qmp", "unix:/run/a,,b,server=on,wait=off", "--qmp-pretty", "unix:c,server,nowait");

  CU_ASSERT_EQUAL (line->monitors->len, 2);
  assert_monitor (line, 0, ENGINE_COMMANDLINE_SOCKET, "/run/a,b");
  assert_monitor (line, 1, ENGINE_COMMANDLINE_SOCKET, "c");
}

static void
a_mon_option_needs_the_control_mode_and_finds_its_chardev (void)
{
  g_autoptr (EngineCommandline) line =
      PARSE (QEMU, "-mon", "chardev=q,mode=control", "-mon", "h", "-mon", "q2,mode=control", "-chardev",
             "socket,id=q,path=/q,server=on,wait=off", "-chardev", "socket,id=h,path=/h,server=on", "-chardev",
             "socket,path=/q2,id=q2,server");

  CU_ASSERT_EQUAL (line->monitors->len, 2);
  assert_monitor (line, 0, ENGINE_COMMANDLINE_SOCKET, "/q");
  assert_monitor (line, 1, ENGINE_COMMANDLINE_SOCKET, "/q2");
  CU_ASSERT_EQUAL (line->sockets->len, 3);
}

static void
the_chardev_of_a_qmp_option_is_found (void)
{
  g_autoptr (EngineCommandline) line = PARSE (QEMU, "-chardev", "socket,id=q,path=/q,server=on", "-qmp", "chardev:q");

  assert_monitor (line, 0, ENGINE_COMMANDLINE_SOCKET, "/q");
}

static void
json_says_the_same (void)
{
  g_autoptr (EngineCommandline) line = PARSE (
      DAEMON, "--chardev",
      "{\"id\":\"q\",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":{\"type\":\"unix\",\"data\":{\"path\":\"/q\"}}"
      "}}}",
      "--monitor", "{\"chardev\":\"q\"}");

  CU_ASSERT_TRUE (line->daemon);
  assert_monitor (line, 0, ENGINE_COMMANDLINE_SOCKET, "/q");
}

static void
the_daemons_monitors_are_for_programs_and_qemus_for_people (void)
{
  g_autoptr (EngineCommandline) daemon =
      PARSE (DAEMON, "--chardev=socket,id=q,path=/q,server=on", "--monitor=q", "--monitor", "chardev=q,mode=control");
  g_autoptr (EngineCommandline) qemu = PARSE (QEMU, "-monitor", "unix:/hmp,server=on");

  CU_ASSERT_EQUAL (daemon->monitors->len, 2);
  assert_monitor (daemon, 0, ENGINE_COMMANDLINE_SOCKET, "/q");
  CU_ASSERT_EQUAL (qemu->monitors->len, 0);
  CU_ASSERT_EQUAL (qemu->sockets->len, 1);
}

static void
what_cannot_be_connected_to_is_no_socket (void)
{
  g_autoptr (EngineCommandline) line =
      PARSE (QEMU, "-qmp", "tcp:localhost:4444,server=on", "-qmp", "unix:/client", "-qmp", "stdio", "-qmp",
             "chardev:none", "-chardev", "socket,id=a,path=x,abstract=on,server=on", "-mon", "a,mode=control");

  CU_ASSERT_EQUAL (line->monitors->len, 5);
  for (guint i = 0; i < 4; i++)
    assert_monitor (line, i, ENGINE_COMMANDLINE_OTHER, NULL);
  assert_monitor (line, 4, ENGINE_COMMANDLINE_ABSTRACT, NULL);
}

static void
name_uuid_and_agent_are_read (void)
{
  g_autoptr (EngineCommandline) line =
      PARSE (QEMU, "-name", "guest=web,,1,debug-threads=on", "-uuid", "0B6D6A52-4F5A-4A0E-9D3B-6D1F2A7C8E90", "-device",
             "virtserialport,chardev=ga,name=org.qemu.guest_agent.0", "-device", "virtserialport,chardev=x,name=other",
             "-chardev", "socket,id=ga,path=/ga,server=on", "-chardev", "socket,id=x,path=/x,server=on");
  g_autoptr (EngineCommandline) plain =
      PARSE (QEMU, "-name", "web", "-uuid", "nonsense", "-device",
             "{\"driver\":\"virtserialport\",\"chardev\":\"ga\",\"name\":\"org.qemu.guest_agent.0\"}", "-chardev",
             "socket,id=ga,path=/ga,server=on");

  CU_ASSERT_STRING_EQUAL (line->name, "web,1");
  CU_ASSERT_STRING_EQUAL (line->uuid, "0b6d6a52-4f5a-4a0e-9d3b-6d1f2a7c8e90");
  CU_ASSERT_STRING_EQUAL (line->agent, "/ga");
  CU_ASSERT_STRING_EQUAL (plain->name, "web");
  CU_ASSERT_PTR_NULL (plain->uuid);
  CU_ASSERT_STRING_EQUAL (plain->agent, "/ga");
}

static void
command_lines_that_are_cut_short_or_broken_are_read_as_far_as_they_go (void)
{
  g_autoptr (EngineCommandline) cut = PARSE (QEMU, "-qmp");
  g_autoptr (EngineCommandline) broken =
      PARSE (QEMU, "-mon", "{\"chardev\":", "-chardev", "{", "-device", "{]", "-name", "\xff", "-qmp", "");

  CU_ASSERT_EQUAL (cut->monitors->len, 0);
  CU_ASSERT_STRING_EQUAL (broken->name, "\xff");
}

/* The parser recurses. */
static void
a_command_line_of_brackets_is_no_end (void)
{
  g_autofree char *brackets = g_strnfill (500000, '[');
  g_autofree char *word = g_strconcat ("{\"id\":", brackets, NULL);
  g_autoptr (EngineCommandline) line = PARSE (QEMU, "-chardev", word, "-qmp", "unix:/run/q,server");

  assert_monitor (line, 0, ENGINE_COMMANDLINE_SOCKET, "/run/q");
}

/* A stand-in has its images on its command line in one another. */
static void
a_chain_of_hundreds_of_images_is_read (void)
{
  g_autoptr (GString) word = g_string_new (NULL);
  g_autoptr (GHashTable) options = NULL;

  for (int i = 0; i < 1000; i++)
    g_string_append (word, "{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\"},\"backing\":");
  g_string_append (word, "null");
  for (int i = 0; i < 1000; i++)
    g_string_append_c (word, '}');
  options = engine_commandline_parse_options (word->str, NULL);
  CU_ASSERT_EQUAL (g_strcmp0 (g_hash_table_lookup (options, "backing.backing.file.driver"), "file"), 0);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (programs_are_told_by_their_names),
      SUPPORT_TEST (the_executable_counts_more_than_what_a_process_calls_itself),
      SUPPORT_TEST (a_qmp_option_is_a_monitor),
      SUPPORT_TEST (a_mon_option_needs_the_control_mode_and_finds_its_chardev),
      SUPPORT_TEST (the_chardev_of_a_qmp_option_is_found),
      SUPPORT_TEST (json_says_the_same),
      SUPPORT_TEST (the_daemons_monitors_are_for_programs_and_qemus_for_people),
      SUPPORT_TEST (what_cannot_be_connected_to_is_no_socket),
      SUPPORT_TEST (name_uuid_and_agent_are_read),
      SUPPORT_TEST (a_command_line_of_brackets_is_no_end),
      SUPPORT_TEST (a_chain_of_hundreds_of_images_is_read),
      SUPPORT_TEST (command_lines_that_are_cut_short_or_broken_are_read_as_far_as_they_go),
  };

  return support_suite_run ("commandline", tests, G_N_ELEMENTS (tests), argc, argv);
}
