/*
 * Reads /proc, and decides as the kernel would whether a process may open a
 * file. It asks nobody and changes nothing; what is refused for it is left to
 * engine/preflight.
 */
#include "engine/process.h"

#include <limits.h>
#include <linux/capability.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_ACL_BYTES 65536

/* ---- as whom it runs ---- */

/* The words behind "@key:" in a status file. Returns: (transfer full) (nullable) */
static char **
status_words (char **lines, const char *key)
{
  gsize length = strlen (key);

  for (gsize i = 0; lines[i] != NULL; i++)
    if (strncmp (lines[i], key, length) == 0 && lines[i][length] == ':')
      return g_strsplit_set (g_strstrip (lines[i] + length + 1), " \t", -1);
  return NULL;
}

/* proc(5): real, effective, saved, file system */
static gboolean
read_id (char **words, guint *id)
{
  if (words == NULL || g_strv_length (words) != 4)
    return FALSE;
  *id = (guint)g_ascii_strtoull (words[3], NULL, 10);
  return TRUE;
}

EngineProcess *
engine_process_parse (pid_t pid, const char *status)
{
  g_autoptr (EngineProcess) process = g_new0 (EngineProcess, 1);
  g_auto (GStrv) lines = g_strsplit (status, "\n", -1);
  g_auto (GStrv) uids = status_words (lines, "Uid");
  g_auto (GStrv) gids = status_words (lines, "Gid");
  g_auto (GStrv) groups = status_words (lines, "Groups");
  g_auto (GStrv) capabilities = status_words (lines, "CapEff");
  guint gid = 0;

  process->pid = pid;
  process->gids = g_array_new (FALSE, FALSE, sizeof (guint));
  if (!read_id (uids, &process->uid) || !read_id (gids, &gid) || capabilities == NULL || capabilities[0] == NULL)
    return NULL;
  g_array_append_val (process->gids, gid);
  for (gsize i = 0; groups != NULL && groups[i] != NULL; i++) {
    gid = (guint)g_ascii_strtoull (groups[i], NULL, 10);
    if (*groups[i] != '\0')
      g_array_append_val (process->gids, gid);
  }
  process->overrides =
      process->uid == 0 && (g_ascii_strtoull (capabilities[0], NULL, 16) & (1ULL << CAP_DAC_OVERRIDE)) != 0;
  return g_steal_pointer (&process);
}

EngineProcess *
engine_process_read (pid_t pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%ld/status", (long)pid);
  g_autofree char *status = NULL;

  if (pid <= 0 || !g_file_get_contents (path, &status, NULL, NULL))
    return NULL;
  return engine_process_parse (pid, status);
}

void
engine_process_free (EngineProcess *process)
{
  if (process == NULL)
    return;
  g_clear_pointer (&process->gids, g_array_unref);
  g_free (process);
}

/* ---- what it may open ---- */

/* One entry of an ACL; a mode is an ACL of three. */
typedef struct {
  guint tag;
  guint rights;
  guint id;
} Entry;

static void
add_entry (GArray *acl, guint tag, guint rights, guint id)
{
  Entry entry = {.tag = tag, .rights = rights, .id = id};

  g_array_append_val (acl, entry);
}

static GArray *
acl_from_mode (guint mode)
{
  GArray *acl = g_array_new (FALSE, FALSE, sizeof (Entry));

  add_entry (acl, ACL_USER_OBJ, mode >> 6 & 7, 0);
  add_entry (acl, ACL_GROUP_OBJ, mode >> 3 & 7, 0);
  add_entry (acl, ACL_OTHER, mode & 7, 0);
  return acl;
}

/* The ACL in attribute @name of @path, %NULL where it has none. Source: linux/posix_acl_xattr.h. */
static GArray *
read_acl (const char *path, const char *name)
{
  g_autofree guint8 *bytes = g_malloc (MAX_ACL_BYTES);
  gssize length = getxattr (path, name, bytes, MAX_ACL_BYTES);
  const gsize head = sizeof (struct posix_acl_xattr_header);
  struct posix_acl_xattr_entry raw;
  GArray *acl;

  if (length < (gssize)(head + sizeof raw))
    return NULL;
  acl = g_array_new (FALSE, FALSE, sizeof (Entry));
  for (gsize at = head; at + sizeof raw <= (gsize)length; at += sizeof raw) {
    memcpy (&raw, bytes + at, sizeof raw);
    add_entry (acl, GUINT16_FROM_LE (raw.e_tag), GUINT16_FROM_LE (raw.e_perm), GUINT32_FROM_LE (raw.e_id));
  }
  return acl;
}

/* As chmod(2) does it: with a mask, the group's bits are the mask's. */
static void
change_mode (GArray *acl, guint mode)
{
  guint group = ACL_GROUP_OBJ;

  for (guint i = 0; i < acl->len; i++)
    if (g_array_index (acl, Entry, i).tag == ACL_MASK)
      group = ACL_MASK;
  for (guint i = 0; i < acl->len; i++) {
    Entry *entry = &g_array_index (acl, Entry, i);

    if (entry->tag == ACL_USER_OBJ)
      entry->rights = mode >> 6 & 7;
    else if (entry->tag == group)
      entry->rights = mode >> 3 & 7;
    else if (entry->tag == ACL_OTHER)
      entry->rights = mode & 7;
  }
}

