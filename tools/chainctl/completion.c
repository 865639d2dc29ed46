/*
 * What the word that is being typed may become. All of it comes from the table of
 * commands, from the options that each command has, and, for names, from the database.
 * Asks no QEMU, changes nothing, and has no errors: what is not known is not offered.
 */
#include "tools/chainctl/completion.h"

#include "engine/listing.h"
#include "engine/vm.h"
#include "tools/chainctl/exit.h"
#include "tools/chainctl/options.h"
#include "tools/chainctl/shellscript.h"
#include "tools/chainctl/table.h"

#include <stdio.h>
#include <string.h>

/* ---- what was typed so far ---- */

/*
 * @command: (nullable): where it is already there; @group: (nullable): else the first of its two words, or what is none
 * @options: (element-type GOptionEntry): the command's and the global ones, ended by a NULL name
 * @open: (nullable): the option whose value is the next word
 * @arguments: (element-type utf8): the words behind the command that are no options
 * @several: an option names the VMs, so that no argument does
 * @ended: behind `--`; @behind: how many words stand there already
 * @word: what is being typed; @before: (nullable): what of it stands before the value that is offered
 */
typedef struct {
  const ChainctlCommand *command;
  const char *group;
  GArray *options;
  const GOptionEntry *open;
  GPtrArray *arguments;
  gboolean several;
  gboolean ended;
  guint behind;
  char *state;
  EngineContext *context;
  const char *word;
  char *before;
} Line;

static void
line_clear (Line *line)
{
  g_clear_pointer (&line->options, g_array_unref);
  g_clear_pointer (&line->arguments, g_ptr_array_unref);
  g_clear_pointer (&line->context, engine_context_free);
  g_free (line->state);
  g_free (line->before);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Line, line_clear)

/* A command that looks at its words before it has them parsed sees that its help is asked for. */
static GArray *
options_of (const ChainctlCommand *command)
{
  GArray *options = g_array_new (TRUE, TRUE, sizeof (GOptionEntry));
  char help[] = "--help";
  char *words[] = {help, NULL};
  ChainctlInvocation invocation = {.command = command, .words = words, .entries = options};
  g_autoptr (GError) ignored = NULL;
  ChainctlOptions unused = {0};
  g_autofree GOptionEntry *global = chainctl_options_global (&unused);
  const GOptionEntry version = {"version", 0, 0, G_OPTION_ARG_NONE, NULL, "show the version", NULL};

  if (command == NULL)
    g_array_append_val (options, version);
  else
    command->run (&invocation, &ignored);
  for (const GOptionEntry *entry = global; entry->long_name != NULL; entry++)
    g_array_append_vals (options, entry, 1);
  return options;
}

static const GOptionEntry *
find_option (const Line *line, const char *word)
{
  gsize length = strcspn (word, "=");

  for (guint i = 0; i < line->options->len; i++) {
    const GOptionEntry *entry = &g_array_index (line->options, GOptionEntry, i);

    if (length > 2 && strlen (entry->long_name) == length - 2 && strncmp (entry->long_name, word + 2, length - 2) == 0)
      return entry;
  }
  return NULL;
}

/* As the parser has it: --wait takes its value behind an equals sign alone. */
static gboolean
takes_next_word (const GOptionEntry *entry)
{
  return entry->arg != G_OPTION_ARG_NONE && entry->arg != G_OPTION_ARG_CALLBACK;
}

static void
take_value (Line *line, const GOptionEntry *entry, const char *value)
{
  if (!g_str_equal (entry->long_name, "state"))
    return;
  g_free (line->state);
  line->state =
      g_str_has_prefix (value, "~/") ? g_build_filename (g_get_home_dir (), value + 2, NULL) : g_strdup (value);
}

