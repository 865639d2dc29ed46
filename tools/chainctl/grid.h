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

/** Adds title and rows to @text. */
void chainctl_grid_draw (const ChainctlGrid *grid, GString *text);
