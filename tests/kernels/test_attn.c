/* test_attn.c - fast attention and row ops on every ISA: the bits of the naive definitions, double
 * precision as an independent reference, and a row's bits alone, in company and in chunks. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/naive.h"
#include "kernels/cpu/page.h"
#include "kernels/half.h"
#include "kernels/kv_type.h"
#include "kernels/quant/f8_e4m3.h"
#include "tests/support/test.h"

static const char *const isas[] = {"avx2", "avx512", "avx512bf16"};
static const enum dtype types[] = {DT_F32, DT_BF16, DT_F8_E4M3};
enum { N_ISAS = 3, SEQS = 4, ROWS_MAX = 96 };

static uint64_t state = 1;

static float random_float(void) /* in (-1, 1), xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (float)(int32_t)(state * 0x2545f4914f6cdd1du >> 32) * 0x1p-31f;
}

static void fill(float *x, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = random_float() * scale;
}

struct shape {
    enum dtype kv;
    int dim, heads, kv_heads, window;
    float softcap;
    bool sinks, span;
    int len[SEQS], rows[SEQS]; /* positions of each sequence, and of how many last ones is asked */
};

/* A step over SEQS sequences: pages in a shuffled order, everything never written is NaN. */
struct step {
    struct shape z;
    struct kv_view kv;
    float *k[SEQS], *v[SEQS]; /* [len, kv_heads, dim] as stored: rounded as pages are */
    float *q, sink[64];
    int32_t pos[ROWS_MAX], row_seq[ROWS_MAX], span[ROWS_MAX], slot[SEQS];
    int rows;
};

/* A position's keys and values as fp8 pages have them (test_naive has what that is). */
static void read_fp8(struct step *s, int seq, int pos, int h)
{
    int dim = s->z.dim, t = pos % 16;
    float *to[] = {s->k[seq], s->v[seq]};
    const uint8_t *half = (const uint8_t *)page_head(&s->kv, s->slot[seq], pos, h);
    for (int i = 0; i < 2; i++, half += page_half(&s->kv))
        for (int d = 0; d < dim; d++)
            to[i][(pos * s->z.kv_heads + h) * dim + d] =
                ldexpf(f8_e4m3_value(half[t * dim + d]), half[16 * dim + t] - 127);
}

static void write_keys(struct step *s, int seq)
{
    int n = s->z.len[seq], z_heads = s->z.kv_heads, width = z_heads * s->z.dim;
    int32_t *pos = xmalloc((size_t)n * 4), *zero = xcalloc((size_t)n, 4);
    s->k[seq] = xmalloc((size_t)(n * width) * 4);
    s->v[seq] = xmalloc((size_t)(n * width) * 4);
    fill(s->k[seq], n * width, 2);
    fill(s->v[seq], n * width, 1);
    for (int i = 0; i < n * width && s->z.kv == DT_BF16; i++) {
        s->k[seq][i] = half_bf16(half_to_bf16(s->k[seq][i]));
        s->v[seq][i] = half_bf16(half_to_bf16(s->v[seq][i]));
    }
    for (int i = 0; i < n; i++)
        pos[i] = i;
    struct op_kv_write w = {
        .k = tensor_3d(s->k[seq], DT_F32, n, s->z.kv_heads, s->z.dim),
        .v = tensor_3d(s->v[seq], DT_F32, n, s->z.kv_heads, s->z.dim),
        .r = {.rows = n, .seqs = 1, .pos = pos, .row_seq = zero, .seq_slot = &s->slot[seq]},
        .kv = s->kv};
    naive_kv_write(&w, 0, n);
    for (int i = 0; i < n * z_heads && s->z.kv == DT_F8_E4M3; i++)
        read_fp8(s, seq, i / z_heads, i % z_heads);
    xfree(pos);
    xfree(zero);
}

