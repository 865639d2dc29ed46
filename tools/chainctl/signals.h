/*
 * What becomes of signals: those that ask us to end cancel, so that the engine
 * decides what may be cut short.
 */
#pragma once

#include <gio/gio.h>
#include <signal.h>

#define CHAINCTL_SIGNALS_TAKEN 4

/** As they were before we took them. */
typedef struct {
  struct sigaction actions[CHAINCTL_SIGNALS_TAKEN];
  sigset_t mask;
} ChainctlSignals;

/**
 * ChainctlSignalsTargets: what they come to. All of it is borrowed, and there until the end.
 * @first: cancelled by any of them
 * @second: cancelled by a SIGINT that finds @first cancelled
 * @interrupted: told, with @data, of a SIGINT that was the first
 */
typedef struct {
  GCancellable *first;
  GCancellable *second;
  void (*interrupted) (gpointer data);
  gpointer data;
} ChainctlSignalsTargets;

/** SIGINT, SIGTERM and SIGHUP cancel @targets' from now on, SIGPIPE is ignored. @before: how it was */
void chainctl_signals_take (ChainctlSignals *before, const ChainctlSignalsTargets *targets);

/** All of it as it was, for a program that takes our place: what we had ignored for us (by nohup), it ignores too. */
void chainctl_signals_give_back (const ChainctlSignals *before);
