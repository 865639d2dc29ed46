/*
 * Changes that happen whole or not at all.
 */
#pragma once

#include "chains/db.h"

/**
 * ChainsTransaction: BEGIN IMMEDIATE … COMMIT. Freed without a commit it is rolled back.
 * One at a time; the functions of images, snapshots, registry and journal that write make their own where none is open,
 * and inside one they happen whole or not at all. No fiber may wait between begin and commit; in a fiber the commit
 * itself waits, for those of other fibers: all of them are one on the disk, and fail or succeed together.
 */
typedef struct _ChainsTransaction ChainsTransaction;
ChainsTransaction *chains_transaction_begin (ChainsDb *db, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean chains_transaction_commit (ChainsTransaction *transaction, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void chains_transaction_end (ChainsTransaction *transaction);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainsTransaction, chains_transaction_end)

/** One consistent view (READ) or one change (WRITE): a savepoint inside the caller's transaction, else one's own. */
ChainsTransaction *chains_transaction_join (ChainsDb *db, ChainsDbMode mode, GError **error) G_GNUC_WARN_UNUSED_RESULT;
