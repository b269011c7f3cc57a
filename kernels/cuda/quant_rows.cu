/* quant_rows.cu - rows of activations as numbers of 8 bits with one scale a row, for tensor cores
 * that multiply e4m3 or int8.
 *
 * Shapes: x [M, K] f32 -> q [M, width] bytes, zeros beyond K, and scale [M]: x is about scale * q.
 * Bytes: 4 read for each number (twice, the second time from L1 or L2), 1 written.
 * The trick: none; a block takes a row, a thread four numbers next to each other at a time.
 * Expected (not measured): 80 % of the memory's rate beyond 256 rows; a launch below that.
 *
 * Numbers: top = max |x| of the row, scale = top / most, q = x * (most / top) rounded to nearest
 * even, where most is 448 for e4m3 and 127 for int8. A row whose top is below 2^-100, and one that
 * is not live or beyond M, is zeros with scale 0. With a fixed scale (e4m3) q is x * (1 / scale),
 * and what is beyond 448 is 448. A row's bytes depend on that row alone. */
#include "kernels/cuda/linear_x.cuh"

#include "kernels/cuda/common.cuh"

enum { THREADS = 256, FOUR = 4 };

template <enum quant_kind KIND> GPU_FN uint32_t four_of(const float (&v)[FOUR], float inv)
{
    uint32_t out = 0;
    GPU_UNROLL
    for (int i = 0; i < FOUR; i++) {
        const float f = v[i] * inv;
        const uint32_t byte = KIND == QUANT_E4M3
                                  ? __nv_cvt_float_to_fp8(f, __NV_SATFINITE, __NV_E4M3)
                                  : static_cast<uint32_t>(__float2int_rn(f)) & 255;
        out |= byte << 8 * i;
    }
    return out;
}

template <enum quant_kind KIND>
static __global__ void __launch_bounds__(THREADS) quant_row(struct quant_rows a)
{
    GPU_DYN_SHARED(float, part); /* [warps] */
    const float most = KIND == QUANT_E4M3 ? 448.0f : 127.0f;
    const int row = blockIdx.x;
    gpu_let_next();
    gpu_wait_earlier();
    const int m = a.live && *a.live - a.first < a.m ? *a.live - a.first : a.m;
    const linear_rows x = {a.x, a.stride, a.k, m, a.up};
    float top = 0, v[FOUR];
    for (int64_t k = threadIdx.x * FOUR; k < a.k && a.fixed == 0; k += THREADS * FOUR) {
        linear_take<FOUR, FOUR, FOUR>(x, row, k, v);
        GPU_UNROLL
        for (int i = 0; i < FOUR; i++)
            top = fmaxf(top, fabsf(v[i]));
    }
    top = block_reduce<Max>(top, part);
    float inv = top >= 0x1p-100f ? most / top : 0;
    float scale = top >= 0x1p-100f ? top / most : 0; /* infinite where x is */
    if (a.fixed != 0) {
        inv = row < m ? 1 / a.fixed : 0;
        scale = row < m ? a.fixed : 0;
    }
    if (threadIdx.x == 0)
        a.scale[row] = scale;
    uint32_t *q = reinterpret_cast<uint32_t *>(a.q + row * a.width);
    for (int64_t k = threadIdx.x * FOUR; k < a.width; k += THREADS * FOUR) {
        linear_take<FOUR, FOUR, FOUR>(x, row, k, v);
        q[k / FOUR] = four_of<KIND>(v, inv);
    }
}

enum status cuda_quant_rows(const struct cuda_queue *q, const struct quant_rows *a)
{
    if (a->m == 0)
        return OK;
    if (a->width % 16 != 0 || a->width < a->k)
        return fail(ERR_INTERNAL, "quant_rows: %lld columns in rows of %lld bytes", (long long)a->k,
                    (long long)a->width);
    return cuda_check(
        gpu_launch_early({q->stream, q->early},
                         a->kind == QUANT_E4M3 ? quant_row<QUANT_E4M3> : quant_row<QUANT_S8>,
                         a->m + a->pad, THREADS, THREADS / 32 * sizeof(float), *a),
        "quant_rows");
}
