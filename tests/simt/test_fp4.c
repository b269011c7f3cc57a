/* test_fp4.c - activations in fp4, on the emulator: rows as NVFP4 and MXFP4 against ml_dtypes
 * (tests/tools/gen_fp4.py) in both layouts, and the product of such rows with such weights by
 * block-scaled mma and by cuBLASLt, bit for bit what its definition says. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/lt.h"
#include "kernels/cuda/panel.h"
#include "kernels/gpu/registry.h"
#include "kernels/quant/f8_e4m3.h"
#include "kernels/quant/fp4_rows.h"
#include "kernels/quant/mxfp4.h"
#include "tests/simt/cublaslt.h"
#include "tests/simt/gpu.h"
#include "tests/simt/host_panel.h"
#include "tests/simt/mode.h"
#include "tests/simt/product.h"
#include "tests/support/fixture.h"
#include "tests/support/test.h"

enum { WIDTH = 128, PIECE = 288, PIECE_SCALES = 256, TILE_ROWS = 128 };

static const char *const names[] = {"nvfp4", "mxfp4"};
static struct fixture f;

static const void *part(int kind, const char *what, const char *type)
{
    char name[40];
    snprintf(name, sizeof name, "%s.%s", names[kind], what);
    return fixture_get(&f, name, type)->data;
}

static struct quant_rows rows_of(int kind, const float *x, int m, int k, int rows)
{
    return (struct quant_rows){.kind = kind ? QUANT_MXFP4 : QUANT_NVFP4,
                               .x = gpu_up(x, (size_t)(m * k) * 4),
                               .stride = k * 4,
                               .k = k,
                               .width = WIDTH,
                               .scale = gpu_empty((size_t)rows * 4),
                               .m = m,
                               .pad = rows - m};
}

/* The code of a row's column in pieces, and the scale of its block. */
static int code_in_piece(const uint8_t *q, int row, int k, int tiles)
{
    const uint8_t *piece = q + (k / 64 * tiles + row / 8) * PIECE;
    uint32_t word = ((const uint32_t *)piece)[(row % 8 * 4 + k % 32 / 8) * 2 + k % 64 / 32];
    return (int)(word >> k % 8 * 4 & 15);
}
static int scale_in_piece(const uint8_t *q, int row, int k, int tiles, int block)
{
    const uint8_t *piece = q + (k / 64 * tiles + row / 8) * PIECE;
    return piece[PIECE_SCALES + row % 8 * 4 + k % 64 / block];
}

/* Rows [0, live) of the fixture, the others zeros. */
static void check_rows(int kind, bool pieces, int live)
{
    const struct fixture_array *x = fixture_get(&f, "x", "f4");
    const int m = (int)x->shape[0], k = (int)x->shape[1], block = kind ? 32 : 16;
    const int whole = pieces ? 8 : TILE_ROWS, rows = (m + whole - 1) / whole * whole;
    const size_t bytes =
        pieces ? (size_t)(WIDTH / 64 * rows / 8 * PIECE) : (size_t)(rows * WIDTH / 2);
    const size_t scales = (size_t)(rows * WIDTH / block);
    const uint8_t *code = part(kind, "code", "u1"), *scale = part(kind, "scale", "u1");
    const uint8_t *tiled = part(kind, "tiled", "u1");
    const float *by = part(kind, "row", "f4");
    struct quant_rows a = rows_of(kind, x->data, m, k, rows);
    uint8_t *q = xmalloc(bytes), *s = xmalloc(scales);
    float *row = xmalloc((size_t)rows * 4);
    int32_t n = live;
    a.q = gpu_empty(bytes);
    a.blocks = pieces ? NULL : gpu_empty(scales);
    a.live = gpu_up(&n, sizeof n);
    assert_int_equal(cuda_quant_fp4((struct cuda_queue *)gpu.q, &a), OK);
    gpu_down(q, a.q, bytes);
    gpu_down(row, a.scale, (size_t)rows * 4);
    if (!pieces)
        gpu_down(s, a.blocks, scales);
    if (!pieces && live == m)
        assert_memory_equal(s, tiled, scales);
    for (int r = 0; r < rows; r++) {
        const bool there = r < live;
        const float want = there ? by[r] : (float)kind; /* a row of zeros */
        if (isnan(want) ? !isnan(row[r]) : row[r] != want)
            fail_msg("%s: scale of row %d is %.9g, not %.9g", names[kind], r, (double)row[r],
                     (double)want);
        for (int i = 0; i < WIDTH; i++) {
            int c = there ? code[r * WIDTH + i] : 0;
            int got = pieces ? code_in_piece(q, r, i, rows / 8)
                             : q[(r * WIDTH + i) / 2] >> i % 2 * 4 & 15;
            if ((got & (c == 0 ? 7 : 15)) != c)
                fail_msg("%s: [%d][%d] is %x, not %x", names[kind], r, i, got, c);
            int e = there ? scale[r * (WIDTH / block) + i / block] : 0;
            if (pieces && scale_in_piece(q, r, i, rows / 8, block) != e)
                fail_msg("%s: scale of [%d][%d] is not %02x", names[kind], r, i, e);
        }
    }
    a.width = 72;
    assert_int_equal(cuda_quant_fp4((struct cuda_queue *)gpu.q, &a), ERR_INTERNAL);
    xfree(q);
    xfree(s);
    xfree(row);
}

