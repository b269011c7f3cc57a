/* Conformance: every op, through the CPU backend on every instruction set, on 1 or 3 threads,
 * against the naive definitions: equal bits (pages of bf16 on AVX512_BF16: within rounding). A row
 * alone has the bits it has in a batch. Linear has a file of its own (test_linear.c); here it is
 * taken through can and pack. */
#include "kernels/backend.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/naive.h"
#include "kernels/kv_type.h"
#include "tests/support/test.h"

static struct device *dev; /* of the running test */
static struct queue *q;
static bool exact_bf16;
static uint32_t seed;

static float noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    float f = (float)(seed >> 8) * 0x1p-23f - 1;
    return seed % 97 < 2 ? 20 * f : f;
}

static float *fill(size_t n)
{
    float *x = xmalloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = noise();
    return x;
}

static float *same(const float *x, size_t n)
{
    float *y = xmalloc(n * sizeof *y);
    memcpy(y, x, n * sizeof *x);
    return y;
}

static struct tensor mat(float *p, int64_t rows, int64_t cols)
{
    return tensor_2d(p, DT_F32, rows, cols);
}

static void equal(const float *got, const float *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], 4) != 0) {
            print_error("%s: element %zu is %.9g, defined as %.9g\n", what, i, (double)got[i],
                        (double)want[i]);
            assert_true(false);
        }
}

/* --- ops on rows */

static const int sizes[] = {1, 7, 16, 24, 64, 100, 576, 896};
enum { N_SIZES = sizeof sizes / sizeof sizes[0], ROWS = 5 };

static void check_rmsnorm(int n)
{
    float *x = fill(ROWS * (size_t)n), *w = fill((size_t)n), *want = fill(ROWS * (size_t)n);
    struct op_rmsnorm a = {mat(x, ROWS, n), tensor_1d(w, DT_F32, n), mat(want, ROWS, n), 1e-6f,
                           NULL};
    naive_rmsnorm(&a, 0, naive_rmsnorm_items(&a));
    a.y = a.x; /* in place */
    assert_int_equal(op_rmsnorm(q, &a), OK);
    equal(x, want, ROWS * (size_t)n, "rmsnorm");
    xfree(x);
    xfree(w);
    xfree(want);
}

static void check_glu_linear(int n)
{
    size_t all = ROWS * (size_t)n;
    float *x = fill(2 * all), *w = fill((size_t)(3 * n)), *h = fill(all), *y = fill(ROWS * 3);
    float *h2 = fill(all), *y2 = fill(ROWS * 3);
    struct op_glu glu = {mat(x, ROWS, 2 * n), mat(h2, ROWS, n), ACT_GELU_TANH, NULL};
    struct op_linear linear = {glu.y, mat(w, 3, n), {0}, mat(y, ROWS, 3), mat(y2, ROWS, 3), NULL};
    naive_glu(&glu, 0, naive_glu_items(&glu));
    naive_linear(&linear, 0, naive_linear_items(&linear));
    struct op_glu_linear a = {glu.x, mat(h, ROWS, n), glu.act,         linear.w,
                              {0},   mat(y, ROWS, 3), mat(y, ROWS, 3), NULL};
    assert_int_equal(op_glu_linear(q, &a), OK);
    equal(y, y2, ROWS * 3, "glu_linear");
    xfree(x);
    xfree(w);
    xfree(h);
    xfree(y);
    xfree(h2);
    xfree(y2);
}

/* Two parts of one weight, with a bias. */
static void check_norm_linear(int n)
{
    enum { N1 = 3, N2 = 2 };
    size_t all = ROWS * (size_t)n;
    float *x = fill(all), *norm = fill((size_t)n), *w = fill((size_t)((N1 + N2) * n));
    float *h = fill(all), *y = fill(ROWS * (N1 + N2)), *y2 = fill(ROWS * (N1 + N2));
    float bias[N1 + N2] = {1, -2, 3, -4, 5};
    struct op_rmsnorm rms = {mat(x, ROWS, n), tensor_1d(norm, DT_F32, n), mat(h, ROWS, n), 1e-6f,
                             NULL};
    struct op_linear linear = {.x = rms.y,
                               .w = mat(w, N1 + N2, n),
                               .bias = tensor_1d(bias, DT_F32, N1 + N2),
                               .y = mat(y2, ROWS, N1 + N2)};
    naive_rmsnorm(&rms, 0, ROWS);
    naive_linear(&linear, 0, naive_linear_items(&linear));
    struct op_norm_linear a = {.x = rms.x,
                               .weight = rms.weight,
                               .eps = 1e-6f,
                               .h = rms.y,
                               .w = {mat(w, N1, n), mat(w + N1 * n, N2, n)},
                               .n_parts = 2,
                               .bias = linear.bias,
                               .y = mat(y, ROWS, N1 + N2)};
    assert_int_equal(op_norm_linear(q, &a), OK);
    equal(y, y2, ROWS * (N1 + N2), "norm_linear");
    xfree(x);
    xfree(norm);
    xfree(w);
    xfree(h);
    xfree(y);
    xfree(y2);
}

