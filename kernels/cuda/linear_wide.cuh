/* linear_wide.cuh - the frame of the kernels for many rows of x: tiles of 128 rows of W by 64 or
 * 128 of x, two stages by cp.async; what is multiplied in them is a template's argument.
 *
 * A warp makes 32 by 64: each fragment of W meets eight of x, each of x two of W; W comes from L2
 * once for 128 rows of x. A multiplier G is a format of linear_tile.cuh (TILE, X, ROW_SCALE, load)
 * with
 *     x_load     the copies of some pieces of x in one chunk of 64 columns, by all threads
 *     multiply   what a chunk adds to the sums of a warp
 *     BLOCKS     how many blocks are to share a multiprocessor, as its registers allow
 *     HERE       whether the target has the instruction; else the body is left out */
#ifndef KERNELS_CUDA_LINEAR_WIDE_CUH
#define KERNELS_CUDA_LINEAR_WIDE_CUH

#include "kernels/cuda/linear.cuh"
#include "kernels/cuda/linear_op.cuh"

enum { WIDE_NT = 8, WIDE_R = 2, WIDE_STAGES = 2 };
enum { WIDE_TILES = LINEAR_WARPS * WIDE_R }; /* of W in a block */

/* An x_load of pieces of X bytes that lie as linear_x.cuh has them, [chunks, m_tiles]. */
template <int X>
GPU_FN void wide_pieces(const linear_args &a, uint8_t *to, int chunk, int m_tile, int pieces,
                        int threads)
{
    const uint8_t *from = a.x + (static_cast<int64_t>(chunk) * a.m_tiles + m_tile) * X;
    for (int i = threadIdx.x; i < pieces * (X / 16); i += threads)
        gpu_cp_async16(to + i * 16, from + i * 16);
}

/* The copies of one stage, by all warps. */
template <class G, int WM>
GPU_FN void wide_load(const linear_args &a, uint8_t *stage, int chunk, int n_tile, int m_tile)
{
    const int warps = LINEAR_WARPS * WM;
    for (int i = threadIdx.x >> 5; i < WIDE_TILES && n_tile + i < a.n_tiles; i += warps)
        G::load(stage + i * G::TILE, a, n_tile + i, chunk);
    const int nt = WM * WIDE_NT, pieces = a.m_tiles - m_tile < nt ? a.m_tiles - m_tile : nt;
    G::x_load(a, stage + WIDE_TILES * G::TILE, chunk, m_tile, pieces, warps * 32);
}

/* Where this warp's results go after chunk c: computed anew, for the sums leave no registers. */
template <int WM> GPU_FN linear_at wide_at(const linear_args &a, int c)
{
    const int warp = gpu_opaque(static_cast<int>(threadIdx.x)) >> 5;
    return {static_cast<int>(blockIdx.y) * WIDE_TILES + warp % LINEAR_WARPS * WIDE_R,
            (static_cast<int>(blockIdx.x) * WM + warp / LINEAR_WARPS) * WIDE_NT,
            linear_live(a.live, a.first, a.m), c >= a.per_split, c + 1 == a.chunks};
}

/* Grid: x tiles of 64 WM rows of x, y tiles of 128 rows of W. Warps: four along W, WM along x. */
template <class G, int WM>
__global__ void __launch_bounds__(LINEAR_WARPS * 32 * WM, G::BLOCKS) linear_wide(linear_args a)
{
    if constexpr (!G::HERE) {
        __trap();
        return;
    }
    constexpr int BYTES = WIDE_TILES * G::TILE + WM * WIDE_NT * G::X;
    GPU_DYN_SHARED(uint8_t, ring); /* [WIDE_STAGES][tiles of W | pieces of x] */
    gpu_let_next();
    gpu_wait_earlier();
    const int m = linear_live(a.live, a.first, a.m);
    const int m_tile = blockIdx.x * WM * WIDE_NT, n_tile = blockIdx.y * WIDE_TILES;
    if (m_tile * 8 >= m)
        return;
    const int warp = threadIdx.x >> 5;
    const int mine_n = n_tile + warp % LINEAR_WARPS * WIDE_R;
    const int mine_m = m_tile + warp / LINEAR_WARPS * WIDE_NT;
    const bool works = mine_n < a.n_tiles && mine_m * 8 < m;
    float acc[WIDE_R][WIDE_NT][4] = {};
    wide_load<G, WM>(a, ring, 0, n_tile, m_tile);
    gpu_cp_async_commit();
    for (int c = 0; c < a.chunks; c++) {
        gpu_cp_async_wait<0>();
        __syncthreads(); /* chunk c is here, and everybody is done with chunk c - 1 */
        if (c + 1 < a.chunks)
            wide_load<G, WM>(a, ring + (c + 1) % WIDE_STAGES * BYTES, c + 1, gpu_opaque(n_tile),
                             gpu_opaque(m_tile));
        gpu_cp_async_commit();
        if (!works)
            continue;
        const uint8_t *tiles = ring + c % WIDE_STAGES * BYTES;
        const uint8_t *x = tiles + WIDE_TILES * G::TILE + (mine_m - m_tile) * G::X;
        G::multiply(tiles + (mine_n - n_tile) * G::TILE, x, acc);
        if (c + 1 == a.chunks || (c + 1) % a.per_split == 0)
            linear_flush<G>(a, acc, wide_at<WM>(a, c));
    }
}

/* --- host */

/* Rows of x, of `row` bytes of scratch each, that are rounded at once: all m, or blocks of 64;
 * 0: not even those fit. */
static inline int64_t wide_rows(const cuda_queue *q, int64_t m, size_t row)
{
    const int64_t fit = (q->scratch_bytes - 4096) / row;
    return fit >= (m + 7) / 8 * 8 ? m : fit / 64 * 64;
}

/* The product of the rows of x that r has rounded. */
static inline linear_args wide_args(const linear_op *a, const quant_rows &r)
{
    linear_args o = {};
    linear_outputs(&o, a, r.first);
    o.w = static_cast<const uint8_t *>(a->w.data);
    o.x = r.q;
    o.x_scale = r.scale;
    o.live = a->live;
    o.k = a->x.shape[1];
    o.first = r.first;
    o.m = r.m;
    o.m_tiles = (r.m + 7) / 8;
    o.n_tiles = static_cast<int>((a->w.shape[0] + PANEL_ROWS - 1) / PANEL_ROWS);
    o.chunks = o.per_split = static_cast<int>(cuda_panel_chunks(o.k));
    return o;
}

template <class G, int WM> static cudaError_t wide_launch(const linear_args &a, gpu_after after)
{
    const int bytes = WIDE_STAGES * (WIDE_TILES * G::TILE + WM * WIDE_NT * G::X);
    const dim3 grid((a.m_tiles + WM * WIDE_NT - 1) / (WM * WIDE_NT),
                    (a.n_tiles + WIDE_TILES - 1) / WIDE_TILES);
    auto kernel = linear_wide<G, WM>;
    if (bytes > 48 << 10) {
        cudaError_t e =
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        if (e != cudaSuccess)
            return e;
    }
    return gpu_launch_early(after, kernel, grid, LINEAR_WARPS * 32 * WM, bytes, a);
}

#endif
