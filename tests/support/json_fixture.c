/* json_fixture.c - see json_fixture.h. */
#include "tests/support/json_fixture.h"

#include <stdlib.h>

#include "kernels/base/mem.h"
#include "tests/support/test.h"

const struct json *json_fixture(struct arena *a, const char *path)
{
    const struct json *root;
    char *text;
    size_t n;

    assert_int_equal(file_read(path, 1 << 22, &text, &n), OK);
    assert_int_equal(json_parse(a, text, n, &root), OK);
    xfree(text);
    return root;
}

struct bytes json_fixture_hex(struct arena *a, struct bytes hex)
{
    char *p = arena_alloc(a, hex.n / 2 + 1);

    for (size_t i = 0; i < hex.n / 2; i++) {
        char byte[3] = {hex.p[2 * i], hex.p[2 * i + 1], 0};

        p[i] = (char)strtol(byte, NULL, 16);
    }
    return (struct bytes){p, hex.n / 2};
}

struct bytes json_fixture_text(struct arena *a, const struct json *v)
{
    const struct json *text = json_get(v, "text");

    return text ? text->text : json_fixture_hex(a, json_get(v, "hex")->text);
}