static void all_rows(void)
{
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < 4; i++)
            if (!simt_slow() || i == 0 || i == 3)
                check_rows(kind, i % 2, i / 2 ? 101 : 133);
}

static void test_rows(void **state)
{
    (void)state;
    fixture_load(&f, "tests/data/fp4/rows.bin");
    gpu_each_mode(all_rows);
    fixture_clear(&f);
}

/* --- products */

static struct cuda_queue q;
static struct gpu_config config;

/* Of a GPU on which this path is worth it. */
static void prefer(int cc, enum gpu_path path)
{
    config.match.cc[0] = q.cc = cc;
    config.ceil.fp4_tflops = path == GPU_PATH_SKINNY ? 0 : 1e6;
    config.ceil.mma_bf16_tflops = config.ceil.bf16_tflops = 1;
    config.eff[GPU_W4A4].t0_us = path == GPU_PATH_W4A4 ? 0 : 1e3;
    config.eff[GPU_LT_FP4].t0_us = path == GPU_PATH_LT_FP4 ? 0 : 1e3;
    config.eff[GPU_SKINNY_4].t0_us = 1e6;
    config.eff[GPU_MMA8_4].t0_us = config.eff[GPU_MMA8_6].t0_us = 1e6;
    gpu_plan_reset(&q.plan);
}

static int open_queue(void **state)
{
    (void)state;
    q = (struct cuda_queue){.cc = 120, .sms = 4, .smem_max = 99 << 10, .early = true};
    q.round_x = X_FP4;
    product_seed = 1;
    product_plan(&q, 1 << 20, 1 << 20);
    config = *q.plan.config;
    q.plan.config = &config;
    prefer(120, GPU_PATH_W4A4);
    return product_queue_open(&q, 1 << 20);
}

static int close_queue(void **state)
{
    (void)state;
    gpu_plan_clear(&q.plan);
    return product_queue_close(&q);
}

/* Row r of W as what a code stands for times its scale, without what the file's unit is. */
static void weights_of(const struct product *o, int c, float *w)
{
    dtype_decode((enum dtype)o->naive.w.dtype, tensor_row(&o->naive.w, c), w, o->s.k);
}

/* A row of x as codes times scales of blocks; its float, which is not in them. */
static float codes_of(enum fp4_kind kind, const float *x, int k, float *out)
{
    uint8_t *code = xmalloc((size_t)k), *scale = xmalloc((size_t)k);
    const float row = fp4_row_encode(kind, x, k, code, scale);
    for (int i = 0; i < k; i++) {
        const int e = scale[i / fp4_block(kind)];
        out[i] = (float)fp4_value(code[i]) / 2 *
                 (kind == FP4_NVFP4 ? f8_e4m3_value(e) : ldexpf(1, e - 127));
    }
    xfree(code);
    xfree(scale);
    return row;
}

/* By definition: exact sums of `step` columns and of those before, rounded; times what is left out
 * of W and of x. */
