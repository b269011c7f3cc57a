/* linear_lt_fp4.cu - y = x W^T for many rows, W and x in e2m1 with scales of blocks, by cuBLASLt:
 * where whoever runs it allows that activations lose precision, W is NVFP4 or MXFP4, and the GPU
 * multiplies fp4: sm_100 and its family, which have it for tcgen05 alone, and sm_120.
 *
 * Shapes: x [M, K] f32 -> rows of e2m1 and scales in cuBLASLt's tiles (quant_fp4.cu); W in panels
 * -> the same, as many rows as stay in L2. Rows have a multiple of 128 columns, operands of 128 or
 * 32 rows. The library gives sums without the float that a row of x has; lt_finish has it in.
 * Bytes: 4.6 for each number of x, 1.2 for a weight (from L2 but 0.6), 12 for a number of y.
 * Expected (not measured): 2.5 times the rate of bf16 from 1024 rows on, on B200.
 *
 * The trick: the library multiplies e2m1 with an e4m3 for 16 numbers, but not with a power of two
 * for 32. So the block of MXFP4 is two blocks whose e4m3 is that power over a float of the row of
 * W, with which the largest of the row becomes 2^8; lt_finish has the float in. e4m3 has 18 powers
 * of two, 2^-9 ... 2^8: scales down to 2^-17 of the row's largest are exact. Blocks with smaller
 * ones are zeros: their weights were at most 6 times 2^-18 of that scale.
 *
 * Numbers: kernels/quant/fp4_rows.h's NVFP4 for x, whatever W is; products are exact, sums in the
 * precision of the tensor cores. */
#include "kernels/cuda/linear_fp4.cuh"

#include "kernels/cuda/linear_op.cuh"

extern "C" {
#include "kernels/cuda/lt.h"
#include "kernels/cuda/lt_abi.h"
}

/* CODES: bytes of a panel before its scales. LEAST_TOP: so that no float of a row is subnormal. */
enum { THREADS = 256, CODES = 512, LEAST_TOP = 9 };

struct fp4_args {
    const uint8_t *w; /* panels of 16 x 64, tile_bytes each; their scales are the last bytes */
    uint8_t *to;      /* [16 tiles, 32 wide]: two numbers a byte */
    uint8_t *scale;   /* in tiles of 128 rows by 4 */
    float *by;        /* [16 tiles], what rows of MXFP4 are divided by; NULL: NVFP4 */
    int tile_bytes;
    int first, tiles; /* of W; zeros beyond, and beyond its chunks: */
    int chunks, wide; /* of a row of W, of `to` */
};

/* `by` of 16 rows, a block. Row g + 8 t has word 2 g + t of the scales of each chunk. */
__global__ void __launch_bounds__(THREADS) fp4_tops(fp4_args a)
{
    GPU_DYN_SHARED(uint32_t, part); /* [warps][16] */
    const int word = threadIdx.x % PANEL_ROWS, lane = threadIdx.x & 31;
    gpu_let_next();
    gpu_wait_earlier();
    const uint8_t *w = a.w + (a.first + static_cast<int64_t>(blockIdx.x)) * a.chunks * a.tile_bytes;
    uint32_t top = LEAST_TOP;
    for (int c = threadIdx.x / PANEL_ROWS; c < a.chunks; c += THREADS / PANEL_ROWS) {
        const uint32_t v = reinterpret_cast<const uint16_t *>(w + c * a.tile_bytes + CODES)[word];
        top = max(top, max(v & 255, v >> 8));
    }
    top = max(top, __shfl_xor_sync(GPU_ALL, top, 16));
    if (lane < PANEL_ROWS)
        part[threadIdx.x / 32 * PANEL_ROWS + lane] = top;
    __syncthreads();
    if (threadIdx.x >= PANEL_ROWS)
        return;
    for (int i = 0; i < THREADS / 32; i++)
        top = max(top, part[i * PANEL_ROWS + word]);
    a.by[blockIdx.x * PANEL_ROWS + word / 2 + word % 2 * 8] = __uint_as_float((top - 8) << 23);
}

/* The e4m3 of 2^(e - 127) / by, which is at most 2^8; 0 where that is below 2^-9. */
GPU_FN uint32_t fp4_power(uint32_t e, float by)
{
    const int p = static_cast<int>(e) - static_cast<int>(__float_as_uint(by) >> 23);
    return p >= -6 ? (p + 7) << 3 : p >= -9 ? 1u << (p + 9) : 0;
}

