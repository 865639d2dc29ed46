/*
 * What is remembered, as plain structs with public members: VMs, disks,
 * images, snapshots, operations. All strings and arrays belong to their struct.
 * Row ids are the database's own and mean nothing outside it. Times are
 * microseconds since 1970 UTC; 0 is "not yet".
 */
#pragma once

#include <glib.h>

/** "auto", "require", "off" */
typedef enum { CHAINS_QUIESCE_AUTO, CHAINS_QUIESCE_REQUIRE, CHAINS_QUIESCE_OFF } ChainsQuiesce;

/** "application", "filesystem", "crash", "offline" */
typedef enum {
  CHAINS_CONSISTENCY_APPLICATION,
  CHAINS_CONSISTENCY_FILESYSTEM,
  CHAINS_CONSISTENCY_CRASH,
  CHAINS_CONSISTENCY_OFFLINE,
} ChainsConsistency;

/**
 * ChainsOpState: "open", "detached", "done", "undone", "failed"
 * @CHAINS_OP_OPEN: under way, or its process died: work for recover
 * @CHAINS_OP_DETACHED: goes on inside QEMU without a process: holds the VM, no work for recover
 * @CHAINS_OP_DONE: happened and is recorded
 * @CHAINS_OP_UNDONE: did not happen; all that it began was taken back
 * @CHAINS_OP_FAILED: ended with something that needs a person
 */
typedef enum {
  CHAINS_OP_OPEN,
  CHAINS_OP_DETACHED,
  CHAINS_OP_DONE,
  CHAINS_OP_UNDONE,
  CHAINS_OP_FAILED,
} ChainsOpState;

const char *chains_quiesce_to_string (ChainsQuiesce quiesce);
gboolean chains_quiesce_from_string (const char *word, ChainsQuiesce *out);
const char *chains_consistency_to_string (ChainsConsistency consistency);
gboolean chains_consistency_from_string (const char *word, ChainsConsistency *out);
const char *chains_op_state_to_string (ChainsOpState state);
gboolean chains_op_state_from_string (const char *word, ChainsOpState *out);

/**
 * ChainsVm:
 * @uuid: (nullable): what query-uuid said when it was added
 * @agent: (nullable): address of qemu-ga's channel
 * @guest: (nullable): address of the guest's own requests
 */
typedef struct {
  gint64 id;
  char *name;
  char *uuid;
  char *qmp;
  char *agent;
  char *guest;
  ChainsQuiesce quiesce;
  gint64 created_us;
} ChainsVm;

ChainsVm *chains_vm_new (void);
void chains_vm_free (ChainsVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsVm, chains_vm_free)

/**
 * ChainsDisk:
 * @position: 0 is the first in guest order
 * @device: (nullable): what query-block calls it: an id or a QOM path
 * @ignored: named by --ignore-disk
 * @base, @active: image row ids (0 while the disk is being added)
 * @live: (nullable): JSON object: what the last run knew of its nodes in the QEMU of that day; written apart from the
 *     rest, never a fact by itself
 */
typedef struct {
  gint64 id;
  gint64 vm;
  int position;
  char *name;
  char *device;
  gboolean ignored;
  gint64 base;
  gint64 active;
  char *live;
} ChainsDisk;

ChainsDisk *chains_disk_new (void);
/** Returns: (transfer full) */
ChainsDisk *chains_disk_copy (const ChainsDisk *disk);
void chains_disk_free (ChainsDisk *disk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsDisk, chains_disk_free)

/**
 * ChainsImage: one file of a disk's tree
 * @parent: image row id of its backing image, 0 at the bottom
 * @path: absolute, in the file system's bytes, not necessarily UTF-8
 * @owned: the VM's; a foreign image (a template below the base) is read, never written, moved or removed
 * @created_by: (nullable): id of the operation that made the file; only such files are ever removed
 * @device, @inode: identity of the file when it was registered, 0 where it is no file
 * @born_ns: when that file was made, as a note or an exported VM tells; not in the database, 0 where unknown
 * @options: (nullable): JSON object: how its nodes were opened (cache, aio, discard, detect-zeroes)
 * @frozen_size, @frozen_mtime_ns, @frozen_ctime_ns: the file when it ceased to be active, 0 while it is active
 * @frozen_header: (nullable): hex SHA-256 of its header then
 */
