/* linear.cu - y = x W^T + bias + add: brings x into the form that the kernels of linear.cuh
 * want, unless rows are so few that each block does it, and runs them; and the plain kernel for f32
 * weights.
 *
 * linear_x: M K floats read, half (or a quarter) of that written; a few microseconds, to be fused
 * into the op before. linear_plain: one warp a weight row, 8 rows of x at a time; f32 weights are
 * small (norms and routers), so it is correct, not fast. */
#include "kernels/cuda/linear.cuh"

#include "kernels/cuda/linear_op.cuh"

/* OWN_BYTES: what sm_75 has for a block, beside the few static bytes of linear_skinny. */
enum { PLAIN_ROWS = 8, THREADS = 256, OWN_BYTES = (64 << 10) - 256 };

struct x_args {
    const char *x;      /* [m, k] f32 */
    int64_t stride, up; /* as linear_rows has them */
    const float *norm;
    float eps;
    uint8_t *out;
    float *scale; /* of rows, f16 only */
    const int32_t *live;
    int64_t k;
    int first, m, m_tiles, chunks; /* rows [first, first + m) of the op */
};

/* Its rows as far as they are live. */
GPU_FN linear_rows rows_of(const x_args &a)
{
    return {a.x, a.stride, a.k, linear_live(a.live, a.first, a.m), a.up, a.norm, nullptr};
}

/* One block a row: the power of two, divided by which its largest is in [2^14, 2^15). */
__global__ void __launch_bounds__(THREADS) linear_x_scale(x_args a)
{
    GPU_DYN_SHARED(float, part); /* [warps] */
    gpu_let_next();
    gpu_wait_earlier();
    const linear_rows x = rows_of(a);
    const int row = blockIdx.x, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    float top = 0;
    for (int64_t k = threadIdx.x; k < a.k; k += THREADS) {
        float v[1];
        linear_take<1, 1, 1>(x, row, k, v);
        top = fmaxf(top, fabsf(v[0]));
    }
    GPU_UNROLL
    for (int o = 16; o > 0; o >>= 1)
        top = fmaxf(top, __shfl_xor_sync(GPU_ALL, top, o));
    if (lane == 0)
        part[warp] = top;
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    for (int i = 1; i < THREADS / 32; i++)
        top = fmaxf(top, part[i]);
    a.scale[row] = linear_power(top);
}

template <bool BF16> __global__ void __launch_bounds__(THREADS) linear_x_half(x_args a)
{
    gpu_let_next();
    gpu_wait_earlier();
    const int64_t piece = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) >> 5;
    if (piece >= static_cast<int64_t>(a.chunks) * a.m_tiles)
        return;
    const int tile = static_cast<int>(piece % a.m_tiles), g = (threadIdx.x & 31) >> 2;
    linear_piece_half<BF16>(
        rows_of(a),
        linear_whole(tile, static_cast<int>(piece / a.m_tiles), a.out + piece * X_BYTES_HALF),
        BF16 ? 1.0f : 1.0f / a.scale[tile * 8 + g]);
}

__global__ void __launch_bounds__(THREADS) linear_x_ints(x_args a)
{
    gpu_let_next();
    gpu_wait_earlier();
    const int64_t piece = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) >> 5;
    if (piece >= static_cast<int64_t>(a.chunks) * a.m_tiles)
        return;
    linear_piece_ints(rows_of(a), linear_whole(static_cast<int>(piece % a.m_tiles),
                                               static_cast<int>(piece / a.m_tiles),
                                               a.out + piece * X_BYTES_INT));
}

__global__ void __launch_bounds__(THREADS) linear_x_scaled(x_args a)
{
    gpu_let_next();
    gpu_wait_earlier();
    const int64_t piece = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) >> 5;
    if (piece >= static_cast<int64_t>(a.chunks) * a.m_tiles)
        return;
    linear_piece_scaled(rows_of(a), linear_whole(static_cast<int>(piece % a.m_tiles),
                                                 static_cast<int>(piece / a.m_tiles),
                                                 a.out + piece * X_BYTES_SCALED));
}

