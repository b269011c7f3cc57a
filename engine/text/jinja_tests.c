/* jinja_tests.c - tests: what stands behind `is`. */
#include "engine/text/jinja_filters.h"

#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_methods.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_repr.h"

#define TEST(name, expression)                                                                     \
    static struct jval name(struct jinja *j, struct jval v, const struct jargs *a)                 \
    {                                                                                              \
        (void)j;                                                                                   \
        (void)v;                                                                                   \
        (void)a;                                                                                   \
        return jv_bool(expression);                                                                \
    }

static bool is_sequence(struct jval v)
{
    return jv_has_length(v) && v.type != JV_VIEW && v.type != JV_LOOP;
}

static bool is_callable(struct jval v)
{
    return v.type == JV_METHOD || v.type == JV_FUNC || v.type == JV_MACRO || v.type == JV_LOOP ||
           v.type == JV_JOINER || v.type == JV_UNDEFINED;
}

/* `is`: the same object, as far as CPython makes small values one object. */
static bool same(struct jinja *j, struct jval a, struct jval b)
{
    if (a.type != b.type)
        return false;
    if (a.type == JV_NONE || a.type == JV_BOOL || a.type == JV_INT || a.type == JV_STR)
        return jv_equal(j, a, b) && a.markup == b.markup;
    return a.s == b.s && a.view == b.view;
}

static struct jval modulo(struct jinja *j, struct jval v, struct jval by)
{
    return jo_binary(j, JOP_MOD, v, by);
}

/* str(value).islower() or isupper() */
static bool cased(struct jinja *j, struct jval v, const char *method)
{
    struct jstr name = {.p = method, .n = strlen(method)};
    struct jargs none = {0};
    return jv_truth(j, jx_apply(j, jm_str_method(&name), jr_str(j, v), &none));
}

static bool names(struct jval v, const struct jfunc *(*find)(const char *, size_t))
{
    return v.type == JV_STR && find(v.s->p, v.s->n);
}

TEST(test_defined, v.type != JV_UNDEFINED)
TEST(test_undefined, v.type == JV_UNDEFINED)
TEST(test_none, v.type == JV_NONE)
TEST(test_string, v.type == JV_STR)
TEST(test_number, jv_is_number(v) || v.type == JV_BIGINT)
TEST(test_integer, v.type == JV_INT || v.type == JV_BIGINT)
TEST(test_float, v.type == JV_FLOAT)
TEST(test_boolean, v.type == JV_BOOL)
TEST(test_true, v.type == JV_BOOL && v.b)
TEST(test_false, v.type == JV_BOOL && !v.b)
TEST(test_mapping, v.type == JV_DICT)
TEST(test_sequence, is_sequence(v))
TEST(test_iterable, jv_is_iterable(v))
TEST(test_callable, is_callable(v))
TEST(test_escaped, v.type == JV_STR && v.markup)
TEST(test_sameas, same(j, v, a->v[0]))
TEST(test_in, jo_contains(j, v, a->v[0]))
TEST(test_odd, jv_equal(j, modulo(j, v, jv_int(2)), jv_int(1)))
TEST(test_even, jv_equal(j, modulo(j, v, jv_int(2)), jv_int(0)))
TEST(test_divisibleby, jv_equal(j, modulo(j, v, a->v[0]), jv_int(0)))
TEST(test_lower, cased(j, v, "islower"))
TEST(test_upper, cased(j, v, "isupper"))
TEST(test_filter, names(v, jf_filter))
TEST(test_test, names(v, jf_test))
TEST(test_eq, jo_compare(j, JOP_EQ, v, a->v[0]))
TEST(test_ne, jo_compare(j, JOP_NE, v, a->v[0]))
TEST(test_lt, jo_compare(j, JOP_LT, v, a->v[0]))
TEST(test_le, jo_compare(j, JOP_LE, v, a->v[0]))
TEST(test_gt, jo_compare(j, JOP_GT, v, a->v[0]))
TEST(test_ge, jo_compare(j, JOP_GE, v, a->v[0]))

/* clang-format off */
static const struct jfunc tests[] = {
    {"defined",     test_defined,     "",      0},
    {"undefined",   test_undefined,   "",      0},
    {"none",        test_none,        "",      0},
    {"string",      test_string,      "",      0},
    {"number",      test_number,      "",      0},
    {"integer",     test_integer,     "",      0},
    {"float",       test_float,       "",      0},
    {"boolean",     test_boolean,     "",      0},
    {"true",        test_true,        "",      0},
    {"false",       test_false,       "",      0},
    {"mapping",     test_mapping,     "",      0},
    {"sequence",    test_sequence,    "",      0},
    {"iterable",    test_iterable,    "",      0},
    {"callable",    test_callable,    "",      0},
    {"escaped",     test_escaped,     "",      0},
    {"sameas",      test_sameas,      "other", 1},
    {"in",          test_in,          "seq",   1},
    {"odd",         test_odd,         "",      0},
    {"even",        test_even,        "",      0},
    {"divisibleby", test_divisibleby, "num",   1},
    {"lower",       test_lower,       "",      0},
    {"upper",       test_upper,       "",      0},
    {"filter",      test_filter,      "",      0},
    {"test",        test_test,        "",      0},
    {"eq",          test_eq,          "other", 1},
    {"equalto",     test_eq,          "other", 1},
    {"==",          test_eq,          "other", 1},
    {"ne",          test_ne,          "other", 1},
    {"!=",          test_ne,          "other", 1},
    {"lt",          test_lt,          "other", 1},
    {"lessthan",    test_lt,          "other", 1},
    {"<",           test_lt,          "other", 1},
    {"le",          test_le,          "other", 1},
    {"<=",          test_le,          "other", 1},
    {"gt",          test_gt,          "other", 1},
    {"greaterthan", test_gt,          "other", 1},
    {">",           test_gt,          "other", 1},
    {"ge",          test_ge,          "other", 1},
    {">=",          test_ge,          "other", 1},
    {NULL,          NULL,             NULL,    0},
};
/* clang-format on */

const struct jfunc *jf_test(const char *name, size_t n)
{
    return jf_find(tests, name, n);
}
