/* linear_fp8.cu - y = x W^T for many rows, W and x in e4m3, by cuBLASLt: where the user allows that
 * activations lose precision, W has one scale a row, and the GPU multiplies fp8 (from sm_89 on).
 *
 * Shapes: x [M, K] f32 -> e4m3 with a scale a row (quant_rows.cu); W in panels -> rows of e4m3, as
 * many as stay in L2. Rows of both are padded to 64 columns, their numbers to 16. Where nothing is
 * padded the library is asked to scale by rows of x and of W itself, which Hopper's does, and to
 * write y; else, and where it declines, for plain products, which are scaled, shifted and added to
 * on their way to y.
 * Bytes: 5 for each number of x, 4 for a weight (from L2 but one), 12 for a number of y.
 * Expected (not measured): 1.6 times the rate of bf16 from 512 rows on, on Hopper and Ada's
 * workstation parts; GeForce has the fp8 rate of sums in f32, which is less.
 *
 * Numbers: weights are what they are; x loses all but 4 bits of its numbers, 2^-4 of each at most,
 * and what is below 2^-18 of its row's largest. Sums in the precision of the tensor cores. */
#include "kernels/cuda/linear_floats.cuh"

#include "kernels/cuda/linear_op.cuh"

extern "C" {
#include "kernels/cuda/lt.h"
#include "kernels/cuda/lt_abi.h"
}

enum { FP8_THREADS = 256, FP8_PAD = 16 };

struct fp8_args {
    const uint8_t *w; /* panels */
    uint8_t *to;      /* [16 tiles, 64 chunks] */
    float *scale;     /* [16 tiles] */
    int chunks, first, tiles;
};

/* A warp makes 16 x 64: lane 4 g + t has 16 columns of rows g and g + 8. */
__global__ void __launch_bounds__(FP8_THREADS) fp8_weights(fp8_args a)
{
    using F = linear_floats<8>;
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int64_t at = (static_cast<int64_t>(blockIdx.x) * FP8_THREADS + threadIdx.x) >> 5;
    const int64_t tile = at / a.chunks, chunk = at % a.chunks, width = a.chunks * 64;
    gpu_let_next();
    gpu_wait_earlier();
    if (tile >= a.tiles)
        return;
    const uint8_t *from = a.w + ((a.first + tile) * a.chunks + chunk) * F::TILE;
    const uint4 x = reinterpret_cast<const uint4 *>(from)[lane];
    const uint4 y = reinterpret_cast<const uint4 *>(from)[32 + lane];
    uint8_t *to = a.to + (tile * 16 + g) * width + chunk * 64 + 16 * t;
    *reinterpret_cast<uint4 *>(to) =
        make_uint4(F::codes(x.x), F::codes(x.y), F::codes(y.x), F::codes(y.y));
    *reinterpret_cast<uint4 *>(to + 8 * width) =
        make_uint4(F::codes(x.z), F::codes(x.w), F::codes(y.z), F::codes(y.w));
    if (chunk != 0 || t != 0)
        return;
    const float2 d = reinterpret_cast<const float2 *>(from + F::AT)[g];
    a.scale[tile * 16 + g] = d.x;
    a.scale[tile * 16 + g + 8] = d.y;
}

/* --- host */

struct fp8_plan {
    int64_t width, rows, tiles; /* bytes of a row; rows of x, tiles of W that go through at once */
    char *workspace;
    uint8_t *w, *x;
    float *w_scale, *x_scale, *normed, *sums; /* normed: NULL where there is no norm */
    bool direct;                              /* the library may write y, scaled by rows */
};

/* False: the scratch holds too little of so wide a matrix. */
static bool fp8_make_plan(const cuda_queue *q, const linear_op *a, fp8_plan *p)
{
    const struct lt_limits *l = q->limits;
    const int64_t m = a->x.shape[0], k = a->x.shape[1];
    const int64_t tiles = linear_up(a->w.shape[0], PANEL_ROWS) / PANEL_ROWS;
    p->width = cuda_panel_chunks(k) * PANEL_COLS;
    const int64_t fit = static_cast<int64_t>(l->tile) / (p->width * PANEL_ROWS);
    if (fit == 0)
        return false;
    const int64_t passes = (tiles + fit - 1) / fit;
    p->tiles = (tiles + passes - 1) / passes;
    const int64_t cols = p->tiles * PANEL_ROWS, number = sizeof(float);
    const int64_t fixed = l->workspace + l->tile + linear_up(cols * number, 256) + 1024;
    const int64_t row = p->width + (a->norm ? k : 0) * number + (cols + 1) * number;
    const int64_t left = static_cast<int64_t>(q->scratch_bytes) - fixed;
    const int64_t most = left < 0 ? 0 : left / row / 64 * 64;
    p->rows = linear_up(m, 64) <= most ? m : most;
    if (p->rows == 0)
        return false;
    const int64_t padded = linear_up(p->rows, 64);
    p->workspace = static_cast<char *>(q->scratch);
    p->w = reinterpret_cast<uint8_t *>(p->workspace + l->workspace);
    p->w_scale = reinterpret_cast<float *>(p->w + l->tile);
    p->x = reinterpret_cast<uint8_t *>(p->w_scale) + linear_up(cols * number, 256);
    p->x_scale = reinterpret_cast<float *>(p->x + padded * p->width);
    p->sums = p->x_scale + padded;
    p->normed = a->norm ? p->sums + padded * cols : nullptr;
    /* What it adds to is y, which a pass that is repeated must not find changed. */
    const bool whole = p->rows == m && passes == 1;
    p->direct =
        p->rows % FP8_PAD == 0 && m % p->rows == 0 && a->w.shape[0] % cols == 0 &&
        a->y.stride[0] % FP8_PAD == 0 && !a->bias.data &&
        (!a->add.data || (whole && a->add.data == a->y.data && a->add.stride[0] == a->y.stride[0]));
    return true;
}

