/*
 * What an NBD server may answer to the look that is taken at it before QEMU is told
 * of it. The first byte says whether TLS is asked for, the rest is what the server
 * says, whatever it hears. Proves that each look ends, and what it says when it fails.
 */
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/error.h"
#include "engine/nbdprobe.h"
#include "tests/fuzz/fuzz.h"

#define PATIENCE_US (10 * G_USEC_PER_SEC)

typedef struct {
  const guint8 *data;
  gsize length;
  int listener;
} Server;

/* Says its bytes, then listens until the other side hangs up. */
static gpointer
serve (gpointer data)
{
  const Server *server = data;
  int client = accept (server->listener, NULL, NULL);
  char heard[4096];

  for (gsize at = 0; client >= 0 && at < server->length;) {
    ssize_t sent = send (client, server->data + at, server->length - at, MSG_NOSIGNAL);

    if (sent <= 0)
      break;
    at += (gsize)sent;
  }
  shutdown (client, SHUT_WR);
  while (recv (client, heard, sizeof heard, 0) > 0)
    continue;
  close (client);
  return NULL;
}

static void
look (const char *path, gboolean tls)
{
  const EngineNbdAddress address = {.path = (char *)path, .export = (char *)"x"};
  EngineNbdExport told;
  g_autoptr (GError) error = NULL;
  gboolean done = engine_nbdprobe_run (&address, "x", tls, PATIENCE_US, NULL, &told, &error);

  g_assert (done == (error == NULL));
  g_assert (done || error->domain == ENGINE_ERROR);
  g_assert (!tls || !told.known);
  g_assert (told.known || (told.size == 0 && !told.read_only));
}

void
fuzz_one (const guint8 *data, gsize length)
{
  struct sockaddr_un where = {.sun_family = AF_UNIX};
  g_autofree char *folder = length > 0 ? g_dir_make_tmp ("fuzz-XXXXXX", NULL) : NULL;
  g_autofree char *path = folder != NULL ? g_build_filename (folder, "s", NULL) : NULL;
  Server server = {data + 1, length - 1, -1};
  GThread *thread;

  if (path == NULL)
    return;
  g_strlcpy (where.sun_path, path, sizeof where.sun_path);
  server.listener = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind (server.listener, (const struct sockaddr *)&where, sizeof where) != 0 || listen (server.listener, 1) != 0)
    g_error ("no socket to listen at");
  thread = g_thread_new ("server", serve, &server);
  look (path, (data[0] & 1) != 0);
  g_thread_join (thread);
  close (server.listener);
  g_unlink (path);
  g_rmdir (folder);
}
