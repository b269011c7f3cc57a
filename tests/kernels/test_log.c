/* test_log.c - the sink, the level, and lines that stay lines. */
#include "kernels/base/log.h"

#include <pthread.h>
#include <string.h>

#include "tests/support/test.h"

static char last[4096];
static int lines, broken;

static void keep(void *ctx, enum log_level level, const char *line)
{
    *(enum log_level *)ctx = level;
    snprintf(last, sizeof last, "%s", line);
    lines++;
    broken += line[0] != 't' || strspn(line + 1, "x") != 50;
}

static void test_level_and_text(void **state)
{
    enum log_level level = LOG_DEBUG;

    (void)state;
    log_set_sink(keep, &level, LOG_WARN);
    lines = 0;
    log_info("hidden");
    assert_int_equal(lines, 0);
    log_error("code %d\nforged: line\x1b[0m\x7f", 5);
    assert_int_equal(lines, 1);
    assert_int_equal(level, LOG_ERROR);
    assert_string_equal(last, "code 5 forged: line [0m ");
    log_warn("%5000d", 1);
    assert_in_range(strlen(last), 1000, 4000);
}

static void *chat(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_info("t%.50s", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    return arg;
}

static void test_threads_do_not_interleave(void **state)
{
    enum log_level level = LOG_DEBUG;
    pthread_t t[3];

    (void)state;
    log_set_sink(keep, &level, LOG_INFO);
    lines = broken = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, chat, NULL), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    log_set_sink(NULL, NULL, LOG_INFO);
    assert_int_equal(lines, 600);
    assert_int_equal(broken, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_level_and_text),
        cmocka_unit_test(test_threads_do_not_interleave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