/* The same of rows that are normed, which each block sums up for itself. Grid: tiles of 8 rows, a
 * warp a row at first; shares of their chunks. */
template <int BYTES> __global__ void __launch_bounds__(THREADS, 4) linear_x_norm(x_args a)
{
    __shared__ float part[8][NORM_SHARES], scale[8];
    static_assert(THREADS == 8 * 32, "a warp a row");
    const int tile = blockIdx.x, warp = threadIdx.x >> 5, row = tile * 8 + warp;
    gpu_let_next();
    gpu_wait_earlier();
    linear_rows x = rows_of(a);
    x.scale = scale;
    if (row < x.m) {
        norm_shares(reinterpret_cast<const float *>(a.x + row * a.stride), a.k, part[warp]);
        __syncwarp();
        if ((threadIdx.x & 31) == 0)
            scale[warp] = norm_scale(part[warp], a.k, a.eps);
    }
    __syncthreads();
    for (int c = blockIdx.y * 8 + warp; c < a.chunks; c += gridDim.y * 8) {
        const int64_t piece = static_cast<int64_t>(c) * a.m_tiles + tile;
        const linear_spot spot = linear_whole(tile, c, a.out + piece * BYTES);
        if (BYTES == X_BYTES_INT)
            linear_piece_ints(x, spot);
        else if (BYTES == X_BYTES_SCALED)
            linear_piece_scaled(x, spot);
        else
            linear_piece_half<true>(x, spot, 1.0f);
    }
}

/* f32 weights in rows: lane i takes columns i, i + 32 ..., then the lanes fold in halves. */
__global__ void __launch_bounds__(THREADS) linear_plain(x_args a, const float *w, linear_args o)
{
    gpu_let_next();
    gpu_wait_earlier();
    const int m = linear_live(a.live, a.first, a.m), lane = threadIdx.x & 31;
    const int64_t col = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) >> 5;
    const int row0 = blockIdx.y * PLAIN_ROWS;
    if (col >= o.n || row0 >= m)
        return;
    const int rows = m - row0, k_end = static_cast<int>(a.k);
    const float *x = reinterpret_cast<const float *>(a.x + row0 * a.stride);
    const int stride = static_cast<int>(a.stride / static_cast<int64_t>(sizeof(float)));
    float sum[PLAIN_ROWS] = {};
    w += col * a.k;
    for (int k = lane; k < k_end; k += 32) {
        const float v = w[k];
        GPU_UNROLL
        for (int r = 0; r < PLAIN_ROWS; r++)
            sum[r] = fmaf(r < rows ? x[r * stride + k] : 0.0f, v, sum[r]);
    }
    GPU_UNROLL
    for (int r = 0; r < PLAIN_ROWS; r++) {
        if (row0 + r >= m)
            break;
        GPU_UNROLL
        for (int i = 16; i > 0; i >>= 1)
            sum[r] += __shfl_xor_sync(GPU_ALL, sum[r], i);
        float v = sum[r] * o.factor;
        v = o.bias ? v + o.bias[col] : v;
        if (lane == 0)
            o.y[(row0 + r) * o.y_stride + col] =
                o.add ? v + o.add[(row0 + r) * o.add_stride + col] : v;
    }
}

/* --- host */

