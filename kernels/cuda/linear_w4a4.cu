/* linear_w4a4.cu - y = x W^T in e2m1 on both sides, for GPUs whose mma.sync scales blocks itself
 * (sm_120 and its family) and whoever allows it: x is rounded to NVFP4 or MXFP4, as W is.
 *
 * Shapes: W [N, K] NVFP4 or MXFP4 in panels as they lie, x as pieces of quant_fp4.cu, in the frame
 * of linear_wide.cuh. In a panel a lane's word has four columns of either half of its 32; the mma
 * wants eight of one. So a lane reads the words of two lanes, one piece of 16 bytes, and takes the
 * half that is its own from both: two byte permutations, once for eight fragments of x. Columns
 * are then in their own order, which x has too.
 * Bytes: 4.5 or 4.25 bits a weight and a number of x.
 * Expected (not measured): 55 % of fp4's rate: a chunk of 64 columns is one mma of 16 clocks on
 * GeForce, and nothing else. sm_100 has such products for tcgen05 alone: cuBLASLt's.
 *
 * Numbers: products and their scales are exact; sums are a chain of mma, in the precision of
 * the tensor cores: what they drop of a sum (2^-13 of it each time, if they are as fp8's before
 * them) is far below what rounding x costs. Last times the row's float. */
#include "kernels/cuda/linear_wide.cuh"

#include "kernels/cuda/linear_fp4.cuh"
#include "kernels/cuda/linear_op.cuh"

template <panel_scales SCALES> struct w4a4 : linear_ints<4, false, SCALES> {
    using F = linear_ints<4, false, SCALES>;
    enum { X = FP4_PIECE, ROW_SCALE = 1, BLOCKS = 2 };
#if !defined(__CUDA_ARCH__) ||                                                                     \
    (defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ >= 1200)
    enum {HERE = true};
#else
    enum { HERE = false };
#endif

    GPU_FN void x_load(const linear_args &a, uint8_t *to, int chunk, int m_tile, int pieces,
                       int threads)
    {
        wide_pieces<X>(a, to, chunk, m_tile, pieces, threads);
    }

    /* The fragment of a tile, and the scales of row g in lanes 4 g, of g + 8 in the next. */
    GPU_FN uint32_t take(const uint8_t *tile, int g, int t, uint32_t (&a)[4])
    {
        const uint32_t half = t & 2 ? 0x7632u : 0x5410u;
        GPU_UNROLL
        for (int group = 0; group < 2; group++) {
            const uint4 v = reinterpret_cast<const uint4 *>(tile)[group * 16 + g * 2 + (t & 1)];
            a[2 * group] = __byte_perm(v.x, v.z, half);
            a[2 * group + 1] = __byte_perm(v.y, v.w, half);
        }
        const int at = 2 * g + (t & 1);
        return SCALES == PANEL_E4 ? reinterpret_cast<const uint32_t *>(tile + F::AT)[at]
                                  : reinterpret_cast<const uint16_t *>(tile + F::AT)[at];
    }

    GPU_FN void multiply(const uint8_t *tiles, const uint8_t *x, float (&acc)[WIDE_R][WIDE_NT][4])
    {
        const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
        uint32_t a[WIDE_R][4], scales[WIDE_R][2];
        GPU_UNROLL
        for (int r = 0; r < WIDE_R; r++)
            scales[r][0] = take(tiles + r * F::TILE, g, t, a[r]);
        GPU_UNROLL
        for (int j = 0; j < WIDE_NT; j++) {
            const uint2 v = reinterpret_cast<const uint2 *>(x + j * X)[lane];
            const uint8_t *s = x + j * X + FP4_PIECE_SCALES;
            const uint32_t b[2] = {v.x, v.y};
            const uint32_t xs = SCALES == PANEL_E4 ? reinterpret_cast<const uint32_t *>(s)[g]
                                                   : reinterpret_cast<const uint16_t *>(s)[2 * g];
            GPU_UNROLL
            for (int r = 0; r < WIDE_R; r++) {
                scales[r][1] = xs;
                if (SCALES == PANEL_E4)
                    gpu_mma_nvf4(acc[r][j], a[r], b, acc[r][j], scales[r]);
                else
                    gpu_mma_mxf4(acc[r][j], a[r], b, acc[r][j], scales[r]);
            }
        }
    }
};

/* --- host */

enum { W4A4_WM = GPU_W4A4_NT / WIDE_NT }; /* warps along x: 128 rows a block */

static enum status some_rows(struct cuda_queue *q, const linear_op *a, int64_t first, int m)
{
    const int64_t k = a->x.shape[1], chunks = cuda_panel_chunks(k);
    const int tiles = (m + 7) / 8;
    const bool nv = a->w.dtype == DT_NVFP4;
    char *at = static_cast<char *>(q->scratch);
    quant_rows r = {};
    r.kind = nv ? QUANT_NVFP4 : QUANT_MXFP4;
    r.width = chunks * PANEL_COLS;
    r.q = reinterpret_cast<uint8_t *>(at);
    r.scale = reinterpret_cast<float *>(at + linear_align(chunks * tiles * FP4_PIECE));
    r.first = static_cast<int>(first);
    r.m = m;
    r.pad = tiles * 8 - m;
    TRY(linear_round_x(q, a, r, r.scale + linear_align(tiles * 8)));
    const linear_args o = wide_args(a, r);
    return cuda_check(nv ? wide_launch<w4a4<PANEL_E4>, W4A4_WM>(o, {q->stream, q->early})
                         : wide_launch<w4a4<PANEL_E8>, W4A4_WM>(o, {q->stream, q->early}),
                      "linear");
}

enum status linear_by_w4a4(struct cuda_queue *q, const linear_op *a)
{
    const int64_t m = a->x.shape[0], k = a->x.shape[1];
    const size_t row =
        cuda_panel_chunks(k) * FP4_PIECE / 8 + sizeof(float) + (a->norm ? k * sizeof(float) : 0);
    const int64_t fit = wide_rows(q, m, row);
    if (fit == 0)
        return ERR_UNSUPPORTED;
    for (int64_t first = 0; first < m; first += fit)
        TRY(some_rows(q, a, first, static_cast<int>(m - first < fit ? m - first : fit)));
    return OK;
}
