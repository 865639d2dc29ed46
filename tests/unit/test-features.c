/*
 * What a recorded schema of QEMU 7.2 (a closed subset of it) says that it can
 * do, and that a damaged schema is an error or a "no", never a crash.
 */
#include "qmp/error.h"
#include "qmp/features.h"
#include "tests/support/suite.h"

static QmpFeatures *
parse_text (const char *text, GError **error)
{
  g_autoptr (JsonNode) schema = json_from_string (text, NULL);
  CU_ASSERT_PTR_NOT_NULL_FATAL (schema);
  return qmp_features_parse (schema, error);
}

static QmpFeatures *
recorded (void)
{
  const char *folder = g_getenv ("TEST_FIXTURES");
  g_autofree char *path =
      g_build_filename (folder != NULL ? folder : "tests/unit/fixtures", "qmp", "schema.json", NULL);
  g_autofree char *text = NULL;
  g_autoptr (GError) error = NULL;
  CU_ASSERT_FATAL (g_file_get_contents (path, &text, NULL, &error));
  QmpFeatures *features = parse_text (text, &error);
  SUPPORT_ASSERT_CLEAR (error);
  CU_ASSERT_PTR_NOT_NULL_FATAL (features);
  return features;
}

static void
commands_are_known_by_name (void)
{
  g_autoptr (QmpFeatures) features = recorded ();
  CU_ASSERT (qmp_features_has_command (features, "block-stream"));
  CU_ASSERT (qmp_features_has_command (features, "stop"));
  CU_ASSERT_FALSE (qmp_features_has_command (features, "blockdev-replace"));
}

static void
a_type_is_no_command (void)
{
  g_autoptr (QmpFeatures) features = recorded ();
  CU_ASSERT_FALSE (qmp_features_has_command (features, "str"));
  CU_ASSERT_FALSE (qmp_features_has_argument (features, "str", "x"));
}

static void
plain_arguments_are_found (void)
{
  g_autoptr (QmpFeatures) features = recorded ();
  CU_ASSERT (qmp_features_has_argument (features, "block-stream", "bottom"));
  CU_ASSERT (qmp_features_has_argument (features, "query-named-block-nodes", "flat"));
  CU_ASSERT_FALSE (qmp_features_has_argument (features, "block-stream", "backing-mask-protocol"));
  CU_ASSERT_FALSE (qmp_features_has_argument (features, "block-stream", "bottom.deeper"));
  CU_ASSERT_FALSE (qmp_features_has_argument (features, "block-stream", ""));
  CU_ASSERT_FALSE (qmp_features_has_argument (features, "stop", "now"));
}

static void
arrays_and_variants_are_entered (void)
{
  g_autoptr (QmpFeatures) features = recorded ();
  CU_ASSERT (qmp_features_has_argument (features, "transaction", "actions.=blockdev-snapshot.data.overlay"));
  CU_ASSERT_FALSE (qmp_features_has_argument (features, "transaction", "actions.=blockdev-snapshot.data.underlay"));
  CU_ASSERT_FALSE (qmp_features_has_argument (features, "transaction", "actions.=no-such-action"));
  CU_ASSERT (qmp_features_has_argument (features, "blockdev-add", "=qcow2.lazy-refcounts"));
  CU_ASSERT_FALSE (qmp_features_has_argument (features, "blockdev-add", "=qcow2.discard-no-unref"));
  CU_ASSERT (qmp_features_has_argument (features, "blockdev-create", "options.=qcow2.extended-l2"));
}

static void
alternates_and_enums_are_entered (void)
{
  g_autoptr (QmpFeatures) features = recorded ();
  CU_ASSERT (qmp_features_has_argument (features, "block-stream", "on-error.=stop"));
  CU_ASSERT_FALSE (qmp_features_has_argument (features, "block-stream", "on-error.=pray"));
  /* BlockdevRef: a name or BlockdevOptions, which holds a BlockdevRef again. */
  CU_ASSERT (qmp_features_has_argument (features, "blockdev-add", "=qcow2.file.=raw.file.=file.filename"));
  CU_ASSERT (qmp_features_has_argument (features, "blockdev-add", "=qcow2.backing.=qcow2.backing.node-name"));
}

static void
a_schema_without_form_is_an_error (void)
{
  static const char *const damaged[] = {"{}", "[1]", "[{}]", "[{\"name\":3}]", "\"x\""};
  for (guint i = 0; i < G_N_ELEMENTS (damaged); i++) {
    g_autoptr (GError) error = NULL;
    CU_ASSERT_PTR_NULL (parse_text (damaged[i], &error));
    SUPPORT_ASSERT_ERROR (error, QMP_ERROR, QMP_ERROR_PROTOCOL);
  }
}

static void
a_type_without_sense_has_nothing (void)
{
  static const char *const schemas[] = {
      "[{\"name\":\"c\",\"meta-type\":\"command\"}]",
      "[{\"name\":\"c\",\"meta-type\":\"command\",\"arg-type\":\"0\"}]",
      "[{\"name\":\"c\",\"meta-type\":\"command\",\"arg-type\":\"0\"},"
      "{\"name\":\"0\",\"meta-type\":\"object\",\"members\":[7,{\"name\":[]}],\"variants\":{}}]",
      "[{\"name\":\"c\",\"meta-type\":\"command\",\"arg-type\":\"0\"},"
      "{\"name\":\"0\",\"meta-type\":\"enum\",\"values\":[[],null,7]}]",
      "[{\"name\":\"c\",\"meta-type\":\"command\",\"arg-type\":\"0\"},"
      "{\"name\":\"0\",\"meta-type\":\"array\",\"element-type\":\"0\"}]",
      "[{\"name\":\"c\",\"meta-type\":\"command\",\"arg-type\":\"0\"},"
      "{\"name\":\"0\",\"meta-type\":\"alternate\",\"members\":[{\"type\":\"0\"},{\"type\":\"0\"}]}]",
  };
  for (guint i = 0; i < G_N_ELEMENTS (schemas); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (QmpFeatures) features = parse_text (schemas[i], &error);
    SUPPORT_ASSERT_CLEAR (error);
    CU_ASSERT_PTR_NOT_NULL_FATAL (features);
    CU_ASSERT (qmp_features_has_command (features, "c"));
    CU_ASSERT_FALSE (qmp_features_has_argument (features, "c", "x.y"));
    CU_ASSERT_FALSE (qmp_features_has_argument (features, "c", "=x"));
  }
}

static const SupportTest tests[] = {
    SUPPORT_TEST (commands_are_known_by_name),       SUPPORT_TEST (a_type_is_no_command),
    SUPPORT_TEST (plain_arguments_are_found),        SUPPORT_TEST (arrays_and_variants_are_entered),
    SUPPORT_TEST (alternates_and_enums_are_entered), SUPPORT_TEST (a_schema_without_form_is_an_error),
    SUPPORT_TEST (a_type_without_sense_has_nothing),
};

int
main (int argc, char **argv)
{
  return support_suite_run ("features", tests, G_N_ELEMENTS (tests), argc, argv);
}
