/*
 * chainctl vm add | list | show | set | rescan | remove: the registry. One form of
 * a VM for all of them, from render.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/exit.h"
#include "tools/chainctl/render.h"

#include "engine/registration.h"
#include "engine/rescan.h"
#include "engine/settings.h"

static const ChainctlOutputColumn vm_columns[] = {
    {"NAME", "name", CHAINCTL_OUTPUT_TEXT},       {"STATE", "state", CHAINCTL_OUTPUT_TEXT},
    {"QUIESCE", "quiesce", CHAINCTL_OUTPUT_TEXT}, {"AGENT", "agent", CHAINCTL_OUTPUT_TEXT},
    {"QMP", "qmp", CHAINCTL_OUTPUT_TEXT},         {NULL},
};

static void
say_channel (ChainctlOutput *output, const EngineVmView *view)
{
  if (view->record->agent != NULL)
    return;
  chainctl_output_note (output,
                        "\nNo agent is registered, so its snapshots will be crash-consistent. Give QEMU a\n"
                        "channel, and install qemu-guest-agent in the guest:\n"
                        "  -device virtio-serial\n"
                        "  -chardev socket,id=agent,path=/run/%s.agent,server=on,wait=off\n"
                        "  -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0\n"
                        "Then `chainctl vm set %s --agent unix:/run/%s.agent`.",
                        view->record->name, view->record->name, view->record->name);
}

/* The document, and the same for people. */
static void
say_vm (ChainctlOutput *output, const EngineVmView *view)
{
  JsonObject *vm = chainctl_render_vm (view, TRUE);
  g_autofree char *qmp = chainctl_output_printable (view->record->qmp);
  g_autofree char *agent = chainctl_output_printable (view->record->agent != NULL ? view->record->agent : "none");

  json_object_set_object_member (output->document, "vm", vm);
  chainctl_output_line (output, "%s: %s, quiesce %s", view->record->name, engine_vm_state_to_string (view->state),
                        chains_quiesce_to_string (view->record->quiesce));
  chainctl_output_line (output, "  monitor %s\n  agent   %s\n", qmp, agent);
  chainctl_output_table (output, json_object_get_array_member (vm, "disks"), chainctl_render_disk_columns);
  for (guint i = 0; i < view->skipped->len; i++) {
    const EngineVmSkipped *skipped = g_ptr_array_index (view->skipped, i);

    chainctl_output_line (output, "skipped: %s (%s)", skipped->name, skipped->why);
  }
}

/* What became the base where that is not the active image, and which snapshots were found. */
static void
say_bases (ChainctlOutput *output, const EngineVmView *view)
{
  for (guint i = 0; i < view->disks->len; i++) {
    const EngineVmDisk *disk = g_ptr_array_index (view->disks, i);
    g_autofree char *base = chainctl_output_printable (disk->base);

    if (!g_str_equal (disk->base, disk->path))
      chainctl_output_line (output, "base of %s: %s", disk->name, base);
  }
}

/* What was done to it, which -q leaves out. */
static void
note_vm (ChainctlOutput *output, const EngineVmView *view)
{
  gsize said = output->text->len;

  say_vm (output, view);
  say_bases (output, view);
  if (output->quiet)
    g_string_truncate (output->text, said);
}

static void
say_adopted (ChainctlOutput *output, const EngineVmView *view)
{
  JsonArray *names = json_array_new ();

  for (guint i = 0; i < view->adopted->len; i++) {
    json_array_add_string_element (names, g_ptr_array_index (view->adopted, i));
    chainctl_output_note (output, "adopted as a snapshot: %s", (const char *)g_ptr_array_index (view->adopted, i));
  }
  json_object_set_array_member (output->document, "adopted", names);
}

/* The options of `vm add`, which `vm set` takes too. */
typedef struct {
  char *qmp;
  char *agent;
  char *guest;
  char *quiesce;
  char **ignore;
  char **own;
  gboolean adopt;
  char **disks;
} VmOptions;