static float defined(const struct product *o, int step, const float by[2], const float *x,
                     const float *w, int r, int c)
{
    float acc = 0;
    for (int from = 0; from < o->s.k; from += step) {
        double sum = (double)acc;
        for (int k = from; k < from + step && k < o->s.k; k++)
            sum += (double)x[k] * (double)w[k];
        acc = (float)sum;
    }
    acc *= by[0];
    acc *= by[1];
    acc *= o->naive.w.q && o->naive.w.q->global != 0 ? o->naive.w.q->global : 1.0f;
    acc += o->bias[c];
    return o->naive.add.data ? acc + o->add[r * o->s.n + c] : acc;
}

static void same(const struct product *o, int r, int c, float want)
{
    const float got = o->got[r * o->s.n + c];
    if (memcmp(&got, &want, 4) != 0)
        fail_msg("%s %d x %d x %d: y[%d][%d] is %.9g, not %.9g",
                 dtype_info((enum dtype)o->naive.w.dtype)->name, o->s.m, o->s.n, o->s.k, r, c,
                 (double)got, (double)want);
}

/* Whether x was rounded is what `rounded` says; else it is the naive op's product. */
static void check_product(struct product *o, bool rounded)
{
    const enum fp4_kind kind = o->naive.w.dtype == DT_NVFP4 ? FP4_NVFP4 : FP4_MXFP4;
    const int k = o->s.k, live = o->s.live ? o->s.live : o->s.m;
    float *x = xmalloc((size_t)k * 4), *w = xmalloc((size_t)k * 4);
    if (!rounded)
        product_compare(o, 0, "as it is");
    for (int r = 0; r < live && rounded; r++) {
        const float row = codes_of(kind, o->x + r * k, k, x);
        for (int c = 0; c < o->s.n; c++) {
            weights_of(o, c, w);
            same(o, r, c, defined(o, 64, (float[]){1, row}, x, w, r, c));
        }
    }
    xfree(x);
    xfree(w);
}

static void test_product(void **state)
{
    static const struct shape shapes[] = {{71, 40, 192, 67}, {150, 136, 64, 0}, {36, 24, 320, 0}};
    const struct cuda_queue whole = q;
    (void)state;
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        const enum dtype t = i % 2 ? DT_MXFP4 : DT_NVFP4;
        struct product o = {0};
        product_open(&o, t, shapes[i / 2]);
        product_run(&q, &o);
        check_product(&o, true);
        if (i / 2 == 1) {
            q.scratch_bytes = 9 << 10; /* 64 rows at once */
            product_run(&q, &o);
            check_product(&o, true);
            q.scratch_bytes = whole.scratch_bytes;
        }
        product_close(&o);
        if (simt_slow() && i / 2 == 1)
            continue;
        product_glu(&q, t, shapes[i / 2]);
        product_norm(&q, t, shapes[i / 2]);
    }
}

/* By cuBLASLt: x is NVFP4 whatever W is, and a block of W 18 powers of two below the largest scale
 * of its row is zeros. The library's sums are those of the emulator: one number after the other. */
static void lt_weights(const struct product *o, int c, float *w, float *by)
{
    const uint8_t *b = tensor_row(&o->naive.w, c);
    int top = 0;
    weights_of(o, c, w);
    *by = 1;
    if (o->naive.w.dtype != DT_MXFP4)
        return;
    for (int i = 0; i < o->s.k; i += MXFP4_BLOCK)
        top = b[i / MXFP4_BLOCK * MXFP4_BYTES] > top ? b[i / MXFP4_BLOCK * MXFP4_BYTES] : top;
    *by = ldexpf(1, top - 127);
    for (int i = 0; i < o->s.k; i++)
        w[i] = b[i / MXFP4_BLOCK * MXFP4_BYTES] > top - 18 ? ldexpf(w[i], 127 - top) : 0;
}

static void check_lt(struct product *o)
{
    const int k = o->s.k, live = o->s.live ? o->s.live : o->s.m;
    float *x = xmalloc((size_t)(live * k) * 4), *w = xmalloc((size_t)k * 4);
    float *row = xmalloc((size_t)live * 4), by;
    for (int r = 0; r < live; r++)
        row[r] = codes_of(FP4_NVFP4, o->x + r * k, k, x + r * k);
    for (int c = 0; c < o->s.n; c++) {
        lt_weights(o, c, w, &by);
        for (int r = 0; r < live; r++)
            same(o, r, c, defined(o, 1, (float[]){by, row[r]}, x + r * k, w, r, c));
    }
    xfree(x);
    xfree(w);
    xfree(row);
}

