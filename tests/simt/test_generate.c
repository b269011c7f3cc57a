/* test_generate.c - the whole engine on the CUDA backend: worker, jobs, two steps in flight, pages,
 * sampling on the device.
 *
 * Two models: a checkpoint in f32 with f32 pages, whose numbers are the CPU's but for the order of
 * sums, so that seeded and penalised texts are the CPU's too; and random weights in bf16 of head
 * size 64 with bf16 pages, the tuned kernels, where each token must be within the bound of the
 * CPU's choice after the same tokens. Streams are late and the schedule is random in most. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/simt/gpu.h"
#include "tests/support/jobs.h"
#include "tests/support/logged.h"
#include "tests/support/step.h"
#include "tests/support/test.h"

#define LLAMA "tests/data/models/llama.gguf"
#define FOUND "build/simt/found" /* self-checks are run once a program */

enum { JOBS = 5, LEN = 60, MAX = 6 };

static int32_t prompt[JOBS][LEN];
static const struct random_model mini = {"mini", "bf16", 3};
static const struct simt_mode late = {.random = true, .lazy = true, .seed = 9};

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < JOBS; i++)
        for (int k = 0; k < LEN; k++)
            prompt[i][k] = (int32_t)(rng_philox(11, (uint64_t)i, (uint64_t)k).v[0] % 90) + 3;
    return 0;
}

static int usual_mode(void **state)
{
    (void)state;
    simt_mode(&(struct simt_mode){0});
    return 0;
}

static int prompt_len(int i)
{
    return 1 + i * 29 % LEN;
}

/* The slow builds leave some out. */
static int first_job(void)
{
    return simt_slow() ? 3 : 0;
}

static struct worker_options llama(const struct backend *b)
{
    return (struct worker_options){.backend = b,
                                   .model_path = LLAMA,
                                   .device = {.threads = 1, .gpu_cache = FOUND},
                                   .limits = {.kv_dtype = DT_F32}};
}

static struct worker_options random_mini(void)
{
    return (struct worker_options){.backend = &backend_cuda,
                                   .random = &mini,
                                   .device = {.gpu_cache = FOUND},
                                   .limits = {.kv_dtype = DT_BF16, .context = 256}};
}

static void assert_same(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->token, b->token, sizeof(int32_t) * (size_t)a->n);
    assert_memory_equal(a->logprob, b->logprob, sizeof(float) * (size_t)a->n);
}

/* The same tokens; log-probabilities within `off`. */
static void assert_alike(const struct answer *a, const struct answer *b, float off)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->token, b->token, sizeof(int32_t) * (size_t)a->n);
    for (int i = 0; i < a->n; i++)
        assert_true(fabsf(a->logprob[i] - b->logprob[i]) <= off);
}

/* ---- bf16: near the CPU's choice at every token ---------------------------------------------- */

struct judge { /* the CPU, one sequence at a time */
    struct stepper s;
    float *logits;
};

static void judge_open(struct judge *j)
{
    const struct step_options o = {.random = &mini,
                                   .backend = &backend_cpu,
                                   .threads = 1,
                                   .kv = DT_BF16,
                                   .max_rows = LEN + 64,
                                   .max_seqs = 1,
                                   .max_tokens = LEN + 64};
    assert_int_equal(step_open(&j->s, &o), OK);
    j->logits = xmalloc(sizeof(float) * 64 * (size_t)j->s.m->net.hp.n_vocab);
}

static void judge_close(struct judge *j)
{
    xfree(j->logits);
    step_close(&j->s);
}

/* Every token of a greedy answer is the CPU's after the same tokens, or within 4e-2 of the largest
 * logit of it. */
