/*
 * The note beside an image: any bytes, as a broken disk or somebody else may
 * leave them. Proves that what is taken for a note is written as one that is
 * read as the same.
 */
#include "engine/note.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

void
fuzz_one (const guint8 *data, gsize length)
{
  g_autofree char *copy = g_strndup ((const char *)data, length);
  g_autoptr (GError) error = NULL;
  g_autoptr (EngineNote) note = engine_note_parse (copy, strlen (copy), &error);
  g_autoptr (EngineNote) again = NULL;
  g_autofree char *text = NULL;
  g_autofree char *same = NULL;

  g_assert ((note == NULL) != (error == NULL));
  if (note == NULL)
    return;
  g_assert (g_path_is_absolute (note->image->path));
  g_assert (note->overlay != NULL ? g_path_is_absolute (note->overlay->path) : note->active != NULL);
  text = engine_note_to_text (note, ENGINE_NOTE_WHOLE);
  again = engine_note_parse (text, strlen (text), NULL);
  g_assert (again != NULL);
  same = engine_note_to_text (again, ENGINE_NOTE_WHOLE);
  g_assert (strcmp (text, same) == 0);
}
