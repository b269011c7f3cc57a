/* linear_mma8.cu - y = x W^T for many rows of x and weights of a block format, all in int8: what
 * prefill takes where bf16 runs at a quarter of int8's rate (GeForce), decoding nothing to memory.
 *
 * Shapes: W in panels as they lie, x as the pieces of linear_x.cuh. A block makes 128 rows of W by
 * 64 or 128 rows of x, a warp 32 by 64: each unpacked fragment of W meets eight of x, each of x
 * two of W, and W comes from L2 once for 128 rows of x. Two stages by cp.async, so that two blocks
 * share a multiprocessor.
 * The trick: tensor cores need a quarter of the time that the scales take, so that is what is kept
 * short. The sum starts at 3 * 2^22 as an integer, whose bits are those of the float of the same
 * value: one subtraction in place of a conversion, which runs at a quarter of the rate, and exact,
 * for a sum is below 32 * 128 * 127 < 2^22. That leaves subtract, times d of x, fma with d of W:
 * 12 instructions in 32 lanes for one mma of 16 cycles. q6_K, with a scale for 16 columns, takes
 * mma of half the depth.
 * Expected (not measured): 55 % of int8's rate for q8_0 and q4_0 on GeForce, 40 % for formats with
 * a minimum, 30 % for q6_K; on data-centre GPUs, whose tensor cores are four times as fast beside
 * the same float units, cuBLASLt on decoded weights wins.
 *
 * Numbers: the naive op's, in its order. A K that the skinny kernel splits is folded here as there:
 * a row has the same bits by either, whatever its company. */
#include "kernels/cuda/linear.cuh"

enum { MMA8_NT = 8, MMA8_R = 2, MMA8_STAGES = 2 };
enum { MMA8_TILES = LINEAR_WARPS * MMA8_R }; /* of W in a block */

/* Integer sums with this added are floats with it added. */
static constexpr int MMA8_ONE = 0x4b400000;
static constexpr float MMA8_ONE_F = 12582912.0f;

GPU_FN float mma8_float(int sum)
{
    return __int_as_float(sum) - MMA8_ONE_F;
}

/* What one group of 32 columns adds to R x NT results. */
template <class F, panel_scales SCALES>
GPU_FN void mma8_group(const uint8_t *tiles, const uint8_t *x, int group,
                       float (&acc)[MMA8_R][MMA8_NT][4])
{
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int one[4] = {MMA8_ONE, MMA8_ONE, MMA8_ONE, MMA8_ONE};
    uint32_t a[MMA8_R][4];
    linear_scale s[MMA8_R];
    GPU_UNROLL
    for (int r = 0; r < MMA8_R; r++) {
        F::unpack(tiles + r * F::TILE, lane, group, a[r]);
        s[r] = F::scales(tiles + r * F::TILE, group, g);
    }
    GPU_UNROLL
    for (int j = 0; j < MMA8_NT; j++) {
        const uint8_t *p = x + j * F::X;
        const uint2 v = reinterpret_cast<const uint2 *>(p)[group * 32 + lane];
        const float2 xd = reinterpret_cast<const float2 *>(p + 512)[group * 4 + t];
        float2 xs = {0, 0};
        if (SCALES == PANEL_DM || SCALES == PANEL_K)
            xs = reinterpret_cast<const float2 *>(p + 576)[group * 4 + t];
        GPU_UNROLL
        for (int r = 0; r < MMA8_R; r++) {
            float f[4];
            int c[4];
            if (SCALES == PANEL_6) {
                const uint32_t low[2] = {a[r][0], a[r][1]}, high[2] = {a[r][2], a[r][3]};
                int c2[4];
                gpu_mma_s8_k16(c, low, v.x, one);
                gpu_mma_s8_k16(c2, high, v.y, one);
                GPU_UNROLL
                for (int i = 0; i < 4; i++) /* exact: below 2^24 once divided by their unit */
                    f[i] = fmaf(mma8_float(c2[i]), static_cast<float>(s[r].sc[i / 2 * 2 + 1]),
                                mma8_float(c[i]) * static_cast<float>(s[r].sc[i / 2 * 2]));
            } else {
                const uint32_t b[2] = {v.x, v.y};
                gpu_mma_s8(c, a[r], b, one);
                GPU_UNROLL
                for (int i = 0; i < 4; i++)
                    f[i] = mma8_float(c[i]);
            }
            GPU_UNROLL
            for (int i = 0; i < 4; i++) {
                float sum =
                    fmaf(f[i] * (i & 1 ? xd.y : xd.x), i < 2 ? s[r].d.x : s[r].d.y, acc[r][j][i]);
                if (SCALES == PANEL_DM || SCALES == PANEL_K)
                    sum = fmaf(i < 2 ? s[r].m.x : s[r].m.y, i & 1 ? xs.y : xs.x, sum);
                acc[r][j][i] = sum;
            }
        }
    }
}