static void
take_option (Line *line, const char *word)
{
  static const char *const several[] = {"all", "match", "vm", NULL};
  const GOptionEntry *entry = g_str_has_prefix (word, "--") ? find_option (line, word) : NULL;
  const char *equals = strchr (word, '=');

  if (entry == NULL)
    return;
  if (line->command != NULL && line->command->several && g_strv_contains (several, entry->long_name))
    line->several = TRUE;
  if (equals != NULL)
    take_value (line, entry, equals + 1);
  else if (takes_next_word (entry))
    line->open = entry;
}

static void
take_argument (Line *line, char *word)
{
  guint count;

  if (line->command != NULL) {
    g_ptr_array_add (line->arguments, word);
    line->behind += line->ended ? 1 : 0;
    return;
  }
  line->command = line->group != NULL ? chainctl_table_find (line->group, word, &count, NULL)
                                      : chainctl_table_find (word, NULL, &count, NULL);
  line->group = word;
  if (line->command == NULL)
    return;
  g_array_unref (line->options);
  line->options = options_of (line->command);
}

static void
take (Line *line, char *word)
{
  if (line->open != NULL)
    take_value (line, g_steal_pointer (&line->open), word);
  else if (line->ended || word[0] != '-' || word[1] == '\0')
    take_argument (line, word);
  else if (g_str_equal (word, "--"))
    line->ended = TRUE;
  else
    take_option (line, word);
}

/* ---- what is offered ---- */

static void
offer (const Line *line, const char *kind, const char *text, const char *meaning)
{
  g_autofree char *whole = g_strconcat (line->before != NULL ? line->before : "", text, NULL);
  g_autofree char *said = chainctl_output_printable (meaning != NULL ? meaning : "");
  gboolean is_whole = g_str_equal (kind, "word") || g_str_equal (kind, "part");

  if (!is_whole || g_str_has_prefix (whole, line->word))
    printf ("%s\t%s\t%s\n", kind, whole, said);
}

/* Opens the database at the first name that is asked for. */
static EngineContext *
names (Line *line)
{
  g_autofree char *state = NULL;

  if (line->context != NULL)
    return line->context;
  state = chainctl_command_state_folder (line->state);
  line->context = engine_context_new (state);
  return engine_context_open (line->context, CHAINS_DB_READ, NULL) ? line->context : NULL;
}

/* The VM whose disks and snapshots are meant: the one that stands there, else the one that would be meant without. */
static char *
vm_of (Line *line)
{
  if (line->command != NULL && line->command->takes_vm && line->arguments->len > 0)
    return g_strdup (g_ptr_array_index (line->arguments, 0));
  return chainctl_command_default_vm (line->context, NULL);
}

static void
offer_vms (Line *line, const char *kind, const char *behind)
{
  g_autoptr (GPtrArray) vms = names (line) != NULL ? engine_listing_vms (line->context, NULL) : NULL;

  for (guint i = 0; vms != NULL && i < vms->len; i++) {
    const ChainsVm *vm = g_ptr_array_index (vms, i);
    g_autofree char *text = g_strconcat (vm->name, behind, NULL);

    offer (line, kind, text, vm->qmp);
  }
}

static void
offer_disks (Line *line, const char *kind, const char *behind)
{
  g_autofree char *vm = names (line) != NULL ? vm_of (line) : NULL;
  g_autoptr (GPtrArray) disks = vm != NULL ? engine_listing_disks (line->context, vm, NULL) : NULL;

  for (guint i = 0; disks != NULL && i < disks->len; i++) {
    const ChainsDisk *disk = g_ptr_array_index (disks, i);
    g_autofree char *text = g_strconcat (disk->name, behind, NULL);

    offer (line, kind, text, NULL);
  }
}