static cudaError_t convert(const cuda_queue *q, const x_args &x, enum dtype t)
{
    const dim3 grid((static_cast<int64_t>(x.chunks) * x.m_tiles * 32 + THREADS - 1) / THREADS);
    if (x.norm) { /* two blocks a multiprocessor: more would sum up the same squares */
        const int most = (x.chunks + 7) / 8, shares = 2 * q->sms / x.m_tiles;
        const dim3 norms(x.m_tiles, shares < 1 ? 1 : shares < most ? shares : most);
        return gpu_launch_early({q->stream, q->early},
                                gpu_is_floats(t)                    ? linear_x_norm<X_BYTES_SCALED>
                                : gpu_piece_bytes(t) == X_BYTES_INT ? linear_x_norm<X_BYTES_INT>
                                                                    : linear_x_norm<X_BYTES_HALF>,
                                norms, THREADS, 0, x);
    }
    if (gpu_is_floats(t))
        return gpu_launch_early({q->stream, q->early}, linear_x_scaled, grid, THREADS, 0, x);
    if (gpu_piece_bytes(t) == X_BYTES_INT)
        return gpu_launch_early({q->stream, q->early}, linear_x_ints, grid, THREADS, 0, x);
    if (t == DT_BF16)
        return gpu_launch_early({q->stream, q->early}, linear_x_half<true>, grid, THREADS, 0, x);
    cudaError_t e = gpu_launch_early({q->stream, q->early}, linear_x_scale, x.m_tiles * 8, THREADS,
                                     THREADS / 32 * sizeof(float), x);
    return e != cudaSuccess
               ? e
               : gpu_launch_early({q->stream, q->early}, linear_x_half<false>, grid, THREADS, 0, x);
}

cudaError_t linear_row_scale(const cuda_queue *q, const linear_op *a, int64_t first, int m,
                             float *scale)
{
    x_args x = {};
    x.x = static_cast<const char *>(tensor_row(&a->x, first));
    x.stride = a->x.stride[0];
    x.up = a->up;
    x.scale = scale;
    x.live = a->live;
    x.k = a->x.shape[1];
    x.first = static_cast<int>(first);
    x.m = m;
    return gpu_launch_early({q->stream, q->early}, linear_x_scale, m, THREADS,
                            THREADS / 32 * sizeof(float), x);
}

enum status linear_round_x(cuda_queue *q, const linear_op *a, quant_rows r, float *normed)
{
    r.fixed = a->w.q && r.kind == QUANT_E4M3 ? a->w.q->x_scale : 0;
    r.x = static_cast<const char *>(tensor_row(&a->x, r.first));
    r.stride = a->x.stride[0];
    r.up = a->up;
    r.k = a->x.shape[1];
    r.live = a->live;
    if (a->norm) { /* rows that are not live too: they are there */
        struct op_rmsnorm n = {};
        n.x = tensor_rows(a->x, r.first, r.m);
        n.weight = tensor_1d(const_cast<float *>(a->norm), DT_F32, r.k);
        n.y = tensor_2d(normed, DT_F32, r.m, r.k);
        n.eps = a->eps;
        TRY(cuda_rmsnorm(q, &n));
        r.x = reinterpret_cast<const char *>(normed);
        r.stride = r.k * static_cast<int64_t>(sizeof(float));
    }
    return r.kind == QUANT_E4M3 ? cuda_quant_rows(q, &r) : cuda_quant_fp4(q, &r);
}

float linear_factor(const struct tensor *w)
{
    return w->q && w->q->global != 0 ? w->q->global : 1.0f;
}

struct gpu_params linear_launch_of(const cuda_queue *q, const linear_op *a, bool lt)
{
    const gpu_shape s = {static_cast<enum dtype>(a->w.dtype), a->x.shape[0], a->w.shape[0],
                         a->w.shape[1]};
    return gpu_plan_get(const_cast<gpu_plan *>(&q->plan), &s, lt);
}

struct gpu_params linear_way_of(const cuda_queue *q, const linear_op *a, bool lt)
{
    const gpu_shape s = {static_cast<enum dtype>(a->w.dtype), a->x.shape[0], a->w.shape[0],
                         a->w.shape[1]};
    int may = cuda_may(q, s.w, a->w.q);
    if (!lt)
        may &= ~GPU_MAY_LT;
    return gpu_plan_get(const_cast<gpu_plan *>(&q->plan), &s, may);
}

