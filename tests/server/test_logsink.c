/* test_logsink.c - how a log line looks. */
#include "server/logsink.h"

#include "kernels/base/json.h"
#include "tests/support/test.h"

static void test_text(void **state)
{
    struct buf b = {0};
    (void)state;
    logsink_format(&b, false, LOG_INFO, (struct timespec){1000000000, 7999999}, "hello");
    logsink_format(&b, false, LOG_ERROR, (struct timespec){0, 0}, "");
    assert_string_equal(b.data, "2001-09-09T01:46:40.007Z INFO  hello\n"
                                "1970-01-01T00:00:00.000Z ERROR \n");
    buf_clear(&b);
}

static void test_json(void **state)
{
    struct buf b = {0};
    struct arena a;
    const struct json *v;
    (void)state;
    arena_init(&a, 0);
    logsink_format(&b, true, LOG_WARN, (struct timespec){1000000000, 999000000}, "a \"b\" \\ \xff");
    assert_int_equal(json_parse(&a, b.data, b.len, &v), OK);
    assert_true(bytes_equal(json_get(v, "time")->text, "2001-09-09T01:46:40.999Z"));
    assert_true(bytes_equal(json_get(v, "level")->text, "WARN"));
    assert_true(bytes_equal(json_get(v, "message")->text, "a \"b\" \\ \xef\xbf\xbd"));
    assert_int_equal(b.data[b.len - 1], '\n');
    buf_clear(&b);
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_json)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
