/* test_status.c - messages, fields, prefixes; one record a thread. */
#include "kernels/base/status.h"

#include <pthread.h>
#include <string.h>

#include "tests/support/test.h"

static void test_message(void **state)
{
    (void)state;
    assert_int_equal(fail(ERR_IO, "tensor %s has %d", "x", 3), ERR_IO);
    assert_string_equal(fail_text(), "tensor x has 3");
    assert_null(fail_field_name());
}

static void test_field_lives_until_next_failure(void **state)
{
    (void)state;
    assert_int_equal(fail_field(ERR_INVALID, "top_p", "is %g", 2.0), ERR_INVALID);
    assert_string_equal(fail_field_name(), "top_p");
    assert_int_equal(fail_in(ERR_INVALID, "request %d", 7), ERR_INVALID);
    assert_string_equal(fail_text(), "request 7: is 2");
    assert_string_equal(fail_field_name(), "top_p"); /* a prefix keeps the field */
    fail(ERR_IO, "other");
    assert_null(fail_field_name());
}

static void test_own_text_as_argument(void **state)
{
    (void)state;
    fail_field(ERR_IO, "f", "inner");
    fail_field(ERR_FORMAT, fail_field_name(), "outer (%s)", fail_text());
    assert_string_equal(fail_text(), "outer (inner)");
    assert_string_equal(fail_field_name(), "f");
}

static void test_long_message_is_cut(void **state)
{
    char big[5000];

    (void)state;
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    fail(ERR_IO, "%s", big);
    assert_in_range(strlen(fail_text()), 500, 2000);
    for (int i = 0; i < 10; i++)
        fail_in(ERR_IO, "%s", big);
    assert_in_range(strlen(fail_text()), 500, 2000);
    fail_field(ERR_IO, big, "x");
    assert_in_range(strlen(fail_field_name()), 100, 2000);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(status_name(OK), "ok");
    assert_string_equal(status_name(ERR_CONTEXT), "context_length_exceeded");
    for (int i = 0; i < N_STATUS; i++) {
        assert_non_null(status_name((enum status)i));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(status_name((enum status)i), status_name((enum status)j));
    }
    assert_string_equal(status_name((enum status)999), "unknown_status");
}

static void *other_thread(void *arg)
{
    *(int *)arg = fail_text()[0] == '\0' && !fail_field_name();
    fail(ERR_IO, "theirs");
    return NULL;
}

static void test_one_record_a_thread(void **state)
{
    int was_empty = 0;
    pthread_t t;

    (void)state;
    fail(ERR_IO, "mine");
    assert_int_equal(pthread_create(&t, NULL, other_thread, &was_empty), 0);
    pthread_join(t, NULL);
    assert_true(was_empty);
    assert_string_equal(fail_text(), "mine");
}

static enum status twice(int *calls)
{
    TRY(OK);
    ++*calls;
    TRY(fail(ERR_IO, "stop"));
    ++*calls;
    return OK;
}

static void test_try_returns(void **state)
{
    int calls = 0;

    (void)state;
    assert_int_equal(twice(&calls), ERR_IO);
    assert_int_equal(calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_field_lives_until_next_failure),
        cmocka_unit_test(test_own_text_as_argument),
        cmocka_unit_test(test_long_message_is_cut),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_one_record_a_thread),
        cmocka_unit_test(test_try_returns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
