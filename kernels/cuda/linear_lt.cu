/* linear_lt.cu - y = x W^T + bias + add for many rows by cuBLASLt: x and, of block formats, the
 * weights become rows of bf16 first.
 *
 * Shapes: x [M, K] f32 -> [M, chunks * 64] bf16; W in panels -> tiles of rows of the same width, as
 * many at a time as stay in L2 (lt_limits). bf16 and f16 weights are read where they are.
 * Bytes: 6 for each number of x; for each weight its share of a panel read, 2 written, and 2 read
 * again by cuBLASLt, both from L2 where the tile fits.
 * The trick: a panel is decoded in its own order, a lane a fragment: loads are whole lines, and
 * four lanes store 32 bytes of a row.
 * Expected (not measured): 4 ms of decoding for an 8B model of 4 bits on an H200, which 2048 rows
 * of prefill pay once.
 *
 * Numbers: bf16 (from sm_80 on) rounds x, and what is decoded, to 8 bits. f16 weights, and on
 * sm_75, which has no bf16, all whose scales are f16, are multiplied in f16: a row of x is divided
 * by a power of two as in linear.cuh, weights beyond f16's range become its largest, those below
 * 2^-14 lose bits. Sums are f32; their order is cuBLASLt's and depends on M. */
#include "kernels/cuda/linear_floats.cuh"

#include "kernels/cuda/linear_op.cuh"

extern "C" {
#include "kernels/cuda/lt.h"
}

enum { THREADS = 256, UNPACK_THREADS = 128, EIGHT = 8, TABLES = 1024 };

/* Two numbers of the type of `to`. */
GPU_FN uint32_t pair_of(const __nv_bfloat16 *to, float a, float b)
{
    (void)to;
    const __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
    return *reinterpret_cast<const uint32_t *>(&v);
}
GPU_FN uint32_t pair_of(const __half *to, float a, float b)
{
    (void)to;
    const float most = 65504.0f;
    const __half2 v = __floats2half2_rn(fminf(fmaxf(a, -most), most), fminf(fmaxf(b, -most), most));
    return *reinterpret_cast<const uint32_t *>(&v);
}

/* --- rows of x, or of bf16 weights on sm_75 */

struct rows_args {
    const char *from;             /* [m, k], stride in bytes */
    int64_t stride, up, k, width; /* up: as linear_rows has it */
    void *to;                     /* [m, width] */
    const float *scale;           /* of rows, what they are divided by; or NULL */
    const int32_t *live;
    int first, m;
};

GPU_FN float number_of(const float *p)
{
    return *p;
}
GPU_FN float number_of(const __nv_bfloat16 *p)
{
    return __bfloat162float(*p);
}

/* Grid: rows, blocks of 8 columns a thread. Zeros beyond K and in rows that are not live. */
template <class From, class T> __global__ void __launch_bounds__(THREADS) lt_rows(rows_args a)
{
    const int row = blockIdx.x;
    const int64_t k = (static_cast<int64_t>(blockIdx.y) * THREADS + threadIdx.x) * EIGHT;
    gpu_let_next();
    gpu_wait_earlier();
    if (k >= a.width)
        return;
    const From *x = reinterpret_cast<const From *>(a.from + row * a.stride);
    const bool live = row < linear_live(a.live, a.first, a.m);
    const float down = a.scale && live ? 1.0f / a.scale[row] : 1.0f;
    float v[EIGHT];
    GPU_UNROLL
    for (int i = 0; i < EIGHT; i++)
        v[i] = live && k + i < a.k ? number_of(x + k + i) : 0.0f;
    if (a.up)
        GPU_UNROLL
    for (int i = 0; i < EIGHT; i++)
        if (live && k + i < a.k)
            v[i] =
                linear_silu(v[i]) *
                number_of(reinterpret_cast<const From *>(a.from + row * a.stride + a.up) + k + i);
    GPU_UNROLL
    for (int i = 0; i < EIGHT; i++)
        v[i] *= down;
    T *to = static_cast<T *>(a.to) + row * a.width + k;
    *reinterpret_cast<uint4 *>(to) = make_uint4(pair_of(to, v[0], v[1]), pair_of(to, v[2], v[3]),
                                                pair_of(to, v[4], v[5]), pair_of(to, v[6], v[7]));
}