/* Rows [first, first + m) of x. */
static enum status fp8_inputs(cuda_queue *q, const linear_op *a, const fp8_plan *p, int64_t first,
                              int m)
{
    quant_rows r = {};
    r.width = p->width;
    r.q = p->x;
    r.scale = p->x_scale;
    r.first = static_cast<int>(first);
    r.m = m;
    r.pad = static_cast<int>(linear_up(p->rows, FP8_PAD) - m);
    return linear_round_x(q, a, r, p->normed);
}

/* A product as fp8_part has it, to y at once. ERR_UNSUPPORTED: the library declines, which is no
 * fallback, and y is as it was. */
static enum status fp8_direct(cuda_queue *q, const linear_op *a, const fp8_plan *p, lt_product o,
                              int64_t first, int64_t at)
{
    o.scale_mode = LT_SCALE_OUTER_VEC;
    o.w_scale = p->w_scale;
    o.x_scale = p->x_scale;
    o.y = static_cast<float *>(tensor_row(&a->y, first)) + at;
    o.y_stride = a->y.stride[0] / static_cast<int64_t>(sizeof(float));
    o.factor = linear_factor(&a->w);
    o.add = a->add.data != nullptr;
    o.strict = true;
    return lt_multiply(q->lt, &o, p->workspace, q->limits->workspace, q->stream);
}

/* The same rows of y, columns [at, at + n). */
static enum status fp8_part(cuda_queue *q, const linear_op *a, const fp8_plan *p, int64_t first,
                            int m, int64_t at)
{
    const int64_t left = a->w.shape[0] - at;
    const int64_t n = left < p->tiles * PANEL_ROWS ? left : p->tiles * PANEL_ROWS;
    const int tiles = static_cast<int>(linear_up(n, PANEL_ROWS) / PANEL_ROWS);
    const int chunks = static_cast<int>(p->width / PANEL_COLS);
    const fp8_args w = {static_cast<const uint8_t *>(a->w.data), p->w, p->w_scale, chunks,
                        static_cast<int>(at / PANEL_ROWS),       tiles};
    const int64_t warps = static_cast<int64_t>(tiles) * chunks;
    TRY(cuda_check(gpu_launch_early({q->stream, q->early}, fp8_weights,
                                    (warps * 32 + FP8_THREADS - 1) / FP8_THREADS, FP8_THREADS, 0,
                                    w),
                   "linear"));
    lt_product o = {};
    o.type = CUDA_R_8F_E4M3;
    /* The same size each time: the library refuses all or none, and then nothing is in y yet. */
    o.m = linear_up(p->rows, FP8_PAD);
    o.n = p->tiles * PANEL_ROWS;
    o.k = o.w_stride = o.x_stride = p->width;
    o.w = p->w;
    o.x = p->x;
    o.y = p->sums;
    o.y_stride = o.n;
    o.factor = 1;
    if (p->direct) {
        const enum status s = fp8_direct(q, a, p, o, first, at);
        if (s != ERR_UNSUPPORTED)
            return s;
    }
    TRY(lt_multiply(q->lt, &o, p->workspace, q->limits->workspace, q->stream));
    return linear_lt_finish(q, a, {p->sums, o.n, p->x_scale, p->w_scale, first, m, at, n});
}

enum status linear_by_fp8(cuda_queue *q, const linear_op *a)
{
    fp8_plan p;
    if (!fp8_make_plan(q, a, &p))
        return ERR_UNSUPPORTED;
    const int64_t m = a->x.shape[0], n = a->w.shape[0];
    for (int64_t first = 0; first < m; first += p.rows) {
        const int rows = static_cast<int>(m - first < p.rows ? m - first : p.rows);
        TRY(fp8_inputs(q, a, &p, first, rows));
        for (int64_t at = 0; at < n; at += p.tiles * PANEL_ROWS)
            TRY(fp8_part(q, a, &p, first, rows, at));
    }
    return OK;
}