static void
vm_options_clear (VmOptions *options)
{
  g_free (options->qmp);
  g_free (options->agent);
  g_free (options->guest);
  g_free (options->quiesce);
  g_strfreev (options->ignore);
  g_strfreev (options->own);
  g_strfreev (options->disks);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (VmOptions, vm_options_clear)

static void
disk_free (EngineRegistrationDisk *disk)
{
  g_free ((char *)disk->name);
  g_free ((char *)disk->path);
  g_free (disk);
}

static gboolean
is_named_already (const GPtrArray *disks, const char *name)
{
  for (guint i = 0; i < disks->len; i++)
    if (g_str_equal (((const EngineRegistrationDisk *)g_ptr_array_index (disks, i))->name, name))
      return TRUE;
  return FALSE;
}

/* DISK=PATH …, in that order */
static GPtrArray *
parse_disks (char **pairs, GError **error)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func ((GDestroyNotify)disk_free);

  for (gsize i = 0; pairs != NULL && pairs[i] != NULL; i++) {
    const char *path = NULL;
    g_autofree char *name = chainctl_command_split_pair ("disk", pairs[i], &path, error);
    EngineRegistrationDisk *disk;

    if (name == NULL)
      return NULL;
    if (is_named_already (disks, name)) {
      chainctl_exit_set_usage (error, "--disk %s: that disk is named twice", pairs[i]);
      return NULL;
    }
    disk = g_new0 (EngineRegistrationDisk, 1);
    disk->name = g_steal_pointer (&name);
    disk->path = g_canonicalize_filename (path, NULL);
    g_ptr_array_add (disks, disk);
  }
  return g_steal_pointer (&disks);
}

gboolean
chainctl_cmd_vm_add (ChainctlInvocation *invocation, GError **error)
{
  g_auto (VmOptions) options = {0};
  const GOptionEntry entries[] = {
      {"qmp", 0, 0, G_OPTION_ARG_FILENAME, &options.qmp, "its QMP monitor: unix:PATH or PATH", "SOCKET"},
      {"agent", 0, 0, G_OPTION_ARG_FILENAME, &options.agent, "its agent: unix:PATH, vsock:CID:PORT", "ADDR"},
      {"guest", 0, 0, G_OPTION_ARG_FILENAME, &options.guest, "the channel of the guest's own requests", "ADDR"},
      {"quiesce", 0, 0, G_OPTION_ARG_STRING, &options.quiesce, "whether to freeze the guest (auto)",
       "auto|require|off"},
      {"own", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options.own, "an image below, its own too", "PATH"},
      {"ignore-disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.ignore, "touch it only where named (may be repeated)",
       "DISK"},
      {"adopt", 0, 0, G_OPTION_ARG_NONE, &options.adopt, "overlays that exist become snapshots", NULL},
      {"disk", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options.disks, "shut off: each disk and its active image",
       "DISK=PATH"},
      {NULL},
  };
  EngineRegistrationRequest request = {.quiesce = CHAINS_QUIESCE_AUTO};
  g_autoptr (GPtrArray) disks = NULL;
  g_autoptr (EngineVmView) view = NULL;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  if (options.qmp == NULL) {
    g_set_error_literal (error, CHAINCTL_EXIT_ERROR, CHAINCTL_EXIT_ERROR_USAGE, "vm add: --qmp SOCKET is missing");
    return FALSE;
  }
  disks = parse_disks (options.disks, error);
  if (disks == NULL || !chainctl_command_quiesce (options.quiesce, &request.quiesce, error))
    return FALSE;
  request.disks = disks->len > 0 ? disks : NULL;
  request.name = invocation->arguments[0];
  request.qmp = options.qmp;
  request.agent = options.agent;
  request.guest = options.guest;
  request.ignore = (const char *const *)options.ignore;
  request.own = (const char *const *)options.own;
  request.adopt = options.adopt;
  view = engine_registration_add (invocation->context, &request, error);
  if (view == NULL)
    return FALSE;
  chainctl_output_plan (invocation->output, "%s is registered so:", view->record->name);
  note_vm (invocation->output, view);
  say_adopted (invocation->output, view);
  say_channel (invocation->output, view);
  return TRUE;
}

static gboolean
is_asked (const EngineSettingsRequest *request, GError **error)
{
  if (request->qmp != NULL || request->agent != NULL || request->guest != NULL || request->quiesce != NULL ||
      request->ignore != NULL || request->own != NULL)
    return TRUE;
  return chainctl_exit_set_usage (error,
                                  "vm set: what? One of --qmp, --agent, --guest, --quiesce, --own, --ignore-disk");
}

