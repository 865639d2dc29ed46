/*
 * The error domain of this folder: its quark and nothing else. Which code
 * stands for what is said in the header; who raises one writes the message.
 */
#include "qmp/error.h"

/* With hyphens clang-format would make it "qmp - error", and the quark's name with it. */
G_DEFINE_QUARK (qmp_error, qmp_error)