static void check_glu(int n, enum act act)
{
    float *x = fill(ROWS * 2 * (size_t)n), *y = fill(ROWS * (size_t)n),
          *want = fill(ROWS * (size_t)n);
    x[0] = -200;
    x[2 * n] = 200;
    x[4 * n] = -0.0f;
    struct op_glu a = {mat(x, ROWS, 2 * n), mat(want, ROWS, n), act, NULL};
    naive_glu(&a, 0, ROWS);
    a.y = mat(y, ROWS, n);
    assert_int_equal(op_glu(q, &a), OK);
    equal(y, want, ROWS * (size_t)n, "glu");
    xfree(x);
    xfree(y);
    xfree(want);
}

static void check_live(int n)
{
    const int32_t live = 2;
    float *x = fill(ROWS * (size_t)n), *before = same(x, ROWS * (size_t)n);
    struct op_add a = {mat(x, ROWS, n), mat(before, ROWS, n), mat(x, ROWS, n), &live};
    assert_int_equal(op_add(q, &a), OK);
    for (int i = 0; i < 2 * n; i++)
        assert_true(x[i] == before[i] + before[i]);
    equal(x + 2 * n, before + 2 * n, 3 * (size_t)n, "rows that are not live");
    xfree(x);
    xfree(before);
}

/* --- linear through can and pack, two tensors stacked */

static void check_linear(enum dtype t, int n, int k)
{
    const struct dtype_info *type = dtype_info(t);
    struct op_case c = {OP_linear, DT_F32, t, 0, 2 * n, k};
    struct choice how;
    size_t bytes = 2 * (size_t)n * dtype_row_bytes(t, k);
    uint8_t *w = xmalloc(bytes);
    float *x = fill(ROWS * (size_t)k), *bias = fill(2 * (size_t)n);
    float *y = fill(ROWS * 2 * (size_t)n), *want = fill(ROWS * 2 * (size_t)n),
          *one = fill(2 * (size_t)n), *add = fill(ROWS * 2 * (size_t)n);
    for (size_t b = 0; b < bytes / (size_t)type->bytes; b++) {
        float in[32];
        for (int i = 0; i < type->block && i < 32; i++)
            in[i] = noise();
        type->encode(in, w + b * (size_t)type->bytes);
    }
    assert_true(backend_cpu.can(dev, &c, &how));
    void *packed;
    assert_int_equal(big_alloc(how.bytes, &packed), OK);
    struct tensor src[2] = {tensor_2d(w, t, n, k), tensor_2d(w + bytes / 2, t, n, k)};
    struct tensor dst = {.data = packed};
    assert_int_equal(backend_cpu.pack(dev, src, 2, &how, &dst), OK);
    struct op_linear a = {
        mat(x, ROWS, k),       tensor_2d(w, t, 2 * n, k), tensor_1d(bias, DT_F32, 2 * n),
        mat(add, ROWS, 2 * n), mat(want, ROWS, 2 * n),    NULL};
    naive_linear(&a, 0, naive_linear_items(&a));
    a.w = dst;
    memcpy(y, add, ROWS * 2 * (size_t)n * sizeof *y);
    a.add = a.y = mat(y, ROWS, 2 * n); /* in place */
    assert_int_equal(op_linear(q, &a), OK);
    if (t != DT_BF16 || exact_bf16)
        equal(y, want, ROWS * 2 * (size_t)n, type->name);
    for (int r = 0; r < ROWS; r++) {
        struct op_linear b = {mat(x + r * k, 1, k), dst, a.bias, mat(add + r * 2 * n, 1, 2 * n),
                              mat(one, 1, 2 * n),   NULL};
        assert_int_equal(op_linear(q, &b), OK);
        equal(one, y + r * 2 * n, 2 * (size_t)n, "linear, a row alone");
    }
    big_free(packed, how.bytes);
    xfree(w);
    xfree(x);
    xfree(bias);
    xfree(y);
    xfree(want);
    xfree(one);
    xfree(add);
}