static void step_init(struct step *s, struct shape z)
{
    int pages = 0, longest = 0;
    *s = (struct step){.z = z};
    for (int i = 0; i < SEQS; i++) {
        pages += (z.len[i] + 15) / 16;
        longest = z.len[i] > longest ? z.len[i] : longest;
    }
    int stride = longest / 16 + 1;
    int32_t *table = xmalloc((size_t)(SEQS * stride) * 4);
    memset(table, 0x7f, (size_t)(SEQS * stride) * 4); /* entries never set must not be used */
    s->kv = (struct kv_view){.dtype = (uint8_t)z.kv,
                             .page_tokens = 16,
                             .n_head = z.kv_heads,
                             .head_dim = z.dim,
                             .table = table,
                             .table_stride = stride,
                             .window = z.window,
                             .page_bytes = kv_page_bytes(z.kv, z.kv_heads, 16, z.dim)};
    assert_int_equal(big_alloc((size_t)(pages * s->kv.page_bytes), &s->kv.base), OK);
    memset(s->kv.base, 0xff, (size_t)(pages * s->kv.page_bytes)); /* NaN in both types */
    for (int i = 0; i < SEQS; i++)
        s->slot[i] = SEQS - 1 - i;
    int *order = xmalloc((size_t)pages * sizeof *order), at = 0;
    for (int i = 0; i < pages; i++)
        order[i] = pages - 1 - i;
    for (int i = 0; i < SEQS; i++)
        for (int p = 0; p < (z.len[i] + 15) / 16; p++)
            table[s->slot[i] * stride + p] = order[at++];
    xfree(order);
    for (int i = 0; i < SEQS; i++) {
        write_keys(s, i);
        for (int r = 0; r < z.rows[i]; r++, s->rows++) {
            s->row_seq[s->rows] = i;
            s->pos[s->rows] = z.len[i] - z.rows[i] + r;
            s->span[s->rows] = r % 3 ? s->pos[s->rows] : z.len[i] - 1;
        }
    }
    s->q = xmalloc((size_t)(s->rows * z.heads * z.dim) * 4);
    fill(s->q, s->rows * z.heads * z.dim, 2);
    fill(s->sink, 64, 3);
}

static void step_clear(struct step *s)
{
    int pages = 0;
    for (int i = 0; i < SEQS; i++) {
        pages += (s->z.len[i] + 15) / 16;
        xfree(s->k[i]);
        xfree(s->v[i]);
    }
    big_free(s->kv.base, (size_t)(pages * s->kv.page_bytes));
    xfree((void *)s->kv.table);
    xfree(s->q);
}

/* The op over rows [first, first + n) of the step. */
static struct op_attention attention(struct step *s, int first, int n, float *y)
{
    const struct shape *z = &s->z;
    int64_t width = (int64_t)z->heads * z->dim;
    return (struct op_attention){.q = tensor_3d(s->q + first * width, DT_F32, n, z->heads, z->dim),
                                 .r = {.rows = n,
                                       .seqs = SEQS,
                                       .pos = s->pos + first,
                                       .row_seq = s->row_seq + first,
                                       .seq_slot = s->slot,
                                       .span = z->span ? s->span + first : NULL},
                                 .kv = s->kv,
                                 .scale = 1 / sqrtf((float)z->dim),
                                 .softcap = z->softcap,
                                 .sinks = z->sinks ? tensor_1d(s->sink, DT_F32, z->heads)
                                                   : (struct tensor){0},
                                 .y = tensor_3d(y, DT_F32, n, z->heads, z->dim)};
}

