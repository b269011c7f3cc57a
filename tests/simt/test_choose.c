/* test_choose.c - op_sample and op_count of the CUDA backend, emulated, against their definition on
 * the CPU: the same tokens, ranks, candidates and counts; log-probabilities within rounding. */
#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/naive.h"
#include "kernels/cuda/cuda.h"
#include "tests/simt/gpu.h"
#include "tests/support/test.h"

enum { W = 6, SLOTS = 8, BIAS = 5 };

struct case_of {
    int v;
    bool ties, counts, mask, flat;
    int sms; /* multiprocessors: with many, several blocks share a row */
};

/* One of each way to sample, and what it does to the row. */
static const struct sample_row rows[W] = {
    {3, -1, 7, 40, 0, 1, 0, 0, 0, 1, 0, 5, 0, 3},
    {0, -1, 8, 41, 1, 1, 0, 0, 0, 1, 0, -1, 0, 0},
    {5, -1, 9, 42, 0.7f, 0.9f, 0, 0.5f, 0.25f, 1.2f, 40, 20, 3, 2},
    {1, 6, 10, 43, 1, 0.5f, 0, 0, 0, 1, 0, 2, 0, 0},
    {-1, -1, 0, 0, 0, 1, 0, 0, 0, 1, 0, -1, 0, 0},
    {6, -1, 12, 44, 1.5f, 0.99f, 0.02f, 0, 0, 1, 0, 0, 0, BIAS},
};

static void fill_logits(float *x, const struct case_of *c)
{
    for (int i = 0; i < W * c->v; i++) {
        x[i] = c->flat ? 0 : 3 * gpu_noise();
        if (c->ties)
            x[i] = roundf(x[i]);
    }
    if (c->v > 90) { /* what may not upset it */
        x[3] = NAN;
        x[c->v + 80] = INFINITY;
        x[2 * c->v + 9] = -INFINITY;
        x[2 * c->v + 10] = -0.0f;
    }
}

static void same_out(const struct sample_out *got, const struct sample_out *want, int row)
{
    if (got->token != want->token)
        fail_msg("row %d: token %d, defined as %d", row, got->token, want->token);
    assert_int_equal(got->rank, want->rank);
    assert_int_equal(got->n_top, want->n_top);
    assert_memory_equal(got->top_id, want->top_id, sizeof got->top_id);
    gpu_near(&got->logprob, &want->logprob, 1, "logprob", 1e-6f, 1e-6f);
    gpu_near(got->top_logprob, want->top_logprob, (size_t)want->n_top, "top", 1e-6f, 1e-6f);
}

static void sample_once(const struct case_of *c, uint64_t turn)
{
    const size_t n = (size_t)c->v, words = (n + 31) / 32;
    static const int32_t n_live = W;
    static const struct sample_bias bias[BIAS] = {
        {1, 2.5f}, {2, -INFINITY}, {1, -0.125f}, {0, 4}, {1, 1}};
    float *logits = xmalloc(W * n * sizeof *logits);
    uint32_t *mask = xmalloc(W * words * sizeof *mask);
    uint16_t *counts = xcalloc(SLOTS * n, sizeof *counts), *got = xcalloc(SLOTS * n, 2);
    int32_t last[SLOTS] = {-2, -2, -2, -2, -2, -2, -2, -2}, got_last[SLOTS];
    struct sample_row row[W];
    struct sample_out out[W], got_out[W];
    memcpy(row, rows, sizeof row);
    memset(out, 1, sizeof out);
    for (int i = 0; i < W; i++)
        row[i].counter += turn;
    fill_logits(logits, c);
    for (size_t i = 0; i < W * words; i++)
        mask[i] = (uint32_t)(gpu_noise() * 1e9f) | 3;
    for (size_t i = 0; i < SLOTS * n; i++)
        counts[i] = (uint16_t)(i % 7 == 0 ? 0x8000 : i % 5 == 0 ? 3 : i % 11 == 0 ? 0x7fff : 0);
    struct op_sample ref = {tensor_2d(logits, DT_F32, W, c->v), row,  bias, c->mask ? mask : NULL,
                            c->counts ? counts : NULL,          last, out,  &n_live},
                     a = ref;
    a.logits = gpu_tensor(a.logits);
    a.row = gpu_up(row, sizeof row);
    a.bias = gpu_up(bias, sizeof bias);
    a.mask = gpu_up(a.mask, W * words * sizeof *mask);
    a.counts = gpu_up(a.counts, SLOTS * n * sizeof *counts);
    a.last = gpu_up(last, sizeof last);
    a.out = gpu_up(out, sizeof out);
    a.n_live = gpu_up(&n_live, sizeof n_live);
    struct cuda_queue *q = (struct cuda_queue *)gpu.q;
    int sms = q->sms;
    q->sms = c->sms;
    assert_int_equal(op_sample(gpu.q, &a), OK);
    q->sms = sms;
    naive_sample(&ref, 0, W);
    gpu_down(got_out, a.out, sizeof out);
    gpu_down(got_last, a.last, sizeof last);
    for (int i = 0; i < W; i++)
        same_out(&got_out[i], &out[i], i);
    assert_memory_equal(got_last, last, sizeof last);
    if (c->counts) {
        gpu_down(got, a.counts, SLOTS * n * sizeof *counts);
        assert_memory_equal(got, counts, SLOTS * n * sizeof *counts);
    }
    xfree(logits);
    xfree(mask);
    xfree(counts);
    xfree(got);
    gpu_free_all();
}