/* A warp makes 16 x 64. As in linear_w4a4.cu, lane 4 g + t takes columns 8 t ... 8 t + 7 and 32 on
 * of rows g and g + 8 from the words of two lanes. */
__global__ void __launch_bounds__(THREADS) fp4_weights(fp4_args a)
{
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int64_t at = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) >> 5;
    const int64_t tile = at / a.wide, chunk = at % a.wide, width = a.wide * 32;
    gpu_let_next();
    gpu_wait_earlier();
    const bool there = tile < a.tiles && chunk < a.chunks;
    const uint8_t *from = a.w + ((a.first + tile) * a.chunks + chunk) * a.tile_bytes;
    uint8_t *to = a.to + (tile * 16 + g) * width + chunk * 32 + 4 * t;
    const uint32_t half = t & 2 ? 0x7632u : 0x5410u;
    GPU_UNROLL
    for (int group = 0; group < 2; group++) {
        uint4 v = make_uint4(0, 0, 0, 0);
        if (there)
            v = reinterpret_cast<const uint4 *>(from)[group * 16 + g * 2 + (t & 1)];
        *reinterpret_cast<uint32_t *>(to + group * 16) = __byte_perm(v.x, v.z, half);
        *reinterpret_cast<uint32_t *>(to + 8 * width + group * 16) = __byte_perm(v.y, v.w, half);
    }
    if (t > 1)
        return;
    const int64_t row = tile * PANEL_ROWS + g + 8 * t;
    uint32_t scales = 0;
    if (there && a.by) {
        const uint32_t v = reinterpret_cast<const uint16_t *>(from + CODES)[2 * g + t];
        scales = (fp4_power(v & 255, a.by[row]) | fp4_power(v >> 8, a.by[row]) << 16) * 0x101;
    } else if (there) {
        scales = reinterpret_cast<const uint32_t *>(from + CODES)[2 * g + t];
    }
    *reinterpret_cast<uint32_t *>(a.scale + fp4_scale_at(row, chunk * 4, a.wide * INT64_C(4))) =
        scales;
}

/* --- host */

struct fp4_plan {
    int64_t width, blocks; /* numbers and scales of a row */
    int64_t rows, cols;    /* of x, of W that go through at once; cols a multiple of 128 */
    int64_t padded;        /* rows of x as the library sees them, a multiple of 32 */
    char *workspace;
    uint8_t *w, *w_scale, *x, *x_scale;
    float *row, *by, *sums, *normed; /* by: of rows of MXFP4, or NULL; normed: NULL without norm */
};

/* False: the scratch holds too little of so wide a matrix. */
static bool fp4_make_plan(const cuda_queue *q, const linear_op *a, fp4_plan *p)
{
    const struct lt_limits *l = q->limits;
    const int64_t m = a->x.shape[0], n = a->w.shape[0], k = a->x.shape[1], number = sizeof(float);
    p->width = linear_up(k, 128);
    p->blocks = p->width / 16;
    const int64_t line = p->width / 2 + p->blocks; /* bytes of a row */
    const int64_t fit = static_cast<int64_t>(l->tile) / line / FP4_TILE_ROWS * FP4_TILE_ROWS;
    if (fit == 0)
        return false;
    const int64_t passes = (n + fit - 1) / fit;
    p->cols = linear_up((n + passes - 1) / passes, FP4_TILE_ROWS);
    const int64_t by = a->w.dtype == DT_MXFP4 ? p->cols : 0;
    const int64_t fixed = l->workspace + l->tile + by * number + 1024;
    const int64_t row = line + (a->norm ? k : 0) * number + (p->cols + 1) * number;
    const int64_t left = static_cast<int64_t>(q->scratch_bytes) - fixed;
    const int64_t most = left < 0 ? 0 : left / row / FP4_TILE_ROWS * FP4_TILE_ROWS;
    p->rows = linear_up(m, FP4_TILE_ROWS) <= most ? m : most;
    if (p->rows == 0)
        return false;
    const int64_t room = linear_up(p->rows, FP4_TILE_ROWS);
    p->padded = linear_up(p->rows, 32);
    p->workspace = static_cast<char *>(q->scratch);
    p->w = reinterpret_cast<uint8_t *>(p->workspace + l->workspace);
    p->w_scale = p->w + p->cols * p->width / 2;
    p->x = p->w + l->tile;
    p->x_scale = p->x + room * p->width / 2;
    p->row = reinterpret_cast<float *>(p->x_scale + room * p->blocks);
    p->by = by ? p->row + room : nullptr;
    p->sums = p->row + room + by;
    p->normed = a->norm ? p->sums + room * p->cols : nullptr;
    return true;
}

