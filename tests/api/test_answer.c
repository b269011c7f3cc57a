/* test_answer.c - when a call suspends, commits, keeps alive and ends; no wake-up is ever lost. */
#include "api/answer.h"

#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/thread.h"
#include "tests/api/fake/floor.h"
#include "tests/support/test.h"

static struct api *api;
static struct client client;

static int set_up(void **state)
{
    static const struct api_options o = {.keepalive = 5};

    (void)state;
    api = floor_open(&o);
    fake_automatic(false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    floor_close(api);
    return 0;
}

#define STREAM "{\"prompt\":\"a\",\"stream\":true}"

static void begin(const char *body)
{
    client_begin(&client, api, "POST", "/v1/completions", NULL, bytes_of(body));
    assert_int_equal(client.call.phase, PHASE_WAIT);
}

/* Nothing is sent, nor decided, before the first event; then each event goes out at once. */
static void step_by_step(void **state)
{
    (void)state;
    begin(STREAM);
    assert_false(client_pump(&client));
    assert_int_equal(client.call.phase, PHASE_WAIT);
    assert_int_equal(client.suspended, 1);
    assert_true(fake_release(0));
    assert_false(client_pump(&client));
    assert_int_equal(client.call.phase, PHASE_STREAM);
    assert_int_equal(client.call.status, 200);
    assert_string_equal(client.call.type, "text/event-stream; charset=utf-8");
    assert_string_equal(client_header(&client, "Cache-Control"), "no-cache");
    assert_non_null(strstr(client.answer.data, "\"text\":\"Hi\""));
    assert_int_equal(client.suspended, 2);
    fake_release(0);
    assert_false(client_pump(&client));
    assert_null(strstr(client.answer.data, "[DONE]"));
    fake_release(0);
    assert_true(client_pump(&client));
    assert_non_null(strstr(client.answer.data, "data: [DONE]\n\n"));
    client_end(&client);
    assert_false(fake_job(0)->cancelled);
}

/* An event between the last look and the suspension keeps the call awake. */
static void wake_before_suspend(void **state)
{
    struct call *c = &client.call;

    (void)state;
    begin(STREAM);
    assert_false(client_pump(&client));
    api_resume(api, c);
    fake_release(0);
    assert_false(api_suspend(api, c, NULL, NULL)); /* would crash if it suspended */
    client_pump(&client);
    client_end(&client);
}

/* The same at the worst moment: api_resume has found the queue empty and is about to return. */
static void wake_behind_look(void **state)
{
    struct call *c = &client.call;

    (void)state;
    begin(STREAM);
    assert_false(client_pump(&client));
    fake_release_behind_look();
    api_resume(api, c);
    assert_int_equal(c->phase, PHASE_WAIT);
    assert_false(api_suspend(api, c, NULL, NULL));
    client_pump(&client);
    assert_non_null(strstr(client.answer.data, "\"text\":\"Hi\""));
    client_end(&client);
}

/* What is not streamed waits for all of it. */
static void whole_waits(void **state)
{
    (void)state;
    begin("{\"prompt\":\"a\"}");
    for (int i = 0; i < 2; i++) {
        fake_release(0);
        assert_false(client_pump(&client));
        assert_int_equal(client.call.phase, PHASE_WAIT);
        assert_int_equal(client.answer.len, 0);
    }
    fake_release(0);
    assert_true(client_pump(&client));
    assert_int_equal(client.call.phase, PHASE_REPLY);
    client_end(&client);
}

/* Progress commits only after three seconds, and only a stream. */
static void long_prefill(void **state)
{
    static const struct event slow[] = {
        {.kind = EVENT_PROGRESS, .done = 1, .total = 9},
        {.kind = EVENT_PROGRESS, .done = 5, .total = 9},
        TEXT(0, "x"),
    };

    (void)state;
    SCRIPT(slow);
    begin(STREAM);
    fake_release(0);
    assert_false(client_pump(&client));
    assert_int_equal(client.call.phase, PHASE_WAIT);
    client.call.started -= 4; /* as if it had begun four seconds earlier */
    fake_release(0);
    assert_false(client_pump(&client));
    assert_int_equal(client.call.phase, PHASE_STREAM);
    assert_string_equal(client.answer.data, ": prefill 5 of 9 tokens\n\n");
    fake_release(0);
    assert_false(client_pump(&client));
    assert_non_null(strstr(client.answer.data, "tokens\n\ndata: {"));
    client_end(&client);

    begin("{\"prompt\":\"a\"}");
    client.call.started -= 4;
    fake_release(1);
    assert_false(client_pump(&client));
    assert_int_equal(client.call.phase, PHASE_WAIT);
    client_end(&client);
}

/* A stream asks to be resumed at the next keep-alive, and then has a comment to send. */
static void keep_alive(void **state)
{
    struct answer *an;
    double now = clock_now();

    (void)state;
    begin(STREAM);
    assert_true(client.call.wake_at == 0);
    fake_release(0);
    assert_false(client_pump(&client));
    assert_true(client.call.wake_at >= now + 5 && client.call.wake_at <= clock_now() + 5);
    an = client.call.state;
    an->last_sent -= 6; /* six silent seconds */
    client.call.wake_at = clock_now() - 1;
    buf_reset(&client.answer);
    assert_false(client_pump(&client));
    assert_string_equal(client.answer.data, ": keep-alive\n\n");
    assert_true(client.call.wake_at > clock_now() + 4);
    client_end(&client);
}

/* An error of one job of a batch ends the call; the others are cancelled. */
static void batch_fails(void **state)
{
    static const struct event bad[] = {
        {.kind = EVENT_ERROR, .status = ERR_NO_MEMORY, .message = "no pages left"}};

    (void)state;
    fake_script(bad, 1);
    begin("{\"prompt\":[\"a\",\"b\"]}");
    fake_release(1);
    assert_true(client_pump(&client));
    assert_int_equal(client.call.status, 503);
    assert_non_null(strstr(client.answer.data, "no pages left"));
    client_end(&client);
    assert_true(fake_job(0)->cancelled);
}

/* ---- against a real thread ---- */

enum { ROUNDS = 200, JOBS = 5 };
static sem_t wanted; /* posted by wake */

static void post(void *ctx)
{
    (void)ctx;
    sem_post(&wanted);
}

static void note(void *suspended)
{
    *(bool *)suspended = true;
}

static void *worker(void *ctx)
{
    bool more = true;

    (void)ctx;
    while (more) {
        more = false;
        for (int i = 0; i < fake_n_jobs(); i++)
            more |= fake_release(i);
    }
    return NULL;
}

/* A server that sleeps whenever api_suspend let it: were a wake-up lost, it would sleep for good.
 */
static void serve(struct call *c, struct buf *answer)
{
    bool suspended = false;

    while (c->phase != PHASE_END) {
        suspended = false;
        if (api_suspend(api, c, note, &suspended)) {
            assert_true(suspended);
            while (sem_wait(&wanted) != 0)
                continue;
        }
        api_resume(api, c);
        buf_append(answer, c->out.data, c->out.len);
        buf_reset(&c->out);
    }
}

static void threads(void **state)
{
    (void)state;
    sem_init(&wanted, 0, 0);
    for (int round = 0; round < ROUNDS; round++) {
        struct call c = {.method = "POST", .path = "/v1/completions", .query = "", .wake = post};
        struct buf answer = {0};
        pthread_t thread;
        int n = 0;

        fake_reset();
        fake_automatic(false);
        floor_script();
        c.body = bytes_of("{\"stream\":true,\"prompt\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}");
        api_begin(api, &c);
        assert_int_equal(fake_n_jobs(), JOBS);
        assert_int_equal(thread_start(&thread, "worker", worker, NULL), OK);
        serve(&c, &answer);
        pthread_join(thread, NULL);
        for (const char *p = answer.data; (p = strstr(p, "\"finish_reason\":\"stop\"")); p++)
            n++;
        assert_int_equal(n, JOBS);
        api_end(api, &c);
        buf_clear(&answer);
    }
    sem_destroy(&wanted);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(step_by_step), T(wake_before_suspend), T(wake_behind_look), T(whole_waits),
        T(long_prefill), T(keep_alive),          T(batch_fails),      T(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
