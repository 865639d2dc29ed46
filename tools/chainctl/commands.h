/*
 * The commands' entry points; each stands in a file cmd-*.c.
 */
#pragma once

#include "tools/chainctl/command.h"

/* Each parses its own options, calls the engine once, and fills the output. Errors: whatever the engine raises. */
gboolean chainctl_cmd_check (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_commit (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_doctor (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_exec (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_guest (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_job_cancel (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_job_complete (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_job_pause (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_job_resume (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_job_speed (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_job_wait (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_jobs (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_list (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_log (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_mirror (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_path (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_protect (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_receive (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_recover (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_rollback (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_show (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_snapshot (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_state_backup (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_state_rebuild (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_state_restore (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_stream (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_tree (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_vm_add (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_vm_move_export (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_vm_move_import (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_vm_discover (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_vm_list (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_vm_remove (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_vm_rescan (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_vm_set (ChainctlInvocation *invocation, GError **error);
gboolean chainctl_cmd_vm_show (ChainctlInvocation *invocation, GError **error);