/* The same size each time: the library refuses all or none, and then nothing is in y yet. */
static lt_product fp4_product(const fp4_plan *p)
{
    lt_product o = {};
    o.type = CUDA_R_4F_E2M1;
    o.scale_mode = LT_SCALE_VEC16_UE4M3;
    o.w_scale = p->w_scale;
    o.x_scale = p->x_scale;
    o.m = p->padded;
    o.n = o.y_stride = p->cols;
    o.k = o.w_stride = o.x_stride = p->width;
    o.w = p->w;
    o.x = p->x;
    o.y = p->sums;
    o.factor = 1;
    return o;
}

/* Rows [first, first + m) of x. */
static enum status fp4_inputs(cuda_queue *q, const linear_op *a, const fp4_plan *p, int64_t first,
                              int m)
{
    quant_rows r = {};
    r.kind = QUANT_NVFP4;
    r.width = p->width;
    r.q = p->x;
    r.blocks = p->x_scale;
    r.scale = p->row;
    r.first = static_cast<int>(first);
    r.m = m;
    r.pad = static_cast<int>(linear_up(p->rows, FP4_TILE_ROWS) - m);
    return linear_round_x(q, a, r, p->normed);
}

/* The same rows of y, columns [at, at + n). */
static enum status fp4_part(cuda_queue *q, const linear_op *a, const fp4_plan *p, int64_t first,
                            int m, int64_t at)
{
    const int64_t left = a->w.shape[0] - at, n = left < p->cols ? left : p->cols;
    fp4_args w = {};
    w.w = static_cast<const uint8_t *>(a->w.data);
    w.to = p->w;
    w.scale = p->w_scale;
    w.tile_bytes = cuda_panel_format(static_cast<enum dtype>(a->w.dtype))->tile_bytes;
    w.by = p->by;
    w.first = static_cast<int>(at / PANEL_ROWS);
    w.tiles = static_cast<int>((n + PANEL_ROWS - 1) / PANEL_ROWS);
    w.chunks = static_cast<int>(cuda_panel_chunks(a->w.shape[1]));
    w.wide = static_cast<int>(p->width / PANEL_COLS);
    if (p->by)
        TRY(cuda_check(gpu_launch_early({q->stream, q->early}, fp4_tops, w.tiles, THREADS,
                                        THREADS / 32 * PANEL_ROWS * sizeof(uint32_t), w),
                       "linear"));
    const int64_t warps = p->cols / PANEL_ROWS * w.wide;
    TRY(cuda_check(
        gpu_launch_early({q->stream, q->early}, fp4_weights, warps * 32 / THREADS, THREADS, 0, w),
        "linear"));
    const lt_product o = fp4_product(p);
    TRY(lt_multiply(q->lt, &o, p->workspace, q->limits->workspace, q->stream));
    return linear_lt_finish(q, a, {p->sums, p->cols, p->row, p->by, first, m, at, n});
}

enum status linear_by_lt_fp4(cuda_queue *q, const linear_op *a)
{
    fp4_plan p;
    if (!fp4_make_plan(q, a, &p))
        return ERR_UNSUPPORTED;
    const lt_product o = fp4_product(&p);
    TRY(lt_ready(q->lt, &o, q->limits->workspace));
    const int64_t m = a->x.shape[0], n = a->w.shape[0];
    for (int64_t first = 0; first < m; first += p.rows) {
        const int rows = static_cast<int>(m - first < p.rows ? m - first : p.rows);
        TRY(fp4_inputs(q, a, &p, first, rows));
        for (int64_t at = 0; at < n; at += p.cols)
            TRY(fp4_part(q, a, &p, first, rows, at));
    }
    return OK;
}
