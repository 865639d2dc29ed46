/*
 * Prints documents, tables and errors, once, at the end. Knows how things look, not
 * what they mean; escapes what a terminal would obey.
 */
#include "tools/chainctl/output.h"

#include "engine/error.h"
#include "tools/chainctl/exit.h"
#include "tools/chainctl/grid.h"
#include "tools/chainctl/message.h"
#include "tools/chainctl/planview.h"
#include "tools/chainctl/render.h"
#include "tools/chainctl/wrap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SCHEMA 1

ChainctlOutput *
chainctl_output_new (gboolean json)
{
  ChainctlOutput *output = g_new0 (ChainctlOutput, 1);
  const char *term = g_getenv ("TERM");
  const char *no_colour = g_getenv ("NO_COLOR");

  output->json = json;
  output->columns = chainctl_wrap_columns (STDOUT_FILENO);
  output->document = json_object_new ();
  output->text = g_string_new (NULL);
  output->plan = g_string_new (NULL);
  output->colour = isatty (STDOUT_FILENO) && (no_colour == NULL || *no_colour == '\0') && g_strcmp0 (term, "dumb") != 0;
  return output;
}

void
chainctl_output_free (ChainctlOutput *output)
{
  if (output == NULL)
    return;
  json_object_unref (output->document);
  g_string_free (output->text, TRUE);
  g_string_free (output->plan, TRUE);
  g_free (output->command);
  g_free (output);
}

void
chainctl_output_forget (ChainctlOutput *output)
{
  json_object_unref (output->document);
  output->document = json_object_new ();
  g_string_truncate (output->text, 0);
}

/* ---- how values look ---- */

char *
chainctl_output_size (gint64 bytes)
{
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = (double)bytes;
  char digits[G_ASCII_DTOSTR_BUF_SIZE];
  gsize unit = 0;

  while (value >= 1024 && unit + 1 < G_N_ELEMENTS (units)) {
    value /= 1024;
    unit++;
  }
  if (unit == 0)
    return g_strdup_printf ("%" G_GINT64_FORMAT " B", bytes);
  return g_strdup_printf ("%s %s", g_ascii_formatd (digits, sizeof digits, value < 10 ? "%.1f" : "%.0f", value),
                          units[unit]);
}

char *
chainctl_output_duration (gint64 us)
{
  char digits[G_ASCII_DTOSTR_BUF_SIZE];
  gboolean seconds = us >= G_USEC_PER_SEC;

  g_ascii_formatd (digits, sizeof digits, "%.1f", (double)us / (seconds ? G_USEC_PER_SEC : 1000));
  return g_strdup_printf ("%s %s", digits, seconds ? "s" : "ms");
}

char *
chainctl_output_standstill (gint64 frozen_us, gint64 paused_us)
{
  gboolean frozen = frozen_us >= 0, paused = paused_us >= 0;
  g_autofree char *frozen_for = chainctl_output_duration (frozen_us);
  g_autofree char *paused_for = chainctl_output_duration (paused_us);

  if (!frozen && !paused)
    return g_strdup ("");
  return g_strconcat ("; the guest was ", frozen ? "frozen for " : "", frozen ? frozen_for : "",
                      frozen && paused ? " and " : "", paused ? "paused for " : "", paused ? paused_for : "", NULL);
}

/* Digits are written by hand: strftime() follows the locale, and printf() takes most of a long list's time. */
static char *
put_number (char *at, long number, int digits, char end)
{
  for (int i = digits - 1; i >= 0; i--, number /= 10)
    at[i] = (char)('0' + number % 10);
  at[digits] = end;
  return at + digits + 1;
}

static char *
put_time (char *at, const struct tm *time, char between, char end)
{
  at = put_number (at, time->tm_year + 1900, 4, '-');
  at = put_number (at, time->tm_mon + 1, 2, '-');
  at = put_number (at, time->tm_mday, 2, between);
  at = put_number (at, time->tm_hour, 2, ':');
  at = put_number (at, time->tm_min, 2, ':');
  return put_number (at, time->tm_sec, 2, end);
}

