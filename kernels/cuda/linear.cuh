/* linear.cuh - the matrix product of the CUDA backend: y = x W^T for any number of rows.
 *
 * Shapes: W [N, K] in panels (panel.h), or bf16 and f16 in rows; x [M, K] f32. The weights are the
 * 16-row operand of mma.sync and the rows of x its 8 columns, so that batches of 1 to 8 cost the
 * same; a block has 64 or 128 weight rows and 8 to 64 rows of x (NT tiles of 8).
 * Bytes: the weights once for each 64 rows of x; x, converted and in fragment order (linear_x),
 * once for each block, from L2; with K split, partial sums of M N floats a split.
 * The trick: both operands lie in fragment order, so that a warp copies whole 16-byte pieces by
 * cp.async through a ring of STAGES, needs no ldmatrix, has no bank conflicts, and waits for one
 * barrier every 64 columns. Integers of 4 to 6 bits become int8 by a shift and a mask. Rows need no
 * order of their own: a sum does not mind which column is called which, so lane t of four takes
 * columns 16 t ... 16 t + 15 of every 64, of both operands, as its share of four mma steps. So
 * cuBLASLt reads the same bytes (lt.h).
 * Expected (not measured): 85-92 % of the memory's rate for bf16 and q8_0 up to M = 16, 75-85 % for
 * 4 and 5 bits; above M = 64 bound by mma.sync and by the conversion of scales.
 *
 * Numbers: bf16 weights take x rounded to bf16; f16 weights take x, divided by a power of two so
 * that its largest is in [2^14, 2^15), rounded to f16; block formats take the integers that the
 * naive op defines, with the same sums and the same chain of fma over groups; codes that are floats
 * take x by 64 columns as f16 takes it by rows (linear_floats.cuh). A row's order of
 * summation depends on N and K alone: mma chains of 16 columns in ascending order inside a split,
 * then the splits in ascending order, whether they were computed by one block or by several; the
 * last block of several to end adds them up, whichever it is. */
#ifndef KERNELS_CUDA_LINEAR_CUH
#define KERNELS_CUDA_LINEAR_CUH

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/linear_tile.cuh"

/* scale[row] of the few rows that a block makes itself; a barrier is inside. */
GPU_FN void linear_norm(const linear_args &a, int m, float *scale)
{
    __shared__ float part[LINEAR_OWN_ROWS][NORM_SHARES];
    const int warp = threadIdx.x >> 5;
    for (int row = 0; row < m; row++) {
        const float *x = reinterpret_cast<const float *>(a.x_rows + row * a.x_stride);
        const float sum = norm_share(x, a.k, warp);
        if ((threadIdx.x & 31) == 0)
            part[row][warp] = sum;
    }
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < m)
        scale[threadIdx.x] = norm_scale(part[threadIdx.x], a.k, a.eps);
    __syncthreads();
}

/* The copies of one stage: this warp's R tiles of W, which no kernel ever writes. */
template <class F, int R>
GPU_FN void linear_load_w(const linear_args &a, uint8_t *stage, int chunk, int n_tile)
{
    const int warp = threadIdx.x >> 5;
    GPU_UNROLL
    for (int r = 0; r < R; r++) {
        const int tile = n_tile + warp * R + r;
        if (tile < a.n_tiles)
            F::load(stage + (warp * R + r) * F::TILE, a, tile, chunk);
    }
}

/* And the block's share of x, which was made before. */
template <class F, int NT, int R>
GPU_FN void linear_load_x(const linear_args &a, uint8_t *stage, int chunk, int m_tile)
{
    const int pieces = a.m_tiles - m_tile < NT ? a.m_tiles - m_tile : NT;
    const uint8_t *from = a.x + (static_cast<int64_t>(chunk) * a.m_tiles + m_tile) * F::X;
    uint8_t *to = stage + LINEAR_WARPS * R * F::TILE;
    for (int i = threadIdx.x; i < pieces * (F::X / 16); i += LINEAR_WARPS * 32)
        gpu_cp_async16(to + i * 16, from + i * 16);
}

