/*
 * An image as a note or an exported VM describes it, held against the file that
 * is here.
 */
#pragma once

#include "chains/model.h"

/** Fills in when the file of @image was made, for a document: where it is the very file that is registered. */
void engine_claim_learn_birth (ChainsImage *image);

/**
 * engine_claim_image:
 * @image: as it is described; what this host knows better (identity, size as its header has it, the times of a file
 * that is a copy) is filled in. A copy was not made by an operation here, so that none will ever remove it.
 * @backing: (nullable): the path that the header of an owned qcow2 has to name
 * @changed: (out): it is the frozen image by name, and its header is not what it was when it was frozen
 * Raises %ENGINE_ERROR_NO_SUCH_IMAGE, and %ENGINE_ERROR_REFUSED where the file cannot be that image.
 */
gboolean engine_claim_image (ChainsImage *image, const char *backing, gboolean *changed, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;
