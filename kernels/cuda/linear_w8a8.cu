/* linear_w8a8.cu - y = x W^T in e4m3 on both sides, for GPUs whose tensor cores multiply it (sm_89
 * and later) and whoever allows it: x is rounded to 4 bits of mantissa, one scale a row.
 *
 * Shapes: W [N, K] f8_e4m3 in panels as they lie; x as quant_rows.cu leaves it, in the frame of
 * linear_wide.cuh. The panels hold codes so that they become f16 by shifts; here the same shifts
 * and a byte permutation give the codes back, once for eight fragments of x.
 * Expected (not measured): 60 % of fp8's rate with f32 sums on Ada and sm_120, where a chunk of 64
 * columns is two mma of 32 clocks and four fma. sm_90 and sm_100 multiply e4m3 as f16 in
 * mma.sync: there cuBLASLt is faster.
 *
 * Numbers: sums of 64 columns are a chain of two mma, which tensor cores keep to fewer bits than
 * f32 has; then acc = fma(sum, d_w, acc), so that the loss ends with the chunk. Last times d_x.
 * The code 0x7f, which sound files do not have, is no number here and 480 elsewhere. */
#include "kernels/cuda/linear_wide.cuh"

#include "kernels/cuda/linear_floats.cuh"
#include "kernels/cuda/linear_op.cuh"

struct w8a8_e4m3 : linear_floats<8> {
    using F = linear_floats<8>;
    enum { X = 512, ROW_SCALE = 1, BLOCKS = 1 }; /* 8 rows of 64 bytes */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
    enum {HERE = true};
#else
    enum { HERE = false };
#endif

    GPU_FN void x_load(const linear_args &a, uint8_t *to, int chunk, int m_tile, int pieces,
                       int threads)
    {
        for (int i = threadIdx.x; i < pieces * (X / 16); i += threads)
            gpu_cp_async16(to + i * 16, a.x + (m_tile * 8 + i / 4) * a.x_stride +
                                            static_cast<int64_t>(chunk) * 64 + i % 4 * 16);
    }

    GPU_FN void multiply(const uint8_t *tiles, const uint8_t *x, float (&acc)[WIDE_R][WIDE_NT][4])
    {
        const int lane = threadIdx.x & 31, g = lane >> 2;
        uint32_t a[WIDE_R][2][4];
        float2 d[WIDE_R];
        GPU_UNROLL
        for (int r = 0; r < WIDE_R; r++) {
            d[r] = reinterpret_cast<const float2 *>(tiles + r * F::TILE + F::AT)[g];
            GPU_UNROLL
            for (int half = 0; half < 2; half++) {
                const uint4 w =
                    reinterpret_cast<const uint4 *>(tiles + r * F::TILE)[half * 32 + lane];
                a[r][half][0] = F::codes(w.x), a[r][half][2] = F::codes(w.y);
                a[r][half][1] = F::codes(w.z), a[r][half][3] = F::codes(w.w);
            }
        }
        GPU_UNROLL
        for (int j = 0; j < WIDE_NT; j++) {
            const uint4 v = reinterpret_cast<const uint4 *>(x + j * X)[lane];
            const uint32_t b[2][2] = {{v.x, v.y}, {v.z, v.w}};
            GPU_UNROLL
            for (int r = 0; r < WIDE_R; r++) {
                float sum[4] = {};
                gpu_mma_e4m3(sum, a[r][0], b[0], sum);
                gpu_mma_e4m3(sum, a[r][1], b[1], sum);
                GPU_UNROLL
                for (int i = 0; i < 4; i++)
                    acc[r][j][i] = fmaf(sum[i], i < 2 ? d[r].x : d[r].y, acc[r][j][i]);
            }
        }
    }
};

/* --- host */

static enum status some_rows(struct cuda_queue *q, const linear_op *a, int64_t first, int m,
                             const gpu_params &launch)
{
    const int64_t k = a->x.shape[1], chunks = cuda_panel_chunks(k), width = chunks * PANEL_COLS;
    const int tiles = (m + 7) / 8;
    char *at = static_cast<char *>(q->scratch);
    quant_rows r = {};
    r.width = width;
    r.q = reinterpret_cast<uint8_t *>(at);
    r.scale = reinterpret_cast<float *>(at + linear_align(tiles * 8 * width));
    r.first = static_cast<int>(first);
    r.m = m;
    TRY(linear_round_x(q, a, r, r.scale + linear_align(tiles * 8)));
    linear_args o = wide_args(a, r);
    o.x_stride = width;
    return cuda_check(launch.nt > WIDE_NT ? wide_launch<w8a8_e4m3, 2>(o, {q->stream, q->early})
                                          : wide_launch<w8a8_e4m3, 1>(o, {q->stream, q->early}),
                      "linear");
}

enum status linear_by_w8a8(struct cuda_queue *q, const linear_op *a)
{
    const int64_t m = a->x.shape[0], k = a->x.shape[1];
    gpu_params launch = linear_way_of(q, a, true);
    if (!gpu_path_own(launch.path)) /* which cuBLASLt declined */
        launch = linear_way_of(q, a, false);
    const size_t row = cuda_panel_chunks(k) * PANEL_COLS + sizeof(float) + (a->norm ? k * 4 : 0);
    const int64_t fit = wide_rows(q, m, row);
    if (fit == 0)
        return ERR_UNSUPPORTED;
    for (int64_t first = 0; first < m; first += fit)
        TRY(some_rows(q, a, first, static_cast<int>(m - first < fit ? m - first : fit), launch));
    return OK;
}