static void judge_answer(struct judge *j, const int32_t *text, int n, const struct answer *a)
{
    const int v = j->s.m->net.hp.n_vocab;
    int32_t all[LEN + 64];
    memcpy(all, text, sizeof *text * (size_t)n);
    memcpy(all + n, a->token, sizeof *text * (size_t)a->n);
    struct step_seq seq = {.n = n + a->n - 1, .token = all, .want = a->n};
    assert_int_equal(step_run(&j->s, &seq, 1, j->logits), OK);
    for (int i = 0; i < a->n; i++) {
        const float *x = j->logits + (size_t)i * (size_t)v;
        float top = x[0], most = 0;
        for (int k = 0; k < v; k++) {
            top = fmaxf(top, x[k]);
            most = fmaxf(most, fabsf(x[k]));
        }
        if (top - x[a->token[i]] > 4e-2f * most)
            fail_msg("token %d: %d is %g below the CPU's choice", i, a->token[i],
                     (double)(top - x[a->token[i]]));
    }
}

static void run_all(struct worker *w, struct running *r)
{
    for (int i = first_job(); i < JOBS; i++) {
        struct job_spec s = greedy_spec(prompt[i], prompt_len(i), MAX);
        assert_int_equal(running_start(&r[i], w, &s), OK);
    }
    for (int i = first_job(); i < JOBS; i++) {
        running_wait(&r[i]);
        if (r[i].status != OK)
            fail_msg("%s", r[i].message);
        assert_int_equal(r[i].answer[0].n, MAX);
    }
    wait_until_idle(w);
}

/* Alone, in company and in small chunks: each token is near the CPU's choice, and with
 * `deterministic`, which keeps many rows from cuBLASLt, the bits are the same. */
static void greedy_is_near_the_cpu(void **state)
{
    (void)state;
    static const struct {
        int seqs, rows;
        bool no_cache, deterministic;
    } cases[] = {{1, 0, 0, true}, {3, 16, true, true}, {4, 0, 0, true}, {4, 0, 0, false}};
    struct judge j;
    struct running alone[JOBS];
    judge_open(&j);
    for (int c = 0; c < (simt_slow() ? 2 : 4); c++) {
        struct worker_options o = random_mini();
        struct running r[JOBS];
        simt_mode(c ? &late : &(struct simt_mode){0});
        o.device.deterministic = cases[c].deterministic;
        o.limits.max_seqs = cases[c].seqs;
        o.limits.max_rows = cases[c].rows;
        o.limits.prefix_cache = !cases[c].no_cache;
        struct worker *w = worker_for_test(&o);
        assert_false(w->info.synchronous);
        run_all(w, c ? r : alone);
        for (int i = first_job(); i < JOBS; i++) {
            const struct answer *a = c ? r[i].answer : alone[i].answer;
            judge_answer(&j, prompt[i], prompt_len(i), a);
            if (cases[c].deterministic)
                assert_same(a, &alone[i].answer[0]);
            if (c)
                running_clear(&r[i]);
        }
        worker_stop(w);
    }
    for (int i = first_job(); i < JOBS; i++)
        running_clear(&alone[i]);
    judge_close(&j);
}

/* ---- f32: the CPU's text --------------------------------------------------------------------- */

static struct job_spec spec_of(int kind)
{
    static const struct logit_bias bias[] = {{7, 3}, {20, -INFINITY}, {33, 2.5f}};
    struct job_spec s = greedy_spec(prompt[kind], 12 + 7 * kind, 10);
    s.top_logprobs = 3;
    if (kind >= 1) {
        s.sampling.temperature = 0.9f;
        s.sampling.has_seed = true;
        s.sampling.seed = 77 + (uint64_t)kind;
    }
    if (kind == 2) {
        s.sampling.presence = 0.7f;
        s.sampling.frequency = 0.4f;
        s.sampling.repetition = 1.3f;
    } else if (kind == 3) {
        s.sampling.bias = bias;
        s.sampling.n_bias = 3;
        s.sampling.top_k = 9;
        s.n = 3;
    } else if (kind == 4) {
        s.sampling.top_p = 0.8f;
        s.sampling.min_p = 0.02f;
    }
    return s;
}

/* Every job by itself, on the CPU. */
static void run_on_cpu(struct running cpu[JOBS])
{
    struct worker_options o = llama(&backend_cpu);
    struct worker *w = worker_for_test(&o);
    for (int i = first_job(); i < JOBS; i++) {
        struct job_spec s = spec_of(i);
        run_job(w, &s, &cpu[i]);
    }
    worker_stop(w);
}