/* --- rope, KV, attention */

enum { SEQS = 4, TABLE = 70, STEP = 60 };

/* Sequences of a step: a first chunk, a later chunk, and two single rows, one of them
 * beyond a piece of 1024 positions. */
static const struct {
    int past, rows;
} plan[SEQS] = {{0, 21}, {70, 37}, {1100, 1}, {0, 1}};

struct world {
    int hq, hkv, dim;
    int32_t pos[STEP], row_seq[STEP], seq_start[SEQS + 1], seq_slot[SEQS], span[STEP];
    int32_t table[SEQS * TABLE];
    struct kv_view kv[2]; /* the op's, the definition's */
};

static void world_open(struct world *w, enum dtype t, int hq, int hkv, int dim)
{
    int rows = 0;
    memset(w, 0, sizeof *w);
    w->hq = hq;
    w->hkv = hkv;
    w->dim = dim;
    for (int s = 0; s < SEQS; s++) {
        w->seq_start[s] = rows;
        w->seq_slot[s] = SEQS - 1 - s;
        for (int i = 0; i < plan[s].rows; i++, rows++) {
            w->pos[rows] = plan[s].past + i;
            w->row_seq[rows] = s;
            w->span[rows] = i < plan[s].rows / 2 ? plan[s].past + plan[s].rows / 2 : w->pos[rows];
        }
    }
    w->seq_start[SEQS] = rows;
    assert_int_equal(rows, STEP);
    for (int i = 0; i < SEQS * TABLE; i++)
        w->table[i] = i * 11 % (SEQS * TABLE); /* 11 and 280 have no factor in common */
    for (int i = 0; i < 2; i++) {
        struct kv_view *kv = &w->kv[i];
        *kv = (struct kv_view){.dtype = (uint8_t)t,
                               .page_tokens = 16,
                               .n_head = hkv,
                               .head_dim = dim,
                               .table = w->table,
                               .table_stride = TABLE};
        kv->page_bytes = kv_page_bytes(t, hkv, 16, dim);
        kv->base = xmalloc((size_t)kv->page_bytes * SEQS * TABLE);
        memset(kv->base, 0xff, (size_t)kv->page_bytes * SEQS * TABLE); /* NaN: never to be used */
    }
}

static struct ragged step_rows(const struct world *w)
{
    return (struct ragged){.rows = STEP,
                           .seqs = SEQS,
                           .pos = w->pos,
                           .row_seq = w->row_seq,
                           .seq_start = w->seq_start,
                           .seq_slot = w->seq_slot};
}

/* Keys and values of all positions before the step. */
static void world_past(struct world *w)
{
    for (int s = 0; s < SEQS; s++) {
        int n = plan[s].past;
        int32_t pos[1100], seq[1100], start[SEQS + 1] = {0};
        if (n == 0)
            continue;
        for (int i = 0; i < n; i++) {
            pos[i] = i;
            seq[i] = s;
        }
        for (int i = s; i < SEQS; i++)
            start[i + 1] = n;
        float *x = fill((size_t)n * 2 * (size_t)(w->hkv * w->dim));
        struct tensor k = tensor_3d(x, DT_F32, n, w->hkv, w->dim), v = k;
        v.data = x + n * w->hkv * w->dim;
        struct op_kv_write a = {k,
                                v,
                                {.rows = n,
                                 .seqs = SEQS,
                                 .pos = pos,
                                 .row_seq = seq,
                                 .seq_start = start,
                                 .seq_slot = w->seq_slot},
                                w->kv[0]};
        assert_int_equal(op_kv_write(q, &a), OK);
        a.kv = w->kv[1];
        naive_kv_write(&a, 0, n);
        xfree(x);
    }
}

static void world_close(struct world *w)
{
    xfree(w->kv[0].base);
    xfree(w->kv[1].base);
}

