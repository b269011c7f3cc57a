/* The naive definitions against numpy in double precision (tests/tools/gen_ops.py). */
#include "kernels/cpu/naive.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/exp2.h"
#include "kernels/cpu/page.h"
#include "kernels/kv_type.h"
#include "kernels/quant/f8_e4m3.h"
#include "tests/support/fixture.h"
#include "tests/support/test.h"

static struct fixture fx;

static int load(void **state)
{
    (void)state;
    fixture_load(&fx, "tests/data/kernels/ops.bin");
    return 0;
}

static int drop(void **state)
{
    (void)state;
    fixture_clear(&fx);
    return 0;
}

/* max |got - want| <= tol * max |want| */
static void near(const float *got, const double *want, int64_t n, double tol)
{
    double worst = 0, top = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - want[i]);
        worst = e > worst || isnan(e) ? e : worst;
        top = fabs(want[i]) > top ? fabs(want[i]) : top;
    }
    if (!(worst <= tol * top))
        print_error("off by %g of %g\n", worst, top);
    assert_true(worst <= tol * top);
}

static const double *want_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const double *want_of(const char *fmt, ...)
{
    char name[64];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return fixture_f64(&fx, name);
}

static void *borrow(const char *name)
{
    return (void *)(uintptr_t)fixture_f32(&fx, name);
}

static void test_rmsnorm(void **state)
{
    (void)state;
    float y[5 * 40], wide[5][50];
    int32_t live = 3;
    struct op_rmsnorm a = {tensor_2d(borrow("norm.x"), DT_F32, 5, 40),
                           tensor_1d(borrow("norm.w"), DT_F32, 40), tensor_2d(y, DT_F32, 5, 40),
                           1e-5f, NULL};
    naive_rmsnorm(&a, 0, naive_rmsnorm_items(&a));
    near(y, want_of("norm.y"), 200, 3e-7);
    a.live = &live;
    assert_int_equal(naive_rmsnorm_items(&a), 3);

    /* The same rows as heads of a wider row, in place. */
    for (int r = 0; r < 5; r++)
        memcpy(wide[r], fixture_f32(&fx, "norm.x") + 40 * r, 160);
    struct tensor all = tensor_2d(wide, DT_F32, 5, 50);
    a.x = a.y = tensor_heads(tensor_cols(all, 0, 40), 1, 40);
    a.live = NULL;
    naive_rmsnorm(&a, 0, naive_rmsnorm_items(&a));
    for (int r = 0; r < 5; r++)
        assert_memory_equal(wide[r], y + 40 * r, 160);
}

static void test_linear(void **state)
{
    (void)state;
    for (int t = 0; t < N_DTYPE; t++) {
        const struct dtype_info *type = dtype_info((enum dtype)t);
        if (!type->decode || type->gguf < 0) /* the others: test_linear, and engine/test_hf */
            continue;
        char name[40];
        float y[5][20], one[19];
        snprintf(name, sizeof name, "linear.%s.w", type->name);
        struct tensor w =
            tensor_2d((void *)(uintptr_t)fixture_u8(&fx, name), (enum dtype)t, 19, 512);
        struct tensor x = tensor_2d(borrow("linear.x"), DT_F32, 5, 512);
        struct op_linear a = {x,
                              w,
                              tensor_1d(borrow("linear.bias"), DT_F32, 19),
                              {0},
                              tensor_cols(tensor_2d(y, DT_F32, 5, 20), 0, 19),
                              NULL};
        assert_int_equal(fixture_get(&fx, name, "u1")->shape[1], w.stride[0]);
        naive_linear(&a, 0, naive_linear_items(&a));
        for (int r = 0; r < 5; r++) {
            near(y[r], want_of("linear.%s.y", type->name) + 19 * r, 19, 3e-6);
            struct op_linear b = {tensor_rows(x, r, 1),          w,   a.bias, {0},
                                  tensor_2d(one, DT_F32, 1, 19), NULL};
            naive_linear(&b, 0, 1); /* two tiles, in two parts */
            naive_linear(&b, 1, 2);
            assert_memory_equal(one, y[r], sizeof one);
        }
    }
}

