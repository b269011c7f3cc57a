/* The generate task from end to end on random weights: the same tokens alone, in company, in any
 * chunking, after preemption and from the prefix cache; and that everything taken comes back. */
#include <string.h>
#include <unistd.h>

#include "kernels/base/rng.h"
#include "tests/support/jobs.h"
#include "tests/support/late.h"
#include "tests/support/refuse.h"
#include "tests/support/test.h"

enum { LEN = 120, MAX = 24, JOBS = 12 };

static int32_t prompt[JOBS][LEN];

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < JOBS; i++)
        for (int k = 0; k < LEN; k++)
            prompt[i][k] = (int32_t)(rng_philox(11, (uint64_t)i, (uint64_t)k).v[0] % 200) + 3;
    return 0;
}

static int prompt_len(int i)
{
    return 1 + i * 37 % LEN;
}

static void assert_same(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->token, b->token, sizeof(int32_t) * (size_t)a->n);
    assert_memory_equal(a->logprob, b->logprob, sizeof(float) * (size_t)a->n);
}

/* Each prompt's answer when it has the worker to itself. */
static void run_alone(struct running *alone)
{
    struct worker_options o = {.limits = {.max_seqs = 1}};
    struct worker *w = worker_for_test(&o);
    for (int i = 0; i < JOBS; i++) {
        struct job_spec s = greedy_spec(prompt[i], prompt_len(i), MAX);
        run_job(w, &s, &alone[i]);
        assert_int_equal(alone[i].status, OK);
        assert_int_equal(alone[i].answer[0].n, MAX);
        assert_int_equal(alone[i].answer[0].reason, FINISH_LENGTH);
        assert_int_equal(alone[i].usage.prompt, prompt_len(i));
        assert_int_equal(alone[i].usage.completion, MAX);
    }
    worker_stop(w);
}

static void run_together(struct worker *w, const struct running *alone)
{
    struct running r[JOBS];
    for (int i = 0; i < JOBS; i++) {
        struct job_spec s = greedy_spec(prompt[i], prompt_len(i), MAX);
        assert_int_equal(running_start(&r[i], w, &s), OK);
    }
    for (int i = 0; i < JOBS; i++) {
        running_wait(&r[i]);
        assert_int_equal(r[i].status, OK);
        assert_same(&r[i].answer[0], &alone[i].answer[0]);
        running_clear(&r[i]);
    }
    wait_until_idle(w);
}

static void company_changes_no_bit(void **state)
{
    (void)state;
    struct running alone[JOBS];
    run_alone(alone);
    /* clang-format off */
    const struct { const struct backend *backend; int seqs, rows; bool no_cache; int threads; } cases[] = {
        {&backend_cpu,       4,  0, false, 1},
        {&backend_cpu,    JOBS,  0, true,  3},
        {&backend_cpu,       3, 16, false, 2},
        {&backend_cpu,       5, 24, true,  0},
        {&backend_late,      4,  0, false, 1},
        {&backend_late,      6, 32, true,  2},
        {&backend_late,      2, 16, false, 0},
        {refuse_backend(3),  4,  0, false, 0},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct worker_options o = {.backend = cases[i].backend,
                                   .device = {.threads = cases[i].threads},
                                   .limits = {.max_seqs = cases[i].seqs,
                                              .max_rows = cases[i].rows,
                                              .prefix_cache = !cases[i].no_cache}};
        late_seed(i);
        struct worker *w = worker_for_test(&o);
        assert_int_equal(w->info.synchronous, cases[i].backend != &backend_late);
        run_together(w, alone);
        worker_stop(w);
    }
    for (int i = 0; i < JOBS; i++)
        running_clear(&alone[i]);
}

static void preemption_changes_no_bit(void **state)
{
    (void)state;
    struct running alone[JOBS];
    run_alone(alone);
    struct worker_options o = {.limits = {.max_seqs = 1, .context = 160}};
    struct worker *w = worker_for_test(&o);
    int64_t page = w->need.page_bytes;
    int one = (160 + w->need.page_tokens - 1) / w->need.page_tokens;
    worker_stop(w);
    o = (struct worker_options){
        .limits = {
            .max_seqs = 6, .context = 160, .kv_bytes = page * (one + 2), .prefix_cache = true}};
    w = worker_for_test(&o);
    run_together(w, alone);
    worker_stop(w);
    for (int i = 0; i < JOBS; i++)
        running_clear(&alone[i]);
}

