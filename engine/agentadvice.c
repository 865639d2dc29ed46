/*
 * Speaks to the agent as a snapshot would, up to and without the freeze, and
 * explains each thing that stands in its way. Believes nothing of what a guest
 * says; what it leaves unsaid is no finding.
 */
#include "engine/agentadvice.h"

#include "qmp/error.h"
#include "qmp/message.h"

#include <string.h>
#include <sys/stat.h>

#define HOOK "/etc/qemu/fsfreeze-hook"
#define ALLOW                                                                                                      \
  "in the guest take them out of block-rpcs (blacklist in older agents) in the group [general] of "                \
  "/etc/qemu/qemu-ga.conf, or name them in allow-rpcs where that is used, and out of qemu-ga's own options; then " \
  "`systemctl restart qemu-guest-agent` there"

static gboolean
is_required (const EngineVm *vm)
{
  return vm->record->quiesce == CHAINS_QUIESCE_REQUIRE;
}

static const char *
what_then (const EngineVm *vm)
{
  return is_required (vm) ? "its snapshots fail, since `quiesce` is `require`"
                          : "its snapshots are as after a power cut (crash-consistent)";
}

static void
find_unregistered (const EngineVm *vm, GPtrArray *problems)
{
  const char *name = vm->record->name;
  g_autofree char *repair = g_strdup_printf (
      "install the package qemu-guest-agent in the guest; start QEMU with `-device virtio-serial -chardev "
      "socket,id=agent,path=/run/%s.agent,server=on,wait=off -device "
      "virtserialport,chardev=agent,name=org.qemu.guest_agent.0`; then `chainctl vm set %s --agent unix:/run/%s.agent`",
      name, name, name);

  engine_problem_add (problems, "no-agent", is_required (vm), NULL, NULL, repair,
                      "VM '%s' has no agent registered: its file systems cannot be frozen, so %s", name,
                      what_then (vm));
}

/* ---- an agent that does not answer ---- */

/* The channel's other end as QEMU has it, NULL where it cannot be found. */
static const QmpChardev *
find_channel (const EngineVm *vm, const GPtrArray *chardevs)
{
  g_autofree char *path = g_str_has_prefix (vm->record->agent, "unix:")
                              ? g_strdup (vm->record->agent)
                              : g_strconcat ("unix:", vm->record->agent, NULL);

  for (guint i = 0; chardevs != NULL && i < chardevs->len; i++) {
    const QmpChardev *chardev = g_ptr_array_index (chardevs, i);
    const char *at = strstr (chardev->filename, path);

    if (at != NULL && (at[strlen (path)] == ',' || at[strlen (path)] == '\0'))
      return chardev;
  }
  return NULL;
}

/* Nobody at the address: is there a socket at all? */
static void
find_unconnected (const EngineVm *vm, GPtrArray *problems)
{
  const char *address = vm->record->agent;
  const char *path = g_str_has_prefix (address, "unix:") ? address + strlen ("unix:") : address;
  struct stat st;

  if (!g_str_has_prefix (address, "vsock:") && stat (path, &st) != 0)
    engine_problem_add (problems, "agent-socket-missing", is_required (vm), NULL, path,
                        "was QEMU started without the agent's channel, or with another socket? `chainctl vm set VM "
                        "--agent ADDRESS` names another",
                        "VM '%s': the agent's socket '%s' is not there: %s; until then %s", vm->record->name, path,
                        vm->agent_failure->message, what_then (vm));
  else
    engine_problem_add (problems, "agent-socket-dead", is_required (vm), NULL, NULL,
                        "is the socket one of an earlier QEMU? start QEMU with the agent's channel there, or name "
                        "another with `chainctl vm set VM --agent ADDRESS`",
                        "VM '%s': nobody listens at the agent's address '%s': %s; until then %s", vm->record->name,
                        address, vm->agent_failure->message, what_then (vm));
}

