/*
 * What the targets share: one function each, called with the fuzzer's input,
 * and JSON out of it. The entry point that libFuzzer calls is in fuzz.c.
 */
#pragma once

#include <json-glib/json-glib.h>

/** The target: one run. Each program has its own; it must leave nothing behind. */
void fuzz_one (const guint8 *data, gsize length);

/** @text as JSON; null unless it is one object or array and nothing more. @length: bytes. Returns: (transfer full) */
JsonNode *fuzz_json (const guint8 *text, gsize length);

/** Takes the bytes up to @border, or all, off the front of an input. Returns: (transfer full): with a NUL after them */
GBytes *fuzz_take_part (const guint8 **data, gsize *length, guint8 border);

/** fuzz_json() of the next part. Returns: (transfer full) */
JsonNode *fuzz_take_json (const guint8 **data, gsize *length, guint8 border);
