/* test_gpu_cost.c - the cost model: values worked out by hand, and what must hold for every
 * built-in config and every format: choices are legal, no other tile is cheaper, splits do not
 * depend on the number of rows, no cost is below the bound. */
#include "kernels/gpu/cost.h"

#include <math.h>
#include <string.h>

#include "kernels/gpu/registry.h"
#include "kernels/gpu/select.h"
#include "tests/support/test.h"

static struct arena arena;
static struct gpu_config *all;
static int n_all;

static const struct {
    int64_t n, k;
} weights[] = {{16, 64},     {896, 896},    {4864, 896},   {896, 4864},
               {6144, 4096}, {4096, 14336}, {28672, 4096}, {151936, 896}};
static const int rows[] = {1, 3, 8, 17, 64, 65, 200, 512, 2048};
#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

static int open_all(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return gpu_builtins(&arena, &all, &n_all) != OK;
}

static int close_all(void **state)
{
    (void)state;
    arena_clear(&arena);
    return 0;
}

/* Ten multiprocessors, 100 GB/s, 1 TB/s of L2, 1 TFLOP/s; kernels reach half, launches take 3 us
 * and 1 more with splits; 1 us of latency. */
static struct gpu_config simple(void)
{
    struct gpu_config c = {.id = "simple", .name = "simple", .mhz = 1000};
    c.match = (struct gpu_match){.cc = {80}, .n_cc = 1, .sm = 10};
    c.ceil = (struct gpu_ceil){100, 100, 1000, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0};
    for (int i = 0; i < N_GPU_KERNEL; i++)
        c.eff[i] = (struct gpu_eff){0.5, 0.5, 3, 1};
    for (int i = 0; i <= GPU_SKINNY_ANY; i++)
        c.skinny_max_m[i] = 64;
    return c;
}

static void near(double got, double want)
{
    if (fabs(got - want) > 1e-9 * want)
        fail_msg("%.9f, worked out as %.9f", got, want);
}

static void test_by_hand(void **state)
{
    struct gpu_config c = simple();
    struct gpu_shape s = {DT_BF16, 8, 6400, 640};
    struct gpu_params p = {GPU_PATH_SKINNY, 1, 1, 4, 1, NULL};
    (void)state;
    /* 400 x 10 tiles of 2048 bytes and 4 x 8 x (640 + 6400) of x and y: 8,417,280 bytes at 50,000
     * a microsecond. 100 blocks, 40 at once, of 3/4 x 36,864 bytes: more than 100,000 in flight.
     * 2 x 8 x 6400 x 640 operations at 500,000 a microsecond: 131.072. */
    near(gpu_cost(&c, &s, &p), 8417280 / 50000.0 + 3);
    near(gpu_bound(&c, &s), 8417280 / 100000.0);
    /* One of 64 rows: 8 passes' worth of products, 8 x 131.072; the weights are read once. */
    s.m = 64;
    p = (struct gpu_params){GPU_PATH_SKINNY, 8, 2, 4, 1, NULL};
    near(gpu_cost(&c, &s, &p), 8 * 131.072 + 3);
    /* Two splits: 2 x 50 blocks, the products take as long; and 1 us more. */
    p.splits = 2;
    near(gpu_cost(&c, &s, &p), 8 * 131.072 + 3 + 1);
    /* Seven blocks on ten multiprocessors: products at 7/10 of the rate. */
    s = (struct gpu_shape){DT_BF16, 8, 448, 6400};
    p = (struct gpu_params){GPU_PATH_SKINNY, 1, 1, 4, 1, NULL};
    double bytes = 28 * 100 * 2048 + 4 * 8 * (6400 + 448), flight = 7 * 27648.0;
    assert_true(flight > 100000);
    near(gpu_cost(&c, &s, &p), fmax(bytes / 50000, 2.0 * 8 * 448 * 6400 / (500000 * 0.7)) + 3);
    /* cuBLASLt: 64 rows at least; blocks are decoded before. */
    s = (struct gpu_shape){DT_Q8_0, 100, 640, 640};
    p.path = GPU_PATH_DEQUANT_LT;
    double product = 2.0 * 128 * 640 * 640 / 500000, decode = 40 * 10 * 1088 + 640 * 640 * 2;
    near(gpu_cost(&c, &s, &p), product + 3 + decode / 50000 + 3);
    p.path = GPU_PATH_PLAIN;
    s = (struct gpu_shape){DT_F32, 9, 64, 64};
    near(gpu_cost(&c, &s, &p), (2 * 64 * 64 * 4 + 4 * 9 * 128) / 50000.0 + 3);
}

