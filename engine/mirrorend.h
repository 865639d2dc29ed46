/*
 * How mirrors end: the copies are kept, or are what the guest is on now; those that are given up are
 * cut off here, and taken back by engine/ending. Each may be run again after a death.
 */
#pragma once

#include "engine/mirrorintent.h"

/** Adds the copies that their disks are on, as the live graph has it, to @moved (element-type EngineIntentOverlay). */
gboolean engine_mirrorend_find (EngineVm *vm, const EngineMirrorIntent *intent, GPtrArray *moved, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Takes the copies that are not among @moved out of @intent: what is left in it has happened. Returns: (transfer
 * full): the others */
EngineIntent *engine_mirrorend_split (EngineMirrorIntent *intent, const GPtrArray *moved);

/**
 * engine_mirrorend_record:
 * @moved: copies that the guest is on now
 * One commit, on the disk before this returns: these are active, and what they were left for is a snapshot. What that
 * is worth shows later; until then it is what a death would leave it to be.
 */
gboolean engine_mirrorend_record (EngineVm *vm, const char *op, EngineIntent *moved, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The copies are whole: they, and their credentials, are closed, and files on the disk before this returns. */
gboolean engine_mirrorend_keep (EngineVm *vm, const EngineMirrorIntent *intent, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_mirrorend_cut:
 * Hangs up on the NBD servers among the copies, which are given up: with one that is dead QEMU would stand still, guest
 * and all, for the whole reconnect-delay when its node is closed.
 */
gboolean engine_mirrorend_cut (EngineVm *vm, const EngineIntent *copies, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Forgets the TLS credentials in QEMU, where there were any. */
gboolean engine_mirrorend_forget_credentials (EngineVm *vm, const EngineMirrorIntent *intent, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_mirrorend_settle:
 * In the place of a process that died, or hangs, with the VM paused: a pivot that was begun is ended, and what the
 * guest is on is found out and recorded. May be run again.
 */
gboolean engine_mirrorend_settle (EngineVm *vm, const char *op, EngineMirrorIntent *intent, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