/* Or all pieces of chunks [first, last), made here of m rows. */
template <class F>
GPU_FN void linear_make_x(const linear_args &a, int m, int first, int last, uint8_t *own)
{
    __shared__ float scale[LINEAR_OWN_ROWS];
    const int rows = linear_own_rows(a.m), bytes = linear_own_bytes(F::X, rows), step = 8 / rows;
    if (a.x_norm)
        linear_norm(a, m, scale);
    const linear_rows x = {a.x_rows, a.x_stride, a.k, m, a.x_up, a.x_norm, scale};
    for (int c = first + static_cast<int>(threadIdx.x >> 5) * step; c < last;
         c += LINEAR_WARPS * step)
        F::piece(x, linear_few(rows, c, first, last, own, bytes));
}

struct linear_at {
    int tile, m_tile, m; /* of W, of x; rows of x that are live */
    bool add, last;
};

/* Writes one 16 x 8 result: rows of W g and g + 8, rows of x 2 t and 2 t + 1. A block that computes
 * several splits keeps their sum in a.sum: `add` to what is there, and only the `last` finishes
 * it. */
template <class F>
GPU_FN void linear_store(const linear_args &a, const float (&acc)[4], const linear_at &at)
{
    const int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
        const int64_t col = static_cast<int64_t>(at.tile) * 16 + g + (i & 2 ? 8 : 0);
        const int row = at.m_tile * 8 + 2 * t + (i & 1);
        if (row >= at.m || col >= a.n)
            continue;
        float *sum = a.sum + row * a.sum_stride + col, v = at.add ? *sum + acc[i] : acc[i];
        if (!at.last) {
            *sum = v;
            continue;
        }
        if (F::ROW_SCALE)
            v *= a.x_scale[row];
        v = __fmul_rn(v, a.factor);
        v = a.bias ? v + a.bias[col] : v;
        a.y[row * a.y_stride + col] = a.add ? v + a.add[row * a.add_stride + col] : v;
    }
}

/* The same for all of a warp's results, which are zero again then. */
template <class F, int NT, int R>
GPU_FN void linear_flush(const linear_args &a, float (&acc)[R][NT][4], const linear_at &at)
{
    GPU_UNROLL
    for (int r = 0; r < R; r++)
        GPU_UNROLL
    for (int j = 0; j < NT; j++) {
        if (at.tile + r < a.n_tiles)
            linear_store<F>(a, acc[r][j], {at.tile + r, at.m_tile + j, at.m, at.add, at.last});
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            acc[r][j][i] = 0;
    }
}

/* Where the results of this warp go: made anew, for the sums leave no registers. */
template <int NT, int R> GPU_FN linear_at linear_here(const linear_args &a, bool add, bool last)
{
    const int warp = gpu_opaque(static_cast<int>(threadIdx.x)) >> 5;
    return {(static_cast<int>(blockIdx.y) * LINEAR_WARPS + warp) * R,
            static_cast<int>(blockIdx.x) * NT, linear_live(a.live, a.first, a.m), add, last};
}

/* This block's sums go to its split, 16 bytes a lane and result; in the last block of all splits
 * they become the sum of all. One split after the other, for all results: so many loads at once. */