static void texts_are_the_cpus(void **state)
{
    (void)state;
    struct running cpu[JOBS], alone[JOBS], r[JOBS];
    struct worker_options o = llama(&backend_cuda);
    struct worker *w;
    run_on_cpu(cpu);
    simt_mode(&late);
    w = worker_for_test(&o);
    for (int i = first_job(); i < JOBS; i++) {
        struct job_spec s = spec_of(i);
        run_job(w, &s, &alone[i]);
        for (int c = 0; c < s.n; c++)
            assert_alike(&alone[i].answer[c], &cpu[i].answer[c], 1e-3f);
    }
    worker_stop(w);
    o = llama(&backend_cuda);
    o.limits.max_rows = 16;
    o.limits.prefix_cache = true;
    w = worker_for_test(&o);
    for (int i = first_job(); i < JOBS; i++) {
        struct job_spec s = spec_of(i);
        assert_int_equal(running_start(&r[i], w, &s), OK);
    }
    for (int i = first_job(); i < JOBS; i++) {
        running_wait(&r[i]);
        assert_int_equal(r[i].status, OK);
        for (int c = 0; c < r[i].n; c++)
            assert_same(&r[i].answer[c], &alone[i].answer[c]);
        running_clear(&cpu[i]);
        running_clear(&alone[i]);
        running_clear(&r[i]);
    }
    wait_until_idle(w);
    worker_stop(w);
}

/* The first layers on the CPU: the same texts, several at once, and one step in flight. */
static void texts_of_two_devices(void **state)
{
    (void)state;
    struct running cpu[JOBS], r[JOBS];
    struct worker_options o = llama(&backend_cuda);
    struct worker *w;
    run_on_cpu(cpu);
    simt_mode(&late);
    o.lower = &backend_cpu;
    o.limits.max_rows = 16;
    o.limits.prefix_cache = true;
    for (int last = 0; last < 2; last++) {
        o.gpu_layers = (struct gpu_layers){GPU_LAYERS_LAST, last};
        w = worker_for_test(&o);
        assert_int_equal(w->model->info.gpu_layers, last);
        assert_non_null(strstr(w->model->info.device, "the others"));
        for (int i = first_job(); i < JOBS; i++) {
            struct job_spec s = spec_of(i);
            assert_int_equal(running_start(&r[i], w, &s), OK);
        }
        for (int i = first_job(); i < JOBS; i++) {
            running_wait(&r[i]);
            assert_int_equal(r[i].status, OK);
            for (int c = 0; c < r[i].n; c++)
                assert_alike(&r[i].answer[c], &cpu[i].answer[c], 1e-3f);
            running_clear(&r[i]);
        }
        wait_until_idle(w);
        worker_stop(w);
    }
    for (int i = first_job(); i < JOBS; i++)
        running_clear(&cpu[i]);
}

/* Sequences that outgrow what was promised to them, in a pool for less than both: one forgets its
 * pages, is computed again, and says the same. */
static void the_youngest_gives_way(void **state)
{
    (void)state;
    enum { TEXT = 276, POOL = 544 }; /* twice GROWTH_TOKENS + 8 fits, twice TEXT + 8 does not */
    struct worker_options o = random_mini();
    struct job_spec s = greedy_spec(prompt[3], 8, TEXT);
    struct running a, b;
    o.device.deterministic = true;
    o.limits.context = 300;
    o.limits.max_seqs = 2;
    o.limits.kv_bytes = POOL * 2 * (2 * 64 * 2); /* layers, K and V of one head */
    simt_mode(&(struct simt_mode){.lazy = true});
    struct worker *w = worker_for_test(&o);
    assert_int_equal(w->need.n_pages * w->need.page_tokens, POOL);
    assert_int_equal(running_start(&a, w, &s), OK);
    assert_int_equal(running_start(&b, w, &s), OK);
    running_wait(&a);
    running_wait(&b);
    assert_same(&a.answer[0], &b.answer[0]);
    assert_true(counter_get(&w->stats.preemptions) > 0);
    running_clear(&a);
    running_clear(&b);
    wait_until_idle(w);
    worker_stop(w);
}