/* Sequences that outgrow what was promised to them: more than GROWTH_TOKENS generated, in a pool
 * for one and a half. */
static void the_youngest_gives_way(void **state)
{
    const struct backend *backend = *state;
    struct worker_options o = {.limits = {.max_seqs = 1, .context = 480}};
    struct worker *w = worker_for_test(&o);
    struct job_spec s = greedy_spec(prompt[3], 8, 400);
    struct running want, a, b;
    run_job(w, &s, &want);
    int64_t page = w->need.page_bytes;
    int pages = 640 / w->need.page_tokens;
    worker_stop(w);
    o = (struct worker_options){
        .backend = backend, .limits = {.max_seqs = 2, .context = 480, .kv_bytes = page * pages}};
    w = worker_for_test(&o);
    assert_int_equal(running_start(&a, w, &s), OK);
    assert_int_equal(running_start(&b, w, &s), OK);
    running_wait(&a);
    running_wait(&b);
    assert_same(&a.answer[0], &want.answer[0]);
    assert_same(&b.answer[0], &want.answer[0]);
    assert_true(counter_get(&w->stats.preemptions) > 0);
    running_clear(&a);
    running_clear(&b);
    running_clear(&want);
    wait_until_idle(w);
    worker_stop(w);
}

static void a_second_turn_finds_its_first(void **state)
{
    (void)state;
    struct worker_options o = {.limits = {.prefix_cache = true}};
    struct worker *w = worker_for_test(&o);
    struct running first, second, fresh;
    struct job_spec s = greedy_spec(prompt[1], 60, MAX);
    run_job(w, &s, &first);
    assert_int_equal(first.usage.cached, 0);
    int32_t turn[60 + MAX + 10];
    memcpy(turn, prompt[1], sizeof(int32_t) * 60);
    memcpy(turn + 60, first.answer[0].token, sizeof(int32_t) * MAX);
    memcpy(turn + 60 + MAX, prompt[2], sizeof(int32_t) * 10);
    s = greedy_spec(turn, 60 + MAX + 10, MAX);
    run_job(w, &s, &second);
    int page = w->need.page_tokens;
    assert_int_equal(second.usage.cached, (60 + MAX - 1) / page * page);
    wait_until_idle(w);
    assert_int_equal(counter_get(&w->stats.cached_tokens), second.usage.cached);
    assert_int_equal(counter_get(&w->stats.looked_up_tokens), 60 + 60 + MAX + 10);
    worker_stop(w);
    o = (struct worker_options){.limits = {.prefix_cache = false}};
    w = worker_for_test(&o);
    run_job(w, &s, &fresh);
    assert_same(&second.answer[0], &fresh.answer[0]);
    running_clear(&first);
    running_clear(&second);
    running_clear(&fresh);
    worker_stop(w);
}

static uint64_t entries(const struct histogram *h)
{
    uint64_t n = 0;
    for (int i = 0; i <= h->n_bound; i++)
        n += h->bucket[i];
    return n;
}

/* One job of several choices is one entry in each histogram of jobs; its parts add up. */
static void assert_one_job(const struct engine_stats *s, int n, int max)
{
    const struct histogram *const of_jobs[] = {&s->prefill_time, &s->decode_time, &s->run_time,
                                               &s->longest_len,  &s->asked_n,     &s->asked_tokens};
    for (size_t i = 0; i < sizeof of_jobs / sizeof *of_jobs; i++)
        assert_int_equal(entries(of_jobs[i]), 1);
    assert_int_equal(s->asked_n.sum_nano, (uint64_t)n * 1000000000);
    assert_int_equal(s->asked_tokens.sum_nano, (uint64_t)max * 1000000000);
    assert_int_equal(s->longest_len.sum_nano, (uint64_t)max * 1000000000);
    assert_true(s->prefill_time.sum_nano > 0 && s->decode_time.sum_nano > 0);
    int64_t parts = (int64_t)(s->prefill_time.sum_nano + s->decode_time.sum_nano);
    assert_in_range(parts + 5, s->run_time.sum_nano, s->run_time.sum_nano + 10); /* rounding */
    assert_true(s->run_time.sum_nano <= s->e2e.sum_nano);
}