gboolean
chainctl_cmd_vm_set (ChainctlInvocation *invocation, GError **error)
{
  g_auto (VmOptions) options = {0};
  const GOptionEntry entries[] = {
      {"qmp", 0, 0, G_OPTION_ARG_FILENAME, &options.qmp, "its QMP monitor: unix:PATH or PATH", "SOCKET"},
      {"agent", 0, 0, G_OPTION_ARG_FILENAME, &options.agent, "its agent: unix:PATH, vsock:CID:PORT", "ADDR|none"},
      {"guest", 0, 0, G_OPTION_ARG_FILENAME, &options.guest, "the channel of the guest's own requests", "ADDR|none"},
      {"quiesce", 0, 0, G_OPTION_ARG_STRING, &options.quiesce, "whether to freeze the guest", "auto|require|off"},
      {"own", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options.own, "moves a base down to this image", "PATH"},
      {"ignore-disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.ignore, "the disks to leave alone from now on",
       "DISK|none"},
      {NULL},
  };
  EngineSettingsRequest request = {0};
  ChainsQuiesce quiesce = CHAINS_QUIESCE_AUTO;
  g_autoptr (EngineVmView) view = NULL;

  if (!chainctl_command_parse (invocation, entries, error) ||
      !chainctl_command_quiesce (options.quiesce, &quiesce, error))
    return FALSE;
  request.name = invocation->vm;
  request.qmp = options.qmp;
  request.agent = options.agent;
  request.guest = options.guest;
  request.quiesce = options.quiesce != NULL ? &quiesce : NULL;
  request.ignore = (const char *const *)options.ignore;
  request.own = (const char *const *)options.own;
  if (!is_asked (&request, error))
    return FALSE;
  view = engine_settings_change (invocation->context, &request, error);
  if (view == NULL)
    return FALSE;
  chainctl_output_plan (invocation->output, "%s is remembered so from then on:", view->record->name);
  note_vm (invocation->output, view);
  return TRUE;
}

static void
say_changes (ChainctlOutput *output, const EngineRescanResult *result)
{
  JsonArray *changes = json_array_new ();

  for (guint i = 0; i < result->changes->len; i++) {
    const EngineRescanChange *change = g_ptr_array_index (result->changes, i);
    JsonObject *object = json_object_new ();
    g_autofree char *what = chainctl_output_printable (change->what);

    chainctl_render_string (object, "disk", change->disk);
    json_object_set_string_member (object, "what", what);
    json_array_add_object_element (changes, object);
    chainctl_output_line (output, "%s: %s", change->disk != NULL ? change->disk : result->view->record->name, what);
  }
  json_object_set_array_member (output->document, "changes", changes);
  if (result->changes->len == 0)
    chainctl_output_line (output, "%s: nothing has changed", result->view->record->name);
}

gboolean
chainctl_cmd_vm_rescan (ChainctlInvocation *invocation, GError **error)
{
  gboolean accept = FALSE;
  const GOptionEntry entries[] = {
      {"accept", 0, 0, G_OPTION_ARG_NONE, &accept, "QEMU is right: take over what it runs on", NULL},
      {NULL},
  };
  g_autoptr (EngineRescanResult) result = NULL;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  result = engine_rescan_run (invocation->context, invocation->vm, accept, error);
  if (result == NULL)
    return FALSE;
  json_object_set_object_member (invocation->output->document, "vm", chainctl_render_vm (result->view, TRUE));
  if (result->changes->len > 0)
    chainctl_output_plan (invocation->output, "this is taken over:");
  say_changes (invocation->output, result);
  return TRUE;
}

gboolean
chainctl_cmd_vm_list (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  JsonArray *vms;
  g_autoptr (GPtrArray) views = NULL;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  views = engine_vmview_list (invocation->context, error);
  if (views == NULL)
    return FALSE;
  vms = json_array_new ();
  for (guint i = 0; i < views->len; i++)
    json_array_add_object_element (vms, chainctl_render_vm (g_ptr_array_index (views, i), FALSE));
  json_object_set_array_member (invocation->output->document, "vms", vms);
  if (views->len > 0)
    chainctl_output_table (invocation->output, vms, vm_columns);
  else
    chainctl_output_line (invocation->output, "No VM is registered; see `chainctl vm add --help`.");
  return TRUE;
}

gboolean
chainctl_cmd_vm_show (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (EngineVmView) view = NULL;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  view = engine_vmview_show (invocation->context, invocation->vm, error);
  if (view == NULL)
    return FALSE;
  say_vm (invocation->output, view);
  return TRUE;
}

gboolean
chainctl_cmd_vm_remove (ChainctlInvocation *invocation, GError **error)
{
  const GOptionEntry entries[] = {{NULL}};
  g_autoptr (EngineVmView) view = NULL;
  JsonObject *vm;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  view = engine_registration_remove (invocation->context, invocation->arguments[0], error);
  if (view == NULL)
    return FALSE;
  vm = chainctl_render_vm (view, TRUE);
  json_object_set_object_member (invocation->output->document, "vm", vm);
  json_object_set_array_member (invocation->output->document, "changes", json_array_new ());
  if (invocation->context->dry_run)
    chainctl_output_plan (invocation->output,
                          "%s and its snapshots are forgotten; its images stay:", view->record->name);
  else
    chainctl_output_note (invocation->output, "%s is forgotten, and so are its snapshots. Its images stay as they are:",
                          view->record->name);
  if (!invocation->output->quiet)
    chainctl_output_table (invocation->output, json_object_get_array_member (vm, "disks"),
                           chainctl_render_disk_columns);
  return TRUE;
}
