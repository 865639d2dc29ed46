/*
 * chainctl snapshot: options to a request, the result to a document. The work is
 * engine/snapshot's.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/exit.h"
#include "tools/chainctl/quiescing.h"
#include "tools/chainctl/render.h"

#include <string.h>

typedef struct {
  char **disks;
  char **excludes;
  char *description;
  char **tags;
  gboolean protected;
  char *directory;
  char **reuse;
  ChainctlQuiescing quiescing;
} Options;

static void
options_clear (Options *options)
{
  g_strfreev (options->disks);
  g_strfreev (options->excludes);
  g_free (options->description);
  g_strfreev (options->tags);
  g_free (options->directory);
  g_strfreev (options->reuse);
  chainctl_quiescing_clear (&options->quiescing);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

/* DISK=PATH … as a table */
static GHashTable *
parse_reuse (char **pairs, GError **error)
{
  g_autoptr (GHashTable) table = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);

  for (gsize i = 0; pairs != NULL && pairs[i] != NULL; i++) {
    const char *path = NULL;
    char *disk = chainctl_command_split_pair ("reuse", pairs[i], &path, error);

    if (disk == NULL)
      return NULL;
    g_hash_table_replace (table, disk, g_strdup (path));
  }
  return g_steal_pointer (&table);
}

static void
say (ChainctlOutput *output, const EngineSnapshotResult *result, const char *vm)
{
  const ChainsSnapshot *snapshot = result->snapshot;
  JsonObject *object = chainctl_render_snapshot (snapshot, vm);
  g_autofree char *frozen = chainctl_output_duration (snapshot->frozen_us);

  json_object_set_object_member (output->document, "snapshot", object);
  json_object_set_array_member (output->document, "active", chainctl_render_active (result->active));
  json_object_set_member (output->document, "frozen_us", json_node_copy (json_object_get_member (object, "frozen_us")));
  json_object_set_null_member (output->document, "paused_us");
  chainctl_output_plan (output, "snapshot '%s' of %s, %s-consistent", snapshot->name, vm,
                        chains_consistency_to_string (snapshot->consistency));
  if (snapshot->frozen_us >= 0)
    chainctl_output_note (output, "Snapshot '%s' of %s: %s-consistent, frozen for %s", snapshot->name, vm,
                          chains_consistency_to_string (snapshot->consistency), frozen);
  else
    chainctl_output_note (output, "Snapshot '%s' of %s: %s-consistent%s%s%s", snapshot->name, vm,
                          chains_consistency_to_string (snapshot->consistency), snapshot->reason != NULL ? " (" : "",
                          snapshot->reason != NULL ? snapshot->reason : "", snapshot->reason != NULL ? ")" : "");
  for (guint i = 0; i < result->active->len; i++) {
    const EngineSwitchedDisk *disk = g_ptr_array_index (result->active, i);
    g_autofree char *path = chainctl_output_printable (disk->after);

    chainctl_output_note (output, "  %s now writes to %s", disk->disk, path);
    chainctl_output_plan (output, "%s writes to %s from then on", disk->disk, path);
  }
}

static gboolean
fill_request (EngineSnapshotRequest *request, ChainctlInvocation *invocation, const Options *options,
              ChainsQuiesce *mode, GError **error)
{
  if (!chainctl_quiescing_read (&options->quiescing, mode, &request->quiesce, &request->freeze_timeout_us, error))
    return FALSE;
  request->vm = invocation->vm;
  request->name = invocation->arguments[0];
  request->description = options->description;
  request->disks = (const char *const *)options->disks;
  request->excludes = (const char *const *)options->excludes;
  request->tags = (const char *const *)options->tags;
  request->protected = options->protected;
  return TRUE;
}

static gboolean
take (ChainctlInvocation *invocation, gconstpointer data, GError **error)
{
  const Options *options = data;
  EngineSnapshotRequest request = {0};
  ChainsQuiesce mode;
  g_autoptr (GHashTable) reuse = parse_reuse (options->reuse, error);
  g_autofree char *directory = options->directory != NULL ? g_canonicalize_filename (options->directory, NULL) : NULL;
  g_autoptr (EngineSnapshotResult) result = NULL;
  gboolean taken;

  if (reuse == NULL || !fill_request (&request, invocation, options, &mode, error))
    return FALSE;
  request.directory = directory;
  request.reuse = reuse;
  taken = engine_snapshot_take (invocation->context, &request, &result, error);
  if (result != NULL)
    say (invocation->output, result, invocation->vm);
  return taken;
}

gboolean
chainctl_cmd_snapshot (ChainctlInvocation *invocation, GError **error)
{
  g_auto (Options) options = {.quiescing = CHAINCTL_QUIESCING_INIT};
  const GOptionEntry entries[] = {
      {"disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.disks, "only this disk (may be repeated)", "DISK"},
      {"exclude", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.excludes, "all but this disk (may be repeated)", "DISK"},
      {"description", 0, 0, G_OPTION_ARG_STRING, &options.description, "what it is for", "TEXT"},
      {"tag", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.tags, "a word to find it by (may be repeated)", "TAG"},
      {"protect", 0, 0, G_OPTION_ARG_NONE, &options.protected, "not to be merged, deleted or pruned", NULL},
      {"dir", 0, 0, G_OPTION_ARG_FILENAME, &options.directory, "where the overlays go", "DIR"},
      {"reuse", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options.reuse, "an overlay that you made (may be repeated)",
       "DISK=PATH"},
      CHAINCTL_QUIESCING_ENTRIES (options.quiescing),
      {NULL},
  };

  return chainctl_command_run (invocation, entries, take, &options, error);
}