template <int NT, int R>
GPU_FN bool linear_join(const linear_args &a, float (&acc)[R][NT][4], int n_tile, int m_tile)
{
    const int rows = a.n_tiles - n_tile < R ? a.n_tiles - n_tile : R;
    const int pieces = a.m_tiles - m_tile < NT ? a.m_tiles - m_tile : NT;
    const int64_t line = a.m_tiles * 32, split = a.n_tiles * line;
    float4 *part =
        reinterpret_cast<float4 *>(a.part) + n_tile * line + m_tile * 32 + (threadIdx.x & 31);
    GPU_UNROLL
    for (int r = 0; r < R; r++)
        GPU_UNROLL
    for (int j = 0; j < NT; j++)
        if (r < rows && j < pieces)
            part[blockIdx.z * split + r * line + j * 32] =
                make_float4(acc[r][j][0], acc[r][j][1], acc[r][j][2], acc[r][j][3]);
    if (!gpu_last_block(a.ticket + blockIdx.y * gridDim.x + blockIdx.x, gridDim.z))
        return false;
    GPU_UNROLL
    for (int r = 0; r < R; r++)
        GPU_UNROLL
    for (int j = 0; j < NT; j++)
        GPU_UNROLL
    for (int i = 0; i < 4; i++)
        acc[r][j][i] = -0.0f;
    GPU_UNROLL_BY(1)
    for (int z = 0; z < static_cast<int>(gridDim.z); z++, part += split)
        GPU_UNROLL
    for (int r = 0; r < R; r++)
        GPU_UNROLL
    for (int j = 0; j < NT; j++)
        if (r < rows && j < pieces) {
            const float4 v = __ldcg(part + r * line + j * 32);
            acc[r][j][0] += v.x, acc[r][j][1] += v.y, acc[r][j][2] += v.z, acc[r][j][3] += v.w;
        }
    return true;
}

/* Stages of the ring: sm_75 has 64 KB for a block, everything later 99 at least. The emulator has
 * both. */
#ifdef __CUDA_ARCH__
#define LINEAR_STAGES(a) (__CUDA_ARCH__ >= 800 ? 4 : 2)
#else
#define LINEAR_STAGES(a) (a).stages
#endif

/* Grid: x tiles of 8 NT rows of x, y tiles of 64 R rows of W, z splits. Of the largest tile one
 * block may compute all splits (z is 1 then) and adds them in the order that linear_join has. With
 * NT = 1 and without a.x a block makes the pieces of its split itself, normed where that is asked,
 * while its first weights are on their way. */
template <class F, int NT, int R>
__global__ void __launch_bounds__(LINEAR_WARPS * 32, NT <= 2 ? 4 : 2) linear_skinny(linear_args a)
{
    constexpr bool FOLDS = NT == LINEAR_NT_MAX, OWN = NT == 1 && !F::ROW_SCALE;
    constexpr int BYTES = LINEAR_WARPS * R * F::TILE + NT * F::X;
    GPU_DYN_SHARED(uint8_t, ring); /* [stages][LINEAR_WARPS * R tiles | NT pieces of x], own ones */
    const int stages = LINEAR_STAGES(a);
    const int m_tile = blockIdx.x * NT, n_tile = blockIdx.y * LINEAR_WARPS * R;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int first = blockIdx.z * a.per_split;
    const int last = (FOLDS && gridDim.z == 1) || a.chunks - first < a.per_split
                         ? a.chunks
                         : first + a.per_split;
    const bool own = OWN && !a.x;
    gpu_let_next();
    for (int s = 0; s < stages - 1; s++) { /* while the kernels before still run */
        if (first + s < last)
            linear_load_w<F, R>(a, ring + s * BYTES, first + s, n_tile);
        gpu_cp_async_commit();
    }
    gpu_wait_earlier();
    const int m = linear_live(a.live, a.first, a.m);
    if (m_tile * 8 >= m) {
        gpu_cp_async_wait<0>();
        return;
    }
    for (int s = 0; s < stages - 1 && !own; s++) {
        if (first + s < last)
            linear_load_x<F, NT, R>(a, ring + s * BYTES, first + s, m_tile);
        gpu_cp_async_commit();
    }
    linear_pieces x = {nullptr, lane, 32};
    int own_bytes = 0;
    if constexpr (OWN)
        if (own) {
            x.lanes = 4 * linear_own_rows(a.m);
            x.lane = lane & (x.lanes - 1);
            own_bytes = linear_own_bytes(F::X, x.lanes / 4);
            x.p = ring + stages * BYTES - own_bytes;
            linear_make_x<F>(a, m, first, last, ring + stages * BYTES);
        }
    float acc[R][NT][4] = {};
    for (int begin = first, end; begin < last; begin = end) {
        end = FOLDS && last - begin > a.per_split ? begin + a.per_split : last;
        for (int c = begin; c < end; c++) {
            if (stages == 4)
                gpu_cp_async_wait<2>();
            else
                gpu_cp_async_wait<0>();
            __syncthreads(); /* chunk c is here, and everybody is done with chunk c - 1 */
            if (c + stages - 1 < last) {
                uint8_t *next = ring + (c - first + stages - 1) % stages * BYTES;
                linear_load_w<F, R>(a, next, c + stages - 1, n_tile);
                if (!own)
                    linear_load_x<F, NT, R>(a, next, c + stages - 1, m_tile);
            }
            gpu_cp_async_commit();
            const uint8_t *stage = ring + (c - first) % stages * BYTES;
            x.p = own ? x.p + own_bytes : stage + LINEAR_WARPS * R * F::TILE;
            GPU_UNROLL
            for (int r = 0; r < R; r++)
                if (n_tile + warp * R + r < a.n_tiles)
                    F::template multiply<NT>(stage + (warp * R + r) * F::TILE, x, lane, acc[r]);
        }
        if (a.part && !linear_join(a, acc, n_tile + warp * R, m_tile))
            return;
        linear_flush<F>(a, acc, linear_here<NT, R>(a, begin > first, end == last));
    }
}