/* Rows of x, normed. Grid: rows; a warp sums a share of the squares. */
__global__ void __launch_bounds__(NORM_SHARES * 32)
    lt_norm(rows_args a, const float *weight, float eps)
{
    __shared__ float part[NORM_SHARES];
    const int row = blockIdx.x;
    gpu_let_next();
    gpu_wait_earlier();
    const bool live = row < linear_live(a.live, a.first, a.m);
    const float *x = reinterpret_cast<const float *>(a.from + row * a.stride);
    const float sum = live ? norm_share(x, a.k, threadIdx.x >> 5) : 0.0f;
    if ((threadIdx.x & 31) == 0)
        part[threadIdx.x >> 5] = sum;
    __syncthreads();
    const float scale = norm_scale(part, a.k, eps);
    __nv_bfloat16 *to = static_cast<__nv_bfloat16 *>(a.to) + row * a.width;
    for (int64_t k = threadIdx.x * 4; k < a.width; k += NORM_SHARES * 32 * 4) {
        float v[4];
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            v[i] = live && k + i < a.k ? norm_of(x[k + i], scale, weight[k + i]) : 0.0f;
        *reinterpret_cast<uint2 *>(to + k) =
            make_uint2(pair_of(to, v[0], v[1]), pair_of(to, v[2], v[3]));
    }
}

template <class From, class T> static cudaError_t to_rows(const cuda_queue *q, const rows_args &a)
{
    const dim3 grid(a.m, (a.width / EIGHT + THREADS - 1) / THREADS);
    return gpu_launch_early({q->stream, q->early}, lt_rows<From, T>, grid, THREADS, 0, a);
}

/* --- panels to rows */

struct unpack_args {
    const uint8_t *w;
    void *to; /* [16 tiles, 64 chunks] */
    int chunks, first, tiles;
};

/* sm_75 decodes to f16, which it has, all others to bf16: the other body is left out. */
template <class T> constexpr bool lt_is_f16 = false;
template <> constexpr bool lt_is_f16<__half> = true;
#ifdef __CUDA_ARCH__
#define LT_UNPACKS_HERE(T) (lt_is_f16<T> == (__CUDA_ARCH__ < 800))
#else
#define LT_UNPACKS_HERE(T) true
#endif

/* A warp decodes one tile of 16 x 64. */
template <class F, class T>
__global__ void __launch_bounds__(UNPACK_THREADS) lt_unpack(unpack_args a)
{
    if constexpr (!LT_UNPACKS_HERE(T)) {
        __trap();
        return;
    }
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int64_t at = (static_cast<int64_t>(blockIdx.x) * UNPACK_THREADS + threadIdx.x) >> 5;
    const int64_t tile = at / a.chunks, chunk = at % a.chunks, width = a.chunks * 64;
    gpu_let_next();
    gpu_wait_earlier();
    if (tile >= a.tiles)
        return;
    const uint8_t *from = a.w + ((a.first + tile) * a.chunks + chunk) * F::TILE;
    T *to = static_cast<T *>(a.to) + (tile * 16 + g) * width + chunk * 64 + 4 * t;
    GPU_UNROLL
    for (int group = 0; group < 2; group++) {
        float v[4][4];
        F::numbers(from, lane, group, v);
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            *reinterpret_cast<uint2 *>(to + (i & 1) * 8 * width + group * 32 + (i >> 1) * 16) =
                make_uint2(pair_of(to, v[i][0], v[i][1]), pair_of(to, v[i][2], v[i][3]));
    }
}

typedef void unpack_fn(unpack_args);

/* NULL: f16 has no room for its scales. */
template <class F> static constexpr unpack_fn *unpack_to_f16()
{
    if constexpr (F::TO_F16)
        return lt_unpack<F, __half>;
    else
        return nullptr;
}

/* clang-format off */
static const struct {
    enum dtype type;
    unpack_fn *bf16, *f16;
} formats[] = {
#define ROW(t, bits, sign, scales)                                                                 \
    {t, lt_unpack<linear_ints<bits, sign, scales>, __nv_bfloat16>, unpack_to_f16<linear_ints<bits, sign, scales>>()},
    LINEAR_INTS(ROW)
#undef ROW
    {DT_F8_E4M3, lt_unpack<linear_floats<8>, __nv_bfloat16>, lt_unpack<linear_floats<8>, __half>},
    {DT_NF4, lt_unpack<linear_floats<4>, __nv_bfloat16>, lt_unpack<linear_floats<4>, __half>},
};
/* clang-format on */

/* NULL: not to f16. */
static unpack_fn *unpack_of(enum dtype t, bool f16)
{
    for (const auto &f : formats)
        if (f.type == t)
            return f16 ? f.f16 : f.bf16;
    return f16 ? nullptr : lt_unpack<linear_any, __nv_bfloat16>;
}

/* --- what f16 and fp4 leave to do: y = from * by * scale * factor + bias + add */

struct finish_args {
    const float *from; /* may be y */
    float *y;
    int64_t n, from_stride, stride, add_stride;
    const float *scale, *by, *bias, *add;
    float factor;
};

