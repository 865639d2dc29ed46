/*
 * chainctl path: the image to start a disk on, alone on a line, for $(…) in scripts.
 * In doubt nothing is printed, and the engine's error says why.
 */
#include "tools/chainctl/commands.h"
#include "tools/chainctl/render.h"

#include "engine/path.h"

gboolean
chainctl_cmd_path (ChainctlInvocation *invocation, GError **error)
{
  gboolean blockdev = FALSE;
  const GOptionEntry entries[] = {
      {"blockdev", 0, 0, G_OPTION_ARG_NONE, &blockdev, "as the value of a -blockdev option", NULL},
      {NULL},
  };
  g_autoptr (EngineStartup) path = NULL;

  if (!chainctl_command_parse (invocation, entries, error))
    return FALSE;
  path = engine_path_find (invocation->context, invocation->vm, invocation->arguments[0], error);
  if (path == NULL)
    return FALSE;
  chainctl_render_path (invocation->output->document, "path", path->path);
  chainctl_render_string (invocation->output->document, "format", path->format);
  chainctl_render_path (invocation->output->document, "blockdev", path->blockdev);
  /* For a script's $(…): the very bytes. */
  chainctl_output_line (invocation->output, "%s", blockdev ? path->blockdev : path->path);
  return TRUE;
}
