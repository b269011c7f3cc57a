/* json_fixture.h - fixtures under tests/data that are JSON; what JSON cannot hold is in hex. */
#ifndef TESTS_SUPPORT_JSON_FIXTURE_H
#define TESTS_SUPPORT_JSON_FIXTURE_H

#include "kernels/base/json.h"

/* The root of the file; fails the test when it cannot be read. */
const struct json *json_fixture(struct arena *a, const char *path);
/* Two digits a byte. */
struct bytes json_fixture_hex(struct arena *a, struct bytes hex);
/* Member "text" of `v`, or "hex". */
struct bytes json_fixture_text(struct arena *a, const struct json *v);

#endif
