/*
 * A schema as query-qmp-schema gives it: any JSON text, then the questions that
 * the engine asks. Types may refer to themselves and to what is not there.
 */
#include "qmp/features.h"
#include "tests/fuzz/fuzz.h"

typedef struct {
  const char *command;
  const char *path;
} Question;

static const Question questions[] = {
    {"transaction", "actions.=blockdev-snapshot.data.overlay"},
    {"blockdev-add", "=qcow2.file.=raw.file.=file.filename"},
    {"blockdev-create", "options.=qcow2.extended-l2"},
    {"block-stream", "on-error.=stop"},
    {"block-stream", "bottom"},
    {"stop", ""},
    {"stop", "=.=..="},
};

void
fuzz_one (const guint8 *data, gsize length)
{
  g_autoptr (JsonNode) schema = fuzz_json (data, length);
  g_autoptr (GError) error = NULL;
  g_autoptr (QmpFeatures) features = qmp_features_parse (schema, &error);

  g_assert ((features == NULL) != (error == NULL));
  for (gsize i = 0; features != NULL && i < G_N_ELEMENTS (questions); i++) {
    gboolean has = qmp_features_has_argument (features, questions[i].command, questions[i].path);
    g_assert (!has || qmp_features_has_command (features, questions[i].command));
  }
}