static bool is_weight(int w)
{
    return w == DT_F32 || gpu_skinny_of((enum dtype)w) != GPU_PLAIN;
}

static void check_choice(const struct gpu_config *c, const struct gpu_shape *s, bool lt)
{
    struct gpu_params p = gpu_choose(c, s, lt);
    double cost = gpu_cost(c, s, &p);
    int cc = c->match.cc[0];
    if (gpu_legal(cc, s->w, &p) != OK)
        fail_msg("%s, %s: %s", c->id, dtype_info(s->w)->name, fail_text());
    assert_true(cost > 0 && isfinite(cost) && cost >= gpu_bound(c, s));
    if (p.path != GPU_PATH_SKINNY)
        return;
    assert_int_equal(p.splits, gpu_splits(c, s->w, s->n, s->k));
    for (int i = 0; i < gpu_n_tiles(); i++) {
        struct gpu_params other = {GPU_PATH_SKINNY, gpu_tiles[i].nt, gpu_tiles[i].r,
                                   p.stages,        p.splits,        NULL};
        if (s->m <= GPU_LARGE_M || p.splits == 1)
            assert_true(gpu_cost(c, s, &other) >= cost);
    }
    if (s->m > GPU_LARGE_M && p.splits > 1) /* folding is built for one tile */
        assert_true(p.nt == 8 && p.r == 2);
}

static void test_every_choice(void **state)
{
    (void)state;
    for (int i = 0; i < n_all; i++) {
        if (all[i].unsupported || all[i].match.n_cc == 0)
            continue;
        for (int w = 0; w < N_DTYPE; w++)
            for (int j = 0; j < COUNT(weights) && is_weight(w); j++) {
                /* every kind of kernel for all, every format for a few */
                if (i % 8 && w > DT_Q6_K)
                    continue;
                for (int m = 0; m < COUNT(rows); m++) {
                    struct gpu_shape s = {(enum dtype)w, rows[m], weights[j].n, weights[j].k};
                    check_choice(&all[i], &s, m % 2);
                }
            }
    }
}

/* Up to its limit the skinny kernel, beyond it cuBLASLt, where there is one that can. */
static void test_paths(void **state)
{
    struct gpu_config c = simple();
    struct gpu_shape s = {DT_BF16, 64, 4096, 4096};
    (void)state;
    assert_int_equal(gpu_choose(&c, &s, true).path, GPU_PATH_SKINNY);
    s.m = 65;
    assert_int_equal(gpu_choose(&c, &s, true).path, GPU_PATH_LT);
    assert_int_equal(gpu_choose(&c, &s, false).path, GPU_PATH_SKINNY);
    s.w = DT_Q4_K;
    assert_int_equal(gpu_choose(&c, &s, true).path, GPU_PATH_DEQUANT_LT);
    s.w = DT_F32;
    assert_int_equal(gpu_choose(&c, &s, true).path, GPU_PATH_PLAIN);
    c.match.cc[0] = 75;
    s.w = DT_IQ4_NL;
    assert_int_equal(gpu_choose(&c, &s, true).path, GPU_PATH_SKINNY);
}

/* mma8 is taken for many rows, where it is faster than the skinny kernel and, up to its limit, than
 * cuBLASLt; it has the splits of its weight. */
