/* test_linear.c - the CUDA matrix product on the emulator against the naive op: every weight type,
 * rows of x from 1 to beyond a tile, N and K that fill no tile, K split and not.
 *
 * Block formats multiply the same integers in the same order as the naive op, so without a split
 * they have its bits. With one, and for bf16 (both round x to bf16), only the order of exact
 * products differs: at most 2^-19 sum |x w|. f16 rounds x to 11 bits, which the naive op does not.
 * */

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/panel.h"
#include "kernels/gpu/registry.h"
#include "kernels/quant/f8_e4m3.h"
#include "tests/simt/mode.h"
#include "tests/simt/product.h"
#include "tests/support/test.h"

static struct cuda_queue q;

/* The formats without a kernel of their own share one; test_panel has the packing of each. */
static bool like_others(enum dtype t)
{
    const struct panel_format *f = cuda_panel_format(t);
    return f && f->scales == PANEL_ANY;
}

/* No split: K is short, and for plain types no multiple of anything. */
static void test_shapes(void **state)
{
    static const struct shape shapes[] = {{1, 16, 32, 0},  {3, 33, 96, 0},   {8, 130, 160, 0},
                                          {9, 64, 64, 0},  {17, 80, 224, 0}, {33, 48, 96, 0},
                                          {64, 16, 64, 0}, {71, 40, 96, 67}, {16, 24, 64, 5}};
    (void)state;
    for (int i = 0; i < product_n_types; i++)
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            if (like_others(product_types[i]) && j % 4 != (size_t)i % 4)
                continue;
            if (simt_slow() && (j + (size_t)i) % 3)
                continue;
            struct product o = {0};
            struct shape s = shapes[j];
            bool exact = dtype_info(product_types[i])->ints != NULL;
            s.k = product_k(product_types[i], s.k) -
                  (dtype_info(product_types[i])->block > 1 ? 0 : (int)j);
            product_open(&o, product_types[i], s);
            product_run(&q, &o);
            product_compare(&o, exact ? 0 : product_tolerance(product_types[i]),
                            dtype_info(product_types[i])->name);
            product_close(&o);
        }
}

/* K is split; a row has the same bits alone, in a tile, and beyond 64 rows. */
static void test_split(void **state)
{
    (void)state;
    for (int i = 0; i < product_n_types; i++) {
        if ((like_others(product_types[i]) && i % 4) || (simt_slow() && i > 3 && i % 3))
            continue;
        struct product all = {0}, one = {0};
        struct shape s = {67, i == 1 ? 88 : 24, product_k(product_types[i], 1344), 0};
        product_seed = 7;
        product_open(&all, product_types[i], s);
        product_run(&q, &all);
        product_compare(&all, product_tolerance(product_types[i]),
                        dtype_info(product_types[i])->name);
        for (int m = 1; m <= 40; m += 13) {
            product_seed = 7;
            product_open(&one, product_types[i], s);
            one.cuda.x.shape[0] = one.cuda.y.shape[0] = m;
            product_run(&q, &one);
            assert_memory_equal(one.got, all.got, (size_t)(m * s.n) * 4);
            product_close(&one);
        }
        product_close(&all);
    }
}

/* Every launch that a configuration may name: tiles change no bits, splits only the sums' order. */
static void test_launches(void **state)
{
    static const int splits[] = {1, 2, 3, 8};
    (void)state;
    for (int i = 0; i < product_n_types; i++) {
        enum dtype t = product_types[i];
        if (t == DT_F32 || (like_others(t) && i % 8))
            continue;
        struct product o = {0};
        struct shape s = {19, 40, product_k(t, 576), 0};
        float first[19 * 40];
        product_open(&o, t, s);
        for (int j = 0; j < 4 * gpu_n_tiles(); j++) {
            const struct gpu_tile *tile = &gpu_tiles[j % gpu_n_tiles()];
            struct gpu_params p = {GPU_PATH_SKINNY,           tile->nt, tile->r, gpu_stages(q.cc),
                                   splits[j / gpu_n_tiles()], NULL};
            assert_int_equal(gpu_legal(q.cc, t, &p), OK);
            if (cuda_panel_format(t))
                assert_int_equal(cuda_panel_format(t)->tile_bytes, gpu_tile_bytes(t));
            q.plan.forced = &p;
            product_run(&q, &o);
            product_compare(&o, product_tolerance(t), dtype_info(t)->name);
            if (j % gpu_n_tiles() == 0)
                memcpy(first, o.got, sizeof first);
            assert_memory_equal(first, o.got, sizeof first);
        }
        q.plan.forced = NULL;
        product_close(&o);
    }
}