/* Scales of MXFP4 from here on: rows in which they are 30 powers of two apart, rows of the least
 * that there are, and the others as they are. y is these products alone: no bias. */
static void spread(struct product *o)
{
    const int64_t tiles = (o->s.n + PANEL_ROWS - 1) / PANEL_ROWS, blocks = o->s.k / MXFP4_BLOCK;
    const size_t bytes = cuda_panel_bytes(DT_MXFP4, o->s.n, o->s.k);
    uint8_t *packed = xmalloc(bytes);
    for (int64_t i = 0; i < o->s.n * blocks; i++) {
        const int64_t row = i / blocks, at = i % blocks;
        if (row % 3 != 2)
            o->w[i * MXFP4_BYTES] =
                (uint8_t)(row % 3 == 0 ? 126 - (at * 3 + row / 3) % 31 : (at + row) % 10);
    }
    host_panel_pack(&o->naive.w, 1, 0, tiles, packed);
    cudaMemcpy(o->cuda.w.data, packed, bytes, cudaMemcpyHostToDevice);
    memset(o->bias, 0, (size_t)o->s.n * 4);
    cudaMemset(o->cuda.bias.data, 0, (size_t)o->s.n * 4);
    xfree(packed);
}

static void test_lt(void **state)
{
    static const struct shape shapes[] = {{71, 40, 192, 67}, {150, 136, 64, 0}, {36, 300, 320, 0}};
    static const struct lt_limits small = {0, 64 << 10, 32 << 10, 1 << 20};
    struct lt *lt;
    (void)state;
    if (simt_real()) /* what the library there has is its own affair */
        return;
    simt_cublaslt = (struct simt_cublaslt){.workspace = small.workspace};
    assert_int_equal(lt_open(NULL, &lt), OK);
    prefer(100, GPU_PATH_LT_FP4);
    q.limits = &small;
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        const enum dtype t = i % 2 ? DT_MXFP4 : DT_NVFP4;
        struct product o = {0};
        q.lt = lt;
        q.scratch_bytes = i / 2 == 1 ? 250 << 10 : 1 << 20; /* 128 rows of x at once */
        product_open(&o, t, shapes[i / 2]);
        simt_cublaslt.type = -1;
        simt_cublaslt.products = 0;
        product_run(&q, &o);
        assert_int_equal(simt_cublaslt.type, CUDA_R_4F_E2M1);
        assert_int_equal(simt_cublaslt.products, i / 2 + 1); /* of rows of x, of W */
        check_lt(&o);
        product_close(&o);
        q.scratch_bytes = 1 << 20;
        if (simt_slow() && i / 2 == 1)
            continue;
        product_glu(&q, t, shapes[i / 2]);
        product_norm(&q, t, shapes[i / 2]);
    }
    lt_close(lt);
    simt_cublaslt = (struct simt_cublaslt){.workspace = small.workspace, .refuse = true};
    assert_int_equal(lt_open(NULL, &lt), OK); /* one that has no fp4 */
    q.lt = lt;
    for (int i = 0; i < 2; i++) {
        struct product o = {0};
        prefer(i ? 120 : 100, GPU_PATH_LT_FP4);
        product_open(&o, DT_MXFP4, shapes[1]);
        simt_cublaslt.type = -1;
        product_run(&q, &o);
        assert_int_equal(simt_cublaslt.type, -1);
        check_product(&o, i); /* our own kernel has it */
        product_close(&o);
    }
    lt_close(lt);
}

