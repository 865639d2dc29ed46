/*
 * Binds TCP and Unix sockets. A connection that such a socket gives inherits its
 * keep-alive, so that a client whose host has died is not waited for for ever;
 * QEMU sets none for those that it serves.
 */
#include "engine/listener.h"

#include "engine/error.h"
#include "engine/nbdaddress.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_PREFIX "unix:"
#define NOT_THERE "cannot listen at '%s': %s"
#define IDLE_SECONDS 30
#define PROBE_SECONDS 10
#define PROBES ((ENGINE_LISTENER_DEAD_AFTER - IDLE_SECONDS) / PROBE_SECONDS)

/**
 * EngineListener:
 * @host: (nullable): as a URI has it; %NULL of a Unix socket
 * @path: (nullable): of a Unix socket, absolute; @device, @inode: of its file
 */
struct _EngineListener {
  int fd;
  char *host;
  guint port;
  char *path;
  dev_t device;
  ino_t inode;
};

static EngineListener *
listener_new (void)
{
  EngineListener *listener = g_new0 (EngineListener, 1);

  listener->fd = -1;
  return listener;
}

void
engine_listener_free (EngineListener *listener)
{
  struct stat there;

  if (listener == NULL)
    return;
  if (listener->inode != 0 && lstat (listener->path, &there) == 0 && there.st_dev == listener->device &&
      there.st_ino == listener->inode)
    unlink (listener->path);
  if (listener->fd >= 0)
    close (listener->fd);
  g_free (listener->host);
  g_free (listener->path);
  g_free (listener);
}

int
engine_listener_get_fd (const EngineListener *listener)
{
  return listener->fd;
}

static void
cannot_bind (const char *address, const char *why, GError **error)
{
  gboolean left = errno == EADDRINUSE && g_str_has_prefix (address, UNIX_PREFIX);

  engine_error_set (error, errno == EADDRINUSE ? ENGINE_ERROR_EXISTS : ENGINE_ERROR_FAILED,
                    left ? "remove it, if nobody serves there any more" : NULL, NOT_THERE, address, why);
}

/* ---- Unix sockets ---- */

/* The socket's name; %NULL with an error where it has none. */
static char *
unix_path (const char *address, GError **error)
{
  g_autofree char *path = g_canonicalize_filename (address + strlen (UNIX_PREFIX), NULL);

  if (address[strlen (UNIX_PREFIX)] != '\0' && strlen (path) < sizeof ((struct sockaddr_un *)0)->sun_path)
    return g_steal_pointer (&path);
  engine_error_set (error, ENGINE_ERROR_USAGE, NULL, NOT_THERE, address,
                    "the path of a socket has 1 to 107 bytes, counted from /");
  return NULL;
}

static EngineListener *
open_unix (const char *address, GError **error)
{
  g_autoptr (EngineListener) listener = listener_new ();
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  struct stat made;

  listener->path = unix_path (address, error);
  if (listener->path == NULL)
    return NULL;
  memcpy (name.sun_path, listener->path, strlen (listener->path));
  listener->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener->fd < 0 || bind (listener->fd, (const struct sockaddr *)&name, sizeof name) != 0) {
    cannot_bind (address, errno == EADDRINUSE ? "there is a file already" : g_strerror (errno), error);
    return NULL;
  }
  if (lstat (listener->path, &made) == 0) {
    listener->device = made.st_dev;
    listener->inode = made.st_ino;
  }
  return g_steal_pointer (&listener);
}

/* To bind one would make its file. */
static gboolean
check_unix (const char *address, GError **error)
{
  g_autofree char *path = unix_path (address, error);
  g_autofree char *folder = path != NULL ? g_path_get_dirname (path) : NULL;
  struct stat there;

  if (path == NULL)
    return FALSE;
  if (lstat (path, &there) == 0) {
    errno = EADDRINUSE;
    cannot_bind (address, "there is a file already", error);
    return FALSE;
  }
  if (access (folder, W_OK | X_OK) == 0)
    return TRUE;
  cannot_bind (address, g_strerror (errno), error);
  return FALSE;
}

/* ---- TCP ---- */

/* HOST and PORT of an address, or what is wrong with it. */
static const char *
split (const char *address, char **host, char **port)
{
  const char *colon = strrchr (address, ':');
  gboolean bracketed = *address == '[' && colon != NULL && colon > address && colon[-1] == ']';
  guint64 number;

  if (colon == NULL)
    return "it has to be HOST:PORT or unix:PATH";
  if (!bracketed && memchr (address, ':', (gsize)(colon - address)) != NULL)
    return "an IPv6 address stands in brackets: [::1]:10809";
  if (!g_ascii_string_to_unsigned (colon + 1, 10, 0, 65535, &number, NULL))
    return "its port has to be a number up to 65535; 0 is any that is free";
  *host =
      bracketed ? g_strndup (address + 1, (gsize)(colon - address) - 2) : g_strndup (address, (gsize)(colon - address));
  *port = g_strdup (colon + 1);
  return NULL;
}