/* mma8: whatever the tile and the splits, the bits of the skinny kernel, and so the naive op's
 * where K is not split; also for one live row of many, N and M that fill no tile, and a K of one
 * chunk. */
static void test_mma8(void **state)
{
    static const struct shape shapes[] = {{71, 40, 96, 0},
                                          {33, 150, 608, 0},
                                          {150, 24, 1344, 130},
                                          {130, 136, 32, 0},
                                          {40, 16, 64, 1}};
    (void)state;
    for (int i = 0; i < product_n_types; i++)
        for (int j = 0; j < (int)(sizeof shapes / sizeof *shapes); j++) {
            const enum dtype t = product_types[i];
            if (gpu_mma8_of(t) == N_GPU_KERNEL || (simt_slow() && (i + j) % 3))
                continue;
            struct product one = {0}, all = {0};
            struct shape s = shapes[j];
            const int splits = s.k > 512 ? 1 + j % 4 : 1, seed = 11 + i + j;
            struct gpu_params skinny = {GPU_PATH_SKINNY, 8, 2, gpu_stages(q.cc), splits, NULL};
            struct gpu_params mma8 = {
                GPU_PATH_MMA8, gpu_mma8_tiles[(i + j) % 2].nt, 2, GPU_MMA8_STAGES, splits, NULL};
            s.k = product_k(t, s.k);
            assert_int_equal(gpu_legal(q.cc, t, &mma8), OK);
            product_seed = (uint32_t)seed;
            product_open(&one, t, s);
            q.plan.forced = &skinny;
            product_run(&q, &one);
            product_seed = (uint32_t)seed;
            product_open(&all, t, s);
            q.plan.forced = &mma8;
            product_run(&q, &all);
            q.plan.forced = NULL;
            product_compare(&all, splits == 1 ? 0 : product_tolerance(t), dtype_info(t)->name);
            assert_memory_equal(one.got, all.got,
                                (size_t)(s.live ? s.live : s.m) * (size_t)s.n * 4);
            product_close(&one);
            product_close(&all);
        }
}

/* The e4m3 nearest to x, of two the one with an even code: as a number. */
static float to_e4m3(float x)
{
    float best = 0, off = fabsf(x);
    for (int code = 1; code < 127; code++) {
        const float v = f8_e4m3_value(code), d = fabsf(fabsf(x) - v);
        if (d < off || (d == off && code % 2 == 0)) {
            best = v;
            off = d;
        }
    }
    return copysignf(best, x);
}

/* Rounds x as quant_rows does: one scale a row, which takes the largest to 448. */
static void round_rows(const struct product *o)
{
    for (int r = 0; r < o->s.m; r++) {
        float *x = o->x + (size_t)r * (size_t)o->s.k, top = 0;
        for (int k = 0; k < o->s.k; k++)
            top = fmaxf(top, fabsf(x[k]));
        for (int k = 0; k < o->s.k; k++)
            x[k] = top > 0 ? to_e4m3(x[k] * (448 / top)) * (top / 448) : 0;
    }
}

/* w8a8: what the naive op makes of rows rounded to e4m3, up to the order of the sums; only where it
 * is allowed, for many rows, on GPUs that have it, and never when a row may not change its bits. */