/* Rows of x that fit into the scratch at once, a multiple of 64 unless all do; 0: not even 64. */
static int64_t rows_that_fit(const cuda_queue *q, int64_t m, size_t row_bytes)
{
    int64_t fit = static_cast<int64_t>((q->scratch_bytes - 1024) / row_bytes);
    return fit >= (m + 7) / 8 * 8 ? m : fit / 64 * 64;
}

static bool is_half(enum dtype t)
{
    return t == DT_BF16 || t == DT_F16;
}

/* The most shared memory of a block that makes its pieces of x. */
static int own_most(const cuda_queue *q)
{
    const int half = q->smem_max / 2;
    return half > OWN_BYTES ? half : OWN_BYTES;
}

/* Whether each block makes its pieces of x: a launch less, for reading x as f32 in every block,
 * which is to stay an eighth of its weights' bytes. */
static bool makes_own(const cuda_queue *q, const linear_op *a, int m, int per_split, int stages)
{
    const enum dtype t = static_cast<enum dtype>(a->w.dtype);
    const struct panel_format *f = cuda_panel_format(t);
    const int rows = !f ? (a->up ? 2 : 4) : f->bits == 8 && !a->up ? 2 : 1;
    const int tile = f ? f->tile_bytes : 2048;
    const int piece = gpu_piece_bytes(t);
    const int bytes = stages * (LINEAR_WARPS * tile + piece) +
                      per_split * linear_own_bytes(piece, linear_own_rows(m));
    return t != DT_F16 && m <= rows && bytes <= own_most(q);
}

void linear_outputs(linear_args *o, const linear_op *a, int64_t first)
{
    const int64_t number = sizeof(float);
    o->n = a->w.shape[0];
    o->bias = static_cast<const float *>(a->bias.data);
    o->factor = linear_factor(&a->w);
    o->y = o->sum = static_cast<float *>(tensor_row(&a->y, first));
    o->y_stride = o->sum_stride = a->y.stride[0] / number;
    o->add = a->add.data ? static_cast<const float *>(tensor_row(&a->add, first)) : nullptr;
    o->add_stride = a->add.stride[0] / number;
}

static cudaError_t run_format(enum dtype t, const linear_args &a, const linear_shape &s)
{
    if (gpu_is_floats(t))
        return linear_run_floats(t, a, s);
    return is_half(t) ? linear_run_half(t, a, s) : linear_run_ints(t, a, s);
}