static void
offer_snapshots (Line *line, const char *kind, const char *behind)
{
  g_autofree char *vm = names (line) != NULL ? vm_of (line) : NULL;
  g_autoptr (GPtrArray) snapshots = vm != NULL ? engine_listing_snapshots (line->context, vm, NULL) : NULL;

  for (guint i = 0; snapshots != NULL && i < snapshots->len; i++) {
    const ChainsSnapshot *snapshot = g_ptr_array_index (snapshots, i);
    g_autofree char *text = g_strconcat (snapshot->name, behind, NULL);

    offer (line, kind, text, snapshot->description);
  }
  if (snapshots != NULL && snapshots->len > 0)
    offer (line, kind, "latest", "the newest");
}

/* Operations that have not ended, by their ids: what their jobs are called only QEMU knows. */
static void
offer_jobs (Line *line, const char *kind, const char *behind)
{
  g_autofree char *vm = names (line) != NULL ? vm_of (line) : NULL;
  g_autoptr (GPtrArray) ops = vm != NULL ? engine_listing_operations (line->context, vm, NULL) : NULL;

  for (guint i = 0; ops != NULL && i < ops->len; i++) {
    const ChainsOp *op = g_ptr_array_index (ops, i);

    if (op->state == CHAINS_OP_DETACHED || op->state == CHAINS_OP_OPEN)
      offer (line, kind, op->id, op->verb);
  }
}

static void
offer_file (Line *line, const char *kind, const char *behind)
{
  offer (line, "file", "", NULL);
}

static void
offer_folder (Line *line, const char *kind, const char *behind)
{
  offer (line, "folder", "", NULL);
}

/* The command that another one starts, then what it is given. */
static void
offer_program (Line *line, const char *kind, const char *behind)
{
  offer (line, line->behind == 0 ? "program" : "file", "", NULL);
}

static const char *
typed (const Line *line)
{
  return line->word + (line->before != NULL ? strlen (line->before) : 0);
}

/* The first @length bytes of the word stay; what is offered comes behind them. */
static void
keep (Line *line, gsize length)
{
  g_free (line->before);
  line->before = g_strndup (line->word, length);
}

/* unix:PATH, vsock:CID:PORT, or a path alone */
static void
offer_address (Line *line, const char *kind, const char *behind)
{
  if (g_str_has_prefix (typed (line), "unix:")) {
    keep (line, (gsize)(typed (line) - line->word) + strlen ("unix:"));
  } else {
    offer (line, "part", "unix:", NULL);
    offer (line, "part", "vsock:", NULL);
  }
  offer (line, "file", "", NULL);
}

/* @alternatives: (array zero-terminated=1): beginnings; behind the first, which is unix:, comes a file */
static void
offer_beginnings (Line *line, const char *const *alternatives)
{
  if (g_str_has_prefix (typed (line), "unix:")) {
    keep (line, (gsize)(typed (line) - line->word) + strlen ("unix:"));
    offer (line, "file", "", NULL);
    return;
  }
  for (gsize i = 0; alternatives[i] != NULL; i++)
    offer (line, "part", alternatives[i], NULL);
}

/* Where a monitor is: unix:PATH, or a path alone */
static void
offer_socket (Line *line, const char *kind, const char *behind)
{
  const char *const beginnings[] = {"unix:", NULL};

  offer_beginnings (line, beginnings);
  if (!g_str_has_prefix (typed (line), "unix:"))
    offer (line, "file", "", NULL);
}

/* Where to listen: of HOST:PORT nothing is known. */
static void
offer_listen (Line *line, const char *kind, const char *behind)
{
  const char *const beginnings[] = {"unix:", NULL};

  offer_beginnings (line, beginnings);
}

static void
offer_server (Line *line, const char *kind, const char *behind)
{
  const char *const beginnings[] = {"unix:", "nbd://", "nbds://", NULL};

  offer_beginnings (line, beginnings);
}

/* Spelled out they would make the help texts wider than a terminal. */
static void
offer_copy_modes (Line *line, const char *kind, const char *behind)
{
  const char *const modes[] = {"auto", "background", "write-blocking"};

  for (gsize i = 0; i < G_N_ELEMENTS (modes) && *behind == '\0'; i++)
    offer (line, kind, modes[i], NULL);
}

