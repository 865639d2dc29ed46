/*
 * Writes, for ever, the next number to a file on the first disk, makes it durable, then to the second disk, and so on.
 * At any instant each disk thus holds the number of the disk before it, or one less; an image of several disks that
 * breaks this is no single point in time. A record is 64 bytes of text that carries its own CRC-32 and the boot
 * ("epoch") that wrote it. After a reboot it goes on from what the disks hold; disks that disagree end it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_SIZE = 64, MAX_DISKS = 8, PAUSE_US = 2000, SAY_EVERY_MS = 250 };

typedef struct {
  const char *folder;
  int fd;
  uint64_t last;
} Disk;

static uint32_t
crc32 (const char *bytes, size_t length)
{
  uint32_t crc = UINT32_MAX;

  for (size_t i = 0; i < length; i++) {
    crc ^= (unsigned char)bytes[i];
    for (int bit = 0; bit < 8; bit++)
      crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

static void
format_record (char record[RECORD_SIZE + 1], uint64_t number, uint32_t epoch)
{
  int length = snprintf (record, RECORD_SIZE, "ledger %012llu epoch %08x ", (unsigned long long)number, epoch);

  length += snprintf (record + length, RECORD_SIZE - length, "sum %08x ", crc32 (record, length));
  memset (record + length, '.', RECORD_SIZE - length);
  record[RECORD_SIZE - 1] = '\n';
}

/* The last record's number; 0 for an empty ledger. A record that does not carry the right sum ends the program. */
static uint64_t
last_number (const Disk *disk)
{
  char found[RECORD_SIZE + 1] = "", expected[RECORD_SIZE + 1];
  unsigned long long number;
  unsigned epoch;
  off_t size = lseek (disk->fd, 0, SEEK_END);

  if (size == 0)
    return 0;
  if (size % RECORD_SIZE == 0 && pread (disk->fd, found, RECORD_SIZE, size - RECORD_SIZE) == RECORD_SIZE &&
      sscanf (found, "ledger %llu epoch %x", &number, &epoch) == 2) {
    format_record (expected, number, epoch);
    if (memcmp (found, expected, RECORD_SIZE) == 0 && number == (unsigned long long)(size / RECORD_SIZE))
      return number;
  }
  printf ("ledger: torn record at the end of %s/ledger\n", disk->folder);
  exit (1);
}

static void
open_disk (Disk *disk, const char *folder)
{
  char path[256];

  snprintf (path, sizeof path, "%s/ledger", folder);
  disk->folder = folder;
  disk->fd = open (path, O_RDWR | O_CREAT | O_APPEND, 0644);
  if (disk->fd < 0) {
    printf ("ledger: cannot open %s: %s\n", path, strerror (errno));
    exit (1);
  }
  disk->last = last_number (disk);
}

static void
append (Disk *disk, uint32_t epoch)
{
  char record[RECORD_SIZE + 1];

  format_record (record, disk->last + 1, epoch);
  if (write (disk->fd, record, RECORD_SIZE) != RECORD_SIZE || fdatasync (disk->fd) != 0) {
    printf ("ledger: write error on %s: %s\n", disk->folder, strerror (errno));
    exit (1);
  }
  disk->last++;
}

static void
require_one_point_in_time (const Disk *disks, int count)
{
  int split = disks[0].last - disks[count - 1].last > 1;

  for (int i = 1; i < count; i++)
    split |= disks[i].last > disks[i - 1].last;
  if (!split)
    return;
  printf ("ledger: split");
  for (int i = 0; i < count; i++)
    printf (" %s %llu", disks[i].folder, (unsigned long long)disks[i].last);
  printf ("\n");
  exit (1);
}

static int64_t
now_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
write_for_ever (Disk *disks, int count, uint32_t epoch)
{
  int64_t said = -SAY_EVERY_MS;

  for (;;) {
    uint64_t next = disks[count - 1].last + 1;

    for (int i = 0; i < count; i++)
      if (disks[i].last < next) /* the first round finishes the one that a crash cut short */
        append (&disks[i], epoch);
    if (now_ms () - said >= SAY_EVERY_MS) {
      said = now_ms ();
      printf ("ledger: %llu\n", (unsigned long long)next);
    }
    usleep (PAUSE_US);
  }
}

int
main (int argc, char **argv)
{
  Disk disks[MAX_DISKS];
  int count = argc - 1;
  uint32_t epoch;

  setvbuf (stdout, NULL, _IOLBF, 0);
  if (count < 1 || count > MAX_DISKS || getrandom (&epoch, sizeof epoch, 0) != sizeof epoch) {
    printf ("usage: ledger FOLDER...\n");
    return 2;
  }
  for (int i = 0; i < count; i++)
    open_disk (&disks[i], argv[i + 1]);
  require_one_point_in_time (disks, count);
  printf ("ledger: epoch %08x goes on from %llu\n", epoch, (unsigned long long)disks[0].last);
  write_for_ever (disks, count, epoch);
}
