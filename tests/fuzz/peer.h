/*
 * A peer that says what the fuzzer says: bytes into a socket, in pieces, then
 * the end. The tested side reads them from the main context as from QEMU.
 */
#pragma once

#include <gio/gio.h>

/** Far longer than any input takes: a session that is silent so long hangs. */
#define FUZZ_PEER_PATIENCE 20.0

typedef struct _FuzzPeer FuzzPeer;

/**
 * fuzz_peer_new:
 * @data: what it says; kept by the caller until fuzz_peer_free()
 * @piece: bytes at a time, at least 1
 */
FuzzPeer *fuzz_peer_new (const guint8 *data, gsize length, gsize piece);
void fuzz_peer_free (FuzzPeer *peer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (FuzzPeer, fuzz_peer_free)

/** The tested side's end, once. Returns: (transfer full) */
GIOStream *fuzz_peer_take_io (FuzzPeer *peer);
