/* test_linear.c - the CUDA matrix product on the emulator against the naive op: every weight type,
 * rows of x from 1 to beyond a tile, N and K that fill no tile, K split and not.
 *
 * Block formats multiply the same integers in the same order as the naive op, so without a split
 * they have its bits. With one, and for bf16 (both round x to bf16), only the order of exact
 * products differs: at most 2^-19 sum |x w|. f16 rounds x to 11 bits, which the naive op does not.
 * */
#include "kernels/cuda/cuda.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/naive.h"
#include "kernels/cuda/panel.h"
#include "kernels/half.h"
#include "tests/support/test.h"

static struct cuda_queue q;
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

static void *to_device(const void *from, size_t bytes)
{
    void *p;
    assert_int_equal(cudaMalloc(&p, bytes), cudaSuccess);
    assert_int_equal(cudaMemcpy(p, from, bytes, cudaMemcpyHostToDevice), cudaSuccess);
    return p;
}

/* A weight of random blocks. Types without an encoder get random bytes; with bit 6 of each cleared
 * no scale is infinite or NaN. */
static uint8_t *weight(enum dtype t, int64_t n, int64_t k)
{
    const struct dtype_info *type = dtype_info(t);
    size_t bytes = (size_t)n * dtype_row_bytes(t, k);
    uint8_t *w = xmalloc(bytes);
    for (size_t b = 0; b < bytes; b += (size_t)type->bytes) {
        float in[256];
        for (int i = 0; i < type->block; i++)
            in[i] = noise();
        if (type->encode) {
            type->encode(in, w + b);
            continue;
        }
        for (int i = 0; i < type->bytes; i++)
            w[b + (size_t)i] = (uint8_t)((int)(noise() * 127) & 0xbf);
    }
    return w;
}

/* Of weights that are multiplied by an odd number of rows. */
static const struct quant companion = {.global = 0.37f};

struct shape {
    int m, n, k, live;
};

struct product {
    struct op_linear naive, cuda;
    float *x, *bias, *want, *got;
    uint8_t *w;
    struct shape s;
};

static void op_open(struct product *o, enum dtype t, struct shape s)
{
    size_t all = (size_t)s.m * (size_t)s.n, bytes = cuda_panel_bytes(t, s.n, s.k);
    int half = s.n / 2;
    o->s = s;
    o->x = fill((size_t)(s.m * s.k));
    o->bias = fill((size_t)s.n);
    o->w = weight(t, s.n, s.k);
    o->want = xmalloc(all * 4);
    o->got = xmalloc(all * 4);
    o->naive = (struct op_linear){tensor_2d(o->x, DT_F32, s.m, s.k), tensor_2d(o->w, t, s.n, s.k),
                                  tensor_1d(o->bias, DT_F32, s.n),
                                  tensor_2d(o->want, DT_F32, s.m, s.n), NULL};
    o->naive.w.q = s.m % 2 ? &companion : NULL;
    o->cuda = o->naive;
    o->cuda.x.data = to_device(o->x, (size_t)(s.m * s.k) * 4);
    o->cuda.bias.data = to_device(o->bias, (size_t)s.n * 4);
    memset(o->got, 0xff, all * 4);
    o->cuda.y.data = to_device(o->got, all * 4);
    if (bytes) {
        uint8_t *packed = xmalloc(bytes);
        struct tensor src[2] = {tensor_rows(o->naive.w, 0, half),
                                tensor_rows(o->naive.w, half, s.n - half)};
        int64_t tiles = (s.n + PANEL_ROWS - 1) / PANEL_ROWS;
        size_t line = bytes / (size_t)tiles;
        for (int64_t i = 0; i < tiles; i += 3) /* in pieces, as the loader does */
            cuda_panel_pack(src, 2, i, tiles - i < 3 ? tiles - i : 3, packed + (size_t)i * line);
        o->cuda.w.data = to_device(packed, bytes);
        o->cuda.w.layout = LAYOUT_PANEL;
        xfree(packed);
    } else if (t == DT_BF16 || t == DT_F16) { /* rows, NaN between them */
        size_t row = (size_t)s.k * 2, stride = (size_t)cuda_half_stride(s.k);
        uint8_t *padded = xmalloc(stride * (size_t)s.n);
        memset(padded, 0xff, stride * (size_t)s.n);
        for (int i = 0; i < s.n; i++)
            memcpy(padded + (size_t)i * stride, o->w + (size_t)i * row, row);
        o->cuda.w.data = to_device(padded, stride * (size_t)s.n);
        o->cuda.w.stride[0] = (int64_t)stride;
        xfree(padded);
    } else {
        o->cuda.w.data = to_device(o->w, dtype_row_bytes(t, s.k) * (size_t)s.n);
    }
    if (s.live)
        o->cuda.live = to_device(&s.live, 4);
}