/* Rows [first, first + m) of an op whose weight is in panels, or halves in rows. */
static cudaError_t skinny(const cuda_queue *q, const linear_op *a, int64_t first, int m)
{
    const enum dtype t = static_cast<enum dtype>(a->w.dtype);
    const int64_t n = a->w.shape[0], k = a->w.shape[1];
    const int chunks = static_cast<int>(cuda_panel_chunks(k)), tiles = (m + 7) / 8;
    const gpu_params launch = linear_launch_of(q, a, false);
    const int splits = launch.splits;
    const int64_t blocks = (tiles + launch.nt - 1) / launch.nt * ((n + 63) / 64); /* at most */
    const bool mma8 = launch.path == GPU_PATH_MMA8;
    const bool fold =
        mma8 || (splits > 1 && (a->x.shape[0] > GPU_LARGE_M || blocks > CUDA_TICKETS));
    char *scratch = static_cast<char *>(q->scratch);
    float *scale = reinterpret_cast<float *>(scratch);
    uint8_t *pieces =
        reinterpret_cast<uint8_t *>(scratch + linear_align(8 * tiles * sizeof(float)));
    const size_t x_bytes = linear_align(static_cast<size_t>(chunks) * tiles * gpu_piece_bytes(t));
    x_args x = {static_cast<const char *>(tensor_row(&a->x, first)),
                a->x.stride[0],
                a->up,
                a->norm,
                a->eps,
                pieces,
                scale,
                a->live,
                k,
                static_cast<int>(first),
                m,
                tiles,
                chunks};
    linear_args o = {};
    o.w = static_cast<const uint8_t *>(a->w.data);
    o.w_stride = a->w.stride[0];
    o.k = k;
    o.x = pieces;
    o.x_scale = t == DT_F16 ? scale : nullptr;
    linear_outputs(&o, a, first);
    float *apart = reinterpret_cast<float *>(pieces + x_bytes);
    o.part = splits > 1 && !fold ? apart : nullptr;
    if (fold && o.add == o.y) { /* is read when all is summed up */
        o.sum = apart;
        o.sum_stride = n;
    }
    o.ticket = q->tickets;
    o.live = a->live;
    o.first = static_cast<int>(first);
    o.m = m;
    o.m_tiles = tiles;
    o.n_tiles = static_cast<int>((n + PANEL_ROWS - 1) / PANEL_ROWS);
    o.chunks = chunks;
    o.per_split = (chunks + splits - 1) / splits;
    const int real = (chunks + o.per_split - 1) / o.per_split; /* the last one may be empty */
    const linear_shape s = {real, launch.nt, fold, launch.stages, q->stream, q->early, own_most(q)};
    if (!fold && s.nt == 1 && makes_own(q, a, m, o.per_split, s.stages)) {
        o.x = nullptr;
        o.x_rows = x.x;
        o.x_stride = x.stride;
        o.x_up = x.up;
        o.x_norm = a->norm;
        o.eps = a->eps;
        return run_format(t, o, s);
    }
    cudaError_t e = convert(q, x, t);
    return e == cudaSuccess ? (mma8 ? linear_run_mma8 : run_format)(t, o, s) : e;
}

static enum status run_skinny(const cuda_queue *q, const linear_op *a)
{
    const int piece = gpu_piece_bytes(static_cast<enum dtype>(a->w.dtype));
    const int64_t m = a->x.shape[0], splits = linear_launch_of(q, a, false).splits;
    size_t row = cuda_panel_chunks(a->w.shape[1]) * piece / 8 + 4;
    if (m <= GPU_LARGE_M && splits > 1)
        row += splits * (a->w.shape[0] + PANEL_ROWS - 1) * sizeof(float);
    else if (splits > 1 && a->add.data)
        row += a->w.shape[0] * sizeof(float);
    const int64_t fit = rows_that_fit(q, m, row);
    if (fit == 0)
        return fail(ERR_NO_MEMORY, "linear: 64 rows need %zu bytes of scratch, there are %zu",
                    row * 64, q->scratch_bytes);
    for (int64_t first = 0; first < m; first += fit)
        TRY(cuda_check(skinny(q, a, first, static_cast<int>(m - first < fit ? m - first : fit)),
                       "linear"));
    return OK;
}

/* ERR_UNSUPPORTED: this path rounds nothing, or declines. */
static enum status multiply_rounded(cuda_queue *q, const linear_op *a, enum gpu_path path)
{
    switch (path) {
    case GPU_PATH_W8A8:
        return linear_by_w8a8(q, a);
    case GPU_PATH_LT_FP8:
        return linear_by_fp8(q, a);
    case GPU_PATH_W4A4:
        return linear_by_w4a4(q, a);
    case GPU_PATH_LT_FP4:
        return linear_by_lt_fp4(q, a);
    default:
        return ERR_UNSUPPORTED;
    }
}

/* The way that is chosen; where it declines, one without cuBLASLt, and then that of a product that
 * rounds nothing. */
static enum status multiply(cuda_queue *q, const linear_op *a)
{
    const enum gpu_path path = linear_way_of(q, a, true).path;
    if (gpu_path_x(path) != X_EXACT) {
        enum status s = multiply_rounded(q, a, path);
        if (s == ERR_UNSUPPORTED && !gpu_path_own(path) && !q->plan.forced)
            s = multiply_rounded(q, a, linear_way_of(q, a, false).path);
        if (s != ERR_UNSUPPORTED || q->plan.forced)
            return s;
    }
    if (linear_wants_lt(q, a)) {
        const enum status s = linear_by_lt(q, a);
        if (s != ERR_UNSUPPORTED || q->plan.forced) /* what is tuned is not replaced */
            return s;
    }
    return run_skinny(q, a);
}