/* What the help texts call the things that can be offered. */
static const struct {
  const char *what;
  void (*offer) (Line *line, const char *kind, const char *behind);
} offers[] = {
    {"VM", offer_vms},        {"DISK", offer_disks},       {"D", offer_disks},       {"SNAPSHOT", offer_snapshots},
    {"FILE", offer_file},     {"PATH", offer_file},        {"SOCKET", offer_socket}, {"ADDR", offer_address},
    {"SERVER", offer_server}, {"unix:PATH", offer_listen}, {"DIR", offer_folder},    {"CMD", offer_program},
    {"JOB", offer_jobs},      {"MODE", offer_copy_modes},
};

static void
offer_thing (Line *line, const char *what, const char *kind, const char *behind)
{
  for (gsize i = 0; i < G_N_ELEMENTS (offers); i++)
    if (g_str_equal (what, offers[i].what)) {
      offers[i].offer (line, kind, behind);
      return;
    }
  if (g_ascii_islower (what[0]) && *behind == '\0')
    offer (line, kind, what, NULL);
}

/* DISK=PATH: a disk first, and a file once the equals sign is there. */
static void
offer_pair (Line *line, const char *what)
{
  const char *equals = strchr (typed (line), '=');
  const char *path = strchr (what, '=');
  g_autofree char *name = g_strndup (what, (gsize)(path - what));

  if (equals == NULL) {
    offer_thing (line, name, "part", "=");
    return;
  }
  keep (line, (gsize)(equals + 1 - line->word));
  offer_thing (line, path + 1, "word", "");
}

/* A list with commas: what stands before the last one stays. */
static void
skip_list (Line *line)
{
  const char *comma = strrchr (line->word, ',');

  if (comma != NULL)
    keep (line, (gsize)(comma + 1 - line->word));
}

/* @what: as a help text has it: "DISK", "auto|require|off", "DISK=PATH", "VM,…" */
static void
offer_value (Line *line, const char *what)
{
  g_auto (GStrv) alternatives = g_strsplit (what, "|", -1);

  for (gsize i = 0; alternatives[i] != NULL; i++) {
    if (strchr (alternatives[i], ',') != NULL) {
      skip_list (line);
      *strchr (alternatives[i], ',') = '\0';
    }
    if (strchr (alternatives[i], '=') != NULL)
      offer_pair (line, alternatives[i]);
    else
      offer_thing (line, alternatives[i], "word", "");
  }
}

static void
offer_option_value (Line *line)
{
  const char *equals = strchr (line->word, '=');
  const GOptionEntry *entry = find_option (line, line->word);

  if (entry == NULL || entry->arg_description == NULL)
    return;
  keep (line, (gsize)(equals + 1 - line->word));
  offer_value (line, entry->arg_description);
}

static void
offer_options (Line *line)
{
  for (guint i = 0; i < line->options->len; i++) {
    const GOptionEntry *entry = &g_array_index (line->options, GOptionEntry, i);
    g_autofree char *text = g_strdup_printf ("--%s", entry->long_name);

    offer (line, "word", text, entry->description);
    if (entry->short_name != '\0' && strlen (line->word) < 3) {
      char letter[] = {'-', entry->short_name, '\0'};

      offer (line, "word", letter, entry->description);
    }
  }
}

/* The first words, or the second words of a group. A group is shown once, by its last command, with what is in it. */
static void
offer_commands (Line *line)
{
  g_autoptr (GString) verbs = g_string_new (NULL);

  for (const ChainctlCommand *command = chainctl_table; command->name != NULL; command++) {
    const char *space = strchr (command->name, ' ');
    gsize length = space != NULL ? (gsize)(space - command->name) : 0;
    g_autofree char *group = g_strndup (command->name, length);
    const char *next = command[1].name;

    if (line->group != NULL) {
      if (space != NULL && g_str_equal (group, line->group))
        offer (line, "word", space + 1, command->summary);
      continue;
    }
    if (space == NULL) {
      offer (line, "word", command->name, command->summary);
      continue;
    }
    g_string_append_printf (verbs, "%s%s", verbs->len > 0 ? ", " : "", space + 1);
    if (next != NULL && strncmp (next, command->name, length + 1) == 0)
      continue;
    offer (line, "word", group, verbs->str);
    g_string_truncate (verbs, 0);
  }
}