static void
keep_alive (int fd)
{
  const int idle = IDLE_SECONDS, probe = PROBE_SECONDS, probes = PROBES, on = 1;
  const unsigned int dead_after_ms = ENGINE_LISTENER_DEAD_AFTER * 1000;

  setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe, sizeof probe);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  setsockopt (fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_after_ms, sizeof dead_after_ms);
}

/* Of all addresses, that of IPv6 takes IPv4 too. */
static int
bind_one (const struct addrinfo *one)
{
  const int off = 0;
  int fd = socket (one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), reason;

  if (fd < 0)
    return -1;
  keep_alive (fd);
  if (one->ai_family == AF_INET6)
    setsockopt (fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind (fd, one->ai_addr, one->ai_addrlen) == 0)
    return fd;
  reason = errno;
  close (fd);
  errno = reason;
  return -1;
}

/* The first address of @host that can be bound; where none can, -1 with what was wrong with the last in @failure. */
static int
bind_host (const char *host, const char *port, const char **failure)
{
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
  struct addrinfo *list = NULL;
  int fd = -1, reason, unknown = getaddrinfo (host, port, &hints, &list);

  errno = 0;
  for (const struct addrinfo *one = list; unknown == 0 && fd < 0 && one != NULL; one = one->ai_next)
    fd = bind_one (one);
  reason = errno;
  *failure = unknown != 0 ? gai_strerror (unknown) : g_strerror (reason);
  if (unknown == 0)
    freeaddrinfo (list);
  errno = reason;
  return fd;
}

static gboolean
is_wildcard (const char *host)
{
  return *host == '\0' || g_str_equal (host, "::") || g_str_equal (host, "0.0.0.0");
}

typedef union {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
} Name;

static guint
port_of (int fd)
{
  Name name = {0};
  socklen_t length = sizeof name;

  if (getsockname (fd, &name.any, &length) != 0)
    return 0;
  return ntohs (name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
}

static EngineListener *
open_tcp (const char *address, GError **error)
{
  g_autoptr (EngineListener) listener = listener_new ();
  g_autofree char *host = NULL;
  g_autofree char *port = NULL;
  const char *wrong = split (address, &host, &port);

  if (wrong != NULL) {
    engine_error_set (error, ENGINE_ERROR_USAGE, NULL, NOT_THERE, address, wrong);
    return NULL;
  }
  listener->fd = bind_host (*host != '\0' ? host : "::", port, &wrong);
  if (listener->fd < 0 && *host == '\0' && errno == EAFNOSUPPORT)
    listener->fd = bind_host ("0.0.0.0", port, &wrong);
  if (listener->fd < 0) {
    cannot_bind (address, wrong, error);
    return NULL;
  }
  listener->port = port_of (listener->fd);
  listener->host = g_strdup (is_wildcard (host) ? g_get_host_name () : host);
  return g_steal_pointer (&listener);
}

EngineListener *
engine_listener_open (const char *address, GError **error)
{
  return g_str_has_prefix (address, UNIX_PREFIX) ? open_unix (address, error) : open_tcp (address, error);
}

gboolean
engine_listener_check (const char *address, GError **error)
{
  g_autoptr (EngineListener) listener = NULL;

  if (g_str_has_prefix (address, UNIX_PREFIX))
    return check_unix (address, error);
  listener = open_tcp (address, error);
  return listener != NULL;
}

/* ---- how it is found ---- */

gboolean
engine_listener_is_open (const EngineListener *listener)
{
  Name name = {0};
  socklen_t length = sizeof name;

  if (listener->path != NULL || getsockname (listener->fd, &name.any, &length) != 0)
    return FALSE;
  if (name.any.sa_family == AF_INET6)
    return !IN6_IS_ADDR_LOOPBACK (&name.v6.sin6_addr);
  return ntohl (name.v4.sin_addr.s_addr) >> 24 != 127;
}

char *
engine_listener_uri (const EngineListener *listener, const char *export, gboolean tls)
{
  g_autofree char *port = g_strdup_printf ("%u", listener->port);
  const EngineNbdAddress address = {.host = listener->host, .port = port, .path = listener->path};

  return engine_nbdaddress_uri (&address, export, tls);
}