static bool is_tiled(const struct tensor &w)
{
    const enum dtype t = static_cast<enum dtype>(w.dtype);
    return w.layout == LAYOUT_PANEL ? cuda_panel_format(t) != nullptr
                                    : is_half(t) && w.stride[0] % 16 == 0;
}

/* silu(gate) * up happens where x is read; other activations and f32 weights are composed. */
enum status cuda_glu_linear(struct cuda_queue *q, const struct op_glu_linear *a)
{
    const int64_t f = a->h.shape[1];
    if (a->act != ACT_SILU || !is_tiled(a->w))
        return op_compose(&q->queue, OP_glu_linear, a);
    if (a->x.shape[0] == 0)
        return OK;
    const linear_op o = {{tensor_cols(a->x, 0, f), a->w, a->bias, a->add, a->y, a->live},
                         f * static_cast<int64_t>(sizeof(float)),
                         nullptr,
                         0};
    return multiply(q, &o);
}

/* Whether x of this product can be normed where it is read: by each block, or by whoever prepares
 * it. f16 takes the largest number of a row before that. */
static bool norms_x(const cuda_queue *q, const linear_op *o)
{
    if (!is_tiled(o->w) || o->w.dtype == DT_F16)
        return false;
    const enum gpu_path path = linear_launch_of(q, o, q->lt && !q->deterministic).path;
    return gpu_path_tiled(path) ||
           (q->cc >= 80 && (path == GPU_PATH_LT || path == GPU_PATH_DEQUANT_LT));
}

enum status cuda_norm_linear(struct cuda_queue *q, const struct op_norm_linear *a)
{
    linear_op part[NORM_LINEAR_PARTS];
    bool fused = !(q->refused & CUDA_NO_NORM_LINEAR);
    for (int i = 0; i < a->n_parts; i++) {
        part[i] = {op_norm_linear_part(a, i), 0, static_cast<const float *>(a->weight.data),
                   a->eps};
        part[i].x = a->x;
        fused = fused && norms_x(q, &part[i]);
    }
    if (!fused)
        return op_compose(&q->queue, OP_norm_linear, a);
    if (a->x.shape[0] == 0)
        return OK;
    for (int i = 0; i < a->n_parts; i++)
        TRY(multiply(q, &part[i]));
    return OK;
}

enum status cuda_linear(struct cuda_queue *q, const struct op_linear *a)
{
    const enum dtype t = static_cast<enum dtype>(a->w.dtype);
    const int64_t m = a->x.shape[0], n = a->w.shape[0];
    if (m == 0)
        return OK;
    if (is_tiled(a->w)) {
        const linear_op o = {*a, 0, nullptr, 0};
        return multiply(q, &o);
    }
    if (t != DT_F32 || a->w.layout != LAYOUT_ROWS)
        return fail(ERR_UNSUPPORTED, "linear: %s weights in layout %d", dtype_info(t)->name,
                    a->w.layout);
    x_args x = {static_cast<const char *>(a->x.data),
                a->x.stride[0],
                0,
                nullptr,
                0,
                nullptr,
                nullptr,
                a->live,
                a->x.shape[1],
                0,
                static_cast<int>(m),
                0,
                0};
    linear_args o = {};
    const linear_op op = {*a, 0, nullptr, 0};
    linear_outputs(&o, &op, 0);
    const dim3 grid((n * 32 + THREADS - 1) / THREADS, (m + PLAIN_ROWS - 1) / PLAIN_ROWS);
    return cuda_check(gpu_launch_early({q->stream, q->early}, linear_plain, grid, THREADS, 0, x,
                                       static_cast<const float *>(a->w.data), o),
                      "linear");
}