/* The @index-th argument of the command as its help text calls it, without brackets; the last one may be repeated. */
static char *
argument_name (const Line *line, guint index)
{
  g_auto (GStrv) words = g_strsplit (line->command->arguments, " ", -1);
  char *name = NULL;
  guint seen = 0;

  for (gsize i = 0; words[i] != NULL && seen <= index; i++) {
    const GOptionEntry *entry = g_str_has_prefix (words[i], "--") ? find_option (line, words[i]) : NULL;

    if (g_str_has_prefix (words[i], "-")) {
      i += entry != NULL && takes_next_word (entry) && words[i + 1] != NULL ? 1 : 0;
      continue;
    }
    g_free (name);
    name = g_strndup (words[i] + strspn (words[i], "["), strcspn (words[i] + strspn (words[i], "["), "].\xe2"));
    seen += strstr (words[i], "…") != NULL || strstr (words[i], "...") != NULL ? index + 1 : 1;
  }
  if (seen <= index)
    g_clear_pointer (&name, g_free);
  return name;
}

/* What stands behind `--` is for the command that another one starts, whatever stands before it. */
static void
offer_argument (Line *line)
{
  gboolean starts = line->ended && strstr (line->command->arguments, "-- CMD") != NULL;
  g_autofree char *name =
      starts ? g_strdup ("CMD") : argument_name (line, line->arguments->len + (line->several ? 1 : 0));

  if (name != NULL)
    offer_value (line, name);
}

static void
offer_all (Line *line)
{
  if (line->open != NULL)
    offer_value (line, line->open->arg_description != NULL ? line->open->arg_description : "");
  else if (!line->ended && g_str_has_prefix (line->word, "--") && strchr (line->word, '=') != NULL)
    offer_option_value (line);
  else if (!line->ended && line->word[0] == '-')
    offer_options (line);
  else if (line->command == NULL)
    offer_commands (line);
  else
    offer_argument (line);
}

/* As the shell would read it; a quote that is still open is left as it is. */
static char *
unquoted (const char *word)
{
  g_autofree char *text = g_shell_unquote (word, NULL);

  return text != NULL ? g_steal_pointer (&text) : g_strdup (word);
}

static int
complete (char **words)
{
  g_autoptr (GPtrArray) typed = g_ptr_array_new_with_free_func (g_free);
  g_auto (Line) line = {.options = options_of (NULL), .arguments = g_ptr_array_new (), .word = ""};

  for (gsize i = 0; words[i] != NULL; i++) {
    char *word;

    g_ptr_array_add (typed, unquoted (words[i]));
    word = g_ptr_array_index (typed, i);
    if (words[i + 1] != NULL)
      take (&line, word);
    else
      line.word = word;
  }
  offer_all (&line);
  return CHAINCTL_EXIT_DONE;
}

gboolean
chainctl_completion_is_asked (char **argv)
{
  return argv[1] != NULL && (g_str_equal (argv[1], "--completion") || g_str_equal (argv[1], "--complete"));
}

int
chainctl_completion_main (char **argv)
{
  const char *script;

  if (g_str_equal (argv[1], "--complete"))
    return complete (argv + 2);
  script = chainctl_shellscript_find (argv[2]);
  if (script == NULL)
    fputs ("chainctl: --completion bash|zsh\n", stderr);
  else
    fputs (script, stdout);
  return script != NULL ? CHAINCTL_EXIT_DONE : CHAINCTL_EXIT_USAGE;
}
