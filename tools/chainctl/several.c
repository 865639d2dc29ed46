/*
 * Runs one command on several VMs: each in a fiber, with a context and an output
 * of its own on the one database, and puts together what they say, in the order
 * of the VMs. What the command does is its own affair.
 */
#include "tools/chainctl/several.h"

#include "base/fiber.h"
#include "engine/error.h"
#include "engine/listing.h"
#include "engine/recover.h"
#include "tools/chainctl/exit.h"
#include "tools/chainctl/journal.h"
#include "tools/chainctl/overtaken.h"

/* ---- options ---- */

void
chainctl_several_options_clear (ChainctlSeveralOptions *options)
{
  g_free (options->match);
  g_free (options->names);
}

GOptionEntry *
chainctl_several_entries (ChainctlSeveralOptions *options)
{
  const GOptionEntry entries[] = {
      {"all", 0, 0, G_OPTION_ARG_NONE, &options->all, "all VMs, in place of VM", NULL},
      {"match", 0, 0, G_OPTION_ARG_STRING, &options->match, "the VMs whose names fit", "GLOB"},
      {"vm", 0, 0, G_OPTION_ARG_STRING, &options->names, "these VMs", "VM,…"},
      {"parallel", 0, 0, G_OPTION_ARG_INT, &options->parallel, "so many at once (all)", "N"},
      {NULL},
  };

  return g_memdup2 (entries, sizeof entries);
}

gboolean
chainctl_several_check (const ChainctlSeveralOptions *options, gboolean *several, GError **error)
{
  int ways = options->all + (options->match != NULL) + (options->names != NULL);

  if (ways > 1)
    return chainctl_exit_set_usage (error, "--all, --match and --vm: one of them");
  if (options->parallel <= 0)
    return chainctl_exit_set_usage (error, "--parallel: a number of VMs above 0");
  if (options->parallel != CHAINCTL_SEVERAL_AT_ONCE && ways == 0)
    return chainctl_exit_set_usage (error, "--parallel is for --all, --match or --vm");
  *several = ways > 0;
  return TRUE;
}

static char **
choose_named (const char *names, GError **error)
{
  g_autoptr (GPtrArray) chosen = g_ptr_array_new_with_free_func (g_free);
  g_auto (GStrv) parts = g_strsplit (names, ",", -1);

  for (gsize i = 0; parts[i] != NULL; i++) {
    if (*parts[i] == '\0') {
      chainctl_exit_set_usage (error, "--vm %s: a name is missing", names);
      return NULL;
    }
    if (!g_ptr_array_find_with_equal_func (chosen, parts[i], g_str_equal, NULL))
      g_ptr_array_add (chosen, g_strdup (parts[i]));
  }
  g_ptr_array_add (chosen, NULL);
  return (char **)g_ptr_array_steal (chosen, NULL);
}

char **
chainctl_several_choose (EngineContext *context, const ChainctlSeveralOptions *options, GError **error)
{
  g_autoptr (GPtrArray) known = options->names == NULL ? engine_listing_vms (context, error) : NULL;
  g_autoptr (GPtrArray) chosen = g_ptr_array_new_with_free_func (g_free);

  if (options->names != NULL)
    return choose_named (options->names, error);
  for (guint i = 0; known != NULL && i < known->len; i++) {
    const char *name = ((const ChainsVm *)g_ptr_array_index (known, i))->name;

    if (options->match == NULL || g_pattern_match_simple (options->match, name))
      g_ptr_array_add (chosen, g_strdup (name));
  }
  if (known == NULL)
    return NULL;
  if (chosen->len == 0 && options->match != NULL) {
    engine_error_set (error, ENGINE_ERROR_NO_SUCH_VM, "`chainctl vm list` shows them", "no VM is called like '%s'",
                      options->match);
    return NULL;
  }
  g_ptr_array_add (chosen, NULL);
  return (char **)g_ptr_array_steal (chosen, NULL);
}

/* ---- the runs ---- */

typedef struct {
  ChainctlInvocation invocation;
  ChainctlAct act;
  gconstpointer options;
  GError *error;
} Run;

static Run *
run_new (const ChainctlInvocation *whole, const char *vm, ChainctlAct act, gconstpointer options)
{
  Run *run = g_new0 (Run, 1);

  run->invocation = *whole;
  run->invocation.context = engine_context_new_sharing (whole->context);
  run->invocation.output = chainctl_output_new_part (whole->output);
  run->invocation.vm = g_strdup (vm);
  run->act = act;
  run->options = options;
  return run;
}

static void
run_free (Run *run)
{
  engine_context_free (run->invocation.context);
  chainctl_output_free (run->invocation.output);
  g_free (run->invocation.vm);
  g_clear_error (&run->error);
  g_free (run);
}

static void
run_one (gpointer item)
{
  Run *run = item;

  if (chainctl_command_recover_first (&run->invocation, &run->error) &&
      !run->act (&run->invocation, run->options, &run->error))
    g_assert (run->error != NULL);
  chainctl_overtaken_settle (&run->invocation, &run->error);
}

/* The greater exit status is the worse. */
static gboolean
is_worse (const GError *error, const GError *than)
{
  return error != NULL && chainctl_exit_status (error) > chainctl_exit_status (than);
}

static gboolean
sum_up (const GPtrArray *runs, GError **error)
{
  const GError *worst = NULL;
  guint failed = 0;

  for (guint i = 0; i < runs->len; i++) {
    const Run *run = g_ptr_array_index (runs, i);

    failed += run->error != NULL;
    if (is_worse (run->error, worst))
      worst = run->error;
  }
  if (worst == NULL)
    return TRUE;
  *error = g_error_new (worst->domain, worst->code, "%u of %u VMs failed", failed, runs->len);
  return FALSE;
}

/* One for all whose interrupted operations are to be ended by a command that only reads. */
static gboolean
open_writer (ChainctlInvocation *invocation, GError **error)
{
  gboolean due = FALSE;

  for (gsize i = 0; invocation->vms[i] != NULL; i++)
    due = due || engine_recover_is_due (invocation->context, invocation->vms[i]);
  if (!due || invocation->command->mode != CHAINS_DB_READ)
    return TRUE;
  invocation->writer = engine_context_new_like (invocation->context);
  return engine_context_open (invocation->writer, CHAINS_DB_UPDATE, error);
}

gboolean
chainctl_several_run (ChainctlInvocation *invocation, ChainctlAct act, gconstpointer options, GError **error)
{
  g_autoptr (GPtrArray) runs = g_ptr_array_new_with_free_func ((GDestroyNotify)run_free);
  JsonArray *results;

  if (!open_writer (invocation, error))
    return FALSE;
  results = json_array_new ();
  for (gsize i = 0; invocation->vms[i] != NULL; i++)
    g_ptr_array_add (runs, run_new (invocation, invocation->vms[i], act, options));
  base_fiber_run_all (runs, run_one, invocation->parallel);
  for (guint i = 0; i < runs->len; i++) {
    Run *run = g_ptr_array_index (runs, i);

    chainctl_journal_record (&run->invocation, run->error);
    json_array_add_object_element (results, chainctl_output_take_part (invocation->output, run->invocation.vm,
                                                                       run->invocation.output, run->invocation.context,
                                                                       run->error));
  }
  json_object_set_array_member (invocation->output->document, "results", results);
  invocation->output->in_part = TRUE;
  g_clear_pointer (&invocation->writer, engine_context_free);
  return sum_up (runs, error);
}