static void op_close(struct product *o)
{
    cudaFree(o->cuda.x.data);
    cudaFree(o->cuda.bias.data);
    cudaFree(o->cuda.y.data);
    cudaFree(o->cuda.w.data);
    cudaFree((void *)(uintptr_t)o->cuda.live);
    xfree(o->x);
    xfree(o->bias);
    xfree(o->w);
    xfree(o->want);
    xfree(o->got);
}

static void run(struct product *o)
{
    size_t all = (size_t)o->s.m * (size_t)o->s.n;
    assert_int_equal(cuda_linear(&q, &o->cuda), OK);
    assert_int_equal(cudaStreamSynchronize(q.stream), cudaSuccess);
    assert_int_equal(cudaMemcpy(o->got, o->cuda.y.data, all * 4, cudaMemcpyDeviceToHost),
                     cudaSuccess);
}

/* sum |x w| of one output, the yardstick of its rounding. */
static double size_of(const struct product *o, int r, int c, float *row)
{
    double sum = 0;
    enum dtype t = (enum dtype)o->naive.w.dtype;
    dtype_decode(t, tensor_row(&o->naive.w, c), row, o->s.k);
    double by = o->naive.w.q ? (double)companion.global : 1;
    for (int k = 0; k < o->s.k; k++)
        sum += by * fabs((double)o->x[r * o->s.k + k] * (double)row[k]);
    return sum;
}

static void compare(struct product *o, double eps, const char *name)
{
    int live = o->s.live ? o->s.live : o->s.m;
    float *row = xmalloc((size_t)o->s.k * 4);
    naive_linear(&o->naive, 0, naive_linear_items(&o->naive));
    for (int r = 0; r < live; r++)
        for (int c = 0; c < o->s.n; c++) {
            float got = o->got[r * o->s.n + c], want = o->want[r * o->s.n + c];
            if (eps == 0 ? memcmp(&got, &want, 4) == 0
                         : fabs((double)got - (double)want) <= eps * size_of(o, r, c, row))
                continue;
            fail_msg("%s %d x %d x %d: y[%d][%d] is %.9g, defined as %.9g", name, o->s.m, o->s.n,
                     o->s.k, r, c, (double)got, (double)want);
        }
    for (int i = live * o->s.n; i < o->s.m * o->s.n; i++) /* not live: not touched */
        assert_true(isnan(o->got[i]));
    xfree(row);
}

/* Difference allowed, relative to sum |x w|: sums of exact products in another order in f32, and
 * for f16 what rounding x to 11 bits costs (the naive op takes it as it is). */
static double tolerance(enum dtype t)
{
    return t == DT_F16 ? 0x1.1p-11 : 0x1p-19;
}

/* f32, and all that have panels. */
static enum dtype types[N_DTYPE];
static int n_types;

static void find_types(void)
{
    n_types = 0;
    types[n_types++] = DT_F32;
    types[n_types++] = DT_BF16;
    types[n_types++] = DT_F16;
    for (int t = 0; t < N_DTYPE; t++)
        if (dtype_info((enum dtype)t)->ints)
            types[n_types++] = (enum dtype)t;
}

