/* test_json.c - what RFC 8259 takes and refuses, what json.h refuses beyond it, and writing.
 * json_pairs.txt is Python's (tests/tools/gen_json.py), so that reader and writer cannot share a
 * mistake. */
#include "kernels/base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/support/test.h"

static struct arena arena;
static struct buf out;

static int clear(void **state)
{
    (void)state;
    arena_clear(&arena);
    buf_clear(&out);
    return 0;
}

static enum status parse(const char *text, size_t n, const struct json **v)
{
    char *copy = malloc(n ? n : 1); /* exact size: a read behind it is seen by the sanitizer */
    enum status s;

    if (n)
        memcpy(copy, text, n);
    s = json_parse(&arena, copy, n, v);
    free(copy); /* the tree must not point into the text */
    return s;
}

static const struct json *must(const char *text)
{
    const struct json *v;

    if (parse(text, strlen(text), &v) != OK)
        print_error("%s: %s\n", text, fail_text());
    assert_non_null(v);
    return v;
}

static void test_accepts(void **state)
{
    static const char *const text[] = {
        "null",
        " \t\r\n{ } ",
        "[]",
        "[[[]]]",
        "-0",
        "0e0",
        "1E-2",
        "-1.5e+300",
        "1e999",
        "\"\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDe00\"",
        "\"\x7f\xc2\x80\xed\x9f\xbf\xf4\x8f\xbf\xbf\"",
        "{\"\":0}",
        "{\"a\":{\"a\":{\"a\":1}},\"b\":{\"a\":1}}",
        "[{\"a\":1},{\"a\":1}]",
        "\"\\\\u0000\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        must(text[i]);
}

/* clang-format off */
static const struct { const char *text; int at; const char *why; } bad[] = {
    {"",                      0, "ends too early"},
    {"  ",                    2, "ends too early"},
    {"[",                     1, "ends too early"},
    {"{\"a\"",                4, "ends too early"},
    {"\"abc",                 4, "ends too early"},
    {"\"\\",                  2, "ends too early"},
    {"\"\\u12",               5, "ends too early"},
    {"-",                     1, "ends too early"},
    {"[1.",                   3, "ends too early"},
    {"nul",                   0, "a value is expected"},
    {"nulL",                  0, "a value is expected"},
    {"True",                  0, "a value is expected"},
    {"NaN",                   0, "a value is expected"},
    {"Infinity",              0, "a value is expected"},
    {"+1",                    0, "a value is expected"},
    {".5",                    0, "a value is expected"},
    {"[1,]",                  3, "a value is expected"},
    {"[,1]",                  1, "a value is expected"},
    {"[1 2]",                 3, "',' or ']'"},
    {"{\"a\":1,}",            7, "a string is expected"},
    {"{a:1}",                 1, "a string is expected"},
    {"{'a':1}",               1, "a string is expected"},
    {"{\"a\" 1}",             5, "':' is expected"},
    {"{\"a\":1 \"b\":2}",     7, "',' or '}'"},
    {"[1}",                   2, "',' or ']'"},
    {"01",                    1, "begin with 0"},
    {"-01",                   2, "begin with 0"},
    {"1.x",                   2, "behind the point"},
    {"1ex",                   2, "in the exponent"},
    {"1e+x",                  3, "in the exponent"},
    {"--1",                   1, "a digit is missing"},
    {"0x10",                  1, "more text"},
    {"1 2",                   2, "more text"},
    {"{}}",                   2, "more text"},
    {"\"a\nb\"",              2, "control character"},
    {"\"\x1f\"",              1, "control character"},
    {"\"\\x41\"",             2, "unknown escape"},
    {"\"\\u00g0\"",           5, "four hexadecimal"},
    {"\"\\u0000\"",           1, "\\u0000"},
    {"{\"a\\u0000b\":1}",     3, "\\u0000"},
    {"\"\\ud800\"",           1, "high surrogate"},
    {"\"\\ud800x\"",          1, "high surrogate"},
    {"\"\\ud800\\n\"",        1, "high surrogate"},
    {"\"\\ud800\\ud800\"",    1, "high surrogate"},
    {"\"\\udc00\"",           1, "low surrogate"},
    {"\"\xff\"",              1, "not UTF-8"},
    {"\"\xed\xa0\x80\"",      1, "not UTF-8"},
    {"\"\xc3\"",              1, "not UTF-8"},
    {"\xef\xbb\xbf{}",        0, "a value is expected"},
    {"{\"a\":1,\"a\":2}",     7, "\"a\" stands twice"},
    {"{\"a\":1,\"\\u0061\":2}", 7, "\"a\" stands twice"},
    {"[0,{\"b\":{\"x\":[],\"\xc3\xa9\":0,\"\\u00e9\":0}}]", 23, "stands twice"},
    {"// c\n1",               0, "a value is expected"},
    {"[1]\v",                 3, "more text"},
};
/* clang-format on */

static void test_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct json *v = (const struct json *)bad;
        char want[64];

        assert_int_equal(parse(bad[i].text, strlen(bad[i].text), &v), ERR_JSON);
        assert_null(v);
        snprintf(want, sizeof want, "at byte %d: ", bad[i].at);
        if (!strstr(fail_text(), want) || !strstr(fail_text(), bad[i].why))
            print_error("%s: %s\n", bad[i].text, fail_text());
        assert_non_null(strstr(fail_text(), want));
        assert_non_null(strstr(fail_text(), bad[i].why));
    }
}

