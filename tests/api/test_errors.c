/* test_errors.c - every status has an HTTP status, and what a client can cause is never a 5xx. */
#include "api/errors.h"

#include <string.h>

#include "kernels/base/json.h"
#include "tests/support/logged.h"
#include "tests/support/test.h"

static void every_status(void **state)
{
    static const int want[N_STATUS] = {
        [OK] = 500, /* not an error: nobody may ask */
        [ERR_INVALID] = 400,
        [ERR_JSON] = 400,
        [ERR_FORMAT] = 500,
        [ERR_UNSUPPORTED] = 400,
        [ERR_NOT_FOUND] = 404,
        [ERR_METHOD] = 405,
        [ERR_AUTH] = 401,
        [ERR_TOO_LARGE] = 413,
        [ERR_CONTEXT] = 400,
        [ERR_TEMPLATE] = 400,
        [ERR_QUEUE_FULL] = 429,
        [ERR_LOADING] = 503,
        [ERR_DRAINING] = 503,
        [ERR_CANCELLED] = 503,
        [ERR_DEADLINE] = 504,
        [ERR_NO_MEMORY] = 503,
        [ERR_IO] = 500,
        [ERR_DEVICE] = 500,
        [ERR_INTERNAL] = 500,
    };

    (void)state;
    log_hear(LOG_ERROR);
    for (int s = 0; s < N_STATUS; s++) {
        const struct json *reply, *error;
        struct arena a = {0};
        struct call c = {.id = "t"};
        bool retry = false;

        buf_puts(&c.out, "half an answer");
        fail((enum status)s, "why \"%d\"", s);
        errors_reply(&c, (enum status)s);
        assert_int_equal(c.status, want[s]);
        assert_int_equal(c.phase, PHASE_REPLY);
        assert_string_equal(c.type, "application/json");
        assert_int_equal(json_parse(&a, c.out.data, c.out.len, &reply), OK);
        error = json_get(reply, "error");
        assert_int_equal(error->count, 4);
        assert_true(json_get(error, "message")->text.n >= 7);
        assert_int_equal(json_get(error, "param")->type, JSON_NULL);
        for (int i = 0; i < c.n_reply; i++)
            retry |= strcmp(c.reply[i].name, "Retry-After") == 0;
        assert_int_equal(retry, c.status == 429 || c.status == 503);
        arena_clear(&a);
        buf_clear(&c.out);
    }
}

static void param(void **state)
{
    struct buf out = {0};

    (void)state;
    errors_write(fail_field(ERR_INVALID, "messages[2].content", "a \xc3\xa9\n"), &out);
    assert_string_equal(out.data, "{\"error\":{\"message\":\"a \xc3\xa9\\n\",\"type\":"
                                  "\"invalid_request_error\",\"param\":\"messages[2].content\","
                                  "\"code\":\"invalid_value\"}}");
    buf_reset(&out);
    errors_write(fail_field(ERR_NOT_FOUND, "model", "no"), &out);
    assert_non_null(strstr(out.data, "\"model_not_found\""));
    buf_reset(&out);
    errors_write(fail(ERR_NOT_FOUND, "no"), &out);
    assert_non_null(strstr(out.data, "\"code\":\"not_found\""));
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_status), cmocka_unit_test(param)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
