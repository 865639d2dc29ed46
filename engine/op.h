/*
 * An operation: one run of a verb on a VM, journalled from intent to outcome.
 * Its id is in every node name and job id that the verb makes, so that
 * whoever comes after a crash knows whose they are.
 */
#pragma once

#include "chains/journal.h"
#include "engine/vm.h"

/** What node names and job ids of ours begin with: "cc-" and 16 hex digits of the operation. */
#define ENGINE_OP_PREFIX "cc-"

/**
 * EngineOp:
 * @vm: borrowed; holds the VM's lock
 * @id: lower-case UUID
 * @prefix: of its node names and job ids, such as "cc-0123456789abcdef-" (20 bytes, of QEMU's 31)
 */
typedef struct {
  EngineVm *vm;
  char *id;
  char *prefix;
} EngineOp;

/** An operation that is only named yet. Returns: (transfer full) */
EngineOp *engine_op_new (EngineVm *vm);
/** The operation with that @id, which another process has begun. Returns: (transfer full) */
EngineOp *engine_op_new_of (EngineVm *vm, const char *id);
void engine_op_free (EngineOp *op);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineOp, engine_op_free)

/** A name of this operation: its prefix, @index, @suffix. Returns: (transfer full) */
char *engine_op_name (const EngineOp *op, guint index, const char *suffix);

/** The same of the operation with that @id, which another process may have begun. Returns: (transfer full) */
char *engine_op_name_of (const char *id, guint index, const char *suffix);

/** Whether a node name or job id is of the form that operations give. */
gboolean engine_op_is_ours (const char *name);
/** Whether @name was made from operation @id. */
gboolean engine_op_is_of (const char *id, const char *name);

/** Commits the row, with @intent: all that @verb is about to use. No side effect may come before it. */
gboolean engine_op_begin (EngineOp *op, const char *verb, JsonObject *intent, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** This process is the one that @op is done by: engine_op_begin() does so, and whoever takes it over from another. */
gboolean engine_op_own (EngineOp *op, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_op_step:
 * Commits that @step is about to run. What it does is undone by the machine's own death, or shows in the files then, so
 * the commit need not wait for the disk; engine_op_is_of_this_boot() tells whoever comes after such a death.
 */
gboolean engine_op_step (EngineOp *op, const char *step, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_op_step_durable:
 * @detail: (nullable) (transfer none): what is true with it
 * The same, on the disk before this returns: for what decides after the machine's own death. Raises
 * %ENGINE_ERROR_INTERRUPTED where @op is owned by this process and the watchdog has taken it over meanwhile.
 */
gboolean engine_op_step_durable (EngineOp *op, const char *step, JsonObject *detail, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_op_find_step:
 * @detail: (out) (optional) (nullable) (transfer full): of the step last begun under @name
 * Whether operation @op has @begun that step.
 */
gboolean engine_op_find_step (EngineContext *context, const char *op, const char *name, gboolean *begun,
                              JsonObject **detail, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_op_overtake:
 * For the watchdog, before it settles what a process that hangs had begun: commits that the unfinished operation of @vm
 * is not that process's any more.
 */
gboolean engine_op_overtake (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The row of operation @id. Raises CHAINS_ERROR's. Returns: (transfer full) */
ChainsOp *engine_op_get (EngineContext *context, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether that was committed of operation @op. */
gboolean engine_op_is_overtaken (EngineContext *context, const char *op, gboolean *overtaken, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Whether the machine has been up since @op began; if not, steps that it took may not be in the journal. */
gboolean engine_op_is_of_this_boot (const ChainsOp *op);

/** That no operation on @vm is under way or waits for recovery. Raises %ENGINE_ERROR_HELD. */
gboolean engine_op_check_finished (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