char *
chainctl_output_utc_time (gint64 time_us)
{
  time_t moment = (time_t)(time_us / G_USEC_PER_SEC);
  char text[40], *at;
  struct tm utc;

  if (time_us < 0 || gmtime_r (&moment, &utc) == NULL || utc.tm_year + 1900 > 9999)
    return NULL;
  at = put_time (text, &utc, 'T', '.');
  at = put_number (at, (long)(time_us % G_USEC_PER_SEC), 6, 'Z');
  return g_strndup (text, (gsize)(at - text));
}

char *
chainctl_output_local_time (gint64 time_us)
{
  time_t moment = (time_t)(time_us / G_USEC_PER_SEC);
  char text[40], *at;
  struct tm local;

  if (time_us <= 0 || localtime_r (&moment, &local) == NULL || local.tm_year + 1900 > 9999)
    return g_strdup ("-");
  at = put_time (text, &local, ' ', ' ');
  *at++ = local.tm_gmtoff < 0 ? '-' : '+';
  put_number (at, ABS (local.tm_gmtoff) / 3600 * 100 + ABS (local.tm_gmtoff) / 60 % 60, 4, '\0');
  return g_strdup (text);
}

static gboolean
is_plain (const char *text)
{
  for (; *text != '\0'; text++)
    if (*text < ' ' || *text > '~')
      return FALSE;
  return TRUE;
}

char *
chainctl_output_printable (const char *text)
{
  GString *safe;

  if (is_plain (text))
    return g_strdup (text);
  safe = g_string_new (NULL);
  for (const char *at = text; *at != '\0';) {
    gunichar c = g_utf8_get_char_validated (at, -1);

    if (c == (gunichar)-1 || c == (gunichar)-2 || g_unichar_iscntrl (c) || g_unichar_type (c) == G_UNICODE_FORMAT) {
      g_string_append_printf (safe, "\\x%02x", (guchar)*at);
      at++;
    } else {
      g_string_append_unichar (safe, c);
      at = g_utf8_next_char (at);
    }
  }
  return g_string_free (safe, FALSE);
}

char *
chainctl_output_joined (const GPtrArray *texts)
{
  GString *joined = g_string_new (NULL);

  for (guint i = 0; i < texts->len; i++) {
    g_autofree char *safe = chainctl_output_printable (g_ptr_array_index (texts, i));

    g_string_append_printf (joined, "%s%s", i > 0 ? ", " : "", safe);
  }
  return g_string_free (joined, FALSE);
}

char *
chainctl_output_short_id (const char *id)
{
  return g_strndup (id, 8);
}

/* ---- text ---- */

gboolean
chainctl_output_fits (const ChainctlOutput *output, JsonArray *rows, const ChainctlOutputColumn *columns)
{
  g_autoptr (ChainctlGrid) grid = output->columns > 0 ? chainctl_grid_new (columns) : NULL;

  for (guint i = 0; grid != NULL && i < json_array_get_length (rows); i++)
    chainctl_grid_add (grid, json_array_get_object_element (rows, i));
  return grid == NULL || chainctl_grid_width (grid) <= (glong)output->columns;
}

void
chainctl_output_table (ChainctlOutput *output, JsonArray *rows, const ChainctlOutputColumn *columns)
{
  g_autoptr (ChainctlGrid) grid = NULL;

  if (output->json)
    return;
  grid = chainctl_grid_new (columns);
  for (guint i = 0; i < json_array_get_length (rows); i++)
    chainctl_grid_add (grid, json_array_get_object_element (rows, i));
  chainctl_grid_draw (grid, output->text, output->columns);
}

/* A line of prose. Goes on two columns further right where it has to be broken. */
static void
append_prose (const ChainctlOutput *output, GString *to, const char *before, const char *format, va_list arguments)
{
  g_autofree char *text = g_strdup_vprintf (format, arguments);
  g_autofree char *line = g_strconcat (before, text, NULL);
  g_autofree char *wrapped = chainctl_wrap_text (line, output->columns, 2);

  g_string_append_printf (to, "%s\n", wrapped);
}

