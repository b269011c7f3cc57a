/* product.c - a matrix product on the device beside its definition, for the tests of linear. */
#include "tests/simt/product.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/naive.h"
#include "kernels/cuda/panel.h"
#include "kernels/gpu/registry.h"
#include "tests/simt/host_panel.h"
#include "tests/support/test.h"

uint32_t product_seed;
bool product_flat;
enum dtype product_types[N_DTYPE];
int product_n_types;

void product_plan(struct cuda_queue *q, int half_max, int block_max)
{
    static struct gpu_config c;
    c = (struct gpu_config){.id = "test", .name = "test", .mhz = 1000};
    c.match = (struct gpu_match){.cc = {q->cc}, .n_cc = 1, .sm = q->sms};
    c.ceil = (struct gpu_ceil){100, 100, 1000, 10, 0, 10, 0, 10, 10, 100, 0, 0, 0};
    for (int i = 0; i < N_GPU_KERNEL; i++)
        c.eff[i] = (struct gpu_eff){1, 1, 0, 0};
    for (int i = 0; i <= GPU_SKINNY_ANY; i++)
        c.skinny_max_m[i] = i == GPU_SKINNY_16 ? half_max : block_max;
    c.attn_chunk = 128;
    c.attn_parts = 32;
    gpu_plan_init(&q->plan, &c);
}

static float noise(void)
{
    product_seed = product_seed * 1664525u + 1013904223u;
    float f = (float)(product_seed >> 8) * 0x1p-23f - 1;
    return product_seed % 97 < 2 ? 20 * f : f;
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

int product_queue_open(struct cuda_queue *q, size_t scratch_bytes)
{
    static struct device dev = {.backend = &backend_cuda}; /* for ops that are composed */
    size_t bytes = CUDA_TICKETS * sizeof *q->tickets;
    q->queue.dev = &dev;
    q->scratch_bytes = scratch_bytes;
    return cudaMalloc(&q->scratch, scratch_bytes) != cudaSuccess ||
           cudaMalloc((void **)&q->tickets, bytes) != cudaSuccess ||
           cudaMemset(q->tickets, 0, bytes) != cudaSuccess ||
           cudaStreamCreate(&q->stream) != cudaSuccess;
}

int product_queue_close(struct cuda_queue *q)
{
    static unsigned ticket[CUDA_TICKETS];
    int failed = cudaStreamDestroy(q->stream) != cudaSuccess;
    failed |= cudaMemcpy(ticket, q->tickets, sizeof ticket, cudaMemcpyDeviceToHost) != cudaSuccess;
    for (int i = 0; i < CUDA_TICKETS; i++)
        failed |= ticket[i] != 0;
    failed |= cudaFree(q->tickets) != cudaSuccess;
    return failed | (cudaFree(q->scratch) != cudaSuccess);
}

/* A weight of random blocks. Types without an encoder get random bytes; with bit 6 of each cleared
 * no scale is infinite or NaN; no e4m3 is 127, which is no number. */
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
        for (int i = 0; i < type->bytes; i++) {
            int code = (int)(noise() * 127);
            if (t == DT_F8_E4M3 && (code & 127) == 127) /* no number */
                code -= 1;
            w[b + (size_t)i] = (uint8_t)(gpu_is_floats(t) ? code : code & 0xbf);
        }
        float d = noise() * 0.1f;
        size_t begin = b % dtype_row_bytes(t, k);
        if (gpu_is_floats(t) && product_flat && begin != 0)
            memcpy(w + b, w + b - begin, sizeof d);
        else if (gpu_is_floats(t))
            memcpy(w + b, &d, sizeof d);
    }
    return w;
}

static bool in_place(const struct product *o)
{
    return o->s.m % 3 == 1 && !o->s.live;
}

/* Of weights that are multiplied by an odd number of rows. */
static const struct quant companion = {.global = 0.37f}, flat = {.row_scale = true},
                          flat_companion = {.global = 0.37f, .row_scale = true};