static void test_rope(void **state)
{
    (void)state;
    static const int32_t zero[4];
    for (int neox = 0; neox < 2; neox++) {
        float x[4 * 3 * 16];
        memcpy(x, fixture_f32(&fx, "rope.x"), sizeof x);
        struct op_rope a = {tensor_3d(x, DT_F32, 4, 3, 16),
                            {.rows = 4,
                             .seqs = 1,
                             .pos = fixture_i32(&fx, "rope.pos"),
                             .row_seq = zero,
                             .seq_slot = zero},
                            borrow("rope.freq"),
                            6,
                            neox,
                            1.25f};
        naive_rope(&a, 0, naive_rope_items(&a));
        near(x, want_of("rope.%s", neox ? "neox" : "pair"), 192, 2e-7);
    }
}

/* Pages of 3 slots in an order of their own; sequence i of the fixture is in slot 2 - i. */
enum { SEQS = 3, LEN = 152, PAGES = 12 };

struct paged {
    struct kv_view kv;
    int32_t table[SEQS * PAGES];
    char *base;
};

static void paged_init(struct paged *p, enum dtype t, int dim, int tokens)
{
    memset(p, 0, sizeof *p);
    for (int i = 0; i < SEQS * PAGES; i++)
        p->table[i] = i * 7 % (SEQS * PAGES);
    p->kv = (struct kv_view){.dtype = (uint8_t)t,
                             .page_tokens = tokens,
                             .n_head = 2,
                             .head_dim = dim,
                             .table = p->table,
                             .table_stride = PAGES};
    p->kv.page_bytes = kv_page_bytes(t, 2, tokens, dim);
    p->base = xcalloc(SEQS * PAGES, (size_t)p->kv.page_bytes);
    memset(p->base, 0xff, SEQS * PAGES * (size_t)p->kv.page_bytes); /* NaN where nothing is */
    p->kv.base = p->base;
}

static void store_all(struct paged *p)
{
    static const int32_t slot[] = {2, 1, 0};
    int32_t pos[LEN], seq[LEN];
    for (int s = 0; s < SEQS; s++) {
        for (int i = 0; i < LEN; i++) {
            pos[i] = i;
            seq[i] = s;
        }
        /* [LEN, 2, 32] of the fixture, the first head_dim elements of each head */
        struct tensor k = tensor_3d((float *)borrow("attn.k") + s * LEN * 64, DT_F32, LEN, 2, 32);
        struct tensor v = tensor_3d((float *)borrow("attn.v") + s * LEN * 64, DT_F32, LEN, 2, 32);
        struct op_kv_write a = {
            tensor_cols(k, 0, p->kv.head_dim),
            tensor_cols(v, 0, p->kv.head_dim),
            {.rows = LEN, .seqs = SEQS, .pos = pos, .row_seq = seq, .seq_slot = slot},
            p->kv};
        naive_kv_write(&a, 0, naive_kv_write_items(&a));
    }
}

struct attn_case {
    const char *name;
    enum dtype type;
    int window;
    float softcap;
    bool sinks, span;
    double tol;
};

