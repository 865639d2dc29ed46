/*
 * What a guest may say in the name of its agent: the session on any bytes. The
 * first byte is the size of the pieces, the rest is what the guest says. Proves
 * that each call ends, and that a count or a state is only ever given with success.
 */
#include "qmp/error.h"
#include "qmp/qga.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/peer.h"

#define NOT_TOUCHED (-77)

typedef gboolean (*Counted) (QmpQga *, gint64, GCancellable *, gint64 *, GError **);

static void
check_end (gboolean ok, const GError *error)
{
  g_assert (ok == (error == NULL));
  g_assert (!g_error_matches (error, QMP_ERROR, QMP_ERROR_TIMEOUT));
}

static void
count (QmpQga *qga, Counted call, gint64 deadline_us)
{
  gint64 number = NOT_TOUCHED;
  g_autoptr (GError) error = NULL;
  gboolean ok = call (qga, deadline_us, NULL, &number, &error);

  check_end (ok, error);
  g_assert (ok ? number >= 0 : number == NOT_TOUCHED);
}

static void
ask_status (QmpQga *qga, gint64 deadline_us)
{
  QmpQgaFreezeState state = QMP_QGA_THAWED;
  g_autoptr (GError) error = NULL;
  gboolean ok = qmp_qga_fsfreeze_status (qga, deadline_us, NULL, &state, &error);

  check_end (ok, error);
  g_assert (state == QMP_QGA_THAWED || state == QMP_QGA_FROZEN);
}

static void
sync_with (QmpQga *qga, gint64 deadline_us)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) value = qmp_call_finish (qmp_qga_start_sync (qga, deadline_us), NULL, &error);

  check_end (value != NULL, error);
}

void
fuzz_one (const guint8 *data, gsize length)
{
  if (length < 1)
    return;
  g_autoptr (FuzzPeer) peer = fuzz_peer_new (data + 1, length - 1, (gsize)data[0] + 1);
  g_autoptr (QmpQga) qga = qmp_qga_new (fuzz_peer_take_io (peer));
  gint64 deadline_us = qmp_call_deadline_in (FUZZ_PEER_PATIENCE);

  sync_with (qga, deadline_us);
  ask_status (qga, deadline_us);
  count (qga, qmp_qga_fsfreeze_freeze, deadline_us);
  qmp_call_abandon (qmp_qga_start (qga, "guest-exec", NULL, deadline_us));
  ask_status (qga, deadline_us);
  count (qga, qmp_qga_fsfreeze_thaw, deadline_us);
  ask_status (qga, deadline_us);
}