/* One row and head in double precision from the keys and values themselves. */
static void exact(const struct step *s, int row, int h, double *y)
{
    const struct shape *z = &s->z;
    int seq = s->row_seq[row], pos = s->pos[row], kvh = h / (z->heads / z->kv_heads);
    int lo = z->window && pos >= z->window ? pos - z->window + 1 : 0;
    int hi = z->span ? s->span[row] : pos;
    double sum = z->sinks ? exp(s->sink[h]) : 0;
    const float *q = s->q + ((int64_t)row * z->heads + h) * z->dim;

    for (int d = 0; d < z->dim; d++)
        y[d] = 0;
    for (int t = lo; t <= hi; t++) {
        int64_t at = ((int64_t)t * z->kv_heads + kvh) * z->dim;
        double dot = 0;
        for (int d = 0; d < z->dim; d++)
            dot += (double)q[d] * s->k[seq][at + d];
        dot /= sqrt(z->dim);
        if (z->softcap != 0)
            dot = z->softcap * tanh(dot / z->softcap);
        double p = exp(dot);
        sum += p;
        for (int d = 0; d < z->dim; d++)
            y[d] += p * s->v[seq][at + d];
    }
    for (int d = 0; d < z->dim; d++)
        y[d] /= sum;
}

static void check_double(const struct step *s, const float *got)
{
    const struct shape *z = &s->z;
    double want[256], worst = 0;
    for (int row = RACES_ONLY ? s->rows : 0; row < s->rows; row++)
        for (int h = 0; h < z->heads; h++) {
            exact(s, row, h, want);
            for (int d = 0; d < z->dim; d++) {
                double e = fabs(want[d] - got[((int64_t)row * z->heads + h) * z->dim + d]);
                worst = e > worst || isnan(e) ? e : worst;
            }
        }
    /* values are in (-1, 1); bf16 rounds q and p to 8 bits */
    assert_true(worst < (z->kv == DT_F32 ? 2e-6 : 1.2e-2));
}

static void check_shape(struct shape z)
{
    struct step s;
    struct fast f;
    step_init(&s, z);
    size_t n = (size_t)(s.rows * z.heads * z.dim);
    float *want = xcalloc(n, 4), *got = xcalloc(n, 4), *again = xcalloc(n, 4);
    struct op_attention a = attention(&s, 0, s.rows, want);
    int longest = 0;
    for (int i = 0; i < SEQS; i++)
        longest = z.len[i] > longest ? z.len[i] : longest;
    naive_attention(&a, 0, naive_attention_items(&a));
    check_double(&s, want);
    for (int i = 0; i < N_ISAS; i++) {
        if (!isa_select(isas[i]))
            continue;
        for (int threads = 1; threads <= 4; threads++) {
            memset(again, 0xff, n * 4);
            assert_int_equal(fast_open(&f, threads, isas[i]), OK);
            a = attention(&s, 0, s.rows, threads == 1 ? got : again);
            assert_true(fast_attention(&f, &a));
            if (threads > 1)
                assert_memory_equal(got, again, n * 4);
            memset(again, 0xff, n * 4); /* rows in chunks of 1, 2, .. */
            int64_t width = z.heads * z.dim;
            for (int r = 0, c = threads; r < s.rows; r += c) {
                c = s.rows - r < c ? s.rows - r : c;
                a = attention(&s, r, c, again + r * width);
                assert_true(fast_attention(&f, &a));
            }
            assert_memory_equal(got, again, n * 4);
            fast_close(&f);
        }
        check_double(&s, got);
        bool same = longest <= 1024 && !z.sinks && !(z.kv != DT_F32 && isa_select(isas[i])->q_bf16);
        if (same)
            assert_memory_equal(got, want, n * 4);
    }
    xfree(want), xfree(got), xfree(again);
    step_clear(&s);
}

static void test_shapes(void **st)
{
    static const int dims[] = {16, 64, 80, 128, 256};
    static const int heads[][2] = {{1, 1}, {7, 1}, {6, 2}, {8, 8}};

    (void)st;
    for (int kv = 0; kv < 3; kv++)
        for (int d = 0; d < 5; d += RACES_ONLY ? 3 : 1)
            for (int h = 0; h < 4; h += RACES_ONLY ? 3 : 1)
                check_shape((struct shape){.kv = types[kv],
                                           .dim = dims[d],
                                           .heads = heads[h][0],
                                           .kv_heads = heads[h][1],
                                           .len = {1, 70, 130, 17},
                                           .rows = {1, 6, 19, 17}});
}