static void test_mma8(void **state)
{
    struct gpu_config c = simple();
    struct gpu_shape s = {DT_Q4_K, 256, 4096, 4096};
    struct gpu_params p = {GPU_PATH_MMA8, 16, 2, GPU_MMA8_STAGES, 1, NULL};
    (void)state;
    c.eff[GPU_SKINNY_4].fl = 0.25;
    c.mma8_max_m[GPU_SKINNY_4] = 256;
    /* 2 x 32 blocks of 128 rows by 128 on ten multiprocessors: 64/70 of the products' rate. */
    near(gpu_cost(&c, &s, &p), 2.0 * 256 * 4096 * 4096 / (500000 * (64 / 70.0)) + 3);
    assert_int_equal(gpu_choose(&c, &s, true).path, GPU_PATH_MMA8);
    assert_int_equal(gpu_choose(&c, &s, true).splits, gpu_splits(&c, s.w, s.n, s.k));
    s.m = 257;
    assert_int_equal(gpu_choose(&c, &s, true).path, GPU_PATH_DEQUANT_LT);
    assert_int_equal(gpu_choose(&c, &s, false).path, GPU_PATH_MMA8);
    s.m = GPU_MMA8_MIN_M;
    assert_int_equal(gpu_choose(&c, &s, true).path, GPU_PATH_SKINNY);
    s.m = 256;
    c.eff[GPU_MMA8_4].fl = 0.2;
    assert_int_equal(gpu_choose(&c, &s, true).path, GPU_PATH_SKINNY);
    p.nt = 4;
    assert_int_equal(gpu_legal(80, DT_Q4_K, &p), ERR_FORMAT);
    p.nt = 16;
    assert_int_equal(gpu_legal(75, DT_Q4_K, &p), OK);
    assert_int_equal(gpu_legal(80, DT_BF16, &p), ERR_FORMAT);
    assert_int_equal(gpu_legal(80, DT_IQ4_NL, &p), ERR_FORMAT);
    assert_int_equal(gpu_legal(80, DT_F8_E4M3, &p), ERR_FORMAT);
}

/* An exception holds for its bucket; its splits hold for all rows of its weight. */
static void test_exceptions(void **state)
{
    struct gpu_config c = simple();
    struct gpu_exception x[2] = {
        {DT_Q4_0, 4096, 4096, 8, {GPU_PATH_SKINNY, 8, 2, 4, 3, NULL}, 9, 10, 1, {0}, X_EXACT},
        {DT_BF16, 4096, 4096, 96, {GPU_PATH_LT, 0, 0, 0, 0, NULL}, 9, 10, 1, {.id = 66}, X_EXACT}};
    struct gpu_shape s = {DT_Q4_0, 7, 4096, 4096};
    (void)state;
    c.gemm = x;
    c.n_gemm = 2;
    assert_int_equal(gpu_choose(&c, &s, true).nt, 8);
    s.m = 4;
    assert_int_equal(gpu_choose(&c, &s, true).nt, 1);
    assert_int_equal(gpu_choose(&c, &s, true).splits, 3);
    s.m = 500;
    assert_int_equal(gpu_choose(&c, &s, false).splits, 3);
    s.n = 4095;
    s.m = 8;
    assert_int_equal(gpu_choose(&c, &s, true).nt, 1);
    s = (struct gpu_shape){DT_BF16, 90, 4096, 4096};
    assert_int_equal(gpu_choose(&c, &s, true).path, GPU_PATH_LT);
    assert_int_equal(gpu_choose(&c, &s, false).path, GPU_PATH_SKINNY);
}

/* Of all that a product may use the cheapest; a measured one of a product that may round before it,
 * where it can be used. */
static void test_fp8(void **state)
{
    struct gpu_config c = simple();
    struct gpu_exception x[2] = {{DT_F8_E4M3,
                                  4096,
                                  4096,
                                  96,
                                  {GPU_PATH_W8A8, 8, 2, 2, 1, NULL},
                                  9,
                                  10,
                                  1,
                                  {.id = -1},
                                  X_FP8},
                                 {DT_F8_E4M3,
                                  4096,
                                  4096,
                                  128,
                                  {.path = GPU_PATH_LT_FP8, .splits = 1},
                                  9,
                                  10,
                                  1,
                                  {.id = -1},
                                  X_FP8}};
    struct gpu_shape s = {DT_F8_E4M3, 2048, 4096, 4096};
    const int any = GPU_MAY_LT | GPU_MAY_ROUND | GPU_MAY_ROW_SCALE;
    (void)state;
    c.match.cc[0] = 89;
    assert_int_equal(gpu_choose(&c, &s, any).path, GPU_PATH_DEQUANT_LT); /* no fp8 rate */
    c.ceil.fp8_tflops = 4;
    c.eff[GPU_W8A8].fl = 0.1;
    assert_int_equal(gpu_choose(&c, &s, any).path, GPU_PATH_LT_FP8);
    assert_int_equal(gpu_choose(&c, &s, GPU_MAY_LT).path, GPU_PATH_DEQUANT_LT);
    c.eff[GPU_W8A8].fl = 1;
    assert_int_equal(gpu_choose(&c, &s, any).path, GPU_PATH_W8A8);
    assert_int_equal(gpu_choose(&c, &s, GPU_MAY_ROUND).path, GPU_PATH_W8A8);
    assert_int_equal(gpu_choose(&c, &s, any & ~GPU_MAY_ROUND_OWN).path, GPU_PATH_LT_FP8);
    assert_int_equal(gpu_choose(&c, &s, any & ~GPU_MAY_ROUND_LT).path, GPU_PATH_W8A8);
    assert_int_equal(gpu_choose(&c, &s, GPU_MAY_ROUND_LT).path, GPU_PATH_SKINNY);
    c.match.cc[0] = 86;
    assert_int_equal(gpu_choose(&c, &s, any).path, GPU_PATH_DEQUANT_LT);
    c.match.cc[0] = 89;
    c.ceil.fp8_tflops = 0;
    c.gemm = x;
    c.n_gemm = 2;
    s.m = 90;
    assert_int_equal(gpu_choose(&c, &s, any).path, GPU_PATH_W8A8);
    assert_int_equal(gpu_choose(&c, &s, GPU_MAY_LT).path, GPU_PATH_DEQUANT_LT);
    s.m = 128;
    assert_int_equal(gpu_choose(&c, &s, any).path, GPU_PATH_LT_FP8);
    assert_int_equal(gpu_choose(&c, &s, GPU_MAY_LT | GPU_MAY_ROUND).path, GPU_PATH_DEQUANT_LT);
    assert_int_equal(gpu_choose(&c, &s, GPU_MAY_ROUND | GPU_MAY_ROW_SCALE).path, GPU_PATH_SKINNY);
}

