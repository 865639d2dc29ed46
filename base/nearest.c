/*
 * The guess at what a mistyped name meant: a few edits away, or a beginning.
 * Promises an answer that does not depend on the order of the names.
 */
#include "base/nearest.h"

#include <string.h>

#define LONGEST_NAME 64
#define MOST_EDITS 2

static gboolean
is_same_letter (char a, char b)
{
  return g_ascii_tolower (a) == g_ascii_tolower (b);
}

/* Damerau and Levenshtein: letters added, dropped, replaced, or two neighbours swapped. Three rows of the table do. */
static guint
count_edits (const char *a, gsize a_length, const char *b, gsize b_length)
{
  guint rows[3][LONGEST_NAME + 1] = {0};

  for (gsize j = 0; j <= b_length; j++)
    rows[0][j] = (guint)j;
  for (gsize i = 1; i <= a_length; i++) {
    guint *row = rows[i % 3];
    const guint *above = rows[(i + 2) % 3];
    const guint *two_above = rows[(i + 1) % 3];

    row[0] = (guint)i;
    for (gsize j = 1; j <= b_length; j++) {
      row[j] = MIN (MIN (above[j], row[j - 1]) + 1, above[j - 1] + !is_same_letter (a[i - 1], b[j - 1]));
      if (i > 1 && j > 1 && is_same_letter (a[i - 1], b[j - 2]) && is_same_letter (a[i - 2], b[j - 1]))
        row[j] = MIN (row[j], two_above[j - 2] + 1);
    }
  }
  return rows[a_length % 3][b_length];
}

/* Edits, or one more than the most of them for a beginning; G_MAXUINT where it is neither. */
static guint
get_distance (const char *name, const char *candidate)
{
  gsize name_length = strlen (name);
  gsize length = strlen (candidate);

  if (name_length == 0)
    return G_MAXUINT;
  if (length <= LONGEST_NAME && name_length <= length + MOST_EDITS && length <= name_length + MOST_EDITS) {
    guint edits = count_edits (name, name_length, candidate, length);

    if (edits <= MOST_EDITS && edits * 2 <= name_length)
      return edits;
  }
  return g_ascii_strncasecmp (candidate, name, name_length) == 0 ? MOST_EDITS + 1 : G_MAXUINT;
}

const char *
base_nearest_find (const char *name, const char *const *names)
{
  const char *nearest = NULL;
  guint least = G_MAXUINT;

  for (; *names != NULL; names++) {
    guint distance = get_distance (name, *names);

    if (distance < least || (distance == least && nearest != NULL && strcmp (*names, nearest) < 0)) {
      nearest = *names;
      least = distance;
    }
  }
  return nearest;
}