static void test_variants(void **st)
{
    struct shape z = {
        .dim = 32, .heads = 6, .kv_heads = 3, .len = {3, 200, 65, 400}, .rows = {3, 30, 1, 40}};

    (void)st;
    for (int i = 0; i < 32; i += RACES_ONLY ? 5 : 1) {
        z.kv = types[i % 3];
        z.window = i & 2 ? 50 + i : 0;
        z.softcap = i & 4 ? 5 : 0;
        z.sinks = i & 8;
        z.span = i & 16;
        check_shape(z);
    }
}

/* Several pieces of 1024, shared out over threads or not. */
static void test_long(void **st)
{
    struct shape z = {
        .dim = 64, .heads = 4, .kv_heads = 1, .len = {2500, 1025, 1, 3100}, .rows = {1, 2, 1, 3}};

    (void)st;
    for (int i = 0; i < 6; i += RACES_ONLY ? 2 : 1) {
        z.kv = types[i % 3];
        z.window = i > 2 ? 1100 : 0;
        check_shape(z);
    }
}

/* --- row ops: equal bits with naive.c */

static void check_rows(struct fast *f, int rows, int n)
{
    float *x = xmalloc((size_t)(rows * 2 * n) * 4), *w = xmalloc((size_t)n * 4);
    float *want = xcalloc((size_t)(rows * n), 4), *got = xcalloc((size_t)(rows * n), 4);
    size_t bytes = (size_t)(rows * n) * 4;
    fill(x, rows * 2 * n, 20);
    fill(w, n, 2);
    struct op_rmsnorm norm = {.x = tensor_2d(x, DT_F32, rows, n),
                              .weight = tensor_1d(w, DT_F32, n),
                              .y = tensor_2d(want, DT_F32, rows, n),
                              .eps = 1e-5f};
    naive_rmsnorm(&norm, 0, rows);
    norm.y.data = got;
    assert_true(fast_rmsnorm(f, &norm));
    assert_memory_equal(want, got, bytes);
    fill(x, rows * 2 * n, 12);
    x[0] = -300, x[1] = 300, x[n / 2] = -0.0f;
    for (int act = ACT_SILU; act <= ACT_RELU; act++) {
        struct op_glu glu = {.x = tensor_2d(x, DT_F32, rows, 2 * n),
                             .y = tensor_2d(want, DT_F32, rows, n),
                             .act = (enum act)act};
        naive_glu(&glu, 0, rows);
        glu.y.data = got;
        if (act == ACT_GELU_ERF) {
            assert_false(fast_glu(f, &glu));
            continue;
        }
        assert_true(fast_glu(f, &glu));
        assert_memory_equal(want, got, bytes);
    }
    xfree(x), xfree(w), xfree(want), xfree(got);
}

static void test_rows(void **st)
{
    static const int sizes[] = {1, 7, 16, 31, 64, 100, 896, 2048};
    struct fast f;

    (void)st;
    for (int i = 0; i < N_ISAS; i++) {
        if (!isa_select(isas[i]))
            continue;
        assert_int_equal(fast_open(&f, 2, isas[i]), OK);
        pool_begin(f.pool); /* the definition too runs with subnormals flushed, as in a step */
        for (int n = 0; n < 8; n++)
            for (int rows = 1; rows <= 33; rows += 16)
                check_rows(&f, rows, sizes[n] + (sizes[n] == 1));
        pool_end(f.pool);
        fast_close(&f);
    }
}

