/* test_linear.c - linear over panels on every ISA and thread count against the definition on plain
 * rows (naive_linear.c): equal bits, for every weight type, odd sizes and extreme values. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/naive.h"
#include "kernels/half.h"
#include "kernels/quant/nf4.h"
#include "tests/support/test.h"

static const enum dtype types[] = {
    DT_F32,    DT_F16,   DT_BF16,    DT_F64,   DT_I8,     DT_I16,    DT_I32,   DT_I64,
    DT_Q8_0,   DT_Q8_1,  DT_Q4_0,    DT_Q4_1,  DT_Q5_0,   DT_Q5_1,   DT_Q1_0,  DT_Q2_0,
    DT_Q2_K,   DT_Q3_K,  DT_Q4_K,    DT_Q5_K,  DT_Q6_K,   DT_IQ1_S,  DT_IQ1_M, DT_IQ2_XXS,
    DT_IQ2_XS, DT_IQ2_S, DT_IQ3_XXS, DT_IQ3_S, DT_IQ4_NL, DT_IQ4_XS, DT_TQ1_0, DT_TQ2_0,
    DT_MXFP4,  DT_NVFP4, DT_F8_E4M3, DT_NF4,   DT_Q8_K,
};
static const char *const isas[] = {"scalar", "avx2", "avx512", "avx512bf16"};
enum { N_TYPES = sizeof types / sizeof *types, N_ISAS = 4, M_MAX = 130 };

static uint64_t state = 1;

static uint32_t random32(void) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1du >> 32);
}

static float random_float(void) /* about normal, with outliers */
{
    float f = 0;

    for (int i = 0; i < 4; i++)
        f += (float)random32() * 0x1p-32f - 0.5f;
    return random32() % 61 == 0 ? f * 30 : f;
}

/* A scale: mostly ordinary; sometimes 0, subnormal or negative. */
static uint16_t random_scale(void)
{
    uint32_t r = random32();

    if (r % 16 == 0)
        return 0;
    if (r % 16 == 1)
        return (uint16_t)(r >> 8 & 0x3ff);
    return half_to_f16((r % 16 == 2 ? -1 : 1) * (0.005f + (float)(r >> 8) * 0x1p-30f));
}

/* How many f16 scales a block has and where the first is; NVFP4's scales are any bytes. */
static const struct {
    int n, at;
} scales[N_DTYPE] = {
    [DT_Q8_0] = {1, 0},   [DT_Q8_1] = {2, 0},    [DT_Q4_0] = {1, 0},    [DT_Q4_1] = {2, 0},
    [DT_Q5_0] = {1, 0},   [DT_Q5_1] = {2, 0},    [DT_Q1_0] = {1, 0},    [DT_Q2_0] = {1, 0},
    [DT_Q2_K] = {2, 80},  [DT_Q3_K] = {1, 108},  [DT_Q4_K] = {2, 0},    [DT_Q5_K] = {2, 0},
    [DT_Q6_K] = {1, 208}, [DT_IQ1_S] = {1, 0},   [DT_IQ2_XXS] = {1, 0}, [DT_IQ2_XS] = {1, 0},
    [DT_IQ2_S] = {1, 0},  [DT_IQ3_XXS] = {1, 0}, [DT_IQ3_S] = {1, 0},   [DT_IQ4_NL] = {1, 0},
    [DT_IQ4_XS] = {1, 0}, [DT_TQ1_0] = {1, 52},  [DT_TQ2_0] = {1, 64},
};

static void random_number(enum dtype t, uint8_t *p)
{
    float f = random_float();
    int64_t i = (int32_t)random32();
    double d = (double)f * (1 + 0x1p-30 * (double)i);
    uint16_t h = t == DT_F16 ? half_to_f16(f) : half_to_bf16(f);
    bool whole = t == DT_I8 || t == DT_I16 || t == DT_I32 || t == DT_I64;

    memcpy(p,
           whole         ? (void *)&i
           : t == DT_F64 ? (void *)&d
           : t == DT_F32 ? (void *)&f
                         : (void *)&h,
           (size_t)dtype_info(t)->bytes);
}

