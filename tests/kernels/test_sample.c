/* Sampling against a reference that sorts, step by step as ops.h says, in double; the distribution
 * by chi-square; log-probabilities by numpy (tests/tools/gen_ops.py). */
#include "kernels/cpu/naive.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/support/fixture.h"
#include "tests/support/test.h"

static const struct sample_row NEUTRAL = {
    .forced = -1, .temperature = 1, .top_p = 1, .repetition = 1, .n_top = -1};

static struct sample_out run(const float *logit, int n, const struct sample_row *row,
                             const struct op_sample *more)
{
    float *copy = xmalloc((size_t)n * 4);
    memcpy(copy, logit, (size_t)n * 4);
    struct sample_out out;
    struct op_sample a = more ? *more : (struct op_sample){0};
    a.logits = tensor_2d(copy, DT_F32, 1, n);
    a.row = row;
    a.out = &out;
    naive_sample(&a, 0, naive_sample_items(&a));
    xfree(copy);
    return out;
}

/* --- the reference: sort everything */

struct entry {
    double p;
    float logit;
    int id;
};

static int by_rank(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id - y->id;
}

static double total(const struct entry *e, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += e[i].p;
    return sum;
}

/* The token, or -1 when the draw is too near to an edge between two for single precision. */
static int reference(const float *logit, int n, const struct sample_row *r, int *kept)
{
    struct entry *e = xmalloc((size_t)n * sizeof *e);
    int m = 0, token = -1;
    for (int i = 0; i < n; i++)
        if (logit[i] > -INFINITY)
            e[m++] = (struct entry){0, logit[i], i};
    qsort(e, (size_t)m, sizeof *e, by_rank);
    for (int i = 0; i < m; i++)
        e[i].p = exp(((double)e[i].logit - (double)e[0].logit) / (double)r->temperature);
    if (r->top_k > 0 && r->top_k < m)
        m = r->top_k;
    if (r->top_p < 1) {
        double all = total(e, m), sum = 0;
        int k = 0;
        while (k < m && (k == 0 || sum < (double)r->top_p * all))
            sum += e[k++].p;
        m = k;
    }
    while (r->min_p > 0 && m > 1 && e[m - 1].p < (double)r->min_p * e[0].p)
        m--;
    double u = (double)rng_uniform(rng_philox(r->seed, r->counter, 0).v[0]);
    double all = total(e, m), goal = u * all, sum = 0;
    for (int i = 0; i < m && token < 0; i++) {
        sum += e[i].p;
        if (sum >= goal)
            token = sum - goal < 1e-6 * all || goal - (sum - e[i].p) < 1e-6 * all ? -1 : e[i].id;
        if (sum >= goal)
            break;
    }
    *kept = m;
    xfree(e);
    return token;
}

static uint32_t noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static float gauss(uint32_t *seed)
{
    float f = 0;
    for (int i = 0; i < 12; i++)
        f += (float)noise(seed) * 0x1p-24f;
    return f - 6;
}

static void against_sort(int n, float spread, bool ties, uint32_t seed)
{
    /* clang-format off */
    static const struct sample_row rows[] = {
        /* temperature, top_p, min_p, top_k */
        {.temperature = 1,    .top_p = 1},
        {.temperature = 0.2f, .top_p = 1},
        {.temperature = 5,    .top_p = 1},
        {.temperature = 1,    .top_p = 1,     .top_k = 1},
        {.temperature = 1,    .top_p = 1,     .top_k = 40},
        {.temperature = 2,    .top_p = 1,     .top_k = 3000},
        {.temperature = 1,    .top_p = 0.9f},
        {.temperature = 3,    .top_p = 0.5f},
        {.temperature = 1,    .top_p = 0},
        {.temperature = 1,    .top_p = 1,     .min_p = 0.05f},
        {.temperature = 1.5f, .top_p = 1,     .min_p = 1},
        {.temperature = 1.3f, .top_p = 0.93f, .min_p = 0.011f, .top_k = 57},
        {.temperature = 4,    .top_p = 0.97f, .min_p = 0.001f, .top_k = 2500},
    };
    /* clang-format on */
    float *logit = xmalloc((size_t)n * 4);
    int compared = 0, tried = 0, differ = 0;
    for (int i = 0; i < n; i++)
        logit[i] = ties ? (float)(noise(&seed) % 7) : spread * gauss(&seed);
    logit[n / 2] = -INFINITY;
    logit[n / 3] = NAN;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int k = 0; k < 12; k++) {
            struct sample_row r = rows[i];
            int kept;
            r.forced = r.n_top = -1;
            r.repetition = 1;
            r.seed = seed;
            r.counter = (uint64_t)k;
            int want = reference(logit, n, &r, &kept), got = run(logit, n, &r, NULL).token;
            tried++;
            compared += want >= 0;
            differ += want >= 0 && want != got;
        }
    }
    xfree(logit);
    assert_int_equal(differ, 0);
    assert_true(compared * 100 >= tried * 90);
}