/* A second turn finds its first, and the scores of a text are those that its making reported. */
static void turns_and_scores(void **state)
{
    (void)state;
    struct worker_options o = llama(&backend_cuda);
    struct running first, second, scored;
    int32_t turn[40 + MAX + 10];
    simt_mode(&late);
    o.limits.prefix_cache = true;
    struct worker *w = worker_for_test(&o);
    struct job_spec s = greedy_spec(prompt[1], 40, MAX);
    run_job(w, &s, &first);
    memcpy(turn, prompt[1], sizeof(int32_t) * 40);
    memcpy(turn + 40, first.answer[0].token, sizeof(int32_t) * MAX);
    memcpy(turn + 40 + MAX, prompt[2], sizeof(int32_t) * 10);
    s = greedy_spec(turn, 40 + MAX + 10, MAX);
    run_job(w, &s, &second);
    int page = w->need.page_tokens;
    assert_int_equal(second.usage.cached, (40 + MAX - 1) / page * page);
    s = greedy_spec(turn, 40 + MAX, 0);
    s.prompt_logprobs = true;
    run_job(w, &s, &scored);
    assert_int_equal(scored.n_scored, 40 + MAX);
    assert_memory_equal(scored.scored + 40, first.answer[0].logprob, sizeof(float) * MAX);
    running_clear(&first);
    running_clear(&second);
    running_clear(&scored);
    wait_until_idle(w);
    worker_stop(w);
}

static void cancelling_gives_everything_back(void **state)
{
    (void)state;
    struct worker_options o = llama(&backend_cuda);
    simt_mode(&late);
    o.limits.max_seqs = 2;
    o.limits.max_rows = 16;
    struct worker *w = worker_for_test(&o);
    for (int delay = 0; delay < 4; delay++) { /* hits the queue, the prefill and the decoding */
        struct running r[JOBS];
        for (int i = 0; i < JOBS; i++) {
            struct job_spec s = greedy_spec(prompt[i], LEN, 40);
            assert_int_equal(running_start(&r[i], w, &s), OK);
        }
        usleep((useconds_t)(delay * 4000));
        for (int i = JOBS - 1; i >= 0; i--)
            job_cancel(r[i].job);
        for (int i = 0; i < JOBS; i++) {
            running_wait(&r[i]);
            assert_true(r[i].status == ERR_CANCELLED || r[i].status == OK);
            running_clear(&r[i]);
        }
        wait_until_idle(w);
    }
    worker_stop(w);
}

/* One text by a worker of these options: what each of two runs launched. */
enum { TEXT = 24 };
static void replayed(struct worker_options *o, struct running *first)
{
    struct job_spec s = greedy_spec(prompt[0], 9, TEXT);
    struct running r[3];
    struct worker *w = worker_for_test(o);
    struct simt_counts at[3];
    for (int i = 0; i < 2; i++) {
        at[i] = simt_counts();
        run_job(w, &s, &r[i]);
    }
    at[2] = simt_counts();
    assert_same(&r[0].answer[0], &r[1].answer[0]);
    *first = r[0];
    /* The prompt is one step, a text of n tokens n - 1 more: one launched, the second captured. */
    assert_int_equal(at[1].graphs - at[0].graphs, TEXT - 2);
    assert_int_equal(at[2].graphs - at[1].graphs, TEXT - 1);
    long step = at[2].kernels - at[1].kernels; /* of the prompt */
    assert_in_range(at[1].kernels - at[0].kernels, step + 1, 2 * step + 2);
    running_clear(&r[1]);
    /* Three in company: a bucket of four, and of two when the first has ended. */
    for (int i = 0; i < 3; i++) {
        struct job_spec more = greedy_spec(prompt[i], 9, TEXT);
        assert_int_equal(running_start(&r[i], w, &more), OK);
    }
    for (int i = 0; i < 3; i++)
        running_wait(&r[i]);
    assert_same(&r[0].answer[0], &first->answer[0]);
    assert_true(simt_counts().graphs - at[2].graphs >= TEXT - 4);
    for (int i = 0; i < 3; i++)
        running_clear(&r[i]);
    worker_stop(w);
}