/* A row of `n` weights: random bytes everywhere, so all quants incl. -128 occur; scales sane. */
static void random_row(enum dtype t, uint8_t *p, int64_t n)
{
    const struct dtype_info *info = dtype_info(t);

    for (int64_t b = 0; b < n / info->block; b++, p += info->bytes) {
        uint16_t h = random_scale();
        if (info->block == 1) {
            random_number(t, p);
            continue;
        }
        for (int i = 0; i < info->bytes; i++)
            p[i] = (uint8_t)(random32() >> 11);
        for (int i = 0; i < scales[t].n; i++, h = random_scale())
            memcpy(p + scales[t].at + 2 * i, &h, 2);
        for (int i = 0; t == DT_IQ1_M && i < 4; i++) /* its f16 lies in four pieces */
            p[49 + 2 * i] = (uint8_t)((p[49 + 2 * i] & 15) | (h >> 4 * i & 15) << 4);
        if (t == DT_F8_E4M3 || t == DT_NF4 || t == DT_Q8_K)
            memcpy(p, &(float){random_float()}, sizeof(float));
        if (t == DT_MXFP4) /* subnormal weights are 0 to the pool's threads, so none here */
            p[0] = (uint8_t)(random32() % 16 == 0 ? 60 : 118 + random32() % 12);
    }
}

struct matrix {
    struct tensor part[3]; /* stacked along N */
    struct tensor rows;    /* the same bytes in one piece */
    void *bytes;
};

static struct matrix matrix_new(enum dtype t, int64_t n, int64_t k)
{
    size_t row = dtype_row_bytes(t, k);
    struct matrix m = {.bytes = xmalloc(row * (size_t)n)};

    m.rows = tensor_2d(m.bytes, t, n, k);
    for (int64_t i = 0; i < n; i++)
        random_row(t, tensor_row(&m.rows, i), k);
    int64_t a = n / 3, b = n / 2;
    m.part[0] = tensor_rows(m.rows, 0, a);
    m.part[1] = tensor_rows(m.rows, a, b - a);
    m.part[2] = tensor_rows(m.rows, b, n - b);
    return m;
}

static void *packed(struct fast *f, const struct matrix *m, struct tensor *out)
{
    size_t bytes;

    assert_true(
        fast_packs(f, (enum dtype)m->rows.dtype, m->rows.shape[0], m->rows.shape[1], &bytes));
    assert_int_equal(big_alloc(bytes, &out->data), OK);
    memset(out->data, 0xff, bytes); /* padding must not rely on zeroed memory */
    fast_pack(f, &(struct pack_item){m->part, 3, NULL, out}, 1);
    return out->data;
}

static void opened(struct fast *f, const char *isa, int threads)
{
    assert_int_equal(fast_open(f, threads, isa), OK);
}

static bool same(const float *a, const float *b, int64_t n, float tolerance)
{
    if (tolerance == 0)
        return memcmp(a, b, (size_t)n * sizeof *a) == 0;
    float top = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        top = fmaxf(top, fabsf(a[i]));
        worst = fmaxf(worst, fabsf(a[i] - b[i]));
    }
    return worst <= tolerance * top;
}

static void fill(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = random_float();
}

/* The weights that the kernel of pairs takes for those of nf4: values rounded to bf16. */
static float *nf4_rounded(const struct tensor *rows)
{
    int64_t n = rows->shape[0], k = rows->shape[1];
    float *out = xmalloc(sizeof *out * (size_t)(n * k)), d;

    for (int64_t r = 0, i = 0; r < n; r++) {
        const uint8_t *p = tensor_row(rows, r);
        for (int64_t c = 0; c < k; c++, i++) {
            const uint8_t *b = p + c / NF4_BLOCK * NF4_BYTES;
            memcpy(&d, b, sizeof d);
            float v = nf4_value[b[4 + c % NF4_BLOCK / 2] >> c % 2 * 4 & 15];
            out[i] = d * half_bf16(half_to_bf16(v));
        }
    }
    return out;
}