static void check_rope_kv(struct world *w, bool neox, bool norm, float *qkv)
{
    int wide = (w->hq + 2 * w->hkv) * w->dim;
    float *mine = same(qkv, (size_t)(STEP * wide)), freq[128], *weight = fill((size_t)w->dim);
    for (int i = 0; i < w->dim / 2; i++)
        freq[i] = powf(10000, -2.0f * (float)i / (float)w->dim);
    struct tensor part[2][3];
    for (int i = 0; i < 2; i++) {
        struct tensor all = mat(i ? mine : qkv, STEP, wide);
        part[i][0] = tensor_heads(tensor_cols(all, 0, w->hq * w->dim), w->hq, w->dim);
        part[i][1] =
            tensor_heads(tensor_cols(all, w->hq * w->dim, w->hkv * w->dim), w->hkv, w->dim);
        part[i][2] = tensor_heads(tensor_cols(all, (w->hq + w->hkv) * w->dim, w->hkv * w->dim),
                                  w->hkv, w->dim);
    }
    struct tensor scale = norm ? tensor_1d(weight, DT_F32, w->dim) : (struct tensor){0};
    struct op_rope_kv a = {part[0][0],   part[0][1], part[0][2], scale, scale, 1e-6f,
                           step_rows(w), freq,       w->dim / 2, neox,  1.1f,  w->kv[0]};
    assert_int_equal(op_rope_kv(q, &a), OK);
    for (int i = 0; i < 2; i++) {
        struct op_rmsnorm n = {part[1][i], scale, part[1][i], 1e-6f, NULL};
        struct op_rope r = {part[1][i], a.r, freq, w->dim / 2, neox, 1.1f};
        if (norm)
            naive_rmsnorm(&n, 0, naive_rmsnorm_items(&n));
        naive_rope(&r, 0, STEP);
    }
    struct op_kv_write k = {part[1][1], part[1][2], a.r, w->kv[1]};
    naive_kv_write(&k, 0, STEP);
    for (int r = 0; r < STEP; r++)
        equal(qkv + r * wide, mine + r * wide, (size_t)(w->hq * w->dim), "rope_kv q");
    xfree(mine);
    xfree(weight);
}

struct variant {
    int window;
    float softcap;
    bool sinks, span;
};

static void near(const float *got, const float *want, int n)
{
    for (int i = 0; i < n; i++)
        assert_true(fabsf(got[i] - want[i]) <= 0.04f); /* values up to 20, one step of bf16 in p */
}

static void check_attention(struct world *w, const struct variant *v, float *qkv)
{
    int wide = (w->hq + 2 * w->hkv) * w->dim, out = w->hq * w->dim;
    float *y = fill((size_t)(STEP * out)), *want = fill((size_t)(STEP * out)),
          *sinks = fill((size_t)w->hq);
    float *one = fill((size_t)out);
    struct op_attention a = {
        .q = tensor_heads(tensor_cols(mat(qkv, STEP, wide), 0, out), w->hq, w->dim),
        .r = step_rows(w),
        .kv = w->kv[1],
        .scale = 1 / sqrtf((float)w->dim),
        .softcap = v->softcap,
        .y = tensor_3d(want, DT_F32, STEP, w->hq, w->dim)};
    if (v->sinks)
        a.sinks = tensor_1d(sinks, DT_F32, w->hq);
    if (v->span)
        a.r.span = w->span;
    a.kv.window = v->window;
    naive_attention(&a, 0, naive_attention_items(&a));
    a.kv = w->kv[0];
    a.kv.window = v->window;
    a.y.data = y;
    assert_int_equal(op_attention(q, &a), OK);
    if (w->kv[0].dtype == DT_F32 || exact_bf16)
        equal(y, want, (size_t)(STEP * out), "attention");
    else
        near(y, want, STEP * out);
    for (int r = 0; r < STEP; r += 7) { /* a row alone */
        int32_t start[SEQS + 1] = {0};
        for (int i = w->row_seq[r]; i < SEQS; i++)
            start[i + 1] = 1;
        struct op_attention b = a;
        b.q = tensor_rows(a.q, r, 1);
        b.y = tensor_3d(one, DT_F32, 1, w->hq, w->dim);
        b.r = (struct ragged){.rows = 1,
                              .seqs = SEQS,
                              .pos = w->pos + r,
                              .row_seq = w->row_seq + r,
                              .seq_start = start,
                              .seq_slot = w->seq_slot,
                              .span = v->span ? w->span + r : NULL};
        assert_int_equal(op_attention(q, &b), OK);
        equal(one, y + r * out, (size_t)out, "attention, a row alone");
    }
    xfree(y);
    xfree(want);
    xfree(sinks);
    xfree(one);
}

