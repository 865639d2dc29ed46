/*
 * Making and freeing the plain structs, the contract's words for the
 * enumerations, and its rule for names. Owns no state and knows no database;
 * what the structs mean together is left to registry, store and journal.
 */
#include "chains/model.h"

#include <string.h>

#include "chains/error.h"

#define NAME_MAX_LENGTH 64

static const char *const quiesce_words[] = {"auto", "require", "off"};
static const char *const consistency_words[] = {"application", "filesystem", "crash", "offline"};
static const char *const op_state_words[] = {"open", "detached", "done", "undone", "failed"};
static const char *const reserved_names[] = {"base", "none", "active", "latest", NULL};

static const char *
word_at (const char *const *words, guint n_words, guint index)
{
  g_return_val_if_fail (index < n_words, NULL);
  return words[index];
}

static gboolean
index_of_word (const char *const *words, guint n_words, const char *word, guint *out)
{
  for (guint i = 0; i < n_words; i++) {
    if (g_strcmp0 (words[i], word) == 0) {
      *out = i;
      return TRUE;
    }
  }
  return FALSE;
}

const char *
chains_quiesce_to_string (ChainsQuiesce quiesce)
{
  return word_at (quiesce_words, G_N_ELEMENTS (quiesce_words), quiesce);
}

gboolean
chains_quiesce_from_string (const char *word, ChainsQuiesce *out)
{
  return index_of_word (quiesce_words, G_N_ELEMENTS (quiesce_words), word, out);
}

const char *
chains_consistency_to_string (ChainsConsistency consistency)
{
  return word_at (consistency_words, G_N_ELEMENTS (consistency_words), consistency);
}

gboolean
chains_consistency_from_string (const char *word, ChainsConsistency *out)
{
  return index_of_word (consistency_words, G_N_ELEMENTS (consistency_words), word, out);
}

const char *
chains_op_state_to_string (ChainsOpState state)
{
  return word_at (op_state_words, G_N_ELEMENTS (op_state_words), state);
}

gboolean
chains_op_state_from_string (const char *word, ChainsOpState *out)
{
  return index_of_word (op_state_words, G_N_ELEMENTS (op_state_words), word, out);
}

ChainsVm *
chains_vm_new (void)
{
  return g_new0 (ChainsVm, 1);
}

void
chains_vm_free (ChainsVm *vm)
{
  if (vm == NULL)
    return;
  g_free (vm->name);
  g_free (vm->uuid);
  g_free (vm->qmp);
  g_free (vm->agent);
  g_free (vm->guest);
  g_free (vm);
}

ChainsDisk *
chains_disk_new (void)
{
  return g_new0 (ChainsDisk, 1);
}

ChainsDisk *
chains_disk_copy (const ChainsDisk *disk)
{
  ChainsDisk *copy = chains_disk_new ();

  *copy = *disk;
  copy->name = g_strdup (disk->name);
  copy->device = g_strdup (disk->device);
  copy->live = g_strdup (disk->live);
  return copy;
}

void
chains_disk_free (ChainsDisk *disk)
{
  if (disk == NULL)
    return;
  g_free (disk->name);
  g_free (disk->device);
  g_free (disk->live);
  g_free (disk);
}

ChainsImage *
chains_image_new (void)
{
  return g_new0 (ChainsImage, 1);
}

void
chains_image_free (ChainsImage *image)
{
  if (image == NULL)
    return;
  g_free (image->path);
  g_free (image->format);
  g_free (image->created_by);
  g_free (image->options);
  g_free (image->frozen_header);
  g_free (image);
}

ChainsSnapshotDisk *
chains_snapshot_disk_new (void)
{
  return g_new0 (ChainsSnapshotDisk, 1);
}

void
chains_snapshot_disk_free (ChainsSnapshotDisk *part)
{
  if (part == NULL)
    return;
  g_free (part->disk_name);
  g_free (part->image_path);
  g_free (part->overlay_path);
  g_free (part);
}

ChainsSnapshot *
chains_snapshot_new (void)
{
  ChainsSnapshot *snapshot = g_new0 (ChainsSnapshot, 1);

  snapshot->frozen_us = -1;
  snapshot->tags = g_ptr_array_new_with_free_func (g_free);
  snapshot->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)chains_snapshot_disk_free);
  return snapshot;
}

void
chains_snapshot_free (ChainsSnapshot *snapshot)
{
  if (snapshot == NULL)
    return;
  g_free (snapshot->id);
  g_free (snapshot->name);
  g_free (snapshot->description);
  g_free (snapshot->reason);
  g_ptr_array_unref (snapshot->tags);
  g_ptr_array_unref (snapshot->disks);
  g_free (snapshot);
}

ChainsOp *
chains_op_new (void)
{
  return g_new0 (ChainsOp, 1);
}

void
chains_op_free (ChainsOp *op)
{
  if (op == NULL)
    return;
  g_free (op->id);
  g_free (op->vm_name);
  g_free (op->verb);
  g_free (op->by);
  g_free (op->boot);
  g_free (op->intent);
  g_free (op->error);
  g_free (op);
}

ChainsStep *
chains_step_new (void)
{
  return g_new0 (ChainsStep, 1);
}

void
chains_step_free (ChainsStep *step)
{
  if (step == NULL)
    return;
  g_free (step->name);
  g_free (step->detail);
  g_free (step);
}

static gboolean
has_name_form (const char *name)
{
  gsize length = strlen (name);

  /* ASCII by hand: a name must mean the same in every locale. */
  return g_ascii_isalnum (name[0]) && length <= NAME_MAX_LENGTH &&
         strspn (name, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._-") == length;
}

gboolean
chains_model_check_name (const char *what, const char *name, GError **error)
{
  g_autofree char *shown = name != NULL ? g_utf8_make_valid (name, -1) : g_strdup ("");

  if (name == NULL || !has_name_form (name)) {
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_INVALID,
                 "'%s' is no name for a %s: it must be 1 to %d of A-Z a-z 0-9 . _ - and begin with a letter or digit",
                 shown, what, NAME_MAX_LENGTH);
    return FALSE;
  }
  if (g_strv_contains (reserved_names, name)) {
    g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_INVALID, "'%s' is reserved and cannot be the name of a %s", shown,
                 what);
    return FALSE;
  }
  return TRUE;
}

gboolean
chains_model_check_disk_name (const char *name, GError **error)
{
  g_autofree char *shown = g_utf8_make_valid (name, -1);

  if (g_ascii_isalpha (name[0]) && name[strspn (name, CHAINS_MODEL_DISK_NAME_CHARACTERS)] == '\0')
    return TRUE;
  g_set_error (error, CHAINS_ERROR, CHAINS_ERROR_INVALID,
               "'%s' is no name for a disk: it must be of A-Z a-z 0-9 . _ - [ ] and begin with a letter, as QEMU's ids",
               shown);
  return FALSE;
}