/* What the definition makes of a case, once for all ISAs: a case always has the same numbers. */
static const float *defined(const struct op_linear *a, enum dtype t, int64_t n, int64_t k)
{
    static struct {
        enum dtype t;
        int64_t n, k;
        float *y;
    } known[512];
    static int n_known;

    for (int i = 0; i < n_known; i++)
        if (known[i].t == t && known[i].n == n && known[i].k == k)
            return known[i].y;
    assert_true(n_known < 512);
    known[n_known].t = t;
    known[n_known].n = n;
    known[n_known].k = k;
    known[n_known].y = a->y.data;
    naive_linear(a, 0, naive_linear_items(a));
    return known[n_known++].y;
}

/* A product of M_MAX rows, into rows wider than N, and what it must be. */
struct trial {
    enum dtype t;
    const char *isa;
    int threads;
    int64_t n, k, wide;
    bool floats, pairs;           /* codes of floats; multiplied as pairs of bf16 */
    float *x, *bias, *want, *got; /* want, got: `wide` numbers a row */
    struct op_linear a;
};

static void fill_x(struct trial *c)
{
    fill(c->x, M_MAX * c->k);
    fill(c->bias, c->n);
    memset(c->x + c->k, 0, (size_t)c->k * sizeof *c->x); /* a row of zeros */
    c->x[0] = 1e30f;
    c->x[2 * c->k] = 1e-35f; /* a group whose maximum is too small to divide by */
    for (int i = 1; i < 32 && i < c->k; i++)
        c->x[2 * c->k + i] = 0;
    for (int i = 0; c->pairs && c->floats && i < M_MAX * c->k; i++)
        c->x[i] = half_bf16(half_to_bf16(c->x[i]));
}

static void define(struct trial *c, const struct tensor *rows)
{
    size_t size = (size_t)(M_MAX * c->wide);
    float *rounded = NULL;

    c->a.w = *rows;
    c->a.y.data = c->want;
    if (c->pairs && c->t == DT_NF4)
        c->a.w = tensor_2d(rounded = nf4_rounded(rows), DT_F32, c->n, c->k);
    if (c->pairs && c->floats) { /* of rounded numbers, as no other */
        naive_linear(&c->a, 0, naive_linear_items(&c->a));
    } else {
        float *mine = c->a.y.data = xcalloc(size, sizeof *mine);
        const float *y = defined(&c->a, c->t, c->n, c->k);
        memcpy(c->want, y, size * sizeof *y);
        if (y != mine)
            xfree(mine);
    }
    xfree(rounded);
}

static void all_at_once(struct fast *f, struct trial *c)
{
    static const int ms[] = {1, 2, 3, 5, 8, 16, 37, 64, M_MAX};

    c->a.y.data = c->got;
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        memset(c->got, 0, sizeof *c->got * (size_t)(M_MAX * c->wide));
        c->a.x.shape[0] = c->a.y.shape[0] = ms[i];
        assert_true(fast_linear(f, &c->a));
        for (int r = 0; r < ms[i]; r++)
            if (!same(c->want + r * c->wide, c->got + r * c->wide, c->wide, c->pairs ? 1e-4f : 0))
                fail_msg("%s %s n %d k %d m %d threads %d: row %d differs", dtype_info(c->t)->name,
                         c->isa, (int)c->n, (int)c->k, ms[i], c->threads, r);
        if (i == 0 && c->pairs) /* its own sums are the reference of the other M */
            memcpy(c->want, c->got, sizeof *c->got * (size_t)c->n);
    }
}

/* The last call, of M_MAX rows, again. */
static void row_by_row(struct fast *f, struct trial *c)
{
    for (int r = 0; r < M_MAX; r += RACES_ONLY ? 13 : 1) {
        float *row = xcalloc((size_t)c->wide, sizeof *row);
        c->a.x = tensor_2d(c->x + r * c->k, DT_F32, 1, c->k);
        c->a.y.data = row;
        c->a.y.shape[0] = 1;
        fast_linear(f, &c->a);
        assert_memory_equal(row, c->got + r * c->wide, (size_t)c->wide * sizeof *row);
        xfree(row);
    }
}

