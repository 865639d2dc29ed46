/*
 * The verbs that only read what is remembered: `list`, `show`, `tree`, `log`.
 */
#pragma once

#include "chains/journal.h"
#include "chains/snapshots.h"
#include "engine/tree.h"

/**
 * EngineListed: a snapshot in a list
 * @size: bytes allocated in its images now
 */
typedef struct {
  ChainsSnapshot *snapshot;
  gint64 size;
} EngineListed;

/** Returns: (transfer full) (element-type EngineListed) oldest first */
GPtrArray *engine_listing_read (EngineContext *context, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** @reference: name, `latest`, or a unique prefix of the id. Returns: (transfer full) */
ChainsSnapshot *engine_listing_find (EngineContext *context, const char *vm, const char *reference, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** @others: (element-type EngineJobView): as in engine_treejobs_mark(). Returns: (transfer full) (element-type
 * EngineTree) in guest order */
GPtrArray *engine_listing_trees (EngineContext *context, const char *vm, GPtrArray *others, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

/** Returns: (transfer full) (element-type ChainsOp) oldest first */
GPtrArray *engine_listing_operations (EngineContext *context, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* For their names alone, as completion in a shell asks: nothing but the database is looked at. */

/** Returns: (transfer full) (element-type ChainsVm) by name */
GPtrArray *engine_listing_vms (EngineContext *context, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Returns: (transfer full) (element-type ChainsDisk) in guest order */
GPtrArray *engine_listing_disks (EngineContext *context, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Returns: (transfer full) (element-type ChainsSnapshot) oldest first */
GPtrArray *engine_listing_snapshots (EngineContext *context, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
