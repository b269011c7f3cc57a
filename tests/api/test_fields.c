/* test_fields.c - the table engine: each type, ranges, nesting, paths; the guard before parsing. */
#include "api/fields.h"

#include <string.h>

#include "tests/support/test.h"

struct all {
    struct opt_bool b;
    struct opt_int i;
    struct opt_number x;
    struct opt_text t, w, inner;
    const struct json *any, *array, *object;
};
#define AT(member) offsetof(struct all, member)
/* clang-format off */
static const struct field nested[] = {
    {"inner", FIELD_TEXT, FIELD_NEEDED, 2, 4, AT(inner), NULL, NULL},
    {0},
};
static const struct field table[] = {
    {"b",      FIELD_BOOL,    0,           0,  0, AT(b),      NULL, NULL},
    {"i",      FIELD_INT,     0,           -2, 5, AT(i),      NULL, NULL},
    {"x",      FIELD_NUMBER,  FIELD_ABOVE, 0,  1, AT(x),      NULL, NULL},
    {"t",      FIELD_TEXT,    0,           0,  0, AT(t),      NULL, NULL},
    {"w",      FIELD_WORD,    0,           0,  0, AT(w),      "red|green", NULL},
    {"any",    FIELD_ANY,     0,           0,  0, AT(any),    NULL, NULL},
    {"array",  FIELD_ARRAY,   0,           1,  2, AT(array),  NULL, NULL},
    {"object", FIELD_OBJECT,  0,           0,  0, AT(object), NULL, NULL},
    {"nested", FIELD_NESTED,  0,           0,  0, 0,          NULL, nested},
    {"no",     FIELD_REFUSED, 0,           0,  0, 0,          "use yes", NULL},
    {0},
};
/* clang-format on */

static struct arena arena;

static enum status read(const char *text, struct all *out)
{
    const struct json *body;

    arena_clear(&arena);
    memset(out, 0, sizeof *out);
    assert_int_equal(fields_body(&arena, bytes_of(text), &body), OK);
    return fields_read(table, body, "", out);
}

static void values(void **state)
{
    struct all a;

    (void)state;
    assert_int_equal(read("{\"b\":true,\"i\":-2,\"x\":1,\"t\":\"\",\"w\":\"green\",\"any\":0,"
                          "\"array\":[1],\"object\":{},\"nested\":{\"inner\":\"ab\"},\"zz\":[]}",
                          &a),
                     OK);
    assert_true(a.b.has && a.b.v);
    assert_true(a.i.has && a.i.v == -2);
    assert_true(a.x.has && a.x.v == 1);
    assert_true(a.t.has && a.t.v.n == 0);
    assert_true(a.w.has && bytes_equal(a.w.v, "green"));
    assert_int_equal(a.any->type, JSON_NUMBER);
    assert_int_equal(a.array->count, 1);
    assert_int_equal(a.object->count, 0);
    assert_true(bytes_equal(a.inner.v, "ab"));
    assert_int_equal(read("{\"i\":3.0}", &a), OK);
    assert_int_equal(a.i.v, 3);
}

static void nulls(void **state)
{
    struct all a, zero = {0};

    (void)state;
    assert_int_equal(read("{\"b\":null,\"i\":null,\"x\":null,\"t\":null,\"w\":null,\"any\":null,"
                          "\"array\":null,\"object\":null,\"nested\":null,\"no\":null}",
                          &a),
                     OK);
    assert_memory_equal(&a, &zero, sizeof a);
}

static void errors(void **state)
{
    const struct {
        const char *text;
        enum status status;
        const char *field, *message;
    } row[] = {
        {"{\"b\":0}", ERR_INVALID, "b", "`b` must be a boolean, got a number"},
        {"{\"i\":6}", ERR_INVALID, "i", "`i` must be at least -2 and at most 5, got 6"},
        {"{\"i\":1e30}", ERR_INVALID, "i", "`i` must be a 64-bit integer, got 1e30"},
        {"{\"i\":[]}", ERR_INVALID, "i", "`i` must be an integer, got an array"},
        {"{\"x\":0}", ERR_INVALID, "x", "`x` must be above 0 and at most 1, got 0"},
        {"{\"w\":\"re\"}", ERR_INVALID, "w", "`w` must be one of red|green; got \"re\""},
        {"{\"w\":\"\"}", ERR_INVALID, "w", "`w` must be one of red|green; got \"\""},
        {"{\"w\":\"redd\"}", ERR_INVALID, "w", "`w` must be one of red|green; got \"redd\""},
        {"{\"array\":[]}", ERR_INVALID, "array",
         "`array` must be at least 1 and at most 2 items long, got 0"},
        {"{\"object\":\"x\"}", ERR_INVALID, "object", "`object` must be an object, got a string"},
        {"{\"nested\":1}", ERR_INVALID, "nested", "`nested` must be an object, got a number"},
        {"{\"nested\":{}}", ERR_INVALID, "nested.inner", "`nested.inner` is missing"},
        {"{\"nested\":{\"inner\":null}}", ERR_INVALID, "nested.inner", "`nested.inner` is missing"},
        {"{\"nested\":{\"inner\":\"abcde\"}}", ERR_INVALID, "nested.inner",
         "`nested.inner` must be at least 2 and at most 4 bytes long, got 5"},
        {"{\"no\":false}", ERR_UNSUPPORTED, "no", "`no` is not supported; use yes"},
    };
    struct all a;

    (void)state;
    for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
        assert_int_equal(read(row[k].text, &a), row[k].status);
        assert_string_equal(fail_field_name(), row[k].field);
        assert_string_equal(fail_text(), row[k].message);
    }
}

/* Commas and brackets inside strings are no values. */
static void guard(void **state)
{
    const struct json *v;
    struct buf b = {0};

    (void)state;
    buf_puts(&b, "{\"a\\\"");
    for (int i = 0; i < 1 << 21; i++)
        buf_putc(&b, "[,{\\"[i % 3]);
    buf_puts(&b, "\":1}");
    arena_clear(&arena);
    assert_int_equal(fields_parse(&arena, (struct bytes){b.data, b.len}, &v), OK);
    assert_int_equal(arena.limit, 0);
    buf_reset(&b);
    buf_putc(&b, '[');
    for (int i = 0; i < 1 << 20; i++)
        buf_puts(&b, "[],");
    buf_puts(&b, "[]]");
    assert_int_equal(fields_parse(&arena, (struct bytes){b.data, b.len}, &v), ERR_TOO_LARGE);
    buf_clear(&b);
}

static void token_ids(void **state)
{
    const struct json *v;
    int32_t *id;

    (void)state;
    arena_clear(&arena);
    assert_int_equal(fields_parse(&arena, bytes_of("[0,9,3.0]"), &v), OK);
    assert_int_equal(fields_tokens(v, "p", 10, &arena, &id), OK);
    assert_true(id[0] == 0 && id[1] == 9 && id[2] == 3);
    assert_int_equal(fields_tokens(v, "p", 9, &arena, &id), ERR_INVALID);
    assert_string_equal(fail_field_name(), "p[1]");
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values), cmocka_unit_test(nulls),     cmocka_unit_test(errors),
        cmocka_unit_test(guard),  cmocka_unit_test(token_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
