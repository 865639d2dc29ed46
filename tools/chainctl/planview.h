/*
 * What a dry run says to people in place of what was done: sentences first, then
 * what would be sent and made, word for word.
 */
#pragma once

#include <json-glib/json-glib.h>

/**
 * chainctl_planview_draw:
 * @sentences: lines of text, or none
 * @steps: as EngineContext's plan has them
 * @text: what the command has drawn. Stays below the sentences where no step tells the same
 */
void chainctl_planview_draw (GString *text, const char *sentences, JsonArray *steps);