__global__ void __launch_bounds__(THREADS) lt_finish(finish_args a)
{
    const int64_t row = blockIdx.x;
    const int64_t col = static_cast<int64_t>(blockIdx.y) * THREADS + threadIdx.x;
    gpu_let_next();
    gpu_wait_earlier();
    if (col >= a.n)
        return;
    float v = a.from[row * a.from_stride + col];
    v = (a.by ? v * a.by[col] : v) * a.scale[row] * a.factor;
    v = a.bias ? v + a.bias[col] : v;
    a.y[row * a.stride + col] = a.add ? v + a.add[row * a.add_stride + col] : v;
}

/* --- host */

struct plan {
    bool f16, direct;    /* the weights are multiplied where they lie */
    int64_t width;       /* of rows of x and decoded weights */
    int64_t rows, tiles; /* of x, of W (16 rows each) that go through at once */
    char *workspace, *w, *x;
    float *scale; /* f16 only */
    float *sums;  /* f16 with something to add, which may be y: products, [rows, N]; else NULL */
};

/* False: the scratch holds too little of so wide a matrix. */
static bool make_plan(const cuda_queue *q, const linear_op *a, struct plan *p)
{
    const struct lt_limits *l = q->limits;
    const int64_t m = a->x.shape[0], tiles = (a->w.shape[0] + PANEL_ROWS - 1) / PANEL_ROWS;
    const bool half = a->w.layout == LAYOUT_ROWS;
    p->f16 = a->w.dtype == DT_F16 || q->cc < 80;
    p->direct = half && p->f16 == (a->w.dtype == DT_F16);
    p->width = cuda_panel_chunks(a->w.shape[1]) * PANEL_COLS;
    const size_t tile = p->direct ? 0 : l->tile, row = p->width * 2;
    if (q->scratch_bytes < l->workspace + tile + TABLES)
        return false;
    const size_t left = q->scratch_bytes - l->workspace - tile - TABLES;
    const bool apart = p->f16 && a->add.data;
    const size_t sums = apart ? a->w.shape[0] * sizeof(float) : 0;
    const int64_t fit = left / (row + sizeof(float) + sums),
                  fit_tiles = l->tile / (row * PANEL_ROWS);
    p->rows = fit >= m ? m : fit / 64 * 64;
    if (p->rows == 0 || (!p->direct && fit_tiles == 0))
        return false;
    const int64_t passes = p->direct ? 1 : (tiles + fit_tiles - 1) / fit_tiles;
    p->tiles = (tiles + passes - 1) / passes;
    p->workspace = static_cast<char *>(q->scratch);
    p->w = p->workspace + l->workspace;
    p->x = p->w + tile;
    p->scale = reinterpret_cast<float *>(p->x + (p->rows * row + 255) / 256 * 256);
    p->sums = apart ? p->scale + (p->rows + 63) / 64 * 64 : nullptr;
    return true;
}

/* Rows of W from tile `first` on, as cuBLASLt can read them. */
static cudaError_t weights(const cuda_queue *q, const linear_op *a, const struct plan *p,
                           int64_t first, int64_t rows)
{
    if (p->direct)
        return cudaSuccess;
    if (a->w.layout == LAYOUT_ROWS) {
        const rows_args r = {static_cast<const char *>(tensor_row(&a->w, first * PANEL_ROWS)),
                             a->w.stride[0],
                             0,
                             a->w.shape[1],
                             p->width,
                             p->w,
                             nullptr,
                             nullptr,
                             0,
                             static_cast<int>(rows)};
        return to_rows<__nv_bfloat16, __half>(q, r);
    }
    const int tiles = static_cast<int>((rows + PANEL_ROWS - 1) / PANEL_ROWS);
    const int chunks = static_cast<int>(p->width / PANEL_COLS);
    const unpack_args u = {static_cast<const uint8_t *>(a->w.data), p->w, chunks,
                           static_cast<int>(first), tiles};
    const int64_t blocks =
        (static_cast<int64_t>(tiles) * chunks * 32 + UNPACK_THREADS - 1) / UNPACK_THREADS;
    return gpu_launch_early({q->stream, q->early},
                            unpack_of(static_cast<enum dtype>(a->w.dtype), p->f16), dim3(blocks),
                            UNPACK_THREADS, 0, u);
}

/* Rows [first, first + m) of x as rows of the multiplied type. */
static cudaError_t inputs(const cuda_queue *q, const linear_op *a, const struct plan *p,
                          int64_t first, int m)
{
    const rows_args r = {static_cast<const char *>(tensor_row(&a->x, first)),
                         a->x.stride[0],
                         a->up,
                         a->x.shape[1],
                         p->width,
                         p->x,
                         p->f16 ? p->scale : nullptr,
                         a->live,
                         static_cast<int>(first),
                         m};
    if (a->norm)
        return gpu_launch_early({q->stream, q->early}, lt_norm, m, NORM_SHARES * 32, 0, r, a->norm,
                                a->eps);
    if (!p->f16)
        return to_rows<float, __nv_bfloat16>(q, r);
    const cudaError_t e = linear_row_scale(q, a, first, m, p->scale);
    return e == cudaSuccess ? to_rows<float, __half>(q, r) : e;
}

