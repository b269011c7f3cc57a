/* test_template.c - chat templates and small language cases against what Jinja2 made of them
 * (tests/tools/template_fixtures.py), the limits, and templates that mean harm. */
#include "engine/text/template.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/base/mem.h"
#include "tests/support/test.h"

enum { NOW = 1700000000 };

static const struct json *load(struct arena *a, const char *path)
{
    char *text;
    size_t n;
    const struct json *v;
    arena_init(a, 0);
    assert_int_equal(file_read(path, 64 << 20, &text, &n), OK);
    assert_int_equal(json_parse(a, text, n, &v), OK);
    xfree(text);
    return v;
}

static uint64_t fnv(const struct buf *b)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < b->len; i++)
        h = (h ^ (unsigned char)b->data[i]) * 0x100000001b3;
    return h;
}

static enum status run(const char *source, size_t n, const struct json *vars,
                       const struct template_limits *limits, struct buf *out)
{
    struct chat_template *t;
    TRY(template_parse(source, n, &t));
    enum status s = template_render(t, vars, limits, out);
    template_free(t);
    return s;
}

static bool text_is(const struct json *want, const char *p, size_t n)
{
    return want && want->text.n == n && (!n || memcmp(want->text.p, p, n) == 0);
}

/* Is this outcome the one that the fixture `want` records? */
static bool agrees(const struct json *want, enum status s, const struct buf *out)
{
    const struct json *kind = json_get(want, "kind"), *text = json_get(want, "text");
    char hash[24];
    int64_t bytes;
    if (bytes_equal(kind->text, "opaque"))
        return s == OK;
    if (bytes_equal(kind->text, "error"))
        return s == ERR_TEMPLATE && *fail_text();
    if (bytes_equal(kind->text, "raised"))
        return s == ERR_TEMPLATE && text_is(text, fail_text(), strlen(fail_text()));
    if (s != OK || text)
        return s == OK && text_is(text, out->data ? out->data : "", out->len);
    snprintf(hash, sizeof hash, "%016" PRIx64, fnv(out));
    return json_integer(json_get(want, "bytes"), &bytes) && (size_t)bytes == out->len &&
           bytes_equal(json_get(want, "fnv")->text, hash);
}

static int report(const char *what, const struct json *want, enum status s, const struct buf *out)
{
    const struct json *text = json_get(want, "text");
    print_error("%s\n  want %s %.300s\n  got  %s %.300s\n", what, json_get(want, "kind")->text.p,
                text ? text->text.p : "", status_name(s),
                s == OK ? (out->data ? out->data : "") : fail_text());
    return 1;
}

static void test_cases(void **state)
{
    (void)state;
    struct arena a;
    const struct template_limits limits = {.now = NOW};
    const struct json *f = load(&a, "tests/data/template/cases.json");
    const struct json *vars = json_get(f, "vars"), *cases = json_get(f, "cases");
    int bad = 0;
    assert_true(cases->count >= 400);
    for (const struct json *c = cases->first; c; c = c->next) {
        struct buf out = {0};
        const struct json *source = json_get(c, "template");
        enum status s = run(source->text.p, source->text.n, vars, &limits, &out);
        if (!agrees(c, s, &out))
            bad += report(source->text.p, c, s, &out);
        buf_clear(&out);
    }
    arena_clear(&a);
    assert_int_equal(bad, 0);
}

static int check_template(const struct json *t, const struct json *runs)
{
    const struct template_limits limits = {.now = NOW};
    const struct json *own = json_get(t, "source"), *r = json_get(t, "results")->first;
    char path[512], *text = NULL;
    size_t n = own ? own->text.n : 0;
    int bad = 0;
    snprintf(path, sizeof path, "../shared/data/templates/%s", json_get(t, "file")->text.p);
    if (!own && file_read(path, 4 << 20, &text, &n) != OK)
        return -1;
    for (const struct json *v = runs->first; v; v = v->next, r = r->next) {
        struct buf out = {0};
        char what[640];
        enum status s = run(own ? own->text.p : text, n, json_get(v, "vars"), &limits, &out);
        snprintf(what, sizeof what, "%s: %s", path, json_get(v, "name")->text.p);
        if (!agrees(r, s, &out))
            bad += report(what, r, s, &out);
        buf_clear(&out);
    }
    xfree(text);
    return bad;
}

