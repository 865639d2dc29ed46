/*
 * The one table from error domains to exit statuses and code words. An error that
 * stands in no row is "failed", exit 1.
 */
#include "tools/chainctl/exit.h"

#include "chains/error.h"
#include "engine/error.h"
#include "qmp/error.h"

#include <gio/gio.h>

G_DEFINE_QUARK (chainctl_exit_error, chainctl_exit_error)

gboolean
chainctl_exit_set_usage (GError **error, const char *format, ...)
{
  va_list arguments;

  va_start (arguments, format);
  *error = g_error_new_valist (CHAINCTL_EXIT_ERROR, CHAINCTL_EXIT_ERROR_USAGE, format, arguments);
  va_end (arguments);
  return FALSE;
}

typedef struct {
  GQuark (*domain) (void);
  int code;
  int status;
  const char *word;
} Row;

enum { ANY = -1 };

static const Row rows[] = {
    {chainctl_exit_error_quark, CHAINCTL_EXIT_ERROR_USAGE, CHAINCTL_EXIT_USAGE, "usage"},
    {chainctl_exit_error_quark, CHAINCTL_EXIT_ERROR_PROBLEMS, CHAINCTL_EXIT_PROBLEMS, "problems-found"},
    {chainctl_exit_error_quark, CHAINCTL_EXIT_ERROR_OUTPUT, CHAINCTL_EXIT_FAILED, "output-failed"},
    {g_option_error_quark, ANY, CHAINCTL_EXIT_USAGE, "usage"},

    {engine_error_quark, ENGINE_ERROR_FAILED, CHAINCTL_EXIT_FAILED, "failed"},
    {engine_error_quark, ENGINE_ERROR_USAGE, CHAINCTL_EXIT_USAGE, "usage"},
    {engine_error_quark, ENGINE_ERROR_NO_SUCH_VM, CHAINCTL_EXIT_NOT_FOUND, "no-such-vm"},
    {engine_error_quark, ENGINE_ERROR_NO_SUCH_DISK, CHAINCTL_EXIT_NOT_FOUND, "no-such-disk"},
    {engine_error_quark, ENGINE_ERROR_NO_SUCH_IMAGE, CHAINCTL_EXIT_NOT_FOUND, "no-such-image"},
    {engine_error_quark, ENGINE_ERROR_EXISTS, CHAINCTL_EXIT_FAILED, "exists"},
    {engine_error_quark, ENGINE_ERROR_UNREACHABLE, CHAINCTL_EXIT_UNREACHABLE, "unreachable"},
    {engine_error_quark, ENGINE_ERROR_SHUT_OFF, CHAINCTL_EXIT_UNREACHABLE, "shut-off"},
    {engine_error_quark, ENGINE_ERROR_AGENT, CHAINCTL_EXIT_UNREACHABLE, "agent-failed"},
    {engine_error_quark, ENGINE_ERROR_AGENT_TIMEOUT, CHAINCTL_EXIT_UNREACHABLE, "agent-timeout"},
    {engine_error_quark, ENGINE_ERROR_NOT_QUIESCED, CHAINCTL_EXIT_NOT_QUIESCED, "not-quiesced"},
    {engine_error_quark, ENGINE_ERROR_QUIESCE_TIMEOUT, CHAINCTL_EXIT_NOT_QUIESCED, "agent-timeout"},
    {engine_error_quark, ENGINE_ERROR_HELD, CHAINCTL_EXIT_HELD, "held"},
    {engine_error_quark, ENGINE_ERROR_INTERRUPTED, CHAINCTL_EXIT_INTERRUPTED, "interrupted"},
    {engine_error_quark, ENGINE_ERROR_REFUSED, CHAINCTL_EXIT_REFUSED, "refused"},
    {engine_error_quark, ENGINE_ERROR_DRIFT, CHAINCTL_EXIT_REFUSED, "drift"},
    {engine_error_quark, ENGINE_ERROR_FROZEN_BY_OTHER, CHAINCTL_EXIT_REFUSED, "frozen-by-other"},
    {engine_error_quark, ENGINE_ERROR_UNSUPPORTED, CHAINCTL_EXIT_REFUSED, "unsupported"},
    {engine_error_quark, ENGINE_ERROR_NOT_THAWED, CHAINCTL_EXIT_PARTLY, "not-thawed"},
    {engine_error_quark, ENGINE_ERROR_NO_SUCH_JOB, CHAINCTL_EXIT_NOT_FOUND, "no-such-job"},
    {engine_error_quark, ENGINE_ERROR_PARTLY, CHAINCTL_EXIT_PARTLY, "partly"},

    {qmp_error_quark, QMP_ERROR_CONNECT, CHAINCTL_EXIT_UNREACHABLE, "unreachable"},
    {qmp_error_quark, QMP_ERROR_BUSY, CHAINCTL_EXIT_UNREACHABLE, "monitor-busy"},
    {qmp_error_quark, QMP_ERROR_TIMEOUT, CHAINCTL_EXIT_UNREACHABLE, "timeout"},
    {qmp_error_quark, QMP_ERROR_CLOSED, CHAINCTL_EXIT_UNREACHABLE, "connection-lost"},
    {qmp_error_quark, QMP_ERROR_PROTOCOL, CHAINCTL_EXIT_UNREACHABLE, "protocol-error"},
    {qmp_error_quark, QMP_ERROR_TOO_LARGE, CHAINCTL_EXIT_UNREACHABLE, "protocol-error"},
    {qmp_error_quark, QMP_ERROR_COMMAND_NOT_FOUND, CHAINCTL_EXIT_REFUSED, "unsupported"},
    {qmp_error_quark, QMP_ERROR_UNSUPPORTED, CHAINCTL_EXIT_REFUSED, "unsupported"},
    {qmp_error_quark, QMP_ERROR_ADDRESS, CHAINCTL_EXIT_USAGE, "bad-address"},
    {qmp_error_quark, ANY, CHAINCTL_EXIT_FAILED, "qemu-refused"},

    {chains_error_quark, CHAINS_ERROR_NOT_FOUND, CHAINCTL_EXIT_NOT_FOUND, "not-found"},
    {chains_error_quark, CHAINS_ERROR_AMBIGUOUS, CHAINCTL_EXIT_NOT_FOUND, "ambiguous"},
    {chains_error_quark, CHAINS_ERROR_EXISTS, CHAINCTL_EXIT_FAILED, "exists"},
    {chains_error_quark, CHAINS_ERROR_INVALID, CHAINCTL_EXIT_USAGE, "invalid"},
    {chains_error_quark, CHAINS_ERROR_LOCKED, CHAINCTL_EXIT_FAILED, "database-locked"},
    {chains_error_quark, CHAINS_ERROR_READ_ONLY, CHAINCTL_EXIT_FAILED, "database-read-only"},
    {chains_error_quark, CHAINS_ERROR_CORRUPT, CHAINCTL_EXIT_FAILED, "database-damaged"},
    {chains_error_quark, CHAINS_ERROR_FOREIGN, CHAINCTL_EXIT_FAILED, "database-foreign"},
    {chains_error_quark, CHAINS_ERROR_NEWER, CHAINCTL_EXIT_FAILED, "database-newer"},
    {chains_error_quark, CHAINS_ERROR_FULL, CHAINCTL_EXIT_FAILED, "no-space"},
    {chains_error_quark, CHAINS_ERROR_CONFIG, CHAINCTL_EXIT_USAGE, "bad-configuration"},
    {chains_error_quark, ANY, CHAINCTL_EXIT_FAILED, "database-failed"},

    {g_io_error_quark, G_IO_ERROR_CANCELLED, CHAINCTL_EXIT_FAILED, "cancelled"},
};

static const Row *
find (const GError *error)
{
  for (gsize i = 0; i < G_N_ELEMENTS (rows); i++)
    if (rows[i].domain () == error->domain && (rows[i].code == ANY || rows[i].code == error->code))
      return &rows[i];
  return NULL;
}

int
chainctl_exit_status (const GError *error)
{
  const Row *row = error != NULL ? find (error) : NULL;

  if (error == NULL)
    return CHAINCTL_EXIT_DONE;
  return row != NULL ? row->status : CHAINCTL_EXIT_FAILED;
}

const char *
chainctl_exit_code (const GError *error)
{
  const Row *row = find (error);

  return row != NULL ? row->word : "failed";
}
