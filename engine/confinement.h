/*
 * Whether a security module (AppArmor, SELinux) holds a process, as its label in
 * /proc says.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/**
 * EngineConfinement:
 * @module: "AppArmor", "SELinux"
 * @label: the profile, or the context
 * @enforced: what is not allowed is refused, not just logged
 */
typedef struct {
  const char *module;
  char *label;
  gboolean enforced;
} EngineConfinement;

/** The label that holds process @pid. Returns: (transfer full) (nullable): %NULL where none does, or none is seen */
EngineConfinement *engine_confinement_read (pid_t pid);

/**
 * engine_confinement_parse:
 * @text: of /proc/PID/attr/apparmor/current or /proc/PID/attr/current
 * Source: apparmor(7), "libvirt-1234 (enforce)"; selinux(8), "user:role:type:level", whose enforcement is a matter of
 * the whole host and taken as given here.
 * Returns: (transfer full) (nullable): %NULL where nothing confines
 */
EngineConfinement *engine_confinement_parse (const char *text);
void engine_confinement_free (EngineConfinement *confinement);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineConfinement, engine_confinement_free)