/* `own`: the one whose text the fixture holds; else those of the shared data. */
static void check_templates(bool own)
{
    struct arena a;
    const struct json *f = load(&a, "tests/data/template/templates.json");
    int bad = 0, missing = 0, done = 0;
    for (const struct json *t = json_get(f, "templates")->first; t; t = t->next) {
        if (!json_get(t, "source") == own)
            continue;
        int n = check_template(t, json_get(f, "runs"));
        missing += n < 0;
        done += n >= 0;
        bad += n > 0 ? n : 0;
    }
    arena_clear(&a);
    assert_int_equal(bad, 0);
    if (!done)
        SKIP("../shared/data/templates is not here");
    assert_int_equal(missing, 0);
}

static void test_smollm2(void **state)
{
    (void)state;
    check_templates(true);
}

static void test_shared_templates(void **state)
{
    (void)state;
    check_templates(false);
}

/* --- limits and harm */

static void expect_error(const char *source, const struct template_limits *limits, const char *why)
{
    struct buf out = {0};
    buf_puts(&out, "kept");
    enum status s = run(source, strlen(source), NULL, limits, &out);
    if (s != ERR_TEMPLATE || !strstr(fail_text(), why))
        fail_msg("%.80s: %s: %s", source, status_name(s), s == OK ? "" : fail_text());
    assert_string_equal(out.data, "kept"); /* nothing of a failed run stays */
    buf_clear(&out);
}

static void test_limits(void **state)
{
    (void)state;
    const struct template_limits steps = {.max_steps = 1000}, depth = {.max_depth = 50};
    const struct template_limits output = {.max_output = 100};
    expect_error("{% for i in range(100000) %}{% endfor %}", &steps, "1000 steps");
    expect_error("{{ 'a' * 1000000 }}", &steps, "steps");
    expect_error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", &depth, "50 levels");
    expect_error("{% for i in range(100) %}xx{% endfor %}", &output, "100 bytes");
    expect_error("{% set x %}{{ 'a' * 101 }}{% endset %}", &output, "100 bytes");
}

static void test_hostile(void **state)
{
    (void)state;
    expect_error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", NULL, "levels");
    expect_error("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", NULL, "levels");
    expect_error("{% macro f() %}{{ caller is defined }}{% call f() %}{% endcall %}"
                 "{% endmacro %}{{ f() }}",
                 NULL, "levels");
    expect_error("{% set n = namespace(x=[]) %}{% for i in range(5000) %}{% set n.x = [n.x] %}"
                 "{% endfor %}{{ n.x }}",
                 NULL, "levels");
    expect_error("{% set n = namespace(x=[]) %}{% for i in range(5000) %}{% set n.x = [n.x] %}"
                 "{% endfor %}{{ n.x|tojson }}",
                 NULL, "levels");
    expect_error("{% set n = namespace(x=(1,), y=(1,)) %}{% for i in range(5000) %}"
                 "{% set n.x = (n.x,) %}{% set n.y = (n.y,) %}{% endfor %}{{ n.x == n.y }}",
                 NULL, "levels");
    expect_error("{% set n = namespace(x=(1,)) %}{% for i in range(5000) %}{% set n.x = (n.x,) %}"
                 "{% endfor %}{{ {n.x: 1} }}",
                 NULL, "levels");
    expect_error("{% set n = namespace() %}{% set n.self = n %}{{ n }}", NULL, "levels");
    expect_error("{{ 'a' * 9000000000000000000 }}", NULL, "line 1");
    expect_error("{{ [0] * 9000000000000000000 }}", NULL, "line 1");
    expect_error("{{ '%99999999d' % 1 }}", NULL, "width");
    expect_error("{{ '{:99999999}'.format(1) }}", NULL, "width");
    expect_error("{{ '%.999f' % 1 }}", NULL, "precision");
    expect_error("{{ 'a'.center(9000000000000000000) }}", NULL, "line 1");
    expect_error("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
                 NULL, "steps");
    expect_error("{% set n = namespace(x='ab') %}{% for i in range(80) %}{% set n.x = n.x + n.x %}"
                 "{% endfor %}",
                 NULL, "line 1");
    expect_error("{% set n = namespace(x='{}') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}"
                 "{% endfor %}{{ n.x|length }}",
                 NULL, "line 1");
    expect_error("\xff", NULL, "UTF-8");
}

static void expect_deep_error(const char *open, const char *middle)
{
    struct buf source = {0};
    buf_puts(&source, "{{ ");
    for (int i = 0; i < 100000; i++)
        buf_puts(&source, open);
    buf_puts(&source, middle);
    expect_error(source.data, NULL, "");
    buf_clear(&source);
}

