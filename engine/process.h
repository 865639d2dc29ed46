/*
 * QEMU as a process, as /proc shows it: as whom it runs, and so which files it
 * may open; which files it has open; whether it sees the file system that we
 * see. Where we may not look, that is said, and nothing is guessed.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/** What a process may do with a file: bits of its mode. */
typedef enum {
  ENGINE_PROCESS_SEARCH = 1,
  ENGINE_PROCESS_WRITE = 2,
  ENGINE_PROCESS_READ = 4,
} EngineProcessRight;

/**
 * EngineProcess:
 * @uid: by which the kernel judges its file accesses
 * @gids: (element-type guint): likewise, the supplementary ones too
 * @overrides: no mode holds it back: root that has kept CAP_DAC_OVERRIDE
 */
typedef struct {
  pid_t pid;
  guint uid;
  GArray *gids;
  gboolean overrides;
} EngineProcess;

/** @pid as it is now. Returns: (transfer full) (nullable): %NULL for pid 0, and where /proc does not say */
EngineProcess *engine_process_read (pid_t pid);

/** The same from the text of /proc/PID/status. Returns: (transfer full) (nullable) */
EngineProcess *engine_process_parse (pid_t pid, const char *status);
void engine_process_free (EngineProcess *process);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineProcess, engine_process_free)

/**
 * engine_process_may:
 * @rights: of EngineProcessRight
 * Whether owner, mode and POSIX ACL of the file at @path let @process do all of @rights. What cannot be looked at is
 * taken to be allowed. Source: acl(5), "ACCESS CHECK ALGORITHM".
 */
gboolean engine_process_may (const EngineProcess *process, const char *path, guint rights);

/**
 * engine_process_may_in:
 * The same of a file that does not exist yet: made in @folder, whose default ACL it inherits, and then given that
 * owner and @mode.
 */
gboolean engine_process_may_in (const EngineProcess *process, const char *folder, guint uid, guint gid, guint mode,
                                guint rights);

/**
 * engine_process_find_barrier:
 * @folder: absolute
 * The first folder on the way to @folder, itself included, that @process may not search; on the way through symbolic
 * links, too. Returns: (transfer full) (nullable): %NULL where there is none
 */
char *engine_process_find_barrier (const EngineProcess *process, const char *folder);

/** "yes", "no", and not to be seen */
typedef enum { ENGINE_PROCESS_YES, ENGINE_PROCESS_NO, ENGINE_PROCESS_HIDDEN } EngineProcessAnswer;

/** Whether @process has the file open that we see at @path: by device and inode, or by number of a block device. */
EngineProcessAnswer engine_process_has_open (const EngineProcess *process, const char *path);

/** Whether @process sees the same folder at @folder as we do: it may have another root or mount namespace. */
EngineProcessAnswer engine_process_sees (const EngineProcess *process, const char *folder);