/* MXFP4 by cuBLASLt, on both GPUs that may: what e4m3 has no room for is zeros, nothing else. */
static void test_spread(void **state)
{
    static const struct lt_limits small = {0, 64 << 10, 64 << 10, 1 << 20};
    (void)state;
    if (simt_real())
        return;
    simt_cublaslt = (struct simt_cublaslt){.workspace = small.workspace};
    assert_int_equal(lt_open(NULL, &q.lt), OK);
    q.limits = &small;
    for (int i = 0; i < 2; i++) {
        struct product o = {0};
        prefer(i ? 120 : 100, GPU_PATH_LT_FP4);
        product_open(&o, DT_MXFP4, (struct shape){39, 150, 352, 0});
        spread(&o);
        product_run(&q, &o);
        assert_int_equal(simt_cublaslt.products, i + 1);
        check_lt(&o);
        product_close(&o);
    }
    lt_close(q.lt);
}

/* Where it is not allowed, not there, not worth it, or for too few rows, x stays in int8; where the
 * weight's checkpoint declares it, it is enough that nobody forbids it. */
static void test_declines(void **state)
{
    static const struct shape many = {36, 24, 128, 0}, few = {GPU_MMA8_MIN_M, 24, 128, 0};
    static const struct {
        enum x_type device, weight;
        int cc;
        bool deterministic, few, slow, rounds;
    } ways[] = {{X_EXACT, X_FP4, 120, false, false, false, false},
                {X_FP8, X_EXACT, 120, false, false, false, false},
                {X_FP4, X_EXACT, 100, false, false, false, false},
                {X_FP4, X_FP4, 120, true, false, false, false},
                {X_FP4, X_FP4, 120, false, true, false, false},
                {X_FP4, X_FP4, 120, false, false, true, false},
                {X_DECLARED, X_EXACT, 120, false, false, false, false},
                {X_DECLARED, X_FP4, 120, false, false, false, true},
                {X_DECLARED, X_FP4, 121, false, false, false, true}};
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct product o = {0};
        struct quant says = {.x = ways[i].weight};
        product_open(&o, DT_NVFP4, ways[i].few ? few : many);
        o.cuda.w.q = o.naive.w.q = &says;
        q.round_x = ways[i].device;
        q.deterministic = ways[i].deterministic;
        prefer(ways[i].cc, ways[i].slow ? GPU_PATH_SKINNY : GPU_PATH_W4A4);
        product_run(&q, &o);
        check_product(&o, ways[i].rounds);
        product_close(&o);
    }
}

/* What a configuration may say, by capability. */
static void test_legal(void **state)
{
    static const struct {
        enum gpu_path path;
        int cc, nt;
        enum dtype w;
        bool fine;
    } rows[] = {
        {GPU_PATH_W4A4, 120, 16, DT_NVFP4, true},    {GPU_PATH_W4A4, 121, 16, DT_MXFP4, true},
        {GPU_PATH_W4A4, 120, 8, DT_NVFP4, false},    {GPU_PATH_W4A4, 100, 16, DT_NVFP4, false},
        {GPU_PATH_W4A4, 120, 16, DT_Q4_0, false},    {GPU_PATH_LT_FP4, 100, 0, DT_NVFP4, true},
        {GPU_PATH_LT_FP4, 120, 0, DT_MXFP4, true},   {GPU_PATH_LT_FP4, 90, 0, DT_NVFP4, false},
        {GPU_PATH_LT_FP4, 100, 0, DT_F8_E4M3, false}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct gpu_params p = {
            .path = rows[i].path, .nt = rows[i].nt, .r = 2, .stages = GPU_MMA8_STAGES, .splits = 1};
        if ((gpu_legal(rows[i].cc, rows[i].w, &p) == OK) != rows[i].fine)
            fail_msg("row %zu is%s legal", i, rows[i].fine ? " not" : "");
    }
}

/* Block-scaled mma: the emulator's, or a GPU's of sm_120. */
static bool multiplies(void)
{
    int major = 0;
    return !simt_real() ||
           (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess &&
            major == 12);
}

int main(void)
{
    const struct CMUnitTest rows[] = {cmocka_unit_test(test_rows)};
    const struct CMUnitTest products[] = {
        cmocka_unit_test_setup_teardown(test_product, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_lt, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_spread, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_declines, open_queue, close_queue),
        cmocka_unit_test(test_legal),
    };
    int failed = cmocka_run_group_tests(rows, gpu_open, gpu_close);
    if (!multiplies()) {
        printf("SKIP fp4 is not multiplied here\n");
        return failed;
    }
    return failed + cmocka_run_group_tests(products, NULL, NULL);
}
