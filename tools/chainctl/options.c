/*
 * Parses options with GLib's parser, and refuses what that would take and a
 * user cannot have meant.
 */
#include "tools/chainctl/options.h"

#include "base/nearest.h"
#include "tools/chainctl/exit.h"

#include <string.h>

#define DEFAULT_TIMEOUT 10

void
chainctl_options_clear (ChainctlOptions *options)
{
  g_free (options->state);
  g_free (options->config);
  g_free (options->progress);
  g_free (options->wait);
}

/* ---- what GOption takes and we do not ---- */

static const GOptionEntry *
find_entry (const GOptionEntry *entries, const char *name, gsize length)
{
  for (const GOptionEntry *entry = entries; entry->long_name != NULL; entry++)
    if (strlen (entry->long_name) == length && strncmp (entry->long_name, name, length) == 0)
      return entry;
  return NULL;
}

/* Its value is the next word. */
static gboolean
is_valued (const GOptionEntry *entry)
{
  return entry->arg != G_OPTION_ARG_NONE && entry->arg != G_OPTION_ARG_CALLBACK;
}

static gboolean
is_text (const GOptionEntry *entry)
{
  return entry->arg == G_OPTION_ARG_STRING || entry->arg == G_OPTION_ARG_STRING_ARRAY;
}

/* As GOption would refuse it, but in our words. Text is UTF-8 whatever the locale is: cron has none. */
static gboolean
check_value (const GOptionEntry *entry, const char *value, GError **error)
{
  gboolean whole = entry->arg == G_OPTION_ARG_INT;
  char *end = NULL;

  if (is_text (entry) && !g_utf8_validate (value, -1, NULL))
    return chainctl_exit_set_usage (error, "--%s %s: not UTF-8", entry->long_name, value);
  if (entry->arg != G_OPTION_ARG_DOUBLE && !whole)
    return TRUE;
  if (whole)
    g_ascii_strtoll (value, &end, 10);
  else
    g_ascii_strtod (value, &end);
  if (end != value && *end == '\0')
    return TRUE;
  return chainctl_exit_set_usage (error, "--%s %s: not a number%s", entry->long_name, value,
                                  whole ? "" : " of seconds");
}

/* "--json=no" is no way to say no, and "--state=$UNSET" none to name a folder. */
static gboolean
check_word (const char *word, const GOptionEntry *entries, GError **error)
{
  const char *equals = strchr (word, '=');
  const GOptionEntry *entry = equals != NULL ? find_entry (entries, word + 2, (gsize)(equals - word) - 2) : NULL;

  if (entry == NULL)
    return TRUE;
  if (entry->arg == G_OPTION_ARG_NONE)
    return chainctl_exit_set_usage (error, "--%s takes no value", entry->long_name);
  if (equals[1] == '\0' && !g_str_equal (entry->long_name, "description") && entry->arg != G_OPTION_ARG_CALLBACK)
    return chainctl_exit_set_usage (error, "--%s= is empty", entry->long_name);
  return check_value (entry, equals + 1, error);
}

/* "--state ''" is an unset variable too. */
static gboolean
check_pair (const char *word, const char *next, const GOptionEntry *entries, GError **error)
{
  const GOptionEntry *entry = find_entry (entries, word + 2, strlen (word + 2));

  if (entry == NULL || !is_valued (entry))
    return TRUE;
  if (next == NULL)
    return chainctl_exit_set_usage (error, "--%s: %s is missing behind it", entry->long_name,
                                    entry->arg_description != NULL ? entry->arg_description : "its value");
  if (*next == '\0' && !g_str_equal (entry->long_name, "description"))
    return chainctl_exit_set_usage (error, "--%s '' is empty", entry->long_name);
  return check_value (entry, next, error);
}

static void
add_names (GPtrArray *names, const GOptionEntry *entries)
{
  for (const GOptionEntry *entry = entries; entry->long_name != NULL; entry++)
    g_ptr_array_add (names, (gpointer)entry->long_name);
}

static gboolean
takes_next (const char *word, const GOptionEntry *entries, const GOptionEntry *globals)
{
  const GOptionEntry *entry = find_entry (entries, word + 2, strlen (word) - 2);

  if (entry == NULL)
    entry = find_entry (globals, word + 2, strlen (word) - 2);
  return entry != NULL && is_valued (entry);
}

/* The longest of @names that @typed goes on from: "state" of "state-dir". */
static const char *
find_beginning (const char *typed, const GPtrArray *names)
{
  const char *longest = NULL;

  for (guint i = 0; i + 1 < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);

    if (g_str_has_prefix (typed, name) && (longest == NULL || strlen (name) > strlen (longest)))
      longest = name;
  }
  return longest;
}