static int with_k(enum dtype t, int k)
{
    int block = dtype_info(t)->block;
    return (k + block - 1) / block * block;
}

/* No split: K is short, and for plain types no multiple of anything. */
static void test_shapes(void **state)
{
    static const struct shape shapes[] = {{1, 16, 32, 0},  {3, 33, 96, 0},   {8, 130, 160, 0},
                                          {9, 64, 64, 0},  {17, 80, 224, 0}, {33, 48, 96, 0},
                                          {64, 16, 64, 0}, {71, 40, 96, 67}, {16, 24, 64, 5}};
    (void)state;
    for (int i = 0; i < n_types; i++)
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            struct product o = {0};
            struct shape s = shapes[j];
            bool exact = dtype_info(types[i])->ints != NULL;
            s.k = exact ? with_k(types[i], s.k) : s.k - (int)j;
            op_open(&o, types[i], s);
            run(&o);
            compare(&o, exact ? 0 : tolerance(types[i]), dtype_info(types[i])->name);
            op_close(&o);
        }
}

/* K is split; a row has the same bits alone, in a tile, and beyond 64 rows. */
static void test_split(void **state)
{
    (void)state;
    for (int i = 0; i < n_types; i++) {
        struct product all = {0}, one = {0};
        struct shape s = {67, 24, with_k(types[i], 1344), 0};
        seed = 7;
        op_open(&all, types[i], s);
        run(&all);
        compare(&all, tolerance(types[i]), dtype_info(types[i])->name);
        for (int m = 1; m <= 40; m += 13) {
            seed = 7;
            op_open(&one, types[i], s);
            one.cuda.x.shape[0] = one.cuda.y.shape[0] = m;
            run(&one);
            assert_memory_equal(one.got, all.got, (size_t)(m * s.n) * 4);
            op_close(&one);
        }
        op_close(&all);
    }
}

/* Magnitudes at both ends: f16 weights see x beyond f16's range, blocks of zeros, tiny blocks. */
static void test_range(void **state)
{
    (void)state;
    for (int i = 0; i < n_types; i++) {
        struct product o = {0};
        struct shape s = {4, 16, with_k(types[i], 128), 0};
        op_open(&o, types[i], s);
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
        run(&o);
        compare(&o, dtype_info(types[i])->ints ? 0 : tolerance(types[i]),
                dtype_info(types[i])->name);
        op_close(&o);
    }
}

/* Rows go through in pieces when the scratch is small, and an impossible one is an error. */
static void test_scratch(void **state)
{
    struct cuda_queue whole = q;
    (void)state;
    for (int i = 1; i < 4; i++) {
        struct product o = {0};
        op_open(&o, types[i], (struct shape){150, 16, 128, 141});
        q.scratch_bytes = 40 << 10;
        run(&o);
        compare(&o, types[i] == DT_Q8_0 ? 0 : tolerance(types[i]), dtype_info(types[i])->name);
        q.scratch_bytes = 4096;
        assert_int_equal(cuda_linear(&q, &o.cuda), ERR_NO_MEMORY);
        q = whole;
        op_close(&o);
    }
}

static int open_queue(void **state)
{
    (void)state;
    q = (struct cuda_queue){.cc = 80, .sms = 4, .smem_max = 99 << 10, .scratch_bytes = 8 << 20};
    seed = 1;
    find_types();
    return cudaMalloc(&q.scratch, q.scratch_bytes) != cudaSuccess ||
           cudaStreamCreate(&q.stream) != cudaSuccess;
}

static int open_small(void **state)
{
    int failed = open_queue(state);
    q.smem_max = 64 << 10; /* as sm_75: the ring has two stages */
    q.cc = 75;
    return failed;
}

static int close_queue(void **state)
{
    (void)state;
    cudaStreamDestroy(q.stream);
    return cudaFree(q.scratch) != cudaSuccess;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shapes, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_split, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_range, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_scratch, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_split, open_small, close_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