typedef struct {
  gint64 id;
  gint64 disk;
  gint64 parent;
  char *path;
  char *format;
  gint64 virtual_size;
  gboolean owned;
  char *created_by;
  guint64 device;
  guint64 inode;
  gint64 born_ns;
  char *options;
  gint64 frozen_size;
  gint64 frozen_mtime_ns;
  gint64 frozen_ctime_ns;
  char *frozen_header;
} ChainsImage;

ChainsImage *chains_image_new (void);
void chains_image_free (ChainsImage *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsImage, chains_image_free)

/**
 * ChainsSnapshotDisk: a snapshot's part on one disk
 * @disk, @image, @overlay: row ids; @overlay 0 where it is gone
 * @disk_name, @image_path, @overlay_path: filled in when read; @overlay_path (nullable)
 */
typedef struct {
  gint64 disk;
  gint64 image;
  gint64 overlay;
  char *disk_name;
  char *image_path;
  char *overlay_path;
} ChainsSnapshotDisk;

ChainsSnapshotDisk *chains_snapshot_disk_new (void);
void chains_snapshot_disk_free (ChainsSnapshotDisk *part);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsSnapshotDisk, chains_snapshot_disk_free)

/**
 * ChainsSnapshot:
 * @sequence: order of taking; given by the database
 * @id: lower-case UUID
 * @reason: (nullable): why it is less consistent than was wished
 * @frozen_us: how long the guest was frozen, -1 where it was not
 * * @tags: (element-type utf8): read in alphabetical order, each once
 * @disks: (element-type ChainsSnapshotDisk) in guest order
 */
typedef struct {
  gint64 sequence;
  gint64 vm;
  char *id;
  char *name;
  char *description;
  gint64 created_us;
  gboolean protected;
  gboolean automatic;
  ChainsConsistency consistency;
  char *reason;
  gint64 frozen_us;
  GPtrArray *tags;
  GPtrArray *disks;
} ChainsSnapshot;

ChainsSnapshot *chains_snapshot_new (void);
void chains_snapshot_free (ChainsSnapshot *snapshot);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsSnapshot, chains_snapshot_free)

/**
 * ChainsOp: one run of a verb on a VM
 * @vm: 0 once the VM was removed; @vm_name stays
 * @by: user name of who ran it
 * @pid, @boot: the process that runs it, and the boot (kernel's boot_id) in which that pid means something
 * @intent: JSON object: what the verb is about to use (paths, node names, job ids), all that recover needs
 * @error: (nullable)
 */
typedef struct {
  gint64 sequence;
  char *id;
  gint64 vm;
  char *vm_name;
  char *verb;
  char *by;
  gint64 pid;
  char *boot;
  gint64 started_us;
  gint64 ended_us;
  ChainsOpState state;
  char *intent;
  char *error;
} ChainsOp;

ChainsOp *chains_op_new (void);
void chains_op_free (ChainsOp *op);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsOp, chains_op_free)

/**
 * ChainsStep: one step of an operation, committed before its side effect ("begun") and after it ("ended")
 * @name: the step's word in its verb, such as "switch"
 * @detail: (nullable): JSON object
 */
typedef struct {
  gint64 number;
  char *name;
  char *detail;
  gint64 begun_us;
  gint64 ended_us;
} ChainsStep;

ChainsStep *chains_step_new (void);
void chains_step_free (ChainsStep *step);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsStep, chains_step_free)

/**
 * chains_model_check_name:
 * The contract's rule for names of VMs and snapshots: [A-Za-z0-9][A-Za-z0-9._-]{0,63}, and none of the
 * reserved words base, none, active, latest. @what ("VM", "snapshot") is for the message.
 * Raises %CHAINS_ERROR_INVALID.
 */
gboolean chains_model_check_name (const char *what, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** What a disk's name may hold: QEMU's ids, and the brackets of "device[3]". */
#define CHAINS_MODEL_DISK_NAME_CHARACTERS G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._-[]"

/** Whether a person may call a disk so; what QEMU calls one is as it is. Raises %CHAINS_ERROR_INVALID. */
gboolean chains_model_check_disk_name (const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
