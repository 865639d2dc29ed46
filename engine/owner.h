/*
 * Who may use a new image: owner, mode and security label of the one that it
 * stands on or takes the place of.
 */
#pragma once

#include "engine/context.h"

/** A file that was just made. @fd: open, stays the caller's. @disk, @path: for messages */
typedef struct {
  const char *disk;
  const char *path;
  int fd;
} EngineOwnerFile;

/**
 * engine_owner_take:
 * @from: the image whose owner, mode and label (security.selinux) @file gets; the owner may write to it in any case
 * What cannot be given is a warning. Raises %ENGINE_ERROR_NO_SUCH_IMAGE where @from is not there.
 */
gboolean engine_owner_take (EngineContext *context, const EngineOwnerFile *file, const char *from, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
