/*
 * A qcow2 file of any bytes, as a guest that writes to a raw disk, or a broken
 * disk, may leave it. Read twice: as it is, and followed by zeroes, so that a
 * few hundred bytes can be a whole image of large clusters.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "engine/qcow2.h"
#include "tests/fuzz/fuzz.h"

#define ZEROES (128 * 1024)
#define MAX_BACKING 1023

static void
read_header (const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineQcow2) header = engine_qcow2_read (path, &error);

  g_assert ((header == NULL) != (error == NULL));
  if (header == NULL)
    return;
  g_assert (header->digest != NULL && strlen (header->digest) == 64);
  g_assert (header->backing == NULL || strlen (header->backing) <= MAX_BACKING);
}

void
fuzz_one (const guint8 *data, gsize length)
{
  int fd = memfd_create ("image", MFD_CLOEXEC);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);

  if (fd < 0 || write (fd, data, length) != (gssize)length)
    g_error ("no memory file");
  read_header (path);
  if (ftruncate (fd, (off_t)length + ZEROES) == 0)
    read_header (path);
  close (fd);
}