/* Where a graph cannot be made, one line says so, and the text is the same. */
static void not_replayed(struct worker_options *o, const struct running *with)
{
    struct job_spec s = greedy_spec(prompt[0], 9, TEXT);
    struct running r;
    simt_faults(&(struct simt_faults){.no_graphs = true});
    log_hear(LOG_WARN);
    struct worker *w = worker_for_test(o);
    long before = simt_counts().graphs;
    run_job(w, &s, &r);
    assert_same(&r.answer[0], &with->answer[0]);
    assert_int_equal(simt_counts().graphs, before);
    const char *line = strstr(log_heard(), "kernel by kernel");
    assert_non_null(line);
    assert_null(strstr(line + 1, "kernel by kernel"));
    worker_stop(w);
    log_unhear();
    simt_faults(&(struct simt_faults){0});
    running_clear(&r);
}

/* Steps of single rows are launched, captured, then replayed: the whole step, or what the GPU has
 * of it, be it a layer and the head or the head alone. */
static void steps_are_replayed(void **state)
{
    (void)state;
    if (simt_real())
        SKIP("only the emulator counts what was launched");
    struct running cpu, r;
    struct worker_options o = llama(&backend_cpu);
    struct job_spec s = greedy_spec(prompt[0], 9, TEXT);
    struct worker *w = worker_for_test(&o);
    run_job(w, &s, &cpu);
    worker_stop(w);
    o = llama(&backend_cuda);
    simt_mode(&late);
    for (int last = 2; last >= 0; last--) {
        if (last < 2) {
            o.lower = &backend_cpu;
            o.gpu_layers = (struct gpu_layers){GPU_LAYERS_LAST, last};
        }
        replayed(&o, &r);
        assert_alike(&r.answer[0], &cpu.answer[0], 1e-3f);
        if (last > 0)
            not_replayed(&o, &r);
        running_clear(&r);
    }
    running_clear(&cpu);
}

/* Steps that the worker has not read yet, and how many it launched while there was one. */
static struct {
    int open, ahead;
} unread;

static enum status count_record(struct queue *q, struct fence *f)
{
    unread.ahead += unread.open > 0;
    unread.open++;
    assert_true(unread.open <= 2);
    return backend_cuda.record(q, f);
}

static enum status count_wait(struct queue *q, const struct fence *f)
{
    unread.open--;
    return backend_cuda.wait(q, f);
}

/* Two steps in flight: all but the first are launched before the tokens of the one before are read,
 * which they take from the device. */
static void the_next_is_launched_first(void **state)
{
    (void)state;
    static struct backend counted;
    struct worker_options o = llama(&backend_cpu);
    struct job_spec s = greedy_spec(prompt[0], 9, TEXT);
    struct running cpu, r;
    struct worker *w = worker_for_test(&o);
    run_job(w, &s, &cpu);
    worker_stop(w);
    counted = backend_cuda;
    counted.record = count_record;
    counted.wait = count_wait;
    o = llama(&counted);
    w = worker_for_test(&o);
    run_job(w, &s, &r);
    assert_alike(&r.answer[0], &cpu.answer[0], 1e-3f);
    worker_stop(w);
    assert_int_equal(unread.open, 0);
    assert_int_equal(unread.ahead, TEXT - 1); /* the prompt is the first of TEXT steps */
    running_clear(&cpu);
    running_clear(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(greedy_is_near_the_cpu, usual_mode),
        cmocka_unit_test_teardown(texts_are_the_cpus, usual_mode),
        cmocka_unit_test_teardown(texts_of_two_devices, usual_mode),
        cmocka_unit_test_teardown(turns_and_scores, usual_mode),
        cmocka_unit_test_teardown(cancelling_gives_everything_back, usual_mode),
        cmocka_unit_test_teardown(steps_are_replayed, usual_mode),
        cmocka_unit_test_teardown(the_youngest_gives_way, usual_mode),
        cmocka_unit_test_teardown(the_next_is_launched_first, usual_mode),
    };
    const struct CMUnitTest brief[] = {tests[0], tests[1], tests[2], tests[3]};
    return simt_slow() ? cmocka_run_group_tests(brief, setup, NULL)
                       : cmocka_run_group_tests(tests, setup, NULL);
}