void
chainctl_output_line (ChainctlOutput *output, const char *format, ...)
{
  va_list arguments;

  va_start (arguments, format);
  g_string_append_vprintf (output->text, format, arguments);
  va_end (arguments);
  g_string_append_c (output->text, '\n');
}

void
chainctl_output_note (ChainctlOutput *output, const char *format, ...)
{
  va_list arguments;

  if (output->quiet)
    return;
  va_start (arguments, format);
  append_prose (output, output->text, "", format, arguments);
  va_end (arguments);
}

void
chainctl_output_prose (ChainctlOutput *output, const char *format, ...)
{
  va_list arguments;

  va_start (arguments, format);
  append_prose (output, output->text, "", format, arguments);
  va_end (arguments);
}

void
chainctl_output_plan (ChainctlOutput *output, const char *format, ...)
{
  va_list arguments;

  if (!output->dry_run)
    return;
  va_start (arguments, format);
  append_prose (output, output->plan, "  ", format, arguments);
  va_end (arguments);
}

/* ---- the end ---- */

static JsonArray *
warnings_json (const EngineContext *context)
{
  JsonArray *warnings = json_array_new ();

  for (guint i = 0; context != NULL && i < context->warnings->len; i++) {
    const EngineWarning *warning = g_ptr_array_index (context->warnings, i);
    JsonObject *object = json_object_new ();

    json_object_set_string_member (object, "code", warning->code);
    chainctl_render_string (object, "message", warning->message);
    json_array_add_object_element (warnings, object);
  }
  return warnings;
}

static JsonObject *
error_json (const GError *error)
{
  const char *hint = engine_error_get_hint (error);
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "code", chainctl_exit_code (error));
  chainctl_render_string (object, "message", error->message);
  if (hint != NULL)
    json_object_set_string_member (object, "hint", hint);
  else
    json_object_set_null_member (object, "hint");
  return object;
}

/* Only a verb that was done in part, goes on, or found problems shows its own keys beside an error. */
static gboolean
shows_keys (const ChainctlOutput *output, const GError *error)
{
  int status = chainctl_exit_status (error);

  return output->in_part || status == CHAINCTL_EXIT_DONE || status == CHAINCTL_EXIT_PROBLEMS ||
         status == CHAINCTL_EXIT_PARTLY || status == CHAINCTL_EXIT_INTERRUPTED ||
         /* All is copied then, and an operation is left that is to be completed. */
         (status == CHAINCTL_EXIT_NOT_QUIESCED && json_object_has_member (output->document, "op"));
}

/* What a run has to say of itself, into @document. */
static void
fill_document (JsonObject *document, ChainctlOutput *output, const EngineContext *context, const GError *error)
{
  JsonObjectIter iter;
  const char *member;
  JsonNode *value;

  json_object_set_boolean_member (document, "ok", error == NULL);
  json_object_set_array_member (document, "warnings", warnings_json (context));
  if (error != NULL)
    json_object_set_object_member (document, "error", error_json (error));
  if (context != NULL && context->dry_run && error == NULL) {
    json_object_set_boolean_member (document, "dry_run", TRUE);
    json_object_set_array_member (document, "plan", json_array_ref (context->plan));
  }
  json_object_iter_init_ordered (&iter, output->document);
  while (shows_keys (output, error) && json_object_iter_next_ordered (&iter, &member, &value))
    json_object_set_member (document, member, json_node_copy (value));
}

static char *
document_text (ChainctlOutput *output, const EngineContext *context, const GError *error)
{
  JsonObject *document = json_object_new ();
  g_autoptr (JsonNode) root = json_node_new (JSON_NODE_OBJECT);
  g_autofree char *text = NULL;

  json_object_set_int_member (document, "schema", SCHEMA);
  if (output->command != NULL)
    json_object_set_string_member (document, "command", output->command);
  else
    json_object_set_null_member (document, "command");
  fill_document (document, output, context, error);
  json_node_take_object (root, document);
  text = json_to_string (root, FALSE);
  return g_strconcat (text, "\n", NULL);
}