static void test_against_sort(void **state)
{
    (void)state;
    against_sort(50, 3, false, 1);
    against_sort(5000, 2, false, 2);
    against_sort(40000, 3, false, 3);
    against_sort(5000, 0.01f, false, 4);
    against_sort(5000, 1, true, 5);
}

/* Frequencies of 20000 draws against probabilities: chi-square below its 99.9 % point. */
static void test_distribution(void **state)
{
    (void)state;
    enum { N = 12, DRAWS = 20000 };
    float logit[N];
    int count[N] = {0};
    double p[N], sum = 0, chi = 0;
    for (int i = 0; i < N; i++) {
        logit[i] = (float)((i * 5) % N) * 0.3f;
        p[i] = exp((double)logit[i] / 0.8);
        sum += p[i];
    }
    struct sample_row r = NEUTRAL;
    r.temperature = 0.8f;
    r.seed = 1234;
    for (int i = 0; i < DRAWS; i++) {
        r.counter = (uint64_t)i;
        count[run(logit, N, &r, NULL).token]++;
    }
    for (int i = 0; i < N; i++) {
        double e = DRAWS * p[i] / sum;
        chi += (count[i] - e) * (count[i] - e) / e;
    }
    assert_true(chi < 31.3); /* 11 degrees of freedom */
}

/* The same key and counter give the same token; other counters give others. */
static void test_repeatable(void **state)
{
    (void)state;
    float logit[500] = {0};
    struct sample_row r = NEUTRAL;
    int changes = 0;
    for (int i = 0; i < 50; i++) {
        r.seed = 7;
        r.counter = (uint64_t)i;
        int a = run(logit, 500, &r, NULL).token;
        assert_int_equal(a, run(logit, 500, &r, NULL).token);
        r.seed = 8;
        changes += a != run(logit, 500, &r, NULL).token;
    }
    assert_true(changes > 40);
}

static void test_greedy(void **state)
{
    (void)state;
    float logit[] = {1, 5, NAN, 5, -INFINITY, 4};
    struct sample_row r = NEUTRAL;
    r.temperature = 0;
    assert_int_equal(run(logit, 6, &r, NULL).token, 1); /* ties: the smaller id */
    struct sample_bias bias[] = {{0, 9}, {1, -INFINITY}, {3, -0.5f}};
    struct op_sample more = {.bias = bias};
    r.bias_first = 1;
    r.n_bias = 2;
    assert_int_equal(run(logit, 6, &r, &more).token, 3);
    r.bias_first = 0;
    assert_int_equal(run(logit, 6, &r, &more).token, 0);
    uint32_t mask = 1 << 2 | 1 << 4 | 1 << 5;
    more.mask = &mask;
    assert_int_equal(run(logit, 6, &r, &more).token, 5);
    r.temperature = 1; /* one candidate left */
    assert_int_equal(run(logit, 6, &r, &more).token, 5);
    r.slot = -1;
    assert_int_equal(run(logit, 6, &r, &more).token, -1);
}

static void test_penalties(void **state)
{
    (void)state;
    /* tokens: 0 new, 1 in the prompt, 2 twice in the output, 3 both and once, negative logit */
    const float logit[] = {1, 2, 4, -1};
    uint16_t counts[2][4] = {{0}, {0, 0x8000, 2, 0x8001}};
    int32_t last[2] = {-5, -5};
    struct op_sample more = {.counts = counts[0], .last = last};
    struct sample_row r = NEUTRAL;
    r.slot = 1;
    r.temperature = 0;
    r.n_top = 4;
    r.repetition = 2;
    r.frequency = 0.25f;
    r.presence = 0.125f;
    struct sample_out o = run(logit, 4, &r, &more);
    const double l[] = {1, 1, 2 - 0.5 - 0.125, -2 - 0.25 - 0.125};
    double z = log(exp(l[0]) + exp(l[1]) + exp(l[2]) + exp(l[3]));
    static const int order[] = {2, 0, 1, 3};
    assert_int_equal(o.token, 2);
    assert_int_equal(o.n_top, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(o.top_id[i], order[i]);
        assert_true(fabs((double)o.top_logprob[i] - (l[order[i]] - z)) < 1e-6);
    }
    assert_int_equal(counts[1][2], 3); /* the chosen token is counted, in its slot only */
    assert_int_equal(counts[0][2], 0);
    assert_int_equal(last[1], 2);
    assert_int_equal(last[0], -5);
    counts[1][2] = 0x7fff; /* saturates */
    r.frequency = 0;
    run(logit, 4, &r, &more);
    assert_int_equal(counts[1][2], 0x7fff);
}