static void test_w8a8(void **state)
{
    static const struct shape shapes[] = {{71, 40, 192, 67}, {150, 136, 64, 0}, {36, 24, 320, 0}};
    struct gpu_config c = *q.plan.config;
    struct cuda_queue whole = q;
    (void)state;
    c.ceil.fp8_tflops = 1000;
    c.ceil.mma_bf16_tflops = c.ceil.bf16_tflops = 0.01;
    c.match.cc[0] = q.cc = 89;
    q.plan.config = &c;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct product o = {0};
        product_open(&o, DT_F8_E4M3, shapes[i]);
        q.round_x = X_EXACT;
        product_run(&q, &o);
        product_compare(&o, product_tolerance(DT_F8_E4M3), "as it is");
        q.round_x = X_FP8;
        q.deterministic = true;
        product_run(&q, &o);
        product_compare(&o, product_tolerance(DT_F8_E4M3), "deterministic");
        q.deterministic = false;
        q.scratch_bytes = i == 1 ? 14 << 10 : whole.scratch_bytes; /* 128 rows at once */
        product_run(&q, &o);
        round_rows(&o);
        product_compare(&o, 0x1p-18, "rows as e4m3");
        q.scratch_bytes = whole.scratch_bytes;
        product_close(&o);
        product_glu(&q, DT_F8_E4M3, shapes[i]);
        product_norm(&q, DT_F8_E4M3, shapes[i]);
    }
    struct gpu_shape s = {DT_F8_E4M3, 64, 4096, 4096};
    assert_int_equal(gpu_choose(&c, &s, GPU_MAY_ROUND).path, GPU_PATH_W8A8);
    assert_int_equal(gpu_choose(&c, &s, 0).path, GPU_PATH_SKINNY);
    s.m = GPU_MMA8_MIN_M;
    assert_int_equal(gpu_choose(&c, &s, GPU_MAY_ROUND).path, GPU_PATH_SKINNY);
    s = (struct gpu_shape){DT_Q8_0, 64, 4096, 4096};
    assert_int_not_equal(gpu_choose(&c, &s, GPU_MAY_ROUND).path, GPU_PATH_W8A8);
    s.w = DT_F8_E4M3;
    c.match.cc[0] = 86;
    assert_int_equal(gpu_choose(&c, &s, GPU_MAY_ROUND).path, GPU_PATH_SKINNY);
    q.plan = whole.plan;
    q.cc = whole.cc;
    q.round_x = X_EXACT;
}

/* silu(gate) * up where x is read: by each block for itself (few rows) and by a kernel for all. */
static void test_glu(void **state)
{
    static const enum dtype types[] = {DT_BF16,  DT_F16,     DT_Q8_0, DT_Q4_K,
                                       DT_MXFP4, DT_F8_E4M3, DT_NF4,  DT_IQ4_NL};
    static const struct shape shapes[] = {{1, 40, 224, 0}, {2, 16, 1344, 0}, {9, 24, 96, 7}};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            struct shape s = shapes[j];
            s.k = product_k(types[i], s.k) - (dtype_info(types[i])->block > 1 ? 0 : 3);
            product_glu(&q, types[i], s);
        }
}

/* A norm where x is read: by each block, by a kernel for all, and composed where neither can. */
static void test_norm(void **state)
{
    static const enum dtype types[] = {DT_BF16, DT_F16, DT_Q8_0, DT_Q4_K, DT_NF4, DT_NVFP4, DT_F32};
    static const struct shape shapes[] = {
        {1, 40, 1344, 0}, {2, 16, 230, 0}, {4, 16, 640, 3}, {19, 24, 544, 17}};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            struct shape s = shapes[j];
            s.k = product_k(types[i], s.k) - (dtype_info(types[i])->block > 1 ? 0 : 3);
            if (!simt_slow() || (i + j) % 2)
                product_norm(&q, types[i], s);
        }
}

/* Few rows are one launch however long they are, with a norm or a glu before too: each block makes
 * its own x. K as in models of 8B and 70B, not split, with the shared memory of sm_80. */