static void choices_share_the_prompt(void **state)
{
    enum { N = 6 };
    struct worker_options o = {.backend = *state, .limits = {.max_seqs = 4, .prefix_cache = false}};
    struct worker *w = worker_for_test(&o);
    struct job_spec s = greedy_spec(prompt[4], 100, MAX);
    struct running all, one;
    s.sampling.temperature = 1;
    s.sampling.has_seed = true;
    s.sampling.seed = 42;
    s.n = N;
    run_job(w, &s, &all);
    assert_int_equal(all.n_finished, N);
    assert_int_equal(all.usage.prompt, 100);
    assert_int_equal(all.usage.completion, N * MAX);
    int rows = (int)counter_get(&w->stats.step_rows);
    assert_true(rows < 100 + N * (MAX + w->need.page_tokens)); /* not N prefills */
    assert_one_job(&w->stats, N, MAX);
    assert_int_equal(gauge_get(&w->stats.running_max), 4);
    s.n = 1;
    for (int i = 0; i < N; i++) {
        s.sampling.seed = 42 + (uint64_t)i;
        run_job(w, &s, &one);
        assert_same(&one.answer[0], &all.answer[i]);
        running_clear(&one);
    }
    assert_memory_not_equal(all.answer[0].token, all.answer[1].token, sizeof(int32_t) * MAX);
    running_clear(&all);
    wait_until_idle(w);
    worker_stop(w);
}

/* The log-probabilities reported while generating are those of scoring the same text as a prompt.
 */
static void scores_are_what_generation_saw(void **state)
{
    (void)state;
    struct worker_options o = {.limits = {.prefix_cache = true}};
    struct worker *w = worker_for_test(&o);
    struct running made, scored;
    int32_t text[90 + MAX];
    struct job_spec s = greedy_spec(prompt[5], 90, MAX);
    run_job(w, &s, &made);
    memcpy(text, prompt[5], sizeof(int32_t) * 90);
    memcpy(text + 90, made.answer[0].token, sizeof(int32_t) * MAX);
    s = greedy_spec(text, 90 + MAX, 0); /* nothing to generate */
    s.prompt_logprobs = true;
    run_job(w, &s, &scored);
    assert_int_equal(scored.n_scored, 90 + MAX);
    assert_int_equal(scored.answer[0].n, 0);
    assert_int_equal(scored.answer[0].reason, FINISH_LENGTH);
    assert_true(scored.scored[0] != scored.scored[0]); /* NaN: nothing comes before it */
    assert_memory_equal(scored.scored + 90, made.answer[0].logprob, sizeof(float) * MAX);
    running_clear(&made);
    running_clear(&scored);
    worker_stop(w);
}

static void cancelling_gives_everything_back(void **state)
{
    struct worker_options o = {.backend = *state,
                               .limits = {.max_seqs = 2, .max_rows = 16, .prefix_cache = true}};
    struct worker *w = worker_for_test(&o);
    for (int delay = 0; delay < 8; delay++) { /* hits the queue, the prefill and the decoding */
        struct running r[6];
        for (int i = 0; i < 6; i++) {
            struct job_spec s = greedy_spec(prompt[i], LEN, 100);
            assert_int_equal(running_start(&r[i], w, &s), OK);
        }
        usleep((useconds_t)(delay * delay * 300));
        for (int i = 5; i >= 0; i--)
            job_cancel(r[i].job);
        for (int i = 0; i < 6; i++) {
            running_wait(&r[i]);
            assert_true(r[i].status == ERR_CANCELLED || r[i].status == OK);
            running_clear(&r[i]);
        }
        wait_until_idle(w);
    }
    assert_true(counter_get(&w->stats.jobs_cancelled) > 0);
    worker_stop(w);
}