static gboolean
has_group (const EngineProcess *process, guint gid)
{
  for (guint i = 0; i < process->gids->len; i++)
    if (g_array_index (process->gids, guint, i) == gid)
      return TRUE;
  return FALSE;
}

/* The entry's id is the file's own where it has none. */
static gboolean
is_meant (const EngineProcess *process, const Entry *entry, guint uid, guint gid)
{
  switch (entry->tag) {
  case ACL_USER_OBJ:
    return process->uid == uid;
  case ACL_USER:
    return process->uid == entry->id;
  case ACL_GROUP_OBJ:
    return has_group (process, gid);
  case ACL_GROUP:
    return has_group (process, entry->id);
  case ACL_OTHER:
    return TRUE;
  default:
    return FALSE;
  }
}

static gboolean
is_group (const Entry *entry)
{
  return entry->tag == ACL_GROUP_OBJ || entry->tag == ACL_GROUP;
}

/* The first entry that is meant decides; only of the groups' any will do. Entries are in the order of the algorithm. */
static gboolean
allows (const GArray *acl, const EngineProcess *process, guint uid, guint gid, guint rights)
{
  guint mask = 7;
  gboolean group_met = FALSE;

  for (guint i = 0; i < acl->len; i++)
    if (g_array_index (acl, Entry, i).tag == ACL_MASK)
      mask = g_array_index (acl, Entry, i).rights;
  for (guint i = 0; i < acl->len; i++) {
    const Entry *entry = &g_array_index (acl, Entry, i);
    gboolean unmasked = entry->tag == ACL_USER_OBJ || entry->tag == ACL_OTHER;
    guint given = unmasked ? entry->rights : entry->rights & mask;

    if (!is_meant (process, entry, uid, gid) || (entry->tag == ACL_OTHER && group_met))
      continue;
    if ((given & rights) == rights)
      return TRUE;
    if (!is_group (entry))
      return FALSE;
    group_met = TRUE;
  }
  return FALSE;
}

gboolean
engine_process_may (const EngineProcess *process, const char *path, guint rights)
{
  g_autoptr (GArray) acl = NULL;
  struct stat st;

  if (process->overrides || stat (path, &st) != 0)
    return TRUE;
  acl = read_acl (path, "system.posix_acl_access");
  if (acl == NULL)
    acl = acl_from_mode (st.st_mode);
  return allows (acl, process, st.st_uid, st.st_gid, rights);
}

gboolean
engine_process_may_in (const EngineProcess *process, const char *folder, guint uid, guint gid, guint mode, guint rights)
{
  g_autoptr (GArray) acl = NULL;

  if (process->overrides)
    return TRUE;
  acl = read_acl (folder, "system.posix_acl_default");
  if (acl != NULL)
    change_mode (acl, mode);
  else
    acl = acl_from_mode (mode);
  return allows (acl, process, uid, gid, rights);
}

/* From "/" down to @folder. */
static char *
find_barrier (const EngineProcess *process, const char *folder)
{
  for (gsize i = 0; folder[i] != '\0'; i++) {
    g_autofree char *part = folder[i] == '/' ? g_strndup (folder, MAX (i, 1)) : NULL;

    if (part != NULL && !engine_process_may (process, part, ENGINE_PROCESS_SEARCH))
      return g_steal_pointer (&part);
  }
  return engine_process_may (process, folder, ENGINE_PROCESS_SEARCH) ? NULL : g_strdup (folder);
}

char *
engine_process_find_barrier (const EngineProcess *process, const char *folder)
{
  char *barrier = find_barrier (process, folder);
  char *real = barrier == NULL ? realpath (folder, NULL) : NULL;

  if (real != NULL && strcmp (real, folder) != 0)
    barrier = find_barrier (process, real);
  free (real);
  return barrier;
}

/* ---- what it sees ---- */

static gboolean
is_same (const struct stat *one, const struct stat *other)
{
  if (S_ISBLK (one->st_mode))
    return S_ISBLK (other->st_mode) && one->st_rdev == other->st_rdev;
  return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

EngineProcessAnswer
engine_process_has_open (const EngineProcess *process, const char *path)
{
  g_autofree char *folder = g_strdup_printf ("/proc/%ld/fd", (long)process->pid);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  gboolean seen = FALSE;
  const char *name;
  struct stat ours, its;

  if (dir == NULL)
    return ENGINE_PROCESS_HIDDEN;
  if (stat (path, &ours) != 0)
    return ENGINE_PROCESS_NO;
  while ((name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *link = g_build_filename (folder, name, NULL);

    if (stat (link, &its) != 0)
      continue;
    seen = TRUE;
    if (is_same (&ours, &its))
      return ENGINE_PROCESS_YES;
  }
  return seen ? ENGINE_PROCESS_NO : ENGINE_PROCESS_HIDDEN;
}

EngineProcessAnswer
engine_process_sees (const EngineProcess *process, const char *folder)
{
  g_autofree char *root = g_strdup_printf ("/proc/%ld/root/.", (long)process->pid);
  g_autofree char *there = g_strdup_printf ("/proc/%ld/root%s", (long)process->pid, folder);
  struct stat ours, its;

  if (stat (root, &its) != 0)
    return ENGINE_PROCESS_HIDDEN;
  return stat (folder, &ours) == 0 && stat (there, &its) == 0 && is_same (&ours, &its) ? ENGINE_PROCESS_YES
                                                                                       : ENGINE_PROCESS_NO;
}