static void check_heads(enum dtype t, int hq, int hkv, int dim)
{
    static const struct variant variants[] = {{0, 0, false, false}, {50, 0, false, false},
                                              {0, 5, false, false}, {0, 0, true, false},
                                              {0, 0, false, true},  {33, 3, true, true}};
    struct world w;
    world_open(&w, t, hq, hkv, dim);
    world_past(&w);
    float *qkv = fill((size_t)(STEP * (hq + 2 * hkv) * dim));
    check_rope_kv(&w, dim != 20, hq == 6, qkv);
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++)
        check_attention(&w, &variants[i], qkv);
    xfree(qkv);
    world_close(&w);
}

/* --- sampling: tokens, reports and counts of a batch of rows with all kinds of settings */

enum spread { NOISE, FLAT, STEEP, TIES, EQUAL, ODD, N_SPREAD };

static float logit_of(enum spread spread, int i)
{
    static const float odd[] = {NAN,     INFINITY, -INFINITY, -0.0f,    0,       1e-40f,
                                -1e-40f, 3e38f,    -3.4e38f,  1.2e-38f, -1e-20f, 7};
    float g = noise() + noise() + noise();
    switch (spread) {
    case NOISE:
        return 4 * g;
    case FLAT:
        return 0.001f * g;
    case STEEP:
        return i == 3 ? 150 : 30 * g;
    case TIES:
        return (float)(int)(2 * g);
    case EQUAL:
        return i % 5 == 1 ? 0 : -0.5f;
    default:
        return seed % 3 ? odd[seed % 1021 % 12] : g;
    }
}

/* clang-format off */
static const struct sample_row sample_rows[] = {
    {.temperature = 0, .top_p = 1, .repetition = 1, .n_top = -1, .forced = -1},
    {.temperature = 0, .top_p = 1, .repetition = 1, .n_top = 20, .forced = -1},
    {.temperature = 1, .top_p = 1, .repetition = 1, .n_top = 0, .forced = -1},
    {.temperature = 0.3f, .top_p = 1, .repetition = 1.3f, .n_top = 5, .forced = -1},
    {.temperature = 50, .top_p = 1, .repetition = 1, .n_top = -1, .forced = -1},
    {.temperature = 3e38f, .top_p = 0.99f, .repetition = 1, .n_top = -1, .forced = -1},
    {.temperature = 1e-29f, .top_p = 0.5f, .repetition = 1, .n_top = -1, .forced = -1},
    {.temperature = 1, .top_p = 1, .repetition = 1, .n_top = -1, .forced = -1, .top_k = 1},
    {.temperature = 1, .top_p = 1, .repetition = 1, .n_top = 3, .forced = -1, .top_k = 50},
    {.temperature = 9, .top_p = 0.99f, .repetition = 1, .n_top = -1, .forced = -1, .top_k = 12345},
    {.temperature = 1, .top_p = 0.9f, .repetition = 1, .n_top = -1, .forced = -1},
    {.temperature = 20, .top_p = 0.9f, .repetition = 1, .n_top = -1, .forced = -1},
    {.temperature = 1, .top_p = 0, .repetition = 1, .n_top = -1, .forced = -1},
    {.temperature = 1, .top_p = 1, .repetition = 1, .n_top = -1, .forced = -1, .min_p = 0.05f},
    {.temperature = 2, .top_p = 0.95f, .repetition = 1, .n_top = 1, .forced = -1, .min_p = 1e-3f,
     .top_k = 300, .presence = 0.5f, .frequency = 0.25f},
    {.temperature = 1, .top_p = 1, .repetition = 1, .n_top = 20, .forced = 0},
    {.temperature = 1, .top_p = 1, .repetition = 1, .n_top = 0, .forced = -1, .slot = -1},
};
/* clang-format on */
enum { N_SAMPLE = sizeof sample_rows / sizeof sample_rows[0] };