/* --- launching: one table row for each number of tiles */

struct linear_shape {
    int splits, nt; /* tiles of 8 rows of x a block: one of gpu_tiles */
    bool fold;
    int stages; /* 4, or 2 on sm_75 */
    cudaStream_t stream;
    bool early;   /* as cuda_queue has it */
    int own_most; /* shared memory of a block that makes its own pieces of x, at most */
};

template <class F, int NT, int R>
static cudaError_t linear_launch(linear_args a, const linear_shape &s)
{
    const int ring = (LINEAR_WARPS * R * F::TILE + NT * F::X) * s.stages;
    const int own = a.x ? 0 : a.per_split * linear_own_bytes(F::X, linear_own_rows(a.m));
    const dim3 grid((a.m_tiles + NT - 1) / NT,
                    (a.n_tiles + LINEAR_WARPS * R - 1) / (LINEAR_WARPS * R), s.fold ? 1 : s.splits);
    auto kernel = linear_skinny<F, NT, R>;
    a.stages = s.stages;
    if (ring + own > 48 << 10) { /* one limit for all its launches: a graph may hold a larger one */
        cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             own ? s.own_most : ring);
        if (e != cudaSuccess)
            return e;
    }
    return gpu_launch_early({s.stream, s.early}, kernel, grid, LINEAR_WARPS * 32, ring + own, a);
}

template <class F> static cudaError_t linear_pick(const linear_args &a, const linear_shape &s)
{
    switch (s.fold ? LINEAR_NT_MAX : s.nt) {
    case 1:
        return linear_launch<F, 1, 1>(a, s);
    case 2:
        return linear_launch<F, 2, 1>(a, s);
    case 4:
        return linear_launch<F, 4, 2>(a, s);
    default:
        return linear_launch<F, LINEAR_NT_MAX, 2>(a, s);
    }
}

/* By formats, in files of their own, so that they compile side by side. cudaErrorInvalidValue: not
 * one of theirs. */
cudaError_t linear_run_half(enum dtype t, const linear_args &a, const linear_shape &s);
cudaError_t linear_run_ints(enum dtype t, const linear_args &a, const linear_shape &s);
cudaError_t linear_run_floats(enum dtype t, const linear_args &a, const linear_shape &s);
cudaError_t linear_run_mma8(enum dtype t, const linear_args &a, const linear_shape &s);

#endif
