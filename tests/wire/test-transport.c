/*
 * Addresses and connections, over real sockets.
 */
#include "qmp/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qmp/call.h"
#include "qmp/error.h"
#include "tests/support/suite.h"

#define SOON qmp_call_deadline_in (0.2)
#define LATER qmp_call_deadline_in (10)

#define NOBODY 65534

/* A folder of a test's own, and a listener in it, bound from within the folder as its path may be long. */
typedef struct {
  char *folder;
  char *path;
  int listener;
} Place;

static Place *
new_place (const char *name)
{
  Place *place = g_new0 (Place, 1);
  place->folder = g_dir_make_tmp ("wire-XXXXXX", NULL);
  place->path = g_build_filename (place->folder, name, NULL);
  place->listener = -1;
  return place;
}

static void
listen_at (Place *place, int backlog)
{
  struct sockaddr_un where = {.sun_family = AF_UNIX};
  g_autofree char *folder = g_path_get_dirname (place->path);
  g_autofree char *name = g_path_get_basename (place->path);
  g_autofree char *before = g_get_current_dir ();

  g_mkdir_with_parents (folder, 0700);
  g_strlcpy (where.sun_path, name, sizeof where.sun_path);
  place->listener = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CU_ASSERT_EQUAL (g_chdir (folder), 0);
  CU_ASSERT_EQUAL (bind (place->listener, (const struct sockaddr *)&where, sizeof where), 0);
  CU_ASSERT_EQUAL (listen (place->listener, backlog), 0);
  CU_ASSERT_EQUAL (g_chdir (before), 0);
}

static void
free_place (Place *place)
{
  if (place->listener >= 0)
    close (place->listener);
  g_unlink (place->path);
  for (g_autofree char *folder = g_path_get_dirname (place->path); strlen (folder) >= strlen (place->folder);) {
    g_rmdir (folder);
    char *parent = g_path_get_dirname (folder);
    g_free (folder);
    folder = parent;
  }
  g_free (place->folder);
  g_free (place->path);
  g_free (place);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Place, free_place)

static void
assert_fails (const char *address, gint64 deadline_us, QmpError code, const char *word)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GIOStream) io = qmp_transport_connect (address, deadline_us, NULL, &error);

  CU_ASSERT_PTR_NULL (io);
  SUPPORT_ASSERT_ERROR (error, QMP_ERROR, code);
  CU_ASSERT (error != NULL && strstr (error->message, word) != NULL);
}

static GIOStream *
assert_connects (const char *address)
{
  g_autoptr (GError) error = NULL;
  GIOStream *io = qmp_transport_connect (address, LATER, NULL, &error);

  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL (io);
  return io;
}

/* One byte each way through @io and the next connection that @listener has. */
static void
assert_carries_bytes (GIOStream *io, int listener)
{
  int fd = accept4 (listener, NULL, NULL, SOCK_CLOEXEC);
  char byte = 0;

  CU_ASSERT (fd >= 0);
  CU_ASSERT_EQUAL (qmp_transport_send (io, "a", 1, NULL), 1);
  CU_ASSERT_EQUAL (read (fd, &byte, 1), 1);
  CU_ASSERT_EQUAL (byte, 'a');

  CU_ASSERT_EQUAL (write (fd, "b", 1), 1);
  GPollFD readable = {.fd = qmp_transport_get_fd (io), .events = G_IO_IN};
  CU_ASSERT_EQUAL (g_poll (&readable, 1, 5000), 1);
  CU_ASSERT_EQUAL (g_input_stream_read (g_io_stream_get_input_stream (io), &byte, 1, NULL, NULL), 1);
  CU_ASSERT_EQUAL (byte, 'b');
  close (fd);
}

static void
addresses_are_checked (void)
{
  const char *const good[] = {"unix:/a",  "/a/b", "a", "./tcp:1", "unix:tcp:1", "vsock:3:1024", "vsock:1:4294967294",
                              "unix:\xff"};
  const char *const bad[] = {"",
                             "unix:",
                             "vsock:",
                             "vsock:3",
                             "vsock:3:",
                             "vsock::1",
                             "vsock:3:1:2",
                             "vsock:-1:1",
                             "vsock:3:4294967295",
                             "vsock:4294967295:1",
                             "vsock:a:1",
                             "vsock: 3:1",
                             "tcp:host:99",
                             "vsock:3:18446744073709551617"};

  for (guint i = 0; i < G_N_ELEMENTS (good); i++) {
    g_autoptr (GError) error = NULL;
    CU_ASSERT_TRUE (qmp_transport_check_address (good[i], &error));
    SUPPORT_ASSERT_CLEAR (error);
  }
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;
    CU_ASSERT_FALSE (qmp_transport_check_address (bad[i], &error));
    SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_ADDRESS);
    assert_fails (bad[i], LATER, QMP_ERROR_ADDRESS, bad[i]);
  }
}

