/*
 * Why a verb did not do what was asked. Each code is one word for scripts and
 * one exit status (the table is in tools/chainctl/exit.c); the message says
 * what was being done and what is true now, the hint what to do next.
 */
#pragma once

#include <glib.h>

#define ENGINE_ERROR (engine_error_quark ())

/**
 * EngineError:
 * @ENGINE_ERROR_FAILED: it did not work; nothing changed, or all was undone
 * @ENGINE_ERROR_USAGE: what was asked makes no sense
 * @ENGINE_ERROR_NO_SUCH_VM: no VM is registered
 * @ENGINE_ERROR_NO_SUCH_DISK: no such disk on this VM
 * @ENGINE_ERROR_NO_SUCH_IMAGE: an image's file is not there
 * @ENGINE_ERROR_EXISTS: a name or a file is taken
 * @ENGINE_ERROR_UNREACHABLE: the VM's monitor does not answer, and it is not shut off
 * @ENGINE_ERROR_SHUT_OFF: the VM is shut off and the verb needs it running
 * @ENGINE_ERROR_AGENT: the agent cannot be reached or gave no sense
 * @ENGINE_ERROR_AGENT_TIMEOUT: the agent was silent until the deadline
 * @ENGINE_ERROR_NOT_QUIESCED: quiescing was required and not reached
 * @ENGINE_ERROR_QUIESCE_TIMEOUT: the same, because the agent was silent
 * @ENGINE_ERROR_HELD: another operation holds this VM
 * @ENGINE_ERROR_INTERRUPTED: interrupted with work in flight; it is journalled
 * @ENGINE_ERROR_REFUSED: it would harm something
 * @ENGINE_ERROR_DRIFT: database and reality differ
 * @ENGINE_ERROR_FROZEN_BY_OTHER: somebody else froze the guest
 * @ENGINE_ERROR_UNSUPPORTED: this QEMU or this disk cannot do it
 * @ENGINE_ERROR_NOT_THAWED: done, but the guest may still be frozen
 * @ENGINE_ERROR_NO_SUCH_JOB: QEMU has no such job, and no operation has that id
 * @ENGINE_ERROR_PARTLY: done in part, or begun and not done: one disk of two, a commit that failed or was cancelled
 */
typedef enum {
  ENGINE_ERROR_FAILED,
  ENGINE_ERROR_USAGE,
  ENGINE_ERROR_NO_SUCH_VM,
  ENGINE_ERROR_NO_SUCH_DISK,
  ENGINE_ERROR_NO_SUCH_IMAGE,
  ENGINE_ERROR_EXISTS,
  ENGINE_ERROR_UNREACHABLE,
  ENGINE_ERROR_SHUT_OFF,
  ENGINE_ERROR_AGENT,
  ENGINE_ERROR_AGENT_TIMEOUT,
  ENGINE_ERROR_NOT_QUIESCED,
  ENGINE_ERROR_QUIESCE_TIMEOUT,
  ENGINE_ERROR_HELD,
  ENGINE_ERROR_INTERRUPTED,
  ENGINE_ERROR_REFUSED,
  ENGINE_ERROR_DRIFT,
  ENGINE_ERROR_FROZEN_BY_OTHER,
  ENGINE_ERROR_UNSUPPORTED,
  ENGINE_ERROR_NOT_THAWED,
  ENGINE_ERROR_NO_SUCH_JOB,
  ENGINE_ERROR_PARTLY,
} EngineError;

GQuark engine_error_quark (void);

/** Sets @error with a @hint (nullable) for the person: what to do next. */
void engine_error_set (GError **error, EngineError code, const char *hint, const char *format, ...)
    G_GNUC_PRINTF (4, 5);

/** The hint of an error set here, or %NULL. Borrowed. */
const char *engine_error_get_hint (const GError *error);