static gboolean
check_long (const char *word, const GPtrArray *names, GError **error)
{
  g_autofree char *typed = g_strndup (word + 2, strcspn (word + 2, "="));
  const char *nearest;

  if (*typed == '\0' || g_strv_contains ((const char *const *)names->pdata, typed))
    return TRUE;
  nearest = base_nearest_find (typed, (const char *const *)names->pdata);
  if (nearest == NULL)
    nearest = find_beginning (typed, names);
  return chainctl_exit_set_usage (error, "there is no option --%s%s%s%s", typed,
                                  nearest != NULL ? "; did you mean --" : "", nearest != NULL ? nearest : "",
                                  nearest != NULL ? "?" : "");
}

/* "-qv" is two. None has a value. */
static gboolean
check_short (const char *word, const GOptionEntry *entries, const GOptionEntry *globals, GError **error)
{
  for (const char *letter = word + 1; *letter != '\0'; letter = g_utf8_next_char (letter)) {
    gboolean known = FALSE;

    for (const GOptionEntry *entry = entries; !known && entry->long_name != NULL; entry++)
      known = entry->short_name == *letter;
    for (const GOptionEntry *entry = globals; !known && entry->long_name != NULL; entry++)
      known = entry->short_name == *letter;
    if (!known)
      return chainctl_exit_set_usage (error, "there is no option -%.*s%s", (int)(g_utf8_next_char (letter) - letter),
                                      letter, *letter == 'V' ? "; did you mean --version?" : "");
  }
  return TRUE;
}

/* An option that is neither the command's nor global, with what was probably meant. */
static gboolean
check_known (char **words, const GOptionEntry *entries, const GOptionEntry *globals, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();

  add_names (names, entries);
  add_names (names, globals);
  g_ptr_array_add (names, NULL);
  for (gsize i = 0; words[i] != NULL && !g_str_equal (words[i], "--"); i++) {
    if (words[i][0] != '-' || words[i][1] == '\0')
      continue;
    if (words[i][1] != '-' ? !check_short (words[i], entries, globals, error) : !check_long (words[i], names, error))
      return FALSE;
    if (words[i + 1] != NULL && takes_next (words[i], entries, globals))
      i++;
  }
  return TRUE;
}

/* Checks the words up to `--`, and gives a bare --wait its equals sign: GOption would take the next word for its value.
 */
static gboolean
normalise (char **words, const GOptionEntry *entries, GError **error)
{
  for (gsize i = 0; words[i] != NULL && !g_str_equal (words[i], "--"); i++) {
    if (!g_str_has_prefix (words[i], "--"))
      continue;
    if (!check_word (words[i], entries, error) || !check_pair (words[i], words[i + 1], entries, error))
      return FALSE;
    if (g_str_equal (words[i], "--wait")) {
      g_free (words[i]);
      words[i] = g_strdup ("--wait=");
    }
  }
  return TRUE;
}

/* --wait, or --wait=SECONDS: as normalise() has it, always with the equals sign */
static gboolean
parse_wait (const char *name, const char *value, gpointer data, GError **error)
{
  ChainctlOptions *options = data;

  options->waits = TRUE;
  g_free (options->wait);
  options->wait = *value != '\0' ? g_strdup (value) : NULL;
  return TRUE;
}

GOptionEntry *
chainctl_options_global (ChainctlOptions *options)
{
  const GOptionEntry entries[] = {
      {"state", 0, 0, G_OPTION_ARG_FILENAME, &options->state, "where the database lives", "DIR"},
      {"config", 0, 0, G_OPTION_ARG_FILENAME, &options->config, "the configuration", "FILE"},
      {"json", 0, 0, G_OPTION_ARG_NONE, &options->json, "one JSON document on stdout", NULL},
      {"progress", 0, 0, G_OPTION_ARG_STRING, &options->progress, "progress of jobs, on stderr", "auto|bar|json|none"},
      {"dry-run", 0, 0, G_OPTION_ARG_NONE, &options->dry_run, "check all, say what would be done", NULL},
      {"timeout", 0, 0, G_OPTION_ARG_DOUBLE, &options->timeout, "how long to wait for a silent peer (10)", "SECONDS"},
      {"wait", 0, 0, G_OPTION_ARG_CALLBACK, (gpointer)parse_wait, "wait for another operation on this VM", "SECONDS"},
      {"yes", 0, 0, G_OPTION_ARG_NONE, &options->yes, "ask nothing", NULL},
      {"quiet", 'q', 0, G_OPTION_ARG_NONE, &options->quiet, "say only what was asked for", NULL},
      {"verbose", 'v', 0, G_OPTION_ARG_NONE, &options->verbose, "say more", NULL},
      {"help", 'h', 0, G_OPTION_ARG_NONE, &options->help, "show this", NULL},
      {NULL},
  };

  return g_memdup2 (entries, sizeof entries);
}

