/*
 * The peer is a source on the main context: each turn it writes a piece and
 * throws away what the tested side sent, and after the last piece it hangs up. So one
 * thread does all, and the same input takes the same way each time.
 */
#include "tests/fuzz/peer.h"

#include <sys/socket.h>
#include <unistd.h>

#include "qmp/transport.h"

struct _FuzzPeer {
  const guint8 *data;
  gsize length;
  gsize piece;
  int fd;    /* the peer's end, -1 once closed */
  int other; /* the tested end until it is taken, or -1 */
  GSource *source;
};

static void
throw_away (int fd)
{
  char buffer[4096];

  while (recv (fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
    continue;
}

static gboolean
say_a_piece (gpointer user_data)
{
  FuzzPeer *self = user_data;
  gsize wanted = MIN (self->piece, self->length);
  ssize_t sent = wanted > 0 ? send (self->fd, self->data, wanted, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

  throw_away (self->fd);
  if (sent > 0) {
    self->data += sent;
    self->length -= (gsize)sent;
  }
  if (self->length > 0)
    return G_SOURCE_CONTINUE;
  shutdown (self->fd, SHUT_WR);
  return G_SOURCE_REMOVE;
}

FuzzPeer *
fuzz_peer_new (const guint8 *data, gsize length, gsize piece)
{
  FuzzPeer *self = g_new0 (FuzzPeer, 1);
  int ends[2];

  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    g_error ("socketpair failed");
  self->data = data;
  self->length = length;
  self->piece = piece;
  self->fd = ends[0];
  self->other = ends[1];
  self->source = g_idle_source_new ();
  g_source_set_callback (self->source, say_a_piece, self, NULL);
  g_source_attach (self->source, NULL);
  return self;
}

void
fuzz_peer_free (FuzzPeer *peer)
{
  g_source_destroy (peer->source);
  g_source_unref (peer->source);
  close (peer->fd);
  if (peer->other >= 0)
    close (peer->other);
  g_free (peer);
}

GIOStream *
fuzz_peer_take_io (FuzzPeer *peer)
{
  int fd = peer->other;

  peer->other = -1;
  return qmp_transport_from_fd (fd);
}