/* All M at once and row after row, with bias. */
static void check_case(enum dtype t, const char *isa, int threads, int64_t n, int64_t k)
{
    struct trial c = {t, isa, threads, n, k, .wide = n + 3};
    struct tensor w = {0};
    struct fast f;
    size_t bytes = 0;

    state = (uint64_t)(t + 1) * 0x9e3779b97f4a7c15u + (uint64_t)(n << 20) + (uint64_t)k;
    opened(&f, isa, threads);
    struct matrix m = matrix_new(t, n, k);
    void *panels = packed(&f, &m, &w);
    fast_packs(&f, t, n, k, &bytes);
    c.floats = t == DT_F8_E4M3 || t == DT_NF4;
    c.pairs = (t == DT_BF16 || c.floats) && !strcmp(isa, "avx512bf16");
    c.x = xmalloc(sizeof *c.x * M_MAX * (size_t)k);
    c.bias = xmalloc(sizeof *c.bias * (size_t)n);
    c.want = xcalloc((size_t)(M_MAX * c.wide), sizeof *c.want);
    c.got = xcalloc((size_t)(M_MAX * c.wide), sizeof *c.got);
    fill_x(&c);
    c.a.x = tensor_2d(c.x, DT_F32, M_MAX, k);
    c.a.bias = tensor_1d(c.bias, DT_F32, n);
    c.a.y = tensor_2d(c.want, DT_F32, M_MAX, n);
    c.a.y.stride[0] = c.wide * 4;
    define(&c, &m.rows);
    c.a.w = w;
    all_at_once(&f, &c);
    row_by_row(&f, &c);
    xfree(c.x), xfree(c.bias), xfree(c.want), xfree(c.got), xfree(m.bytes);
    big_free(panels, bytes);
    fast_close(&f);
}

enum { TYPE_STEP = RACES_ONLY ? 10 : 1 };

static void check_isa(const char *isa)
{
    static const int64_t sizes[][2] = {{16, 256}, {48, 512}, {21, 768}, {130, 256}, {1, 256}};
    static const int64_t odd[][2] = {{40, 32}, {17, 96}, {64, 160}, {7, 352}};
    static const int64_t plain[][2] = {{18, 1}, {33, 7}, {5, 31}};

    if (!isa_select(isa))
        SKIP("this CPU has no %s", isa);
    for (int t = 0; t < N_TYPES; t += TYPE_STEP) {
        int block = dtype_info(types[t])->block;
        for (int i = 0; i < 5; i++)
            check_case(types[t], isa, 1 + i % 4, sizes[i][0], sizes[i][1]);
        for (int i = 0; i < 4 && block <= 32; i++)
            check_case(types[t], isa, 1 + i % 3, odd[i][0], odd[i][1]);
        if (block == 64 || block == 128) /* half a step of the panels, and K short of one */
            check_case(types[t], isa, 2, 24, 3 * block);
        for (int i = 0; i < 3 && block == 1; i++)
            check_case(types[t], isa, 2, plain[i][0], plain[i][1]);
    }
}

static void test_scalar(void **s)
{
    (void)s;
    check_isa("scalar");
}

static void test_avx2(void **s)
{
    (void)s;
    check_isa("avx2");
}

static void test_avx512(void **s)
{
    (void)s;
    check_isa("avx512");
}

static void test_avx512bf16(void **s)
{
    (void)s;
    check_isa("avx512bf16");
}

/* Enough panels for many chunks, long K, more rows than are packed at a time. */
static void test_large(void **s)
{
    (void)s;
    for (int isa = 1; isa < (RACES_ONLY ? 2 : N_ISAS); isa++)
        for (int t = 0; isa_select(isas[isa]) && t < N_TYPES; t += TYPE_STEP)
            check_case(types[t], isas[isa], 2, 400, 1280);
}