static void
a_unix_socket_connects_with_and_without_prefix (void)
{
  g_autoptr (Place) place = new_place ("socket");
  g_autofree char *address = g_strconcat ("unix:", place->path, NULL);

  listen_at (place, 5);
  g_autoptr (GIOStream) one = assert_connects (address);
  assert_carries_bytes (one, place->listener);
  g_autoptr (GIOStream) other = assert_connects (place->path);
  assert_carries_bytes (other, place->listener);
  CU_ASSERT_EQUAL (qmp_transport_get_peer_pid (other), getpid ());
}

/* Folders that make the path longer by @length bytes. */
static char *
long_name (guint length)
{
  GString *name = g_string_new (NULL);
  while (name->len < length)
    g_string_append (name, "a-folder-of-thirty-two-letters-/");
  return g_string_free (g_string_append (name, "socket"), FALSE);
}

static void
a_path_longer_than_sun_path_connects (void)
{
  const guint lengths[] = {96, 1000, 3000};

  for (guint i = 0; i < G_N_ELEMENTS (lengths); i++) {
    g_autofree char *name = long_name (lengths[i]);
    g_autoptr (Place) place = new_place (name);
    listen_at (place, 5);
    CU_ASSERT (strlen (place->path) > 107);
    g_autoptr (GIOStream) io = assert_connects (place->path);
    if (io != NULL)
      assert_carries_bytes (io, place->listener);
  }
}

static void
a_path_of_every_length_around_the_limit_connects (void)
{
  for (guint length = 104; length <= 111; length++) {
    g_autoptr (Place) place = new_place ("x");
    g_autofree char *name = g_strnfill (length - strlen (place->folder) - 1, 'n');
    g_free (place->path);
    place->path = g_build_filename (place->folder, name, NULL);
    CU_ASSERT_EQUAL (strlen (place->path), length);
    listen_at (place, 5);
    g_autoptr (GIOStream) io = assert_connects (place->path);
    if (io != NULL)
      assert_carries_bytes (io, place->listener);
  }
}

static void
a_path_that_is_not_utf8_connects (void)
{
  g_autoptr (Place) place = new_place ("\xff\xfe");

  listen_at (place, 5);
  g_autoptr (GIOStream) io = assert_connects (place->path);
  CU_ASSERT_PTR_NOT_NULL_FATAL (io);
  assert_carries_bytes (io, place->listener);
}

static void
a_missing_socket_is_a_connect_error_naming_it (void)
{
  g_autoptr (Place) place = new_place ("missing");
  g_autofree char *name = long_name (200);
  g_autofree char *long_path = g_build_filename (place->folder, name, NULL);
  g_autofree char *endless = g_strnfill (10000, 'a');
  gint64 begun = g_get_monotonic_time ();

  assert_fails (place->path, LATER, QMP_ERROR_CONNECT, place->path);
  assert_fails (long_path, LATER, QMP_ERROR_CONNECT, long_path);
  assert_fails (endless, LATER, QMP_ERROR_CONNECT, endless);
  CU_ASSERT (g_get_monotonic_time () - begun < 5 * G_USEC_PER_SEC);
}

static void
a_socket_that_nobody_listens_on_is_a_connect_error (void)
{
  g_autoptr (Place) place = new_place ("dead");
  g_autoptr (Place) file = new_place ("file");

  listen_at (place, 5);
  close (place->listener);
  place->listener = -1;
  assert_fails (place->path, LATER, QMP_ERROR_CONNECT, place->path);

  CU_ASSERT_TRUE (g_file_set_contents (file->path, "", 0, NULL));
  assert_fails (file->path, LATER, QMP_ERROR_CONNECT, file->path);
}

/* In a child that has no rights: 0 where the connection is refused as it should be. */
static int
refused_without_rights (const char *path)
{
  g_autoptr (GError) error = NULL;

  if (setresgid (NOBODY, NOBODY, NOBODY) < 0 || setresuid (NOBODY, NOBODY, NOBODY) < 0)
    return 2;
  g_autoptr (GIOStream) io = qmp_transport_connect (path, LATER, NULL, &error);
  return io == NULL && g_error_matches (error, QMP_ERROR, QMP_ERROR_CONNECT) && strstr (error->message, path) != NULL &&
                 strstr (error->message, g_strerror (EACCES)) != NULL
             ? 0
             : 1;
}

