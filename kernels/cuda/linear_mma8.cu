/* linear_mma8.cu - y = x W^T for many rows of x and weights of a block format, all in int8: what
 * prefill takes where bf16 runs at a quarter of int8's rate (GeForce), decoding nothing to memory.
 *
 * Shapes: W in panels as they lie, x as the pieces of linear_x.cuh; the frame is linear_wide.cuh's.
 * The trick: the scales take as long as the tensor cores do, so that is what is kept short. The
 * sum starts at 3 * 2^22 as an integer, whose bits are those of the float of the same value: one
 * subtraction in place of a conversion, which runs at a quarter of the rate, and exact, for a sum
 * is below 32 * 128 * 127 < 2^22. That leaves subtract, times d of x, fma with d of W: 12
 * instructions in 32 lanes for one mma of 16 cycles. q6_K and NVFP4, with a scale for 16 columns,
 * take mma of half the depth.
 * Expected (not measured): 55 % of int8's rate for q8_0 and q4_0 on GeForce, 40 % for formats with
 * a minimum, 30 % for q6_K and NVFP4; on data-centre GPUs, whose tensor cores are four times as
 * fast beside the same float units, cuBLASLt on decoded weights wins.
 *
 * Numbers: the naive op's, in its order. A K that the skinny kernel splits is folded here as there:
 * a row has the same bits by either, whatever its company. */
#include "kernels/cuda/linear_wide.cuh"

/* Integer sums with this added are floats with it added. */
static constexpr int MMA8_ONE = 0x4b400000;
static constexpr float MMA8_ONE_F = 12582912.0f;

GPU_FN float mma8_float(int sum)
{
    return __int_as_float(sum) - MMA8_ONE_F;
}

/* What 16 columns with a scale of their own add. */
GPU_FN void mma8_half(float (&acc)[4], uint32_t top, uint32_t low, uint32_t x, float2 d, float2 xd)
{
    const int one[4] = {MMA8_ONE, MMA8_ONE, MMA8_ONE, MMA8_ONE};
    const uint32_t a[2] = {top, low};
    int c[4];
    gpu_mma_s8_k16(c, a, x, one);
    GPU_UNROLL
    for (int i = 0; i < 4; i++)
        acc[i] = fmaf(mma8_float(c[i]) * (i & 1 ? xd.y : xd.x), i < 2 ? d.x : d.y, acc[i]);
}

/* What one group of 32 columns adds to R x NT results. */
template <class F, panel_scales SCALES>
GPU_FN void mma8_group(const uint8_t *tiles, const uint8_t *x, int group,
                       float (&acc)[WIDE_R][WIDE_NT][4])
{
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int one[4] = {MMA8_ONE, MMA8_ONE, MMA8_ONE, MMA8_ONE};
    uint32_t a[WIDE_R][4];
    linear_scale s[WIDE_R];
    GPU_UNROLL
    for (int r = 0; r < WIDE_R; r++) {
        F::unpack(tiles + r * F::TILE, lane, group, a[r]);
        s[r] = F::scales(tiles + r * F::TILE, group, g);
    }
    GPU_UNROLL
    for (int j = 0; j < WIDE_NT; j++) {
        const uint8_t *p = x + j * F::X;
        const uint2 v = reinterpret_cast<const uint2 *>(p)[group * 32 + lane];
        const float2 xd = reinterpret_cast<const float2 *>(p + 512)[group * 4 + t];
        float2 xs = {0, 0};
        if (SCALES == PANEL_DM || SCALES == PANEL_K)
            xs = reinterpret_cast<const float2 *>(p + 576)[group * 4 + t];
        GPU_UNROLL
        for (int r = 0; r < WIDE_R; r++) {
            if (SCALES == PANEL_E4) { /* one half after the other: registers */
                mma8_half(acc[r][j], a[r][0], a[r][1], v.x, s[r].d, xd);
                mma8_half(acc[r][j], a[r][2], a[r][3], v.y, s[r].high, xd);
                continue;
            }
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

/* Blocks a multiprocessor, by registers. sm_100 would spill a few bytes for the second, and has
 * cuBLASLt for what this kernel is for. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000 && __CUDA_ARCH__ < 1200
#define MMA8_BLOCKS 1
#else
#define MMA8_BLOCKS 2
#endif

template <int BITS, bool SIGN, panel_scales SCALES>
struct mma8_ints : linear_ints<BITS, SIGN, SCALES> {
    using F = linear_ints<BITS, SIGN, SCALES>;
    enum { HERE = true, BLOCKS = MMA8_BLOCKS };

    GPU_FN void x_load(const linear_args &a, uint8_t *to, int chunk, int m_tile, int pieces,
                       int threads)
    {
        wide_pieces<F::X>(a, to, chunk, m_tile, pieces, threads);
    }

    GPU_FN void multiply(const uint8_t *tiles, const uint8_t *x, float (&acc)[WIDE_R][WIDE_NT][4])
    {
        for (int group = 0; group < 2; group++)
            mma8_group<F, SCALES>(tiles, x, group, acc);
    }
};

/* --- host */

typedef cudaError_t run_fn(const linear_args &, gpu_after);

/* clang-format off */
static const struct {
    enum dtype type;
    run_fn *run[2]; /* 64 rows of x a block, 128 */
} table[] = {
#define ROW(t, bits, sign, scales)                                                                 \
    {t, {wide_launch<mma8_ints<bits, sign, scales>, 1>, wide_launch<mma8_ints<bits, sign, scales>, 2>}},
    LINEAR_INTS(ROW)
#undef ROW
};
/* clang-format on */

cudaError_t linear_run_mma8(enum dtype t, const linear_args &a, const linear_shape &s)
{
    for (auto &row : table)
        if (row.type == t)
            return row.run[s.nt > WIDE_NT](a, {s.stream, s.early});
    return cudaErrorInvalidValue;
}
