/* quant_fp4.cu - rows of activations as e2m1 with a scale for each 16 (NVFP4) or 32 (MXFP4), for
 * tensor cores that multiply fp4 on both sides.
 *
 * Shapes: x [M, K] f32 -> codes and scales of [M, width], zeros beyond K: in pieces, for
 * linear_w4a4.cu, or in rows, for cuBLASLt (linear_fp4.cuh); and a float a row.
 * Bytes: 4 read for each number (twice, the second time from L1 or L2), 0.56 written.
 * The trick: none; a block takes a row, a thread four numbers next to each other at a time, and the
 * largest of a block of numbers goes round its 4 or 8 lanes.
 * Expected (not measured): 80 % of the memory's rate beyond 256 rows; a launch below that.
 *
 * Numbers: kernels/quant/fp4_rows.h says which, bit for bit. A row that is not live is zeros with
 * scales of 0, or the least of MXFP4. */
#include "kernels/cuda/linear_fp4.cuh"

#include "kernels/cuda/common.cuh"

extern "C" {
#include "kernels/quant/f8_e4m3.h"
}

enum { THREADS = 256, FOUR = 4 };

/* The scale of a block with this largest number, and what its numbers are divided by. */
GPU_FN uint32_t scale_of(bool nv, float top, float *over)
{
    uint32_t e;
    if (nv) {
        e = __nv_cvt_float_to_fp8(top / 6, __NV_SATFINITE, __NV_E4M3);
        *over = f8_e4m3_value(static_cast<int>(e));
    } else {
        e = fp4_e8m0(top);
        *over = 1;
    }
    return e;
}

static __global__ void __launch_bounds__(THREADS) quant_fp4_row(struct quant_rows a)
{
    GPU_DYN_SHARED(float, part); /* [warps] */
    const bool nv = a.kind == QUANT_NVFP4;
    const int row = blockIdx.x, lane = threadIdx.x & 31, block = nv ? 16 : 32;
    const int64_t m_tiles = gridDim.x / 8, blocks = a.width / block;
    gpu_let_next();
    gpu_wait_earlier();
    const linear_rows x = {a.x, a.stride, a.k, linear_live(a.live, a.first, a.m), a.up};
    float top = 0, v[FOUR];
    for (int64_t k = threadIdx.x * FOUR; k < a.k; k += THREADS * FOUR) {
        linear_take<FOUR, FOUR, FOUR>(x, row, k, v);
        GPU_UNROLL
        for (int i = 0; i < FOUR; i++)
            top = fmaxf(top, fabsf(v[i]) < INFINITY ? fabsf(v[i]) : INFINITY);
    }
    top = block_reduce<Max>(top, part);
    const bool fine = top < INFINITY;
    const float inv = !fine ? 0.0f : nv ? fp4_row_down(top) : 1.0f;
    if (threadIdx.x == 0)
        a.scale[row] = !fine ? NAN : !nv ? 1.0f : inv > 0 ? top / 2688 : 0.0f;
    for (int64_t from = threadIdx.x / 32 * 32 * FOUR; from < a.width; from += THREADS * FOUR) {
        const int64_t k = from + lane * FOUR; /* a warp's lanes stay together */
        float most = 0, over;
        linear_take<FOUR, FOUR, FOUR>(x, row, k, v);
        GPU_UNROLL
        for (int i = 0; i < FOUR; i++) {
            v[i] *= inv;
            most = fmaxf(most, fabsf(v[i]));
        }
        for (int o = 1; o < block / FOUR; o *= 2)
            most = fmaxf(most, __shfl_xor_sync(GPU_ALL, most, o));
        const uint32_t e = scale_of(nv, most, &over);
        const float down = nv ? 1.0f : fp4_down(e);
        uint32_t codes = 0;
        GPU_UNROLL
        for (int i = 0; i < FOUR; i++)
            codes |= (over > 0 ? fp4_code(v[i] * down / over) : 0) << 4 * i;
        if (k >= a.width)
            continue;
        uint8_t *to = a.q + (a.blocks ? (row * a.width + k) / 2 : fp4_piece_at(row, k, m_tiles));
        *reinterpret_cast<uint16_t *>(to) = static_cast<uint16_t>(codes);
        if (k % block != 0)
            continue;
        if (a.blocks)
            a.blocks[fp4_scale_at(row, k / block, blocks)] = static_cast<uint8_t>(e);
        else
            a.q[(k / 64 * m_tiles + row / 8) * FP4_PIECE + FP4_PIECE_SCALES + row % 8 * 4 +
                k % 64 / block] = static_cast<uint8_t>(e);
    }
}

enum status cuda_quant_fp4(const struct cuda_queue *q, const struct quant_rows *a)
{
    const int rows = a->blocks ? FP4_TILE_ROWS : 8, block = a->kind == QUANT_NVFP4 ? 16 : 32;
    const int whole = a->blocks ? block * FP4_TILE_BLOCKS : 64;
    if (a->m == 0)
        return OK;
    if (a->width % whole != 0 || a->width < a->k || (a->m + a->pad) % rows != 0)
        return fail(ERR_INTERNAL, "quant_fp4: %lld columns and %d rows as %lld and %d",
                    (long long)a->k, a->m, (long long)a->width, a->m + a->pad);
    return cuda_check(gpu_launch_early({q->stream, q->early}, quant_fp4_row, a->m + a->pad, THREADS,
                                       THREADS / 32 * sizeof(float), *a),
                      "quant_fp4");
}