static int
run_in_child (int (*body) (const char *), const char *argument)
{
  int status;
  pid_t child = fork ();

  if (child == 0)
    _exit (body (argument));
  waitpid (child, &status, 0);
  return WIFEXITED (status) ? WEXITSTATUS (status) : -1;
}

static void
a_socket_without_permission_is_a_connect_error_naming_it (void)
{
  if (geteuid () != 0) {
    support_suite_skip ("only root can become somebody without rights");
    return;
  }
  g_autofree char *name = long_name (200);
  g_autoptr (Place) closed_folder = new_place ("socket");
  g_autoptr (Place) closed_socket = new_place (name);

  listen_at (closed_folder, 5);
  CU_ASSERT_EQUAL (run_in_child (refused_without_rights, closed_folder->path), 0);

  listen_at (closed_socket, 5);
  CU_ASSERT_EQUAL (run_in_child (refused_without_rights, closed_socket->path), 0);
}

static void
fill_queue (Place *place, GPtrArray *connections)
{
  GIOStream *io;

  while ((io = qmp_transport_connect (place->path, SOON, NULL, NULL)) != NULL && connections->len < 100)
    g_ptr_array_add (connections, io);
}

static void
a_full_listen_queue_is_busy_at_the_deadline (void)
{
  g_autoptr (Place) place = new_place ("socket");
  g_autoptr (GPtrArray) connections = g_ptr_array_new_with_free_func (g_object_unref);

  listen_at (place, 1);
  fill_queue (place, connections);
  CU_ASSERT (connections->len > 0 && connections->len < 100);

  gint64 begun = g_get_monotonic_time ();
  assert_fails (place->path, SOON, QMP_ERROR_BUSY, place->path);
  gint64 took = g_get_monotonic_time () - begun;
  CU_ASSERT (took >= 190 * 1000 && took < 5 * G_USEC_PER_SEC);
}

static gboolean
accept_one (gpointer user_data)
{
  const Place *place = user_data;
  close (accept (place->listener, NULL, NULL));
  return G_SOURCE_REMOVE;
}

static void
a_full_listen_queue_that_drains_is_waited_for (void)
{
  g_autoptr (Place) place = new_place ("socket");
  g_autoptr (GPtrArray) connections = g_ptr_array_new_with_free_func (g_object_unref);

  listen_at (place, 1);
  fill_queue (place, connections);
  g_timeout_add (100, accept_one, place);
  g_autoptr (GIOStream) io = assert_connects (place->path);
}

