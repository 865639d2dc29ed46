/*
 * The verb `exec`: starts a VM's QEMU on the images that are the right ones now.
 */
#pragma once

#include "engine/vm.h"

/**
 * EngineExec: a command that may be started
 * @argv: (array zero-terminated=1): placeholders replaced
 */
typedef struct {
  EngineVm *vm;
  char **argv;
} EngineExec;

void engine_exec_free (EngineExec *exec);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineExec, engine_exec_free)

/**
 * engine_exec_prepare:
 * @command: (array zero-terminated=1): the program and its arguments, at least one word
 * Takes the lock of @vm, looks at all of its disks, and replaces each `{DISK}` by that disk's active image as the value
 * of a -blockdev option. Warns of a disk that no argument names.
 * Raises %ENGINE_ERROR_REFUSED where the VM runs already, an operation is unfinished, or an argument names an image of
 * the VM that is not active; %ENGINE_ERROR_UNREACHABLE, %ENGINE_ERROR_DRIFT; %ENGINE_ERROR_NO_SUCH_DISK for a
 * placeholder that names none; %ENGINE_ERROR_FAILED where there is no such program.
 * Returns: (transfer full): it holds the lock
 */
EngineExec *engine_exec_prepare (EngineContext *context, const char *vm, const char *const *command, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_exec_start:
 * Becomes the command, by execvp(3); the kernel frees the lock at that moment. Comes back only where that fails, with
 * %ENGINE_ERROR_FAILED.
 */
void engine_exec_start (EngineExec *exec, GError **error);