static void test_nul_bytes(void **state)
{
    const struct json *v;

    (void)state;
    assert_int_equal(parse("1\0", 2, &v), ERR_JSON); /* cJSON would stop there and be content */
    assert_int_equal(parse("\"a\0b\"", 5, &v), ERR_JSON);
    assert_int_equal(parse("\0", 1, &v), ERR_JSON);
}

static void nested(int depth, const char *open, const char *inner, const char *close)
{
    buf_reset(&out);
    for (int i = 0; i < depth; i++)
        buf_puts(&out, open);
    buf_puts(&out, inner);
    for (int i = 0; i < depth; i++)
        buf_puts(&out, close);
}

static void test_depth(void **state)
{
    const struct json *v;

    (void)state;
    nested(JSON_MAX_DEPTH, "[", "1", "]");
    assert_int_equal(parse(out.data, out.len, &v), OK);
    nested(JSON_MAX_DEPTH + 1, "[", "1", "]");
    assert_int_equal(parse(out.data, out.len, &v), ERR_JSON);
    assert_non_null(strstr(fail_text(), "128 levels"));
    nested(JSON_MAX_DEPTH, "{\"a\":", "1", "}");
    assert_int_equal(parse(out.data, out.len, &v), OK);
    nested(JSON_MAX_DEPTH + 1, "{\"a\":", "1", "}");
    assert_int_equal(parse(out.data, out.len, &v), ERR_JSON);
    nested(1000000, "[", "", "");
    assert_int_equal(parse(out.data, out.len, &v), ERR_JSON);
}

static void test_many_keys(void **state)
{
    const struct json *v;

    (void)state;
    for (int n = 2; n <= 400; n = n < 20 ? n + 1 : n * 3) {
        buf_reset(&out);
        for (int i = 0; i < n; i++)
            buf_printf(&out, "%s\"key%d\":%d", i ? "," : "{", i, i);
        buf_putc(&out, '}');
        v = must(out.data);
        assert_int_equal(v->count, n);
        assert_true(json_get(v, "key1")->number == 1);
        out.len--; /* the closing brace */
        buf_puts(&out, ",\"key0\":0}");
        assert_int_equal(parse(out.data, out.len, &v), ERR_JSON);
        assert_non_null(strstr(fail_text(), "\"key0\" stands twice"));
    }
}

static void test_arena_limit(void **state)
{
    const char text[] = "[\"abc\",\"def\",{\"g\":[1,2,3]}]";
    const struct json *v;
    struct arena small;
    int refused = 0;

    (void)state;
    for (size_t limit = 1; limit < 2000; limit += 16) {
        enum status s;

        arena_init(&small, limit);
        s = json_parse(&small, text, sizeof text - 1, &v);
        assert_true(s == OK ? v != NULL : s == ERR_TOO_LARGE && !v);
        refused += s != OK;
        arena_clear(&small);
    }
    assert_in_range(refused, 10, 100);
}

static void test_tree(void **state)
{
    const struct json *v =
        must("{\"b\":[1,\"x\",null,true],\"a\":{\"n\":-2.50},\"\xc3\xa9\":false}");
    const struct json *list = json_get(v, "b");

    (void)state;
    assert_string_equal(v->first->key, "b"); /* document order, not sorted */
    assert_string_equal(v->first->next->key, "a");
    assert_int_equal(v->count, 3);
    assert_int_equal(list->count, 4);
    assert_true(json_is(json_at(list, 0), JSON_NUMBER));
    assert_string_equal(json_at(list, 1)->text.p, "x");
    assert_true(json_is(json_at(list, 2), JSON_NULL));
    assert_true(json_at(list, 3)->boolean);
    assert_null(json_at(list, 4));
    assert_null(json_at(list, -1));
    assert_null(json_at(v, 0));
    assert_null(list->first->key);
    assert_string_equal(json_get(json_get(v, "a"), "n")->text.p, "-2.50");
    assert_true(json_get(json_get(v, "a"), "n")->number == -2.5);
    assert_non_null(json_get(v, "\xc3\xa9"));
    assert_null(json_get(v, "n")); /* not searched below */
    assert_null(json_get(list, "b"));
    assert_null(json_get(NULL, "b"));
    assert_null(json_at(NULL, 0));
    assert_false(json_is(NULL, JSON_NULL));
}