void product_open(struct product *o, enum dtype t, struct shape s)
{
    size_t all = (size_t)s.m * (size_t)s.n, bytes = cuda_panel_bytes(t, s.n, s.k);
    int half = s.n / 2;
    o->s = s;
    o->x = fill((size_t)(s.m * s.k));
    o->bias = fill((size_t)s.n);
    o->add = fill(all);
    const struct tensor add = s.m % 3 ? tensor_2d(o->add, DT_F32, s.m, s.n) : (struct tensor){0};
    o->w = weight(t, s.n, s.k);
    o->want = xmalloc(all * 4);
    o->got = xmalloc(all * 4);
    o->naive =
        (struct op_linear){tensor_2d(o->x, DT_F32, s.m, s.k),    tensor_2d(o->w, t, s.n, s.k),
                           tensor_1d(o->bias, DT_F32, s.n),      add,
                           tensor_2d(o->want, DT_F32, s.m, s.n), NULL};
    o->naive.w.q = s.m % 2        ? (product_flat ? &flat_companion : &companion)
                   : product_flat ? &flat
                                  : NULL;
    o->cuda = o->naive;
    o->cuda.x.data = to_device(o->x, (size_t)(s.m * s.k) * 4);
    o->cuda.bias.data = to_device(o->bias, (size_t)s.n * 4);
    memset(o->got, 0xff, all * 4);
    o->cuda.y.data = to_device(o->got, all * 4);
    if (add.data && in_place(o))
        o->cuda.add = o->cuda.y;
    else if (add.data)
        o->cuda.add.data = to_device(o->add, all * 4);
    if (bytes) {
        uint8_t *packed = xmalloc(bytes);
        struct tensor src[2] = {tensor_rows(o->naive.w, 0, half),
                                tensor_rows(o->naive.w, half, s.n - half)};
        int64_t tiles = (s.n + PANEL_ROWS - 1) / PANEL_ROWS;
        size_t line = bytes / (size_t)tiles;
        for (int64_t i = 0; i < tiles; i += 3) /* in pieces, as the loader does */
            host_panel_pack(src, 2, i, tiles - i < 3 ? tiles - i : 3, packed + (size_t)i * line);
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

void product_close(struct product *o)
{
    cudaFree(o->cuda.x.data);
    cudaFree(o->cuda.bias.data);
    if (o->cuda.add.data != o->cuda.y.data)
        cudaFree(o->cuda.add.data);
    cudaFree(o->cuda.y.data);
    cudaFree(o->cuda.w.data);
    cudaFree((void *)(uintptr_t)o->cuda.live);
    xfree(o->x);
    xfree(o->bias);
    xfree(o->add);
    xfree(o->w);
    xfree(o->want);
    xfree(o->got);
}

void product_run(struct cuda_queue *q, struct product *o)
{
    size_t all = (size_t)o->s.m * (size_t)o->s.n;
    if (in_place(o))
        cudaMemcpy(o->cuda.y.data, o->add, all * 4, cudaMemcpyHostToDevice);
    assert_int_equal(cuda_linear(q, &o->cuda), OK);
    assert_int_equal(cudaStreamSynchronize(q->stream), cudaSuccess);
    assert_int_equal(cudaMemcpy(o->got, o->cuda.y.data, all * 4, cudaMemcpyDeviceToHost),
                     cudaSuccess);
}

void product_glu(struct cuda_queue *q, enum dtype t, struct shape s)
{
    struct product o = {0};
    product_open(&o, t, s);
    size_t all = (size_t)s.m * (size_t)s.n * 4, in = (size_t)(s.m * s.k) * 8;
    float *x = fill((size_t)(s.m * s.k) * 2), *want = xmalloc(all);
    const struct tensor add = {0};
    struct tensor both = tensor_2d(to_device(x, in), DT_F32, s.m, 2 * s.k);
    struct op_glu glu = {both, o.cuda.x, ACT_SILU, o.cuda.live};
    assert_int_equal(cuda_glu(q, &glu), OK);
    product_run(q, &o);
    memcpy(want, o.got, all);
    if (o.cuda.add.data) /* in place */
        cudaMemcpy(o.cuda.y.data, o.add, all, cudaMemcpyHostToDevice);
    else
        cudaMemcpy(o.cuda.y.data, x, all < in ? all : in, cudaMemcpyHostToDevice);
    memset(x, 0xff, in);
    cudaMemcpy(o.cuda.x.data, x, in / 2, cudaMemcpyHostToDevice);
    struct op_glu_linear a = {both,     o.cuda.x,    ACT_SILU,
                              o.cuda.w, o.cuda.bias, o.cuda.add.data ? o.cuda.y : add,
                              o.cuda.y, o.cuda.live};
    assert_int_equal(cuda_glu_linear(q, &a), OK);
    assert_int_equal(cudaStreamSynchronize(q->stream), cudaSuccess);
    cudaMemcpy(o.got, o.cuda.y.data, all, cudaMemcpyDeviceToHost);
    size_t live = all / (size_t)s.m * (size_t)(s.live ? s.live : s.m);
    if (memcmp(o.got, want, live) != 0)
        fail_msg("%s %d x %d x %d: glu_linear is not glu, linear", dtype_info(t)->name, s.m, s.n,
                 s.k);
    cudaFree(both.data);
    xfree(x);
    xfree(want);
    product_close(&o);
}

void product_norm(struct cuda_queue *q, enum dtype t, struct shape s)
{
    struct product o = {0};
    product_open(&o, t, s);
    size_t row = (size_t)s.n * 4, in = (size_t)(s.m * s.k) * 4;
    size_t live = (size_t)(s.live ? s.live : s.m);
    float *norm = fill((size_t)s.k), *both = xmalloc(2 * row * (size_t)s.m),
          *bias = xmalloc(2 * row);
    memcpy(bias, o.bias, row);
    memcpy(bias + s.n, o.bias, row);
    struct tensor weight = tensor_1d(to_device(norm, (size_t)s.k * 4), DT_F32, s.k), x = o.cuda.x;
    struct tensor h = x;
    h.data = to_device(o.x, in);
    struct op_rmsnorm first = {x, weight, h, 1e-5f, o.cuda.live};
    assert_int_equal(cuda_rmsnorm(q, &first), OK);
    o.cuda.x = h;
    o.cuda.add.data = NULL;
    product_run(q, &o);
    memset(o.x, 0xff, in);
    cudaMemcpy(h.data, o.x, in, cudaMemcpyHostToDevice);
    struct op_norm_linear a = {
        .x = x,
        .weight = weight,
        .eps = 1e-5f,
        .h = h,
        .w = {o.cuda.w, o.cuda.w},
        .n_parts = 2,
        .bias = tensor_1d(to_device(bias, 2 * row), DT_F32, 2 * s.n),
        .y = tensor_2d(to_device(both, 2 * row * (size_t)s.m), DT_F32, s.m, 2 * s.n),
        .live = o.cuda.live};
    assert_int_equal(cuda_norm_linear(q, &a), OK);
    assert_int_equal(cudaStreamSynchronize(q->stream), cudaSuccess);
    cudaMemcpy(both, a.y.data, 2 * row * (size_t)s.m, cudaMemcpyDeviceToHost);
    for (size_t r = 0; r < live; r++)
        for (int i = 0; i < 2; i++)
            if (memcmp(both + (2 * r + (size_t)i) * (size_t)s.n, o.got + r * (size_t)s.n, row) != 0)
                fail_msg("%s %d x %d x %d: norm_linear is not rmsnorm, linear", dtype_info(t)->name,
                         s.m, s.n, s.k);
    cudaFree(a.bias.data);
    cudaFree(a.y.data);
    cudaFree(weight.data);
    cudaFree(h.data);
    xfree(norm);
    xfree(both);
    xfree(bias);
    o.cuda.x = x;
    product_close(&o);
}

/* sum |x w| of one output, the yardstick of its rounding. */
double product_size(const struct product *o, int r, int c, float *row)
{
    double sum = 0;
    enum dtype t = (enum dtype)o->naive.w.dtype;
    dtype_decode(t, tensor_row(&o->naive.w, c), row, o->s.k);
    double by = o->s.m % 2 ? (double)companion.global : 1;
    for (int k = 0; k < o->s.k; k++)
        sum += by * fabs((double)o->x[r * o->s.k + k] * (double)row[k]);
    return sum;
}

void product_compare(struct product *o, double eps, const char *name)
{
    int live = o->s.live ? o->s.live : o->s.m;
    float *row = xmalloc((size_t)o->s.k * 4);
    naive_linear(&o->naive, 0, naive_linear_items(&o->naive));
    for (int r = 0; r < live; r++)
        for (int c = 0; c < o->s.n; c++) {
            float got = o->got[r * o->s.n + c], want = o->want[r * o->s.n + c];
            if (eps == 0 ? memcmp(&got, &want, 4) == 0
                         : fabs((double)got - (double)want) <=
                               eps * product_size(o, r, c, row) + 0x1p-23 * fabs((double)want))
                continue;
            fail_msg("%s %d x %d x %d: y[%d][%d] is %.9g, defined as %.9g", name, o->s.m, o->s.n,
                     o->s.k, r, c, (double)got, (double)want);
        }
    for (int i = live * o->s.n; i < o->s.m * o->s.n; i++) /* not live: not touched */
        assert_true(isnan(o->got[i]));
    xfree(row);
}

/* Difference allowed, relative to sum |x w|: sums of exact products in another order in f32, and
 * for f16 and codes of floats what rounding x to 11 bits costs (the naive op takes it as it is). */
double product_tolerance(enum dtype t)
{
    return t == DT_F16 || gpu_is_floats(t) ? 0x1.1p-11 : 0x1p-19;
}

void product_find_types(void)
{
    product_n_types = 0;
    product_types[product_n_types++] = DT_F32;
    product_types[product_n_types++] = DT_BF16;
    product_types[product_n_types++] = DT_F16;
    for (int t = 0; t < N_DTYPE; t++)
        if (cuda_panel_format((enum dtype)t))
            product_types[product_n_types++] = (enum dtype)t;
}

int product_k(enum dtype t, int k)
{
    int block = dtype_info(t)->block;
    return (k + block - 1) / block * block;
}