char *
chainctl_options_describe_global (void)
{
  ChainctlOptions unused;
  g_autofree GOptionEntry *entries = chainctl_options_global (&unused);
  GString *text = g_string_new (NULL);

  for (const GOptionEntry *entry = entries; entry->long_name != NULL; entry++) {
    gboolean optional = entry->arg == G_OPTION_ARG_CALLBACK;
    g_autofree char *letter =
        entry->short_name != '\0' ? g_strdup_printf ("-%c, ", entry->short_name) : g_strdup ("    ");
    g_autofree char *value =
        entry->arg_description != NULL
            ? g_strconcat (optional ? "[=" : " ", entry->arg_description, optional ? "]" : "", NULL)
            : g_strdup ("");
    g_autofree char *whole = g_strconcat (letter, "--", entry->long_name, value, NULL);

    g_string_append_printf (text, "  %-37s %s\n", whole, entry->description);
  }
  g_string_append_printf (text, "  %-37s %s\n", "    --version", "show the version");
  return g_string_free (text, FALSE);
}

gsize
chainctl_options_find_command (char **words)
{
  ChainctlOptions unused;
  g_autofree GOptionEntry *entries = chainctl_options_global (&unused);
  gsize at = 0;

  while (words[at] != NULL && words[at][0] == '-' && words[at][1] != '\0') {
    const GOptionEntry *entry = find_entry (entries, words[at] + 2, strlen (words[at]) - 2);

    at += entry != NULL && is_valued (entry) && words[at + 1] != NULL ? 2 : 1;
  }
  return at;
}

gboolean
chainctl_options_check_global (char **words, gsize count, GError **error)
{
  const GOptionEntry none[] = {{NULL}};
  ChainctlOptions unused;
  g_autofree GOptionEntry *entries = chainctl_options_global (&unused);
  g_autoptr (GPtrArray) first = g_ptr_array_new ();

  for (gsize i = 0; i < count; i++)
    g_ptr_array_add (first, words[i]);
  g_ptr_array_add (first, NULL);
  return check_known ((char **)first->pdata, none, entries, error);
}

/* GOption would convert text out of the locale's encoding; what has been checked is taken as it is. */
static void
add_entries (GOptionGroup *group, const GOptionEntry *entries)
{
  for (const GOptionEntry *entry = entries; entry->long_name != NULL; entry++) {
    GOptionEntry one[] = {*entry, {NULL}};

    if (is_text (entry))
      one[0].arg = entry->arg == G_OPTION_ARG_STRING ? G_OPTION_ARG_FILENAME : G_OPTION_ARG_FILENAME_ARRAY;
    g_option_group_add_entries (group, one);
  }
}

/* They are the parser's main group only because GLib's help text has that one last. */
static gboolean
add_global_options (GOptionContext *parser, ChainctlOptions *options, const GOptionEntry *own, char **words,
                    GError **error)
{
  g_autofree GOptionEntry *entries = chainctl_options_global (options);
  GOptionGroup *group = g_option_group_new (NULL, NULL, NULL, options, NULL);

  add_entries (group, entries);
  g_option_context_set_main_group (parser, group);
  return normalise (words, entries, error) && check_known (words + 1, own, entries, error);
}

static GOptionContext *
new_parser (const ChainctlCommand *command, const GOptionEntry *entries)
{
  gboolean any = *command->arguments != '\0';
  g_autofree char *usage = g_strdup_printf ("%s%s— %s", command->arguments, any ? " " : "", command->summary);
  GOptionContext *parser = g_option_context_new (usage);
  GOptionGroup *group = g_option_group_new ("command", "Options:", "Show the options", NULL, NULL);

  g_option_context_set_help_enabled (parser, FALSE);
  g_option_context_set_summary (parser, command->detail);
  add_entries (group, entries);
  g_option_context_add_group (parser, group);
  return parser;
}

static char *
help_text (GOptionContext *parser)
{
  g_autofree char *help = g_option_context_get_help (parser, FALSE, NULL);
  GString *text = g_string_new (help);

  g_string_replace (text, "Application Options:", "Global options:", 1);
  g_string_replace (text, "--wait=SECONDS  ", "--wait[=SECONDS]", 1);
  return g_string_free (text, FALSE);
}

/* GOption wants the program's name in front, and makes the help text of it: "chainctl snapshot". */
static char **
with_program (const ChainctlCommand *command, char **words)
{
  g_autoptr (GPtrArray) all = g_ptr_array_new ();

  g_ptr_array_add (all, g_strdup_printf ("chainctl %s", command->name));
  g_set_prgname (g_ptr_array_index (all, 0));
  for (gsize i = 0; words[i] != NULL; i++)
    g_ptr_array_add (all, g_strdup (words[i]));
  g_ptr_array_add (all, NULL);
  return (char **)g_ptr_array_steal (all, NULL);
}

gboolean
chainctl_options_parse (ChainctlOptions *options, const ChainctlCommand *command, const GOptionEntry *entries,
                        char ***words, char **help, GError **error)
{
  g_autoptr (GOptionContext) parser = new_parser (command, entries);
  g_auto (GStrv) all = with_program (command, *words);

  options->timeout = DEFAULT_TIMEOUT;
  if (!normalise (all, entries, error) || !add_global_options (parser, options, entries, all, error) ||
      !g_option_context_parse_strv (parser, &all, error))
    return FALSE;
  *help = options->help ? help_text (parser) : NULL;
  g_strfreev (*words);
  *words = g_strdupv (all + 1);
  return TRUE;
}