static void an_owner_may_leave_without_a_word(void **state)
{
    (void)state;
    struct worker_options o = {.limits = {.max_seqs = 2}};
    struct worker *w = worker_for_test(&o);
    for (int i = 0; i < 20; i++) {
        struct running r;
        struct job_spec s = greedy_spec(prompt[i % JOBS], LEN, 100);
        assert_int_equal(running_start(&r, w, &s), OK);
        usleep((useconds_t)(i * 100));
        running_clear(&r);
    }
    wait_until_idle(w);
    worker_stop(w);
}

static void refusals_name_their_numbers(void **state)
{
    (void)state;
    struct worker_options o = {.limits = {.max_seqs = 1, .context = 128}, .queue_limit = 2};
    struct worker *w = worker_for_test(&o);
    struct running r;
    struct job_spec s = greedy_spec(prompt[0], 100, 29);
    assert_int_equal(running_start(&r, w, &s), ERR_CONTEXT);
    assert_non_null(strstr(fail_text(), "128"));
    assert_non_null(strstr(fail_text(), "129"));
    running_clear(&r);
    s = greedy_spec(prompt[0], 100, 28);
    run_job(w, &s, &r);
    assert_int_equal(r.answer[0].n, 28);
    running_clear(&r);
    s.max_tokens_given = false;
    s.max_tokens = 0;
    run_job(w, &s, &r); /* fills the context */
    assert_int_equal(r.answer[0].n, 28);
    running_clear(&r);
    int32_t bad[2] = {1, 1 << 30};
    s = greedy_spec(bad, 2, 1);
    assert_int_equal(running_start(&r, w, &s), ERR_INVALID);
    running_clear(&r);
    struct running q[8];
    int refused = 0;
    for (int i = 0; i < 8; i++) {
        s = greedy_spec(prompt[i], LEN, 8);
        enum status st = running_start(&q[i], w, &s);
        refused += st == ERR_QUEUE_FULL;
        assert_true(st == OK || st == ERR_QUEUE_FULL);
    }
    assert_true(refused > 0);
    for (int i = 0; i < 8; i++) {
        if (q[i].job)
            running_wait(&q[i]);
        running_clear(&q[i]);
    }
    worker_drain(w);
    s = greedy_spec(prompt[0], 4, 4);
    assert_int_equal(running_start(&r, w, &s), ERR_DRAINING);
    running_clear(&r);
    worker_stop(w);
}

static void stopping_ends_what_runs(void **state)
{
    (void)state;
    struct worker_options o = {.limits = {.max_seqs = 2}};
    struct worker *w = worker_for_test(&o);
    struct running r[4];
    for (int i = 0; i < 4; i++) {
        struct job_spec s = greedy_spec(prompt[i], LEN, 300);
        assert_int_equal(running_start(&r[i], w, &s), OK);
    }
    usleep(3000);
    worker_stop(w);
    for (int i = 0; i < 4; i++) {
        assert_true(running_poll(&r[i]));
        assert_true(r[i].status == ERR_DRAINING || r[i].status == OK);
        running_clear(&r[i]);
    }
}

#define ON(test, backend)                                                                          \
    {                                                                                              \
#test " on " #backend, test, setup_##backend, NULL, NULL                                   \
    }

static int setup_cpu(void **state)
{
    *state = (void *)&backend_cpu;
    return 0;
}

static int setup_late(void **state)
{
    *state = (void *)&backend_late;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(company_changes_no_bit),
        cmocka_unit_test(preemption_changes_no_bit),
        ON(the_youngest_gives_way, cpu),
        ON(the_youngest_gives_way, late),
        cmocka_unit_test(a_second_turn_finds_its_first),
        ON(choices_share_the_prompt, cpu),
        ON(choices_share_the_prompt, late),
        cmocka_unit_test(scores_are_what_generation_saw),
        ON(cancelling_gives_everything_back, cpu),
        ON(cancelling_gives_everything_back, late),
        cmocka_unit_test(an_owner_may_leave_without_a_word),
        cmocka_unit_test(refusals_name_their_numbers),
        cmocka_unit_test(stopping_ends_what_runs),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