static void attn_one(const struct attn_case *c, int dim, int tokens)
{
    static const int32_t slot[] = {2, 1, 0};
    struct paged p;
    float y[6 * 6 * 32], one[6 * 32];
    paged_init(&p, c->type, dim, tokens);
    store_all(&p);
    p.kv.window = c->window;
    struct tensor q = tensor_cols(tensor_3d(borrow("attn.q"), DT_F32, 6, 6, 32), 0, dim);
    struct op_attention a = {.q = q,
                             .kv = p.kv,
                             .scale = 0.25f,
                             .softcap = c->softcap,
                             .r = {.rows = 6,
                                   .seqs = SEQS,
                                   .pos = fixture_i32(&fx, "attn.pos"),
                                   .row_seq = fixture_i32(&fx, "attn.seq"),
                                   .seq_slot = slot,
                                   .span = c->span ? fixture_i32(&fx, "attn.span") : NULL},
                             .y = tensor_3d(y, DT_F32, 6, 6, dim)};
    if (c->sinks)
        a.sinks = tensor_1d(borrow("attn.sinks"), DT_F32, 6);
    naive_attention(&a, 0, naive_attention_items(&a));
    near(y, want_of("attn.%d.%s", dim, c->name), 36 * dim, c->tol);
    for (int r = 0; r < 6; r++) { /* a row alone */
        struct op_attention b = a;
        b.q = tensor_rows(a.q, r, 1);
        b.y = tensor_3d(one, DT_F32, 1, 6, dim);
        b.r.rows = 1;
        b.r.pos += r;
        b.r.row_seq += r;
        b.r.span = c->span ? a.r.span + r : NULL;
        naive_attention(&b, 0, naive_attention_items(&b));
        assert_memory_equal(one, y + r * 6 * dim, (size_t)dim * 24);
    }
    xfree(p.base);
}