/* Prompts of a model in either format take fp4 tensor cores on every GPU that has them, sm_100 by
 * cuBLASLt; but for sm_110, whose memory is slow beside its bf16. */
static void test_fp4(void **state)
{
    static const enum dtype types[] = {DT_NVFP4, DT_MXFP4};
    int n = 0;
    (void)state;
    for (int i = 0; i < n_all; i++)
        for (int t = 0; t < 2 && !all[i].unsupported && all[i].match.n_cc; t++) {
            const struct gpu_shape s = {types[t], 2048, 4096, 4096};
            const int cc = all[i].match.cc[0];
            const enum gpu_path path = gpu_choose(&all[i], &s, GPU_MAY_LT | GPU_MAY_ROUND).path;
            if (cc != 110 && (gpu_path_x(path) == X_FP4) != (cc >= 100))
                fail_msg("%s: %s takes %s", all[i].id, dtype_info(types[t])->name,
                         gpu_path_name(path));
            n += cc == 100 && path == GPU_PATH_LT_FP4;
        }
    assert_true(n > 0);
}

/* A plan answers as the model does, also when shapes share a row of it, and after a change. */
static void test_plan(void **state)
{
    struct gpu_config c = simple();
    struct gpu_plan plan;
    (void)state;
    gpu_plan_init(&plan, &c);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 3000; i++) {
            struct gpu_shape s = {i % 3 ? DT_BF16 : DT_Q8_0, i % 100 + 1, i % 37 * 64 + 64,
                                  i % 11 * 640 + 64};
            bool lt = i % 5;
            struct gpu_params got = gpu_plan_get(&plan, &s, lt), want = gpu_choose(&c, &s, lt);
            assert_memory_equal(&got, &want, offsetof(struct gpu_params, splits) + sizeof(int));
            assert_ptr_equal(got.lt, want.lt);
        }
        c.skinny_max_m[GPU_SKINNY_16] = 8;
        c.ceil.read_gbs = 1000;
        gpu_plan_reset(&plan);
    }
    struct gpu_params forced = {GPU_PATH_SKINNY, 8, 2, 4, 5, NULL};
    struct gpu_shape s = {DT_BF16, 1, 64, 4096};
    plan.forced = &forced;
    assert_int_equal(gpu_plan_get(&plan, &s, true).splits, 5);
    plan.forced = NULL;
    assert_int_equal(gpu_plan_get(&plan, &s, true).nt, gpu_choose(&c, &s, true).nt);
    gpu_plan_clear(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand), cmocka_unit_test(test_every_choice),
        cmocka_unit_test(test_paths),   cmocka_unit_test(test_exceptions),
        cmocka_unit_test(test_fp8),     cmocka_unit_test(test_fp4),
        cmocka_unit_test(test_plan),    cmocka_unit_test(test_mma8),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
