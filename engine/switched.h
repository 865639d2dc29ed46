/*
 * What a disk wrote to before and after a switch, for every verb that switches.
 */
#pragma once

#include <glib.h>

typedef struct {
  char *disk;
  char *before;
  char *after;
} EngineSwitchedDisk;

/** An empty list. Returns: (transfer full) (element-type EngineSwitchedDisk) */
GPtrArray *engine_switched_list_new (void);
void engine_switched_list_add (GPtrArray *list, const char *disk, const char *before, const char *after);