static void test_deep_source(void **state)
{
    (void)state;
    expect_deep_error("(", "1");
    expect_deep_error("[", "1");
    expect_deep_error("{1:", "1");
    expect_deep_error("- ", "1 }}");
    expect_deep_error("not ", "1 }}");
    expect_deep_error("1 + ", "1 }}");
    expect_deep_error("1 if 1 else ", "1 }}");
    expect_deep_error("1|abs + ", "1 }}");
    expect_deep_error("x[", "1");
    expect_deep_error("f(", "1");
    expect_deep_error("}} {% if x %} {{ ", "1");
    expect_deep_error("}} {% for x in x %} {{ ", "1");
    expect_deep_error("}} {% macro f() %} {{ ", "1");
}

/* A conversation of ten thousand turns, and one text grown piece by piece, stay within the limits.
 */
static void test_long(void **state)
{
    (void)state;
    static const char source[] =
        "{% set ns = namespace(t='', l=[]) %}{% for i in range(10000) %}"
        "{% set ns.t = ns.t ~ 'word ' %}{% set ns.l = ns.l + [i] %}{% endfor %}"
        "{{ ns.t|length }} {{ ns.l|length }} {{ ns.t.split()|length }}";
    struct buf out = {0};
    assert_int_equal(run(source, strlen(source), NULL, NULL, &out), OK);
    assert_string_equal(out.data, "50000 10000 10000");
    buf_clear(&out);
}

static void test_line_numbers(void **state)
{
    (void)state;
    expect_error("a\nb\n{{ 1 +\n }}", NULL, "line 4");
    expect_error("a\n{% if x %}\n{{ nope.x }}\n{% endif %}\n\n{{ nope.y }}", NULL,
                 "line 6: 'nope' is undefined");
}

/* Which templates know tool calls only as text beside null content. */
static bool text_calls(const char *source, size_t n)
{
    struct chat_template *t;
    assert_int_equal(template_parse(source, n, &t), OK);
    bool wants = template_wants_text_calls(t);
    template_free(t);
    return wants;
}

static void test_text_calls(void **state)
{
    (void)state;
    static const char object[] = "{% for m in messages %}{% for c in m.tool_calls %}"
                                 "{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}";
    static const char text[] = "{% for m in messages %}{% for c in m.tool_calls %}"
                               "{{ 'x' + c.function.arguments }}{% endfor %}{% endfor %}";
    static const char bare[] = "{% for m in messages if m.content is none %}{% for c in "
                               "m.tool_calls %}{{ c.function.arguments }}{% endfor %}{% endfor %}";
    assert_false(text_calls(object, strlen(object)));
    assert_true(text_calls(text, strlen(text)));
    assert_false(text_calls("", 0));
    assert_false(text_calls("{{ raise_exception('x') }}", 26));
    assert_true(text_calls(bare, strlen(bare)));
}

static void test_parts(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        bool takes;
    } row[] = {
        {"{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}",
         true},
        {"{% for m in messages %}{{ m.content }}{% endfor %}", false},
        {"{% for m in messages %}{{ m.content | tojson }}{% endfor %}", false},
        {"{% for m in messages %}{{ m.content[0].text }}{% endfor %}", false}, /* not all */
        {"{% for m in messages %}{{ 'x' + m.content }}{% endfor %}", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct chat_template *t;
        assert_int_equal(template_parse(row[i].source, strlen(row[i].source), &t), OK);
        assert_int_equal(template_takes_parts(t), row[i].takes);
        template_free(t);
    }
}

/* Of the shared ones DeepSeek-R1's. */
static void test_shared_text_calls(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct json *all = load(&a, "tests/data/template/templates.json");
    int n = 0;
    for (const struct json *t = json_get(all, "templates")->first; t; t = t->next) {
        char path[256], *text;
        size_t size;
        if (json_get(t, "source"))
            continue;
        snprintf(path, sizeof path, "../shared/data/templates/%s", json_get(t, "file")->text.p);
        if (file_read(path, 4 << 20, &text, &size) != OK)
            SKIP("../shared/data/templates is not here");
        bool r1 = strstr(path, "deepseek-ai-DeepSeek-R1-Distill") != NULL;
        if (text_calls(text, size) != r1)
            fail_msg("%s", path);
        n += r1;
        xfree(text);
    }
    assert_int_equal(n, 1);
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_smollm2),
        cmocka_unit_test(test_shared_templates),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_deep_source),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_line_numbers),
        cmocka_unit_test(test_text_calls),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_shared_text_calls),
    };
    setenv("TZ", "UTC", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
