/*
 * Speaks to journald by GLib's writer, in fields that `journalctl CHAINCTL_VM=web`
 * finds. Comes last: it neither delays nor fails what was done.
 */
#include "tools/chainctl/journal.h"

#include "tools/chainctl/exit.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET "/run/systemd/journal/socket"

/* Whether the journal would take a record now. GLib's writer would wait for one that stands still. */
static gboolean
is_ready (void)
{
  const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET};
  struct pollfd poller = {.fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), .events = POLLOUT};
  gboolean ready;

  if (poller.fd < 0)
    return FALSE;
  ready = connect (poller.fd, (const struct sockaddr *)&address, sizeof address) == 0 && poll (&poller, 1, 0) == 1 &&
          (poller.revents & POLLOUT) != 0;
  close (poller.fd);
  return ready;
}

/* Of several VMs each has had its own; and a timer that recovers each minute, and finds nothing to do, is no news. */
static gboolean
is_news (const ChainctlInvocation *invocation, const GError *error)
{
  const ChainctlOutput *output = invocation->output;
  JsonNode *recovered = json_object_get_member (output->document, "recovered");

  if (output->in_part)
    return FALSE;
  return error != NULL || recovered == NULL || !JSON_NODE_HOLDS_ARRAY (recovered) ||
         json_array_get_length (json_node_get_array (recovered)) > 0;
}

/* The VM, also where a command names it among its other arguments. */
static const char *
vm_of (const ChainctlInvocation *invocation)
{
  const char *name = invocation->command->name;

  if (invocation->vm != NULL || invocation->arguments == NULL)
    return invocation->vm;
  return g_str_has_prefix (name, "vm ") || g_str_equal (name, "recover") ? invocation->arguments[0] : NULL;
}

static char *
message_of (const ChainctlInvocation *invocation, const GError *error)
{
  const GPtrArray *warnings = invocation->context->warnings;
  const char *vm = vm_of (invocation);
  GString *text = g_string_new (invocation->command->name);

  if (vm != NULL)
    g_string_append_printf (text, " %s", vm);
  g_string_append_printf (text, ": %s", error != NULL ? error->message : "done");
  for (guint i = 0; i < warnings->len; i++)
    g_string_append_printf (text, "%s%s", i == 0 ? "; warning: " : "; ",
                            ((const EngineWarning *)g_ptr_array_index (warnings, i))->message);
  return g_string_free (text, FALSE);
}

void
chainctl_journal_record (const ChainctlInvocation *invocation, const GError *error)
{
  g_autofree char *message = NULL;
  g_autofree char *number = NULL;
  const char *vm, *op;
  gboolean warned = invocation->context->warnings->len > 0;
  GLogField fields[9];
  gsize count = 0;

  if (!chainctl_command_changes (invocation) || !is_news (invocation, error) || isatty (STDERR_FILENO) || !is_ready ())
    return;
  message = message_of (invocation, error);
  number = g_strdup_printf ("%d", chainctl_exit_status (error));
  vm = vm_of (invocation);
  op = invocation->context->op;
  fields[count++] = (GLogField){"MESSAGE", message, -1};
  fields[count++] = (GLogField){"PRIORITY", error != NULL ? "3" : warned ? "4" : "6", -1};
  fields[count++] = (GLogField){"SYSLOG_IDENTIFIER", "chainctl", -1};
  fields[count++] = (GLogField){"CHAINCTL_VERB", invocation->command->name, -1};
  fields[count++] = (GLogField){"CHAINCTL_OUTCOME", error != NULL ? chainctl_exit_code (error) : "done", -1};
  fields[count++] = (GLogField){"CHAINCTL_STATUS", number, -1};
  if (vm != NULL)
    fields[count++] = (GLogField){"CHAINCTL_VM", vm, -1};
  if (op != NULL)
    fields[count++] = (GLogField){"CHAINCTL_OP", op, -1};
  g_log_writer_journald (G_LOG_LEVEL_MESSAGE, fields, count, NULL);
}
