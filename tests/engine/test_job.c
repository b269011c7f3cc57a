/* The event queue: order, merging, wake-ups that cannot be lost, references, and its bound. */
#include "engine/run/job.h"

#include <string.h>

#include "kernels/base/mem.h"
#include "tests/support/test.h"

static int wakes;
static void on_wake(void *ctx)
{
    (void)ctx;
    wakes++;
}

static struct job *job_for_test(void)
{
    static int32_t prompt[3] = {5, 6, 7};
    static const struct bytes stop[] = {{"END", 3}, {"x", 1}};
    static const int32_t stop_token[] = {9};
    struct job_spec s = {.prompt = {prompt, 3},
                         .n = 2,
                         .stop = stop,
                         .n_stop = 2,
                         .stop_token = stop_token,
                         .n_stop_token = 1,
                         .top_logprobs = 2,
                         .request_id = "r-1"};
    wakes = 0;
    return job_new(&s, on_wake, NULL);
}

static void emit_text(struct job *j, int choice, const char *text, int32_t token, float top)
{
    struct token_logprob alt[2] = {{token, top}, {token + 1, top - 1}};
    struct token_info info = {.token = token, .logprob = top, .top = alt, .n_top = 2};
    struct event e = {.kind = EVENT_TEXT,
                      .choice = choice,
                      .text = bytes_of(text),
                      .token = &info,
                      .n_tokens = 1};
    job_emit(j, &e);
}

static void free_both(struct job *j)
{
    job_put(j);
    job_unref(j);
}

static void the_spec_is_a_deep_copy(void **state)
{
    (void)state;
    struct job *j = job_for_test();
    assert_int_equal(j->spec.prompt.id[2], 7);
    assert_memory_equal(j->spec.stop[0].p, "END", 4);
    assert_int_equal(j->spec.stop_token[0], 9);
    assert_string_equal(j->spec.request_id, "r-1");
    free_both(j);
}

static void text_nobody_took_is_merged(void **state)
{
    (void)state;
    struct job *j = job_for_test();
    struct event e;
    assert_false(job_next(j, &e));
    emit_text(j, 0, "Hel", 1, -0.5f);
    emit_text(j, 0, "lo", 2, -0.25f);
    emit_text(j, 1, "other", 3, -1);
    emit_text(j, 0, "!", 4, -2);
    assert_int_equal(wakes, 1); /* the queue was empty once */
    assert_true(job_next(j, &e));
    assert_int_equal(e.text.n, 5);
    assert_memory_equal(e.text.p, "Hello", 5);
    assert_int_equal(e.n_tokens, 2);
    assert_int_equal(e.token[1].token, 2);
    assert_true(e.token[1].top[1].logprob == -1.25f);
    assert_int_equal(e.token[0].top[1].token, 2);
    assert_true(job_next(j, &e));
    assert_int_equal(e.choice, 1);
    assert_true(job_next(j, &e));
    assert_memory_equal(e.text.p, "!", 1);
    assert_false(job_next(j, &e));
    emit_text(j, 0, "again", 5, -1);
    assert_int_equal(wakes, 2);
    free_both(j);
}

static void fails_once_with_a_copied_message(void **state)
{
    (void)state;
    struct job *j = job_for_test();
    struct event e;
    char message[] = "the device is gone";
    job_fail(j, ERR_DEVICE, message);
    memset(message, 'x', sizeof message - 1);
    job_fail(j, ERR_INTERNAL, "again");
    assert_true(job_next(j, &e));
    assert_int_equal(e.kind, EVENT_ERROR);
    assert_int_equal(e.status, ERR_DEVICE);
    assert_string_equal(e.message, "the device is gone");
    assert_false(job_next(j, &e));
    free_both(j);
}

static void a_slow_owner_is_noticed(void **state)
{
    (void)state;
    struct job *j = job_for_test();
    struct event e;
    char *text = xcalloc(1, JOB_BACKLOG_MAX + 1);
    memset(text, 'a', JOB_BACKLOG_MAX);
    assert_true(job_has_room(j));
    emit_text(j, 0, text, 1, 0);
    assert_false(job_has_room(j));
    assert_true(job_next(j, &e));
    assert_true(job_has_room(j));
    xfree(text);
    free_both(j);
}

static void events_of_an_orphan_are_dropped(void **state)
{
    (void)state;
    struct job *j = job_for_test();
    job_put(j);
    assert_true(atomic_load(&j->cancelled));
    emit_text(j, 0, "nobody reads this", 1, 0);
    assert_null(j->head);
    assert_int_equal(wakes, 0);
    job_unref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_spec_is_a_deep_copy),
        cmocka_unit_test(text_nobody_took_is_merged),
        cmocka_unit_test(fails_once_with_a_copied_message),
        cmocka_unit_test(a_slow_owner_is_noticed),
        cmocka_unit_test(events_of_an_orphan_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