/* Somebody listens, and says nothing: @channel (nullable), as it was before we came, may tell why. */
static void
find_silent (const EngineVm *vm, const QmpChardev *channel, GPtrArray *problems)
{
  const char *name = vm->record->name, *agent = vm->record->agent, *then = what_then (vm);
  gboolean held = channel != NULL && !g_str_has_prefix (channel->filename, "disconnected:");

  if (held)
    engine_problem_add (problems, "agent-held", is_required (vm), NULL, NULL,
                        "end the other program, or give it a channel of its own",
                        "VM '%s': another program is connected to the agent at '%s', which serves one at a time; until "
                        "it goes %s",
                        name, agent, then);
  else if (channel != NULL && !channel->frontend_open)
    engine_problem_add (problems, "agent-not-running", is_required (vm), NULL, NULL,
                        "in the guest: install qemu-guest-agent, `systemctl enable --now qemu-guest-agent`",
                        "VM '%s': no agent runs in the guest (nobody there has opened the channel): %s", name, then);
  else
    engine_problem_add (problems, "agent-silent", is_required (vm), NULL, NULL,
                        "does the guest run, and not hang? in the guest: `systemctl restart qemu-guest-agent`; on the "
                        "host: end other programs that are connected to that socket",
                        "VM '%s': the agent at '%s' does not answer: %s; until then %s", name, agent,
                        vm->agent_failure != NULL ? vm->agent_failure->message : "silence", then);
}

static void
find_unanswered (const EngineVm *vm, const QmpChardev *channel, GPtrArray *problems)
{
  if (g_error_matches (vm->agent_failure, QMP_ERROR, QMP_ERROR_CONNECT))
    find_unconnected (vm, problems);
  else
    find_silent (vm, channel, problems);
}

/* ---- an agent that answers ---- */

static JsonNode *
ask (EngineVm *vm, const char *command, JsonObject *arguments, GError **error)
{
  QmpWait wait = engine_vm_wait (vm);

  return qmp_qga_execute (vm->agent, command, arguments, wait.deadline_us, wait.cancellable, error);
}

/* Whether the agent knows @command (GuestAgentInfo), and whether its configuration lets it. */
static void
look_up (JsonArray *commands, const char *command, gboolean *known, gboolean *enabled)
{
  *known = *enabled = FALSE;
  for (guint i = 0; i < json_array_get_length (commands); i++) {
    JsonNode *element = json_array_get_element (commands, i);
    JsonObject *entry = JSON_NODE_HOLDS_OBJECT (element) ? json_node_get_object (element) : NULL;

    if (entry == NULL || g_strcmp0 (qmp_message_peek_string (entry, "name"), command) != 0)
      continue;
    *known = TRUE;
    *enabled = qmp_message_peek_boolean (entry, "enabled", TRUE);
  }
}

static void
append_word (GString *words, const char *word)
{
  g_string_append_printf (words, "%s%s", words->len > 0 ? ", " : "", word);
}

/* Returns: whether a freeze may be asked for */
static gboolean
find_blocked (EngineVm *vm, GPtrArray *problems)
{
  static const char *const needed[] = {"guest-fsfreeze-status", "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"};
  g_autoptr (JsonNode) info = ask (vm, "guest-info", NULL, NULL);
  JsonObject *said = info != NULL ? qmp_message_as_object (info, "guest-info", NULL) : NULL;
  JsonArray *commands = NULL;
  g_autoptr (GString) blocked = g_string_new (NULL);
  g_autoptr (GString) unknown = g_string_new (NULL);

  if (said == NULL || !qmp_message_get_array (said, "supported_commands", &commands, NULL))
    return TRUE;
  for (gsize i = 0; i < G_N_ELEMENTS (needed); i++) {
    gboolean known, enabled;

    look_up (commands, needed[i], &known, &enabled);
    if (!enabled)
      append_word (known ? blocked : unknown, needed[i]);
  }
  if (blocked->len > 0)
    engine_problem_add (problems, "agent-commands-blocked", is_required (vm), NULL, NULL, ALLOW,
                        "VM '%s': the agent's configuration forbids %s: %s", vm->record->name, blocked->str,
                        what_then (vm));
  if (unknown->len > 0)
    engine_problem_add (problems, "agent-cannot-freeze", is_required (vm), NULL, NULL,
                        "install a qemu-guest-agent that can freeze file systems",
                        "VM '%s': the agent does not know %s: %s", vm->record->name, unknown->str, what_then (vm));
  return blocked->len == 0 && unknown->len == 0;
}

