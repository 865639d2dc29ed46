/*
 * Findings as `check` and `doctor` show them: in the document, as text, and as
 * the exit status.
 */
#pragma once

#include "tools/chainctl/command.h"

/**
 * chainctl_problems_show:
 * @problems: (element-type EngineProblem)
 * Raises %CHAINCTL_EXIT_ERROR_PROBLEMS where one is of severity error.
 */
gboolean chainctl_problems_show (ChainctlInvocation *invocation, const GPtrArray *problems, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
