/*
 * Reads the label of a process. What a profile allows only its module knows: that
 * is left to the person.
 */
#include "engine/confinement.h"

#include <string.h>

#define SELINUX_ENFORCE "/sys/fs/selinux/enforce"

/* "PROFILE (MODE)": a profile's name may have blanks and parentheses itself. */
static gboolean
parse_apparmor (EngineConfinement *confinement, const char *text)
{
  const char *mode = strrchr (text, '(');
  gsize length = strlen (text);

  if (mode == NULL || mode - text < 2 || mode[-1] != ' ' || text[length - 1] != ')')
    return FALSE;
  confinement->module = "AppArmor";
  confinement->label = g_strndup (text, (gsize)(mode - text - 1));
  confinement->enforced = g_str_equal (mode, "(enforce)") || g_str_equal (mode, "(kill)");
  return TRUE;
}

/* The types that the reference policy does not confine. */
static gboolean
parse_selinux (EngineConfinement *confinement, const char *text)
{
  g_auto (GStrv) parts = g_strsplit (text, ":", 4);

  if (g_strv_length (parts) < 3 || g_str_has_prefix (parts[2], "unconfined") || g_str_equal (parts[2], "kernel_t"))
    return FALSE;
  confinement->module = "SELinux";
  confinement->label = g_strdup (text);
  confinement->enforced = TRUE;
  return TRUE;
}

EngineConfinement *
engine_confinement_parse (const char *text)
{
  g_autoptr (EngineConfinement) confinement = g_new0 (EngineConfinement, 1);
  g_autofree char *line = g_strstrip (g_strdup (text));

  return parse_apparmor (confinement, line) || parse_selinux (confinement, line) ? g_steal_pointer (&confinement)
                                                                                 : NULL;
}

static char *
read_label (pid_t pid)
{
  static const char *const names[] = {"apparmor/current", "current"};

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *path = g_strdup_printf ("/proc/%ld/attr/%s", (long)pid, names[i]);
    char *text = NULL;

    if (g_file_get_contents (path, &text, NULL, NULL))
      return text;
  }
  return NULL;
}

EngineConfinement *
engine_confinement_read (pid_t pid)
{
  g_autofree char *label = pid > 0 ? read_label (pid) : NULL;
  g_autofree char *enforce = NULL;
  EngineConfinement *confinement = label != NULL ? engine_confinement_parse (label) : NULL;

  if (confinement != NULL && g_str_equal (confinement->module, "SELinux"))
    confinement->enforced =
        g_file_get_contents (SELINUX_ENFORCE, &enforce, NULL, NULL) && g_str_has_prefix (enforce, "1");
  return confinement;
}

void
engine_confinement_free (EngineConfinement *confinement)
{
  if (confinement == NULL)
    return;
  g_free (confinement->label);
  g_free (confinement);
}