void
chainctl_output_warn_now (ChainctlOutput *output, const EngineContext *context)
{
  guint count = context != NULL ? context->warnings->len : 0;

  for (guint i = output->warned; !output->quiet && i < count; i++)
    chainctl_message_print ("warning", ((const EngineWarning *)g_ptr_array_index (context->warnings, i))->message,
                            output->json_messages);
  output->warned = MAX (output->warned, count);
}

static void
print_messages (ChainctlOutput *output, const EngineContext *context, const GError *error)
{
  const char *hint = engine_error_get_hint (error);

  chainctl_output_warn_now (output, context);
  if (error != NULL)
    chainctl_message_print ("error", error->message, output->json_messages);
  if (hint != NULL)
    chainctl_message_print ("hint", hint, output->json_messages);
}

ChainctlOutput *
chainctl_output_new_part (const ChainctlOutput *whole)
{
  ChainctlOutput *part = chainctl_output_new (whole->json);

  part->quiet = whole->quiet;
  part->dry_run = whole->dry_run;
  part->json_messages = whole->json_messages;
  part->colour = whole->colour;
  part->columns = whole->columns;
  return part;
}

/* What people read of a run that has ended so. */
static const char *
text_of (ChainctlOutput *output, const EngineContext *context, const GError *error)
{
  /* What would be done takes the place of what was. */
  if (context != NULL && error == NULL && (json_array_get_length (context->plan) > 0 || output->plan->len > 0))
    chainctl_planview_draw (output->text, output->plan->str, context->plan);
  return shows_keys (output, error) ? output->text->str : "";
}

/* "web: all is well." needs no "web:" above it. */
static gboolean
names_itself (const char *text, const char *vm)
{
  return g_str_has_prefix (text, vm) && g_str_has_prefix (text + strlen (vm), ": ");
}

/* Under a heading, and so that the next one is not taken for a part of it; lines that name their VM stand together. */
static void
add_part (ChainctlOutput *output, const char *vm, const char *text)
{
  gboolean headed = !names_itself (text, vm);

  if (output->text->len > 0 && (headed || output->headed))
    g_string_append_c (output->text, '\n');
  if (headed)
    g_string_append_printf (output->text, "%s:\n", vm);
  g_string_append (output->text, text);
  output->headed = headed;
}

JsonObject *
chainctl_output_take_part (ChainctlOutput *output, const char *vm, ChainctlOutput *part, const EngineContext *context,
                           const GError *error)
{
  JsonObject *result = json_object_new ();
  const char *text = output->json ? "" : text_of (part, context, error);

  json_object_set_string_member (result, "vm", vm);
  fill_document (result, part, context, error);
  if (*text != '\0')
    add_part (output, vm, text);
  if (!output->json)
    print_messages (part, context, error);
  return result;
}

static gboolean
print (const char *text)
{
  if ((*text == '\0' || fputs (text, stdout) != EOF) && fflush (stdout) == 0)
    return TRUE;
  fprintf (stderr, "chainctl: writing to stdout: %s\n", g_strerror (errno));
  return FALSE;
}

gboolean
chainctl_output_publish (ChainctlOutput *output, const EngineContext *context)
{
  g_autofree char *document = output->json ? document_text (output, context, NULL) : NULL;
  gboolean printed = print (output->json ? document : output->text->str);

  output->published = TRUE;
  g_string_truncate (output->text, 0);
  if (output->json)
    output->warned = context->warnings->len;
  else
    chainctl_output_warn_now (output, context);
  return printed;
}

int
chainctl_output_finish (ChainctlOutput *output, const EngineContext *context, const GError *error)
{
  gboolean documents = output->json && !output->published;
  g_autofree char *document = documents ? document_text (output, context, error) : NULL;
  const char *text = documents ? document : output->json ? "" : text_of (output, context, error);

  if (!documents)
    print_messages (output, context, error);
  if (print (text) || error != NULL)
    return chainctl_exit_status (error);
  if (!output->changes)
    return CHAINCTL_EXIT_FAILED;
  chainctl_message_print ("warning", "all was done, and only what there is to say of it is lost",
                          output->json_messages);
  return CHAINCTL_EXIT_PARTLY;
}