/* rope_kv against the naive norm, rope and store; q and the pages byte for byte. */
static void check_rope(struct fast *f, enum dtype kv, bool neox, int dim, int n_freq)
{
    enum { ROWS = 21, HQ = 6, HKV = 2, WIDTH = HQ + 2 * HKV, PAGES = 4 };
    struct kv_view view = {.dtype = (uint8_t)kv,
                           .page_tokens = 16,
                           .n_head = HKV,
                           .head_dim = dim,
                           .table_stride = PAGES};
    static const int32_t table[PAGES] = {2, 0, 3, 1};
    size_t n = (size_t)(ROWS * WIDTH * dim);
    float *x[2] = {xmalloc(n * 4), xmalloc(n * 4)}, norm[256], inv_freq[128];
    void *pages[2];
    int32_t pos[ROWS], row_seq[ROWS] = {0}, slot = 0;
    view.page_bytes = kv_page_bytes(kv, HKV, 16, dim);
    view.table = table;
    size_t bytes = (size_t)(PAGES * view.page_bytes);
    fill(x[0], (int64_t)n, 3);
    memcpy(x[1], x[0], n * 4);
    fill(norm, dim, 1);
    for (int i = 0; i < n_freq; i++)
        inv_freq[i] = powf(10000, -(float)i / (float)n_freq);
    for (int i = 0; i < ROWS; i++)
        pos[i] = 30 + i;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(big_alloc(bytes, &pages[i]), OK);
        struct tensor all = tensor_3d(x[i], DT_F32, ROWS, WIDTH, dim), t[3] = {all, all, all};
        t[0].shape[1] = HQ, t[1].shape[1] = t[2].shape[1] = HKV;
        t[1].data = x[i] + HQ * dim, t[2].data = x[i] + (HQ + HKV) * dim;
        view.base = pages[i];
        struct op_rope_kv a = {
            .q = t[0],
            .k = t[1],
            .v = t[2],
            .q_norm = tensor_1d(norm, DT_F32, dim),
            .k_norm = tensor_1d(norm, DT_F32, dim),
            .eps = 1e-6f,
            .r = {.rows = ROWS, .seqs = 1, .pos = pos, .row_seq = row_seq, .seq_slot = &slot},
            .inv_freq = inv_freq,
            .n_freq = n_freq,
            .neox = neox,
            .factor = 1.25f,
            .kv = view};
        if (i == 1) {
            assert_true(fast_rope_kv(f, &a));
            break;
        }
        struct op_rmsnorm nq = {a.q, a.q_norm, a.q, a.eps, NULL},
                          nk = {a.k, a.k_norm, a.k, a.eps, NULL};
        struct op_rope rq = {a.q, a.r, inv_freq, n_freq, neox, a.factor}, rk = rq;
        struct op_kv_write w = {a.k, a.v, a.r, view};
        rk.x = a.k;
        naive_rmsnorm(&nq, 0, naive_rmsnorm_items(&nq));
        naive_rmsnorm(&nk, 0, naive_rmsnorm_items(&nk));
        naive_rope(&rq, 0, ROWS);
        naive_rope(&rk, 0, ROWS);
        naive_kv_write(&w, 0, ROWS);
    }
    assert_memory_equal(x[0], x[1], n * 4);
    assert_memory_equal(pages[0], pages[1], bytes);
    big_free(pages[0], bytes), big_free(pages[1], bytes);
    xfree(x[0]), xfree(x[1]);
}

static void test_rope(void **st)
{
    struct fast f;

    (void)st;
    for (int i = 0; i < N_ISAS; i++) {
        if (!isa_select(isas[i]))
            continue;
        assert_int_equal(fast_open(&f, 2, isas[i]), OK);
        for (int c = 0; c < 16; c++) /* the cache is met with other sizes and again */
            check_rope(&f, types[c % 3], c & 2, c & 4 ? 64 : 80, c & 4 ? 32 : c & 8 ? 40 : 13);
        fast_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes), cmocka_unit_test(test_variants), cmocka_unit_test(test_long),
        cmocka_unit_test(test_rows),   cmocka_unit_test(test_rope),
    };
    for (int i = 0; i < N_ISAS; i++)
        if (!isa_select(isas[i]))
            printf("SKIP this CPU has no %s\n", isas[i]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