static void
a_wait_for_a_full_queue_can_be_cancelled (void)
{
  g_autoptr (Place) place = new_place ("socket");
  g_autoptr (GPtrArray) connections = g_ptr_array_new_with_free_func (g_object_unref);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;

  listen_at (place, 1);
  fill_queue (place, connections);
  g_cancellable_cancel (cancellable);
  CU_ASSERT_PTR_NULL (qmp_transport_connect (place->path, LATER, cancellable, &error));
  SUPPORT_ASSERT_ERROR (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

static void
descriptors_are_non_blocking_and_close_on_exec (void)
{
  int ends[2];
  CU_ASSERT_EQUAL (socketpair (AF_UNIX, SOCK_STREAM, 0, ends), 0);
  g_autoptr (GIOStream) one = qmp_transport_from_fd (ends[0]);
  g_autoptr (GIOStream) other = qmp_transport_from_fd (ends[1]);

  CU_ASSERT_EQUAL (qmp_transport_get_fd (one), ends[0]);
  CU_ASSERT (fcntl (ends[0], F_GETFD) & FD_CLOEXEC);
  CU_ASSERT (fcntl (ends[0], F_GETFL) & O_NONBLOCK);
  CU_ASSERT_TRUE (g_pollable_input_stream_can_poll (G_POLLABLE_INPUT_STREAM (g_io_stream_get_input_stream (one))));
  CU_ASSERT_TRUE (g_pollable_output_stream_can_poll (G_POLLABLE_OUTPUT_STREAM (g_io_stream_get_output_stream (one))));
}

static void
a_stream_that_is_let_go_closes_its_descriptor (void)
{
  int ends[2];
  char byte;

  CU_ASSERT_EQUAL (socketpair (AF_UNIX, SOCK_STREAM, 0, ends), 0);
  g_object_unref (qmp_transport_from_fd (ends[0]));
  CU_ASSERT_EQUAL (read (ends[1], &byte, 1), 0);
  close (ends[1]);
}

static void
writing_to_a_closed_peer_raises_no_signal (void)
{
  int ends[2];
  g_autoptr (GError) error = NULL;

  CU_ASSERT_EQUAL (socketpair (AF_UNIX, SOCK_STREAM, 0, ends), 0);
  g_autoptr (GIOStream) io = qmp_transport_from_fd (ends[0]);
  close (ends[1]);
  signal (SIGPIPE, SIG_DFL);
  CU_ASSERT_EQUAL (qmp_transport_send (io, "a", 1, &error), -1);
  SUPPORT_ASSERT_ERROR (error, G_IO_ERROR, G_IO_ERROR_BROKEN_PIPE);
}

/* A listener at this machine's own CID, which takes the kernel's vsock_loopback. Returns: -1 where it has none. */
static int
listen_on_vsock (guint *port)
{
  struct sockaddr_vm where = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL, .svm_port = VMADDR_PORT_ANY};
  socklen_t size = sizeof where;
  int fd = socket (AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

  if (fd < 0)
    return -1;
  if (bind (fd, (const struct sockaddr *)&where, size) < 0 || listen (fd, 5) < 0 ||
      getsockname (fd, (struct sockaddr *)&where, &size) < 0) {
    close (fd);
    return -1;
  }
  *port = where.svm_port;
  return fd;
}

static void
a_vsock_connects (void)
{
  guint port = 0;
  int listener = listen_on_vsock (&port);

  if (listener < 0) {
    support_suite_skip ("this kernel has no vsock_loopback");
    return;
  }
  g_autofree char *address = g_strdup_printf ("vsock:1:%u", port);
  g_autoptr (GIOStream) io = assert_connects (address);
  if (io != NULL) {
    assert_carries_bytes (io, listener);
    CU_ASSERT_EQUAL (qmp_transport_get_peer_pid (io), 0);
  }
  close (listener);
  assert_fails (address, LATER, QMP_ERROR_CONNECT, address);
}

static void
a_vsock_that_nobody_answers_fails_by_the_deadline (void)
{
  g_autoptr (GError) error = NULL;
  gint64 begun = g_get_monotonic_time ();
  g_autoptr (GIOStream) io = qmp_transport_connect ("vsock:4242:4242", SOON, NULL, &error);

  CU_ASSERT_PTR_NULL (io);
  CU_ASSERT (g_error_matches (error, QMP_ERROR, QMP_ERROR_CONNECT) ||
             g_error_matches (error, QMP_ERROR, QMP_ERROR_TIMEOUT));
  CU_ASSERT (error != NULL && strstr (error->message, "vsock:4242:4242") != NULL);
  CU_ASSERT (g_get_monotonic_time () - begun < 5 * G_USEC_PER_SEC);
}

int
main (int argc, char **argv)
{
  static const SupportTest tests[] = {
      SUPPORT_TEST (addresses_are_checked),
      SUPPORT_TEST (a_unix_socket_connects_with_and_without_prefix),
      SUPPORT_TEST (a_path_longer_than_sun_path_connects),
      SUPPORT_TEST (a_path_of_every_length_around_the_limit_connects),
      SUPPORT_TEST (a_path_that_is_not_utf8_connects),
      SUPPORT_TEST (a_missing_socket_is_a_connect_error_naming_it),
      SUPPORT_TEST (a_socket_that_nobody_listens_on_is_a_connect_error),
      SUPPORT_TEST (a_socket_without_permission_is_a_connect_error_naming_it),
      SUPPORT_TEST (a_full_listen_queue_is_busy_at_the_deadline),
      SUPPORT_TEST (a_full_listen_queue_that_drains_is_waited_for),
      SUPPORT_TEST (a_wait_for_a_full_queue_can_be_cancelled),
      SUPPORT_TEST (descriptors_are_non_blocking_and_close_on_exec),
      SUPPORT_TEST (a_stream_that_is_let_go_closes_its_descriptor),
      SUPPORT_TEST (writing_to_a_closed_peer_raises_no_signal),
      SUPPORT_TEST (a_vsock_connects),
      SUPPORT_TEST (a_vsock_that_nobody_answers_fails_by_the_deadline),
  };
  return support_suite_run ("transport", tests, G_N_ELEMENTS (tests), argc, argv);
}