/* A packed table gives the same floats as its rows, incl. the sign of zero. */
static void test_embed(void **s)
{
    enum { N = 37, K = 512 };
    struct fast f;
    float want[K], got[K];

    (void)s;
    opened(&f, "scalar", 2);
    for (int t = 0; t < N_TYPES; t++) {
        struct matrix m = matrix_new(types[t], N, K);
        struct tensor w = {0};
        size_t bytes;
        void *panels = packed(&f, &m, &w);
        fast_packs(&f, types[t], N, K, &bytes);
        for (int32_t r = 0; r < N; r++) {
            int32_t pos = 0, seq = 0;
            struct op_embed a = {.table = w,
                                 .r = {.rows = 1, .seqs = 1, .pos = &pos, .row_seq = &seq},
                                 .token = &r,
                                 .y = tensor_2d(got, DT_F32, 1, K),
                                 .scale = 1};
            assert_true(fast_embed(&f, &a));
            dtype_decode(types[t], tensor_row(&m.rows, r), want, K);
            assert_memory_equal(got, want, sizeof want);
        }
        xfree(m.bytes);
        big_free(panels, bytes);
    }
    fast_close(&f);
}

/* act of every ISA makes the bytes of act_pack. */
static void test_act(void **s)
{
    enum { K = 352 };
    static _Alignas(64) uint8_t want[K * 4 + 64], got[K * 4 + 64];
    float x[K];

    (void)s;
    for (int isa = 0; isa < N_ISAS; isa++) {
        const struct cpu_isa *table = isa_select(isas[isa]);
        for (int t = 0; table && t < N_TYPES; t++)
            for (int i = 0; i < 200 && dtype_info(types[t])->block <= 32; i++) {
                fill(x, K);
                x[i] *= i % 3 == 0 ? 0 : 1e20f;
                memset(want, 0, sizeof want);
                memset(got, 0, sizeof got);
                act_pack(types[t], x, K, want);
                table->act(types[t], x, K, got);
                assert_memory_equal(want, got, sizeof want);
            }
    }
}

/* A companion scale: as if every sum had been multiplied by it before the bias; then what is to be
 * added, which may be y. */
static void test_global(void **s)
{
    enum { M = 5, N = 37, K = 128 };
    const struct quant quant = {.global = 0.37f};
    float x[M * K], bias[N], add[M * N], plain[M * N], want[M * N], got[M * N];
    struct op_linear a = {.x = tensor_2d(x, DT_F32, M, K), .y = tensor_2d(plain, DT_F32, M, N)};
    struct fast f;

    (void)s;
    fill(x, M * K);
    fill(bias, N);
    fill(add, M * N);
    for (int t = 0; t < 2; t++) {
        struct matrix m = matrix_new(t ? DT_NVFP4 : DT_Q8_0, N, K);
        a.w = m.rows;
        a.bias = a.add = (struct tensor){.data = NULL};
        a.y.data = plain;
        naive_linear(&a, 0, naive_linear_items(&a));
        a.w.q = &quant;
        a.bias = tensor_1d(bias, DT_F32, N);
        a.add = tensor_2d(add, DT_F32, M, N);
        a.y.data = want;
        naive_linear(&a, 0, naive_linear_items(&a));
        for (int i = 0; i < M * N; i++)
            assert_true(want[i] == plain[i] * quant.global + bias[i % N] + add[i]);
        for (int isa = 0; isa < N_ISAS; isa++) {
            struct tensor w = {0};
            size_t bytes;
            if (!isa_select(isas[isa]))
                continue;
            opened(&f, isas[isa], 2);
            void *panels = packed(&f, &m, &w);
            fast_packs(&f, (enum dtype)m.rows.dtype, N, K, &bytes);
            struct op_linear b = a;
            b.w = w;
            b.w.q = &quant;
            b.y.data = got;
            assert_true(fast_linear(&f, &b));
            assert_memory_equal(got, want, sizeof got);
            memcpy(got, add, sizeof got);
            b.add.data = got;
            assert_true(fast_linear(&f, &b));
            assert_memory_equal(got, want, sizeof got);
            big_free(panels, bytes);
            fast_close(&f);
        }
        xfree(m.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar), cmocka_unit_test(test_avx2),
        cmocka_unit_test(test_avx512), cmocka_unit_test(test_avx512bf16),
        cmocka_unit_test(test_large),  cmocka_unit_test(test_embed),
        cmocka_unit_test(test_act),    cmocka_unit_test(test_global),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