static void test_attention(void **state)
{
    (void)state;
    static const struct attn_case cases[] = {
        {"plain", DT_F32, 0, 0, false, false, 2e-6},
        {"window", DT_F32, 40, 0, false, false, 2e-6},
        {"softcap", DT_F32, 0, 3, false, false, 2e-6},
        {"sinks", DT_F32, 0, 0, true, false, 2e-6},
        {"span", DT_F32, 0, 0, false, true, 2e-6},
        {"all", DT_F32, 100, 3, true, true, 2e-6},
        {"bf16", DT_BF16, 0, 0, false, false, 1e-2},       /* q and p rounded to 8 bits */
        {"plain", DT_F8_E4M3, 0, 0, false, false, 1.2e-1}, /* keys and values to 4 */
        {"all", DT_F8_E4M3, 100, 3, true, true, 1.2e-1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        attn_one(&cases[i], 32, 16); /* panel form */
        attn_one(&cases[i], 20, 16); /* plain order */
        attn_one(&cases[i], 32, 24); /* pages that do not divide blocks of 64 */
    }
}

/* fp8 pages: codes are the nearest there are, found here by search, times a power of two that
 * brings the largest into (224, 448]; and what a page takes. */
static void test_fp8(void **state)
{
    enum { DIM = 24, TOKENS = 4 };
    static const float tops[] = {1, 448, 449, 224, 3e-5f, 57000, 1e-38f, 0};
    char half[TOKENS * (DIM + 1)];
    struct kv_view kv = {.dtype = DT_F8_E4M3, .page_tokens = TOKENS, .head_dim = DIM};
    (void)state;
    assert_int_equal(kv_page_bytes(DT_F8_E4M3, 3, TOKENS, DIM), 3 * 2 * sizeof half);
    assert_int_equal(kv_page_bytes(DT_BF16, 3, TOKENS, DIM), 3 * TOKENS * 2 * DIM * 2);
    for (size_t i = 0; i < sizeof tops / sizeof *tops; i++) {
        int t = (int)i % TOKENS;
        float x[DIM];
        for (int d = 0; d < DIM; d++)
            x[d] = tops[i] * (d % 2 ? 1 : -1) * expf(-0.6f * (float)d) * (d == 7 ? 0 : 1);
        naive_put_fp8(&kv, half, t, x);
        float by = ldexpf(1, (uint8_t)half[TOKENS * DIM + t] - 127);
        assert_true(tops[i] <= 448 * by && (tops[i] > 224 * by || tops[i] < 1e-30f));
        for (int d = 0; d < DIM; d++) {
            float v = f8_e4m3_value((uint8_t)half[t * DIM + d]), off = fabsf(v * by - x[d]);
            for (int c = 0; c < 256; c++)
                assert_true(c % 128 == 127 || off <= fabsf(f8_e4m3_value(c) * by - x[d]));
        }
    }
    enum dtype type = DT_F32;
    assert_int_equal(kv_type_read("fp8", &type), OK);
    assert_int_equal(type, DT_F8_E4M3);
    assert_int_equal(kv_type_read("q8_0", &type), ERR_INVALID);
    assert_non_null(strstr(fail_text(), KV_TYPES));
    assert_null(kv_type_name(DT_F16));
}

/* Every element of a page has a place of its own. */
static void test_page_order(void **state)
{
    (void)state;
    for (int dim = 8; dim <= 256; dim += 8) {
        for (int t = 0; t < 3; t++) {
            static const uint8_t types[] = {DT_BF16, DT_F32, DT_F8_E4M3};
            struct kv_view kv = {.dtype = types[t], .page_tokens = 16, .head_dim = dim};
            char k[16 * 256] = {0}, v[16 * 256] = {0};
            for (int i = 0; i < 16 * dim; i++) {
                k[page_k(&kv, i / dim, i % dim)]++;
                v[page_v(&kv, i / dim, i % dim)]++;
            }
            for (int i = 0; i < 16 * dim; i++)
                assert_true(k[i] == 1 && v[i] == 1);
        }
    }
}

static void test_glu(void **state)
{
    (void)state;
    static const char *const names[] = {"silu", "gelu_tanh", "gelu_erf", "relu"};
    float y[3 * 33];
    for (int i = 0; i < 4; i++) {
        struct op_glu a = {tensor_2d(borrow("glu.x"), DT_F32, 3, 66), tensor_2d(y, DT_F32, 3, 33),
                           (enum act)i, NULL};
        naive_glu(&a, 0, naive_glu_items(&a));
        near(y, want_of("glu.%s", names[i]), 99, 5e-7);
    }
}

/* The one rounding of fmaf, also where the double sum lies half way between two floats: exactly (a
 * tie, to even), or because it was itself rounded there from above or below. */
static void test_exp2_fma(void **state)
{
    static const float half[][3] = {
        {0x1p-24f, 1, 1},
        {0x1p-24f, 1, 0x1.000002p0f},
        {0x1.0002p-24f, 0x1.fffcp-1f, 0x1.000002p0f},  /* 2^-24 - 2^-54: down, to an odd number */
        {-0x1.0002p-24f, 0x1.fffcp-1f, 0x1.000006p0f}, /* likewise up */
        {0x1.0002p-24f, -0x1.fffcp-1f, -0x1.000002p0f},
        {0x1.00002p-24f, 0x1.00002p0f, 1},
    };
    static const float c[] = EXP2_POLY;
    uint32_t random = 1, ties = 0;

    (void)state;
    for (size_t i = 0; i < sizeof half / sizeof *half; i++) {
        volatile float x = half[i][0], y = half[i][1], z = half[i][2];
        assert_true(exp2_fma(x, y, z) == fmaf(x, y, z));
        ties += (float)((double)x * (double)y + (double)z) != fmaf(x, y, z);
    }
    assert_true(ties >= 3); /* of these, rounding twice is wrong */
    for (int i = 0; i < 500000; i++) {
        float f = (float)(int32_t)(random = random * 1664525 + 1013904223) * 0x1p-32f;
        float p = c[0], q = c[0];
        for (int j = 1; j < 7; j++) {
            p = exp2_fma(p, f, c[j]);
            q = fmaf(q, f, c[j]);
        }
        assert_true(p == q);
    }
}

static void test_exp2(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = 0; i < 200000; i++) {
        float x = -126 + 253.4f * (float)i / 200000;
        double e = fabs((double)cpu_exp2(x) / exp2((double)x) - 1);
        worst = e > worst ? e : worst;
    }
    assert_true(worst < 2.4e-7);
    assert_true(cpu_exp2(0) == 1 && cpu_exp2(1) == 2 && cpu_exp2(-126) == 0x1p-126f);
    assert_true(cpu_exp2(-126.1f) == 0 && cpu_exp2(-INFINITY) == 0);
    assert_true(cpu_exp2(INFINITY) > 1e38f && cpu_exp2(1e30f) == cpu_exp2(INFINITY));
    assert_true(isnan(cpu_exp2(NAN)));
}