static void check_sample(int n, enum spread spread)
{
    size_t all = (size_t)n * N_SAMPLE, words = (size_t)((n + 31) / 32) * N_SAMPLE;
    float *x = xmalloc(all * 4), *y;
    uint32_t *mask = xmalloc(words * 4);
    uint16_t *counts = xcalloc(all, 4), *counts2 = counts + all;
    struct sample_row row[N_SAMPLE];
    struct sample_out want[N_SAMPLE], got[N_SAMPLE];
    const struct sample_bias bias[] = {{n / 2, 3}, {n - 1, -INFINITY}, {0, -1}};
    int32_t last[2][N_SAMPLE] = {{0}};
    for (size_t i = 0; i < all; i++) {
        x[i] = logit_of(spread, (int)(i % (size_t)n));
        counts[i] = seed >> 20 & 7 ? 0 : (uint16_t)(seed >> 11 & 0x8003);
    }
    for (size_t i = 0; i < words; i++)
        mask[i] = noise() > 0.8f ? 0 : seed % 5 < 2 ? seed * 2654435761u : UINT32_MAX;
    memcpy(counts2, counts, all * sizeof *counts);
    y = same(x, all);
    for (int i = 0; i < N_SAMPLE; i++) {
        row[i] = sample_rows[i];
        row[i].slot = row[i].slot < 0 ? -1 : i;
        row[i].seed = seed;
        row[i].counter = (uint64_t)n;
        row[i].n_bias = i % 4;
    }
    row[N_SAMPLE - 2].forced = n / 3;
    struct op_sample a = {
        mat(x, N_SAMPLE, n), row, bias, n % 2 ? mask : NULL, counts, last[0], want, NULL};
    naive_sample(&a, 0, naive_sample_items(&a));
    a.logits = mat(y, N_SAMPLE, n);
    a.counts = counts2, a.last = last[1], a.out = got;
    assert_int_equal(op_sample(q, &a), OK);
    for (int i = 0; i < N_SAMPLE; i++)
        if (memcmp(&want[i], &got[i], sizeof want[i]) != 0) {
            print_error(
                "sample, %d tokens, spread %d, row %d: token %d rank %d logprob %.9g, defined"
                " as %d %d %.9g\n",
                n, (int)spread, i, got[i].token, got[i].rank, (double)got[i].logprob, want[i].token,
                want[i].rank, (double)want[i].logprob);
            assert_true(false);
        }
    assert_memory_equal(counts, counts2, all * sizeof *counts);
    assert_memory_equal(last[0], last[1], sizeof last[0]);
    xfree(x);
    xfree(y);
    xfree(mask);
    xfree(counts);
}

/* --- one instruction set */

static void all_ops(void)
{
    const int step = RACES_ONLY ? 3 : 1;
    static const enum dtype types[] = {DT_F32,  DT_F16,  DT_BF16, DT_Q8_0,
                                       DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1};
    static const struct {
        int hq, hkv, dim;
    } heads[] = {{4, 4, 16}, {6, 2, 32}, {7, 1, 64}, {3, 1, 20}, {2, 1, 128}, {3, 1, 80}};
    for (int i = 0; i < N_SIZES; i += step) {
        check_rmsnorm(sizes[i]);
        check_norm_linear(sizes[i]);
        check_glu_linear(sizes[i]);
        check_live(sizes[i]);
        for (int act = ACT_SILU; act <= ACT_RELU; act++)
            check_glu(sizes[i], (enum act)act);
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i += (size_t)step) {
        check_linear(types[i], 9, 32);
        check_linear(types[i], 24, 96);
    }
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i += (size_t)step) {
        check_heads(DT_F32, heads[i].hq, heads[i].hkv, heads[i].dim);
        check_heads(DT_BF16, heads[i].hq, heads[i].hkv, heads[i].dim);
        check_heads(DT_F8_E4M3, heads[i].hq, heads[i].hkv, heads[i].dim);
    }
    for (int spread = 0; spread < N_SPREAD; spread += step) {
        for (int i = 0; i < N_SIZES; i += step)
            check_sample(sizes[i], (enum spread)spread);
        check_sample(2049, (enum spread)spread);
        check_sample(20000, (enum spread)spread); /* more than a thread's scratch holds */
    }
}

struct setting {
    const char *isa;
    int threads;
};

static void test_ops(void **state)
{
    const struct setting *on = *state;
    struct device_options o = {.threads = on->threads, .isa = on->isa};
    if (backend_cpu.open(&o, &dev) != OK)
        SKIP("%s", fail_text());
    q = backend_cpu.queue(dev);
    exact_bf16 = strcmp(on->isa, "avx512bf16") != 0;
    seed = 11;
    backend_cpu.step(q, true);
    all_ops();
    backend_cpu.step(q, false);
    backend_cpu.close(dev);
}

int main(void)
{
    static struct setting on[] = {{"scalar", 3}, {"avx2", 1}, {"avx512", 3}, {"avx512bf16", 3}};
    struct CMUnitTest tests[sizeof on / sizeof *on];
    for (size_t i = 0; i < sizeof on / sizeof *on; i++)
        tests[i] = (struct CMUnitTest){on[i].isa, test_ops, NULL, NULL, &on[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