/* y becomes what is to be added to the products. */
static cudaError_t begin(const cuda_queue *q, const linear_op *a, int64_t first, int m)
{
    const void *from = tensor_row(&a->add, first);
    void *to = tensor_row(&a->y, first);
    if (from == to)
        return cudaSuccess;
    return cudaMemcpy2DAsync(to, a->y.stride[0], from, a->add.stride[0],
                             a->y.shape[1] * sizeof(float), m, cudaMemcpyDeviceToDevice, q->stream);
}

enum status linear_lt_finish(const cuda_queue *q, const linear_op *a, const linear_sums &s)
{
    const int64_t number = sizeof(float);
    finish_args f = {};
    f.from = s.from;
    f.y = static_cast<float *>(tensor_row(&a->y, s.first)) + s.at;
    f.n = s.n;
    f.from_stride = s.stride;
    f.stride = a->y.stride[0] / number;
    f.add_stride = a->add.stride[0] / number;
    f.scale = s.scale;
    f.by = s.by;
    f.bias = a->bias.data ? static_cast<const float *>(a->bias.data) + s.at : nullptr;
    f.add = a->add.data ? static_cast<const float *>(tensor_row(&a->add, s.first)) + s.at : nullptr;
    f.factor = linear_factor(&a->w);
    const dim3 grid(s.m, (s.n + THREADS - 1) / THREADS);
    return cuda_check(gpu_launch_early({q->stream, q->early}, lt_finish, grid, THREADS, 0, f),
                      "linear");
}

/* The same rows of y, by parts of W. */
static enum status multiply(const cuda_queue *q, const linear_op *a, const struct plan *p,
                            int64_t first, int m)
{
    const int64_t n = a->w.shape[0], step = p->tiles * PANEL_ROWS;
    const int64_t y_stride = a->y.stride[0] / static_cast<int64_t>(sizeof(float));
    const gpu_lt *algo = linear_launch_of(q, a, true).lt;
    const float factor = linear_factor(&a->w), *bias = static_cast<const float *>(a->bias.data);
    float *y = static_cast<float *>(tensor_row(&a->y, first));
    if (!p->f16 && a->add.data)
        TRY(cuda_check(begin(q, a, first, m), "linear"));
    for (int64_t at = 0; at < n; at += step) {
        struct lt_product o = {};
        o.type = p->f16 ? CUDA_R_16F : CUDA_R_16BF;
        o.m = m;
        o.n = n - at < step ? n - at : step;
        o.k = a->w.shape[1];
        o.w = p->direct ? a->w.data : p->w;
        o.w_stride = p->direct ? a->w.stride[0] / 2 : p->width;
        o.x = p->x;
        o.x_stride = p->width;
        o.y = (p->sums ? p->sums : y) + at;
        o.y_stride = p->sums ? n : y_stride;
        o.add = !p->f16 && a->add.data;
        o.factor = p->f16 ? 1.0f : factor;
        o.bias = p->f16 || !bias ? nullptr : bias + at;
        o.algo = algo;
        o.strict = q->plan.forced != nullptr;
        TRY(cuda_check(weights(q, a, p, at / PANEL_ROWS, o.n), "linear"));
        TRY(lt_multiply(q->lt, &o, p->workspace, q->limits->workspace, q->stream));
    }
    if (!p->f16)
        return OK;
    return linear_lt_finish(
        q, a, {p->sums ? p->sums : y, p->sums ? n : y_stride, p->scale, nullptr, first, m, 0, n});
}

bool linear_wants_lt(const struct cuda_queue *q, const linear_op *a)
{
    if (!q->lt || q->deterministic || q->refused & CUDA_NO_LT || a->w.dtype == DT_F32)
        return false;
    const enum gpu_path path = linear_launch_of(q, a, true).path;
    if (path != GPU_PATH_LT && path != GPU_PATH_DEQUANT_LT)
        return false;
    /* On sm_75, which has no bf16: scales of every other format may be beyond f16. */
    return a->w.layout == LAYOUT_ROWS || q->cc >= 80 ||
           unpack_of(static_cast<enum dtype>(a->w.dtype), true);
}

enum status linear_by_lt(struct cuda_queue *q, const linear_op *a)
{
    struct plan p;
    if (!make_plan(q, a, &p))
        return ERR_UNSUPPORTED;
    const int64_t m = a->x.shape[0];
    for (int64_t first = 0; first < m; first += p.rows) {
        const int rows = static_cast<int>(m - first < p.rows ? m - first : p.rows);
        TRY(cuda_check(inputs(q, a, &p, first, rows), "linear"));
        TRY(multiply(q, a, &p, first, rows));
    }
    return OK;
}