static void
close_file (EngineVm *vm, gint64 handle)
{
  g_autoptr (JsonObject) arguments = json_object_new ();
  JsonNode *reply;

  json_object_set_int_member (arguments, "handle", handle);
  reply = ask (vm, "guest-file-close", arguments, NULL);
  g_clear_pointer (&reply, json_node_unref);
}

/* guest-file-open. An agent that does not allow it, or fails in another way, tells nothing of the hook. */
static void
find_no_hook (EngineVm *vm, GPtrArray *problems)
{
  g_autoptr (JsonObject) arguments = json_object_new ();
  g_autoptr (JsonNode) handle = NULL;
  g_autoptr (GError) failure = NULL;

  json_object_set_string_member (arguments, "path", HOOK);
  json_object_set_string_member (arguments, "mode", "r");
  handle = ask (vm, "guest-file-open", arguments, &failure);
  if (handle != NULL && JSON_NODE_HOLDS_VALUE (handle) && json_node_get_value_type (handle) == G_TYPE_INT64)
    close_file (vm, json_node_get_int (handle));
  if (!g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND) ||
      strstr (failure->message, "No such file or directory") == NULL)
    return;
  engine_problem_add (problems, "no-freeze-hook", FALSE, NULL, NULL,
                      "put a script there in the guest that tells the applications at `freeze` and `thaw` (QEMU's "
                      "scripts/qemu-guest-agent/fsfreeze-hook is one), and start qemu-ga with --fsfreeze-hook; nothing "
                      "to do where file systems are enough",
                      "VM '%s': the guest has no freeze hook (%s): its file systems are whole in a snapshot, and its "
                      "applications (databases) are not asked to write out what they hold",
                      vm->record->name, HOOK);
}

static void
find_frozen (const EngineVm *vm, GPtrArray *problems)
{
  g_autofree char *repair =
      g_strdup_printf ("`chainctl guest %s thaw`, if no other program is at work on it", vm->record->name);

  engine_problem_add (problems, "guest-frozen", TRUE, NULL, NULL, repair,
                      "VM '%s': the guest's file systems are frozen now, by whom is not known: whoever writes there "
                      "hangs, and snapshots are refused",
                      vm->record->name);
}

static gboolean
is_refusal (const GError *failure)
{
  return g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND) ||
         g_error_matches (failure, QMP_ERROR, QMP_ERROR_COMMAND);
}

static void
find_inside (EngineVm *vm, GPtrArray *problems)
{
  QmpWait wait = engine_vm_wait (vm);
  QmpQgaFreezeState state = QMP_QGA_THAWED;
  gboolean known = qmp_qga_fsfreeze_status (vm->agent, wait.deadline_us, wait.cancellable, &state, &vm->agent_failure);

  if (!known && !is_refusal (vm->agent_failure))
    find_silent (vm, NULL, problems);
  else if (known && state == QMP_QGA_FROZEN)
    /* A frozen guest's agent allows little more than its thaw: what else it forbids means nothing. */
    find_frozen (vm, problems);
  else if (vm->record->quiesce != CHAINS_QUIESCE_OFF && find_blocked (vm, problems))
    find_no_hook (vm, problems);
}

void
engine_agentadvice_find (EngineVm *vm, GPtrArray *problems)
{
  gboolean wanted = vm->record->quiesce != CHAINS_QUIESCE_OFF;
  g_autoptr (GPtrArray) chardevs = NULL;

  if (vm->record->agent == NULL) {
    if (wanted && !vm->daemon)
      find_unregistered (vm, problems);
    return;
  }
  /* The agent of a guest that stands still says nothing. */
  if (vm->state == ENGINE_VM_PAUSED || vm->state == ENGINE_VM_SHUT_OFF)
    return;
  if (vm->monitor != NULL)
    chardevs = qmp_commands_query_chardev (vm->monitor, engine_vm_wait (vm), NULL);
  engine_vm_start_agent (vm);
  if (engine_vm_finish_agent (vm))
    find_inside (vm, problems);
  else if (wanted)
    find_unanswered (vm, find_channel (vm, chardevs), problems);
}
