/*
 * Gives a new image the owner, the mode and the label of another, so that who may
 * read the disk stays the same, and QEMU may open it. Knows files; which image is
 * the model is the caller's to know.
 */
#include "engine/owner.h"

#include "engine/imagefile.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LABEL "security.selinux"
#define LONGEST_LABEL 4096

static void
differs (EngineContext *context, const EngineOwnerFile *file, const char *code, const char *what, const char *from)
{
  engine_context_warn (context, code, "disk '%s': '%s' could not be given the %s of '%s': %s", file->disk, file->path,
                       what, from, g_strerror (errno));
}

/* Under SELinux QEMU may open what bears its label, and nothing else. Elsewhere there is none. */
static void
take_label (EngineContext *context, const EngineOwnerFile *file, const char *from)
{
  g_autofree char *label = g_malloc (LONGEST_LABEL);
  ssize_t length = getxattr (from, LABEL, label, LONGEST_LABEL);

  if (length > 0 && fsetxattr (file->fd, LABEL, label, (size_t)length, 0) != 0 && errno != ENOTSUP)
    differs (context, file, "label-differs", "security label", from);
}

gboolean
engine_owner_take (EngineContext *context, const EngineOwnerFile *file, const char *from, GError **error)
{
  EngineImagefile model, made;

  if (!engine_imagefile_stat (from, &model, error) || !engine_imagefile_stat_fd (file->fd, &made, error))
    return FALSE;
  if (!model.regular && !model.block)
    return TRUE;
  /* The label of a device node is not one for files. */
  if (model.regular)
    take_label (context, file, from);
  if ((model.uid != made.uid || model.gid != made.gid) && fchown (file->fd, model.uid, model.gid) != 0)
    differs (context, file, "owner-differs", "owner", from);
  /* An image that nobody may write to is a sealed one; what stands on it is to be written to. */
  if (fchmod (file->fd, (model.mode & 0222) != 0 ? model.mode : model.mode | S_IWUSR) != 0)
    differs (context, file, "mode-differs", "mode", from);
  return TRUE;
}