static void test_forced(void **state)
{
    (void)state;
    const float logit[] = {0, 1, 2};
    uint16_t counts[3] = {0};
    int32_t last[1] = {0};
    struct op_sample more = {.counts = counts, .last = last};
    struct sample_row r = NEUTRAL;
    r.forced = 1;
    r.n_top = 0;
    struct sample_out o = run(logit, 3, &r, &more);
    assert_int_equal(o.token, 1);
    assert_int_equal(o.rank, 1);
    assert_int_equal(o.n_top, 0);
    assert_true(fabs((double)o.logprob - (1 - log(1 + exp(1) + exp(2)))) < 1e-6);
    assert_int_equal(counts[1], 0);
    assert_int_equal(last[0], 0); /* rows that score share a slot with the one that chooses */
}

static void test_logprobs(void **state)
{
    (void)state;
    struct fixture f;
    fixture_load(&f, "tests/data/kernels/ops.bin");
    const float *x = fixture_f32(&f, "logprob.x");
    const double *y = fixture_f64(&f, "logprob.y");
    const int32_t *order = fixture_i32(&f, "logprob.order");
    for (int r = 0; r < 2; r++) {
        for (int k = 0; k < 40; k++) {
            struct sample_row row = NEUTRAL;
            row.forced = order[r * 40 + k];
            row.n_top = SAMPLE_TOP_MAX;
            row.temperature = 0.3f; /* reports come before it */
            struct sample_out o = run(x + r * 3000, 3000, &row, NULL);
            assert_int_equal(o.rank, k);
            assert_true(fabs((double)o.logprob - y[r * 3000 + row.forced]) < 3e-6);
            assert_int_equal(o.n_top, SAMPLE_TOP_MAX);
            for (int i = 0; i < SAMPLE_TOP_MAX; i++) {
                assert_int_equal(o.top_id[i], order[r * 40 + i]);
                assert_true(fabs((double)o.top_logprob[i] - y[r * 3000 + o.top_id[i]]) < 3e-6);
            }
        }
    }
    fixture_clear(&f);
}

/* Extremes: infinities, one candidate, all banned, temperatures near zero. */
static void test_extremes(void **state)
{
    (void)state;
    struct sample_row r = NEUTRAL;
    float inf[] = {0, INFINITY, 1, INFINITY}, none[] = {-INFINITY, NAN, -INFINITY}, one[] = {-7};
    r.temperature = 1;
    int t = run(inf, 4, &r, NULL).token;
    assert_true(t == 1 || t == 3);
    assert_int_equal(run(none, 3, &r, NULL).token, 0);
    assert_int_equal(run(one, 1, &r, NULL).token, 0);
    float two[] = {1, 1.5f, -3e38f, 3e38f};
    r.temperature = 1e-45f;
    assert_int_equal(run(two, 3, &r, NULL).token, 1);
    r.temperature = 1e-30f;
    assert_int_equal(run(two, 3, &r, NULL).token, 1);
    assert_int_equal(run(two, 4, &r, NULL).token, 3);
    r.temperature = 100;
    r.min_p = 0.5f;
    r.top_k = 2;
    assert_int_equal(run(two, 4, &r, NULL).token, 3);
}

static void test_count(void **state)
{
    (void)state;
    uint16_t counts[4] = {9, 9, 9, 9};
    const int32_t token[] = {1, 1, 2, 2, 2, 3};
    struct op_count a = {counts, 4, token, 6, 3};
    naive_count(&a, 0, naive_count_items(&a));
    assert_int_equal(counts[0], 0);
    assert_int_equal(counts[1], 0x8000);
    assert_int_equal(counts[2], 0x8002);
    assert_int_equal(counts[3], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_sort), cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_repeatable),   cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_penalties),    cmocka_unit_test(test_forced),
        cmocka_unit_test(test_logprobs),     cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
