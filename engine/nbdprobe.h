/*
 * An NBD export looked at before QEMU is told to open it: QEMU stands still, guest
 * and all, for as long as a server there does not answer.
 */
#pragma once

#include "engine/nbdaddress.h"

#include <gio/gio.h>

/**
 * EngineNbdExport:
 * @known: whether the server told @size (bytes) and @read_only; one that wants TLS first is not asked
 */
typedef struct {
  gboolean known;
  gint64 size;
  gboolean read_only;
} EngineNbdExport;

/**
 * engine_nbdprobe_find:
 * Whether somebody listens there: connects, and says nothing. All that can be asked of a server that has a client of
 * ours already, since it may serve one alone. Raises %ENGINE_ERROR_UNREACHABLE.
 */
gboolean engine_nbdprobe_find (const EngineNbdAddress *address, gint64 timeout_us, GCancellable *cancellable,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * engine_nbdprobe_run:
 * @tls: it has to offer TLS, and nothing is asked in clear text
 * @timeout_us: for all of it
 * Connects, shakes hands, asks for the export, and leaves again before the transmission phase, so that a server that
 * serves one client alone goes on waiting for it. Source: NBD doc/proto.md, "Newstyle negotiation", NBD_OPT_INFO.
 * Raises %ENGINE_ERROR_UNREACHABLE where nobody answers, or not as an NBD server does; %ENGINE_ERROR_NO_SUCH_IMAGE for
 * an unknown export; %ENGINE_ERROR_REFUSED where one side wants TLS and the other does not.
 */
gboolean engine_nbdprobe_run (const EngineNbdAddress *address, const char *export, gboolean tls, gint64 timeout_us,
                              GCancellable *cancellable, EngineNbdExport *out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