static void test_one_launch(void **state)
{
    static const enum dtype types[] = {DT_BF16, DT_Q8_0, DT_Q4_K, DT_F8_E4M3};
    static const struct shape shapes[] = {
        {1, 16, 4096, 0}, {1, 16, 8192, 0}, {1, 16, 14336, 0}, {2, 16, 8192, 0}, {4, 16, 4096, 0}};
    struct gpu_params one = {GPU_PATH_SKINNY, 1, 1, gpu_stages(q.cc), 1, NULL};
    (void)state;
    if (simt_real() || simt_slow())
        return; /* the emulator counts */
    q.smem_max = 163 << 10;
    q.plan.forced = &one;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            const struct shape s = shapes[j];
            struct product o = {0};
            if (s.m > (types[i] == DT_BF16 ? 4 : types[i] == DT_Q4_K ? 1 : 2))
                continue; /* x would be too much of what is read */
            product_open(&o, types[i], s);
            long before = simt_counts().kernels;
            product_run(&q, &o);
            assert_int_equal(simt_counts().kernels - before, 1);
            product_compare(&o, dtype_info(types[i])->ints ? 0 : product_tolerance(types[i]),
                            dtype_info(types[i])->name);
            product_close(&o);
            before = simt_counts().kernels;
            product_norm(&q, types[i], s); /* rmsnorm, linear; two parts in one each */
            assert_int_equal(simt_counts().kernels - before, 4);
            before = simt_counts().kernels;
            if (s.m == 1) {
                product_glu(&q, types[i], s); /* glu, linear; both in one */
                assert_int_equal(simt_counts().kernels - before, 3);
            }
        }
    q.plan.forced = NULL;
}

/* Magnitudes at both ends: f16 weights see x beyond f16's range, blocks of zeros, tiny blocks. */
static void test_range(void **state)
{
    (void)state;
    for (int i = 0; i < product_n_types; i++) {
        struct product o = {0};
        struct shape s = {4, 16, product_k(product_types[i], 128), 0};
        product_open(&o, product_types[i], s);
        for (int k = 0; k < s.k; k++) {
            o.x[k] *= 1e6f;
            o.x[s.k + k] = 0;
            o.x[2 * s.k + k] *= 1e-20f;
            if (k / 32 % 2)
                o.x[3 * s.k + k] *= 1e-35f;
        }
        cudaMemcpy(o.cuda.x.data, o.x, (size_t)(s.m * s.k) * 4, cudaMemcpyHostToDevice);
        memset(o.bias, 0, (size_t)s.n * 4);
        cudaMemcpy(o.cuda.bias.data, o.bias, (size_t)s.n * 4, cudaMemcpyHostToDevice);
        product_run(&q, &o);
        product_compare(
            &o, dtype_info(product_types[i])->ints ? 0 : product_tolerance(product_types[i]),
            dtype_info(product_types[i])->name);
        product_close(&o);
    }
}

/* Rows go through in pieces when the scratch is small, and an impossible one is an error. */
static void test_scratch(void **state)
{
    struct cuda_queue whole = q;
    (void)state;
    for (int i = 1; i < 4; i++) {
        struct product o = {0};
        product_open(&o, product_types[i], (struct shape){150, 16, 128, 141});
        q.scratch_bytes = 40 << 10;
        product_run(&q, &o);
        product_compare(&o, product_types[i] == DT_Q8_0 ? 0 : product_tolerance(product_types[i]),
                        dtype_info(product_types[i])->name);
        q.scratch_bytes = 4096;
        assert_int_equal(cuda_linear(&q, &o.cuda), ERR_NO_MEMORY);
        q = whole;
        product_close(&o);
    }
}

static int open_queue(void **state)
{
    (void)state;
    q = (struct cuda_queue){.cc = 80, .sms = 4, .smem_max = 99 << 10, .early = !simt_real()};
    product_seed = 1;
    product_find_types();
    product_plan(&q, 64, 64);
    return product_queue_open(&q, 8 << 20);
}

static int open_75(void **state)
{
    int failed = open_queue(state);
    if (simt_real()) /* it has the ring that its kernels were compiled for */
        return failed;
    q.smem_max = 64 << 10; /* the ring has two stages */
    q.cc = 75;
    simt_faults(&(struct simt_faults){.cc = 75}); /* and the kernels its own loads and products */
    gpu_plan_clear(&q.plan);
    product_plan(&q, 64, 64);
    return failed;
}

static int close_queue(void **state)
{
    simt_faults(&(struct simt_faults){0});
    (void)state;
    gpu_plan_clear(&q.plan);
    return product_queue_close(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shapes, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_split, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_launches, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_launches, open_75, close_queue),
        cmocka_unit_test_setup_teardown(test_mma8, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_w8a8, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_glu, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_norm, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_norm, open_75, close_queue),
        cmocka_unit_test_setup_teardown(test_one_launch, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_range, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_scratch, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_split, open_75, close_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
