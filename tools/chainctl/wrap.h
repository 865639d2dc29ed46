/*
 * Lines of prose broken at words, so that a terminal does not break them within
 * one. What is no terminal gets lines as they are.
 */
#pragma once

#include <glib.h>

/** How wide the terminal at @fd is; 0 where that is none, or does not say. */
guint chainctl_wrap_columns (int fd);

/**
 * chainctl_wrap_text:
 * @text: one line, or several; @columns: 0 for no limit
 * What goes on below is indented by @indent more than its line. A word that is wider than all that stays whole.
 * Returns: (transfer full)
 */
char *chainctl_wrap_text (const char *text, guint columns, guint indent);