static void test_embed(void **state)
{
    (void)state;
    float table[4][32], rows[2][32], y[5][32];
    uint8_t packed[4][18];
    for (int i = 0; i < 4 * 32; i++)
        table[i / 32][i % 32] = (float)(i % 16 - 8) * (i / 32 + 1);
    for (int i = 0; i < 64; i++)
        rows[i / 32][i % 32] = 1000 + (float)i;
    for (int i = 0; i < 4; i++)
        dtype_info(DT_Q4_0)->encode(table[i], packed[i]);
    const int32_t token[] = {3, ~1, TOKEN_FROM_SLOT, 0, TOKEN_FROM_SLOT};
    const int32_t last[] = {9, 2, 9, 1}, seq[] = {0, 0, 1, 1, 0}, slot[] = {3, 1}, live[] = {5, 2};
    struct op_embed a = {tensor_2d(packed, DT_Q4_0, 4, 32),
                         tensor_2d(rows, DT_F32, 2, 32),
                         {.rows = 5, .seqs = 2, .live = live, .row_seq = seq, .seq_slot = slot},
                         token,
                         last,
                         tensor_2d(y, DT_F32, 5, 32),
                         2};
    naive_embed(&a, 0, naive_embed_items(&a));
    const float *want[] = {table[3], rows[1], table[2], table[0], table[1]};
    for (int r = 0; r < 5; r++)
        for (int i = 0; i < 32; i++)
            assert_true(y[r][i] == 2 * want[r][i]); /* the table is exact in q4_0 */
}

static void test_move(void **state)
{
    (void)state;
    float x[4][3] = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {10, 11, 12}}, y[3][3] = {{0}};
    const int32_t index[] = {2, 0, 3}, live = 2;
    struct op_gather g = {tensor_2d(x, DT_F32, 4, 3), tensor_2d(y, DT_F32, 3, 3), index, &live};
    naive_gather(&g, 0, naive_gather_items(&g));
    assert_true(y[0][0] == 7 && y[1][2] == 3 && y[2][0] == 0);
    const int32_t order[] = {1, 2, 0};
    struct op_columns c = {g.x, tensor_2d(y, DT_F32, 3, 3), order, &live};
    c.x.shape[0] = 3;
    naive_columns(&c, 0, naive_columns_items(&c));
    assert_true(y[0][0] == 2 && y[1][1] == 6 && y[1][2] == 4 && y[2][0] == 0);
    struct tensor t = tensor_2d(x, DT_F32, 4, 3);
    struct op_add a = {tensor_rows(t, 0, 2), tensor_rows(t, 2, 2), tensor_rows(t, 0, 2), NULL};
    naive_add(&a, 0, naive_add_items(&a));
    assert_true(x[0][0] == 8 && x[1][2] == 18 && x[2][0] == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm),    cmocka_unit_test(test_linear),
        cmocka_unit_test(test_rope),       cmocka_unit_test(test_attention),
        cmocka_unit_test(test_page_order), cmocka_unit_test(test_fp8),
        cmocka_unit_test(test_glu),        cmocka_unit_test(test_exp2_fma),
        cmocka_unit_test(test_exp2),       cmocka_unit_test(test_embed),
        cmocka_unit_test(test_move),
    };
    return cmocka_run_group_tests(tests, load, drop);
}
