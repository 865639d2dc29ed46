/*
 * A table for people, filled row by row: as wide as what is in it.
 */
#pragma once

#include "tools/chainctl/output.h"

typedef struct _ChainctlGrid ChainctlGrid;

/** @columns: ended by a NULL title; stay the caller's. Returns: (transfer full) */
ChainctlGrid *chainctl_grid_new (const ChainctlOutputColumn *columns);
void chainctl_grid_free (ChainctlGrid *grid);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ChainctlGrid, chainctl_grid_free)

/** Adds the columns' members of @row (transfer none). */
void chainctl_grid_add (ChainctlGrid *grid, JsonObject *row);

/** Adds the next cell of a row, @text (transfer full) as it is to be seen: a hundred thousand rows need no JSON. */
void chainctl_grid_add_cell (ChainctlGrid *grid, char *text);

/** How wide it is drawn where nothing is to be fitted in. */
glong chainctl_grid_width (const ChainctlGrid *grid);

/**
 * chainctl_grid_draw:
 * @columns: of the terminal; 0 for no limit
 * Adds title and rows to @text. On a terminal that is too narrow a long first cell has a line of its own, as df(1) has
 * it, and the last one is broken at words: nothing is cut off.
 */
void chainctl_grid_draw (const ChainctlGrid *grid, GString *text, guint columns);