static void samples(void)
{
    static const struct case_of cases[] = {
        {3001, false, false, false, false, 4}, {4801, true, true, true, false, 40},
        {3001, false, false, false, true, 4}, /* a band that is too long to be copied */
        {517, false, true, false, false, 40},  {517, false, false, false, true, 4},
        {97, false, true, true, false, 4},     {7, false, false, false, false, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (uint64_t turn = 0; turn < 3; turn++)
            sample_once(&cases[i], turn);
}

/* Rows that all are banned, and those that are not live. */
static void nothing_to_choose(void)
{
    enum { V = 40 };
    static const int32_t n_live = 1;
    float logits[2 * V];
    struct sample_row row[2] = {rows[1], rows[1]};
    struct sample_out out[2], before[2], got[2];
    for (int i = 0; i < 2 * V; i++)
        logits[i] = -INFINITY;
    row[1].slot = 2;
    memset(before, 7, sizeof before);
    memcpy(out, before, sizeof out);
    struct op_sample
        ref = {tensor_2d(logits, DT_F32, 2, V), row, NULL, NULL, NULL, NULL, out, &n_live},
        a = ref;
    a.logits = gpu_tensor(a.logits);
    a.row = gpu_up(row, sizeof row);
    a.out = gpu_up(before, sizeof before);
    a.n_live = gpu_up(&n_live, sizeof n_live);
    assert_int_equal(op_sample(gpu.q, &a), OK);
    naive_sample(&ref, 0, 1);
    gpu_down(got, a.out, sizeof got);
    assert_memory_equal(got, out, sizeof got);
}

static void counts(void)
{
    enum { V = 301, N = 5000, PROMPT = 1200 };
    uint16_t want[V], got[3 * V];
    int32_t token[N];
    memset(got, 0x5a, sizeof got);
    for (int i = 0; i < N; i++)
        token[i] = i % 3 ? 17 : (int32_t)(fabsf(gpu_noise()) * 14);
    uint16_t *on = gpu_up(got, sizeof got);
    struct op_count ref = {want, V, token, N, PROMPT}, a = ref;
    naive_count(&ref, 0, 1);
    a.counts = on + V; /* the slot in the middle, at an odd number of elements */
    assert_int_equal(op_count(gpu.q, &a), OK);
    memset(token, 0, sizeof token); /* they were read at once */
    gpu_down(got, on, sizeof got);
    assert_memory_equal(got + V, want, sizeof want);
    assert_int_equal(got[V - 1], 0x5a5a);
    assert_int_equal(got[2 * V], 0x5a5a);
}

/* A count of 32767 stays. */
static void saturation(void)
{
    enum { N = 33000 };
    static int32_t token[N];
    uint16_t got[2];
    struct op_count a = {gpu_empty(sizeof got), 2, token, N, 1};
    assert_int_equal(op_count(gpu.q, &a), OK);
    gpu_down(got, a.counts, sizeof got);
    assert_int_equal(got[0], 0xffff);
    assert_int_equal(got[1], 0);
}

static void test_sample(void **state)
{
    (void)state;
    gpu_each_mode(samples);
}

static void test_nothing_to_choose(void **state)
{
    (void)state;
    gpu_each_mode(nothing_to_choose);
}

static void test_count(void **state)
{
    (void)state;
    gpu_each_mode(counts);
}

static void test_saturation(void **state)
{
    (void)state;
    saturation();
    gpu_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample),
        cmocka_unit_test(test_nothing_to_choose),
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_saturation),
    };
    return cmocka_run_group_tests(tests, gpu_open, gpu_close);
}
