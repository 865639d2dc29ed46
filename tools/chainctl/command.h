/*
 * A command and one invocation of it. Every command has the same form: parse,
 * one call to the engine, render.
 */
#pragma once

#include "chains/model.h"
#include "tools/chainctl/output.h"
#include "tools/chainctl/progress.h"
#include "tools/chainctl/signals.h"

typedef struct _ChainctlInvocation ChainctlInvocation;

/**
 * ChainctlRecovery:
 * @CHAINCTL_RECOVERY_NONE: it is left alone
 * @CHAINCTL_RECOVERY_TRIED: it is ended first if that can be done; else the command goes on, with a warning
 * @CHAINCTL_RECOVERY_NEEDED: the command does not run before it is ended
 */
typedef enum { CHAINCTL_RECOVERY_NONE, CHAINCTL_RECOVERY_TRIED, CHAINCTL_RECOVERY_NEEDED } ChainctlRecovery;

/**
 * ChainctlCommand:
 * @name: one word or two: "snapshot", "vm add"
 * @arguments: what stands behind it in the help text
 * @mode: whether it changes the database
 * @takes_vm: its first argument is VM, which may be left out
 * @several: it takes --all, --match and --vm in place of VM, and is run through chainctl_command_run()
 * @recovery: what becomes of an operation that a dead process left unfinished on that VM
 * @least, @most: how many further arguments it takes
 */
typedef struct {
  const char *name;
  const char *arguments;
  const char *summary;
  const char *detail;
  ChainsDbMode mode;
  gboolean takes_vm;
  gboolean several;
  ChainctlRecovery recovery;
  guint least;
  guint most;
  gboolean (*run) (ChainctlInvocation *invocation, GError **error);
} ChainctlCommand;

/**
 * ChainctlInvocation:
 * @yes: nobody is to be asked anything
 * @progress: (nullable): who draws how far copies are
 * @signals: as they were when we began
 * @words: (array zero-terminated=1): the command line without the program and the command's own name
 * @vm: (nullable): the VM that is meant, once parsed
 * @vms: (nullable) (array zero-terminated=1): the VMs that are meant, where several may be
 * @parallel: how many of them at once
 * @writer: (nullable): who recovers, where the command itself only reads and is run on several VMs
 * @arguments: (array zero-terminated=1): the others, once parsed
 * @entries: (nullable) (element-type GOptionEntry): where set, the command tells its own options here and does not run
 */
struct _ChainctlInvocation {
  const ChainctlCommand *command;
  EngineContext *context;
  ChainctlOutput *output;
  gboolean yes;
  ChainctlProgress *progress;
  ChainctlSignals signals;
  char **words;
  char *vm;
  char **vms;
  guint parallel;
  EngineContext *writer;
  char **arguments;
  GArray *entries;
};

/**
 * chainctl_command_parse:
 * @entries: the command's own options, ended by a NULL name
 * Parses them together with the global ones, opens the database, and finds out which VM is meant.
 * Returns: %TRUE to go on; %FALSE with an error, or without one where --help was given and is in the output, or where
 * only the options were asked for
 */
gboolean chainctl_command_parse (ChainctlInvocation *invocation, const GOptionEntry *entries, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The same, but opens no database: for what has to work where that is damaged. */
gboolean chainctl_command_parse_apart (ChainctlInvocation *invocation, const GOptionEntry *entries, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** The state folder: @option, what --state says (nullable), else the environment's, else the user's. Returns: (transfer
 * full): absolute */
char *chainctl_command_state_folder (const char *option);

/** The VM that is meant where none is named: $CHAINCTL_VM, else the only one. Returns: (transfer full) */
char *chainctl_command_default_vm (EngineContext *context, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** What a command does on @invocation's VM, once its @options are known. */
typedef gboolean (*ChainctlAct) (ChainctlInvocation *invocation, gconstpointer options, GError **error);

/** chainctl_command_parse(), then @act on the VM that is meant, or on each of several. */
gboolean chainctl_command_run (ChainctlInvocation *invocation, const GOptionEntry *entries, ChainctlAct act,
                               gconstpointer options, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether this run is one of a command that changes something, and not a dry one. */
gboolean chainctl_command_changes (const ChainctlInvocation *invocation);

/** Ends what was interrupted on @invocation's VM, as its command wants it. */
gboolean chainctl_command_recover_first (ChainctlInvocation *invocation, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * chainctl_command_split_pair:
 * "NAME=VALUE" of --@option; VALUE may hold "=" itself. Returns: (transfer full): NAME; @value points into @pair
 */
char *chainctl_command_split_pair (const char *option, const char *pair, const char **value, GError **error);

/** @index: (out): which of @words (array zero-terminated=1) @word of --@option is; (nullable): 0, the first. */
gboolean chainctl_command_word (const char *option, const char *word, const char *const *words, guint *index,
                                GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Options that every verb that switches takes. */

/** @text of @option, bytes a second, with K, M, G for powers of 1024; (nullable): 0. */
gboolean chainctl_command_speed (const char *option, const char *text, gint64 *out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** @text in @option: bytes, with K, M, G, T for powers of 1024. */
gboolean chainctl_command_size (const char *option, const char *text, gint64 *out, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
/** @word: (nullable): leaves @out as it is. */
gboolean chainctl_command_quiesce (const char *word, ChainsQuiesce *out, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean chainctl_command_hooks (const char *word, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean chainctl_command_freeze_timeout (double seconds, gint64 *out_us, GError **error) G_GNUC_WARN_UNUSED_RESULT;