/* The copies of one stage, by all warps. */
template <class F, int WM>
GPU_FN void mma8_load(const linear_args &a, uint8_t *stage, int chunk, int n_tile, int m_tile)
{
    const int warps = LINEAR_WARPS * WM;
    for (int i = threadIdx.x >> 5; i < MMA8_TILES && n_tile + i < a.n_tiles; i += warps)
        F::load(stage + i * F::TILE, a, n_tile + i, chunk);
    const int nt = WM * MMA8_NT, pieces = a.m_tiles - m_tile < nt ? a.m_tiles - m_tile : nt;
    const uint8_t *from = a.x + (static_cast<int64_t>(chunk) * a.m_tiles + m_tile) * F::X;
    uint8_t *to = stage + MMA8_TILES * F::TILE;
    for (int i = threadIdx.x; i < pieces * (F::X / 16); i += warps * 32)
        gpu_cp_async16(to + i * 16, from + i * 16);
}

/* Where this warp's results go after chunk c: computed anew, for the sums leave no registers. */
template <int WM> GPU_FN linear_at mma8_at(const linear_args &a, int c)
{
    const int warp = gpu_opaque(static_cast<int>(threadIdx.x)) >> 5;
    return {static_cast<int>(blockIdx.y) * MMA8_TILES + warp % LINEAR_WARPS * MMA8_R,
            (static_cast<int>(blockIdx.x) * WM + warp / LINEAR_WARPS) * MMA8_NT,
            linear_live(a.live, a.first, a.m), c >= a.per_split, c + 1 == a.chunks};
}

/* Blocks a multiprocessor, by registers. sm_100 would spill a few bytes for the second, and has
 * cuBLASLt for what this kernel is for. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000 && __CUDA_ARCH__ < 1200
#define MMA8_BLOCKS 1
#else
#define MMA8_BLOCKS 2
#endif

/* Grid: x tiles of 64 WM rows of x, y tiles of 128 rows of W. Warps: four along W, WM along x. */
template <class F, panel_scales SCALES, int WM>
__global__ void __launch_bounds__(LINEAR_WARPS * 32 * WM, MMA8_BLOCKS) linear_mma8(linear_args a)
{
    constexpr int BYTES = MMA8_TILES * F::TILE + WM * MMA8_NT * F::X;
    GPU_DYN_SHARED(uint8_t, ring); /* [MMA8_STAGES][tiles of W | pieces of x] */
    const int m = linear_live(a.live, a.first, a.m);
    const int m_tile = blockIdx.x * WM * MMA8_NT, n_tile = blockIdx.y * MMA8_TILES;
    if (m_tile * 8 >= m)
        return;
    const int warp = threadIdx.x >> 5;
    const int mine_n = n_tile + warp % LINEAR_WARPS * MMA8_R;
    const int mine_m = m_tile + warp / LINEAR_WARPS * MMA8_NT;
    const bool works = mine_n < a.n_tiles && mine_m * 8 < m;
    float acc[MMA8_R][MMA8_NT][4] = {};
    mma8_load<F, WM>(a, ring, 0, n_tile, m_tile);
    gpu_cp_async_commit();
    for (int c = 0; c < a.chunks; c++) {
        gpu_cp_async_wait<0>();
        __syncthreads(); /* chunk c is here, and everybody is done with chunk c - 1 */
        if (c + 1 < a.chunks)
            mma8_load<F, WM>(a, ring + (c + 1) % MMA8_STAGES * BYTES, c + 1, gpu_opaque(n_tile),
                             gpu_opaque(m_tile));
        gpu_cp_async_commit();
        if (!works)
            continue;
        const uint8_t *tiles = ring + c % MMA8_STAGES * BYTES;
        const uint8_t *x = tiles + MMA8_TILES * F::TILE + (mine_m - m_tile) * F::X;
        for (int group = 0; group < 2; group++)
            mma8_group<F, SCALES>(tiles + (mine_n - n_tile) * F::TILE, x, group, acc);
        if (c + 1 == a.chunks || (c + 1) % a.per_split == 0)
            linear_flush<F>(a, acc, mma8_at<WM>(a, c));
    }
}

/* --- host */

template <class F, panel_scales SCALES, int WM>
static cudaError_t mma8_launch(const linear_args &a, cudaStream_t stream)
{
    const int bytes = MMA8_STAGES * (MMA8_TILES * F::TILE + WM * MMA8_NT * F::X);
    const dim3 grid((a.m_tiles + WM * MMA8_NT - 1) / (WM * MMA8_NT),
                    (a.n_tiles + MMA8_TILES - 1) / MMA8_TILES);
    auto kernel = linear_mma8<F, SCALES, WM>;
    if (bytes > 48 << 10) {
        cudaError_t e =
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        if (e != cudaSuccess)
            return e;
    }
    return gpu_launch(kernel, grid, LINEAR_WARPS * 32 * WM, bytes, stream, a);
}

typedef cudaError_t run_fn(const linear_args &, cudaStream_t);

/* clang-format off */
static const struct {
    enum dtype type;
    run_fn *run[2]; /* 64 rows of x a block, 128 */
} table[] = {
#define ROW(t, bits, sign, scales)                                                                 \
    {t, {mma8_launch<linear_ints<bits, sign, scales>, scales, 1>, mma8_launch<linear_ints<bits, sign, scales>, scales, 2>}},
    LINEAR_INTS(ROW)
#undef ROW
};
/* clang-format on */

cudaError_t linear_run_mma8(enum dtype t, const linear_args &a, const linear_shape &s)
{
    for (auto &row : table)
        if (row.type == t)
            return row.run[s.nt > MMA8_NT](a, s.stream);
    return cudaErrorInvalidValue;
}