static void test_integers(void **state)
{
    /* clang-format off */
    static const struct { const char *text; bool ok; int64_t want; } t[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"-9223372036854775808", true, INT64_MIN},
        {"-9223372036854775809", false, 0},
        {"9007199254740993", true, 9007199254740993}, /* not a double */
        {"1.0", true, 1},
        {"1e3", true, 1000},
        {"1.5", false, 0},
        {"1e-1", false, 0},
        {"1e19", false, 0},
        {"9223372036854775808.0", false, 0},
        {"1e999", false, 0},
        {"true", false, 0},
        {"\"1\"", false, 0},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        int64_t got = 0;

        assert_int_equal(json_integer(must(t[i].text), &got), t[i].ok);
        if (t[i].ok)
            assert_true(got == t[i].want);
    }
    assert_false(json_integer(NULL, NULL));
}

static void test_long_numbers(void **state)
{
    char text[400] = "[0.";
    const struct json *v;

    (void)state;
    for (int n = 50; n < 300; n++) { /* across the 63 characters that cJSON copies */
        memset(text + 3, '3', (size_t)n);
        strncpy(text + 3 + n, ",\"x\",7]", 8);
        v = must(text);
        assert_true(v->first->number == 1.0 / 3);
        assert_int_equal(v->first->text.n, n + 2);
        assert_true(json_at(v, 2)->number == 7);
    }
}

static void test_pairs_of_python(void **state)
{
    char *file, *rest, *loose;
    size_t n;
    int pairs = 0;

    (void)state;
    assert_int_equal(file_read("tests/data/base/json_pairs.txt", 1 << 20, &file, &n), OK);
    rest = file;
    while ((loose = strsep(&rest, "\n")) && *loose) {
        const char *compact = strsep(&rest, "\n");

        buf_reset(&out);
        json_write(&out, must(loose));
        assert_string_equal(out.data, compact);
        buf_reset(&out);
        json_write(&out, must(compact));
        assert_string_equal(out.data, compact);
        pairs++;
    }
    xfree(file);
    assert_int_equal(pairs, 120);
}

static const char *string_of(const char *s, size_t n)
{
    buf_reset(&out);
    json_write_string(&out, s, n);
    return out.data;
}

static void test_write_string(void **state)
{
    (void)state;
    assert_string_equal(string_of("", 0), "\"\"");
    assert_string_equal(string_of("a\"\\/\b\f\n\r\t\x01\x1f\x7f", 12),
                        "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
    assert_string_equal(string_of("a\0b", 3), "\"a\\u0000b\"");
    assert_string_equal(string_of("\xc3\xa9\xf0\x9f\x98\x80", 6), "\"\xc3\xa9\xf0\x9f\x98\x80\"");
    assert_string_equal(string_of("x\xff\xc3", 3), "\"x\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_string_equal(string_of("\xed\xa0\x80", 3), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

static const char *number_of(double v)
{
    buf_reset(&out);
    json_write_number(&out, v);
    return out.data;
}

static void test_write_number(void **state)
{
    (void)state;
    assert_string_equal(number_of(0), "0");
    assert_string_equal(number_of(-3), "-3");
    assert_string_equal(number_of(0.1), "0.1");
    assert_string_equal(number_of(0.1 + 0.2), "0.30000000000000004");
    assert_string_equal(number_of(1.0 / 3), "0.3333333333333333");
    assert_string_equal(number_of(1700000000), "1700000000");
    assert_string_equal(number_of(9007199254740991.0), "9007199254740991");
    assert_string_equal(number_of(1e21), "1e+21");
    assert_string_equal(number_of(NAN), "null");
    assert_string_equal(number_of(-INFINITY), "null");
    for (uint64_t i = 0; i < 20000; i++) { /* random bits of all magnitudes come back */
        struct rng_block r = rng_philox(3, i, 0);
        const struct json *v;
        double d;

        memcpy(&d, r.v, sizeof d);
        if (!isfinite(d))
            continue;
        v = must(number_of(d));
        assert_true(json_is(v, JSON_NUMBER) && v->number == d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_accepts, clear),
        cmocka_unit_test_teardown(test_refuses, clear),
        cmocka_unit_test_teardown(test_nul_bytes, clear),
        cmocka_unit_test_teardown(test_depth, clear),
        cmocka_unit_test_teardown(test_many_keys, clear),
        cmocka_unit_test_teardown(test_arena_limit, clear),
        cmocka_unit_test_teardown(test_tree, clear),
        cmocka_unit_test_teardown(test_integers, clear),
        cmocka_unit_test_teardown(test_long_numbers, clear),
        cmocka_unit_test_teardown(test_pairs_of_python, clear),
        cmocka_unit_test_teardown(test_write_string, clear),
        cmocka_unit_test_teardown(test_write_number, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
