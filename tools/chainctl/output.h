/*
 * What a command says. It fills one document; with --json the document is
 * printed, else the text that was drawn from it. Nothing leaves before the end,
 * or before the one answer of a command that goes on, so a failure never leaves
 * half an output.
 */
#pragma once

#include "engine/context.h"

/**
 * ChainctlOutput:
 * @command: (nullable): as the document names it
 * @document: the verb's own keys
 * @text: what a person reads
 * @plan: what a person reads of a dry run: a line for each thing that would be done
 * @json_messages: what goes to stderr is JSON too, an object a line
 * @columns: how wide the terminal is that stdout is; 0 where it is none
 * @colour: stdout is a terminal that may be coloured
 * @changes: the run is of a command that changes something
 * @in_part: what was done is shown beside an error, too
 * @headed: of several VMs' texts, the last one stands under a heading
 * @published: the document has been printed, and is not printed again
 * @warned: how many of the context's warnings have been told
 */
typedef struct {
  char *command;
  gboolean json;
  gboolean quiet;
  gboolean dry_run;
  gboolean json_messages;
  guint columns;
  gboolean colour;
  gboolean in_part;
  gboolean changes;
  gboolean headed;
  gboolean published;
  guint warned;
  JsonObject *document;
  GString *text;
  GString *plan;
} ChainctlOutput;

/** How a column shows its member. */
typedef enum {
  CHAINCTL_OUTPUT_TEXT,
  CHAINCTL_OUTPUT_SHORT_ID,
  CHAINCTL_OUTPUT_SIZE,
  CHAINCTL_OUTPUT_TIME,
  CHAINCTL_OUTPUT_LIST,
} ChainctlOutputFormat;

/** One column of a table: the row's @member under @title. */
typedef struct {
  const char *title;
  const char *member;
  ChainctlOutputFormat format;
} ChainctlOutputColumn;

/** Nothing is printed before chainctl_output_finish(). Returns: (transfer full) */
ChainctlOutput *chainctl_output_new (gboolean json);
void chainctl_output_free (ChainctlOutput *output);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainctlOutput, chainctl_output_free)

/** For one VM of several: it looks like @whole, and is given to chainctl_output_take_part(). Returns: (transfer full)
 */
ChainctlOutput *chainctl_output_new_part (const ChainctlOutput *whole);

/**
 * chainctl_output_take_part:
 * @error: (nullable): how @part ended
 * Adds @part's text to @output's, under a heading unless it begins with the VM's name itself, and what it has to
 * complain of to stderr.
 * Returns: (transfer full): its result: "vm", "ok", "warnings", "error", and the command's own keys
 */
JsonObject *chainctl_output_take_part (ChainctlOutput *output, const char *vm, ChainctlOutput *part,
                                       const EngineContext *context, const GError *error);

/** A table of @rows (objects), for people alone. @columns end with a NULL title. On a terminal it is fitted in. */
void chainctl_output_table (ChainctlOutput *output, JsonArray *rows, const ChainctlOutputColumn *columns);

/** Whether chainctl_output_table() has room for all of it. */
gboolean chainctl_output_fits (const ChainctlOutput *output, JsonArray *rows, const ChainctlOutputColumn *columns);

/** Adds a line of text for people: an answer. */
void chainctl_output_line (ChainctlOutput *output, const char *format, ...) G_GNUC_PRINTF (2, 3);

/** The same of an answer that is prose: a terminal gets it broken at words. What may be pasted is a line. */
void chainctl_output_prose (ChainctlOutput *output, const char *format, ...) G_GNUC_PRINTF (2, 3);

/** Adds a line about what was done, which -q leaves out; prose. */
void chainctl_output_note (ChainctlOutput *output, const char *format, ...) G_GNUC_PRINTF (2, 3);

/** Adds a line about what would be done, which only a dry run shows: above the steps that it consists of. */
void chainctl_output_plan (ChainctlOutput *output, const char *format, ...) G_GNUC_PRINTF (2, 3);

/** "1.5 GiB". Returns: (transfer full) */
char *chainctl_output_size (gint64 bytes);
/** "23.4 ms", "1.2 s". Returns: (transfer full) */
char *chainctl_output_duration (gint64 us);
/** "; the guest was frozen for 20.1 ms and paused for 2.3 ms": for the end of a sentence, "" where both are -1.
 * Returns: (transfer full) */
char *chainctl_output_standstill (gint64 frozen_us, gint64 paused_us);
/** @time_us (since 1970) as RFC 3339 in UTC. Returns: (transfer full) (nullable): %NULL where it is no time of ours */
char *chainctl_output_utc_time (gint64 time_us);
/** @time_us (since 1970) as local time with its offset, "-" where it is no time of ours. Returns: (transfer full) */
char *chainctl_output_local_time (gint64 time_us);
/** @text as it is safe on a terminal: control characters and what is no UTF-8 escaped. Returns: (transfer full) */
char *chainctl_output_printable (const char *text);
/** @texts (element-type utf8) so, with commas. Returns: (transfer full) */
char *chainctl_output_joined (const GPtrArray *texts);
/** As much of a UUID as tables show. Returns: (transfer full) */
char *chainctl_output_short_id (const char *id);

/**
 * chainctl_output_publish:
 * What there is to say so far, now: for a command that has given its answer and goes on. With --json this is the
 * document; what befalls the command afterwards is said by its exit status and on stderr.
 * Returns: %FALSE where stdout cannot be written
 */
gboolean chainctl_output_publish (ChainctlOutput *output, const EngineContext *context) G_GNUC_WARN_UNUSED_RESULT;

/** Takes back what was to be said, but for warnings. */
void chainctl_output_forget (ChainctlOutput *output);

/** The warnings so far that were not told yet, on stderr, with --json too: for a command that will not come to its end.
 */
void chainctl_output_warn_now (ChainctlOutput *output, const EngineContext *context);

/**
 * chainctl_output_finish:
 * Prints all there is to say: the document or the text on stdout, warnings and the error on stderr.
 * @context: (nullable); @error: (nullable). Returns: the exit status. Where stdout cannot be written it is never 0, and
 * tells whether something was changed.
 */
int chainctl_output_finish (ChainctlOutput *output, const EngineContext *context, const GError *error);
