/* linear_floats.cuh - weights of 8 or 4 bits whose codes stand for floats (f8_e4m3, nf4), in the
 * matrix product of linear.cuh: codes become f16 in registers, x is f16 with a scale for each row
 * and 64 columns.
 *
 * Bytes: 8.5 or 4.5 bits a weight. The trick: an e4m3 with its bits in the middle of an f16 is that
 * number times 2^-8, subnormals too, and panel.c lays four codes out so that a mask and two shifts
 * make two pairs of them. The 16 values of nf4 are looked up by byte permutations: four tables of
 * low bytes, four of high ones; about twice the work an e4m3 has.
 * Expected (not measured): 85-90 % of the memory's rate for e4m3 up to M = 16, 55-75 % for nf4.
 *
 * Numbers: e4m3 is exact in f16, a value of nf4 is rounded to 11 bits, and so is x. Sums of 64
 * columns are a chain of four mma, then acc = fma(sum * d_x, d_w, acc). */
#ifndef KERNELS_CUDA_LINEAR_FLOATS_CUH
#define KERNELS_CUDA_LINEAR_FLOATS_CUH

#include "kernels/cuda/linear.cuh"

extern "C" {
#include "kernels/quant/nf4.h"
}

/* Four bytes of the f16 of codes first ... first + 3: their low bytes, or their high ones. */
constexpr uint32_t linear_nf4_bytes(int first, int shift)
{
    constexpr uint16_t value[16] = {NF4_F16};
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v |= static_cast<uint32_t>(value[first + i] >> shift & 255) << 8 * i;
    return v;
}

template <int SHIFT> struct linear_nf4_table {
    static constexpr uint32_t T0 = linear_nf4_bytes(0, SHIFT), T1 = linear_nf4_bytes(4, SHIFT),
                              T2 = linear_nf4_bytes(8, SHIFT), T3 = linear_nf4_bytes(12, SHIFT);
};

/* Bytes SHIFT bits up of the f16 of four codes, one a nibble of `n`; `high`: a byte of ones for
 * each code above 7. */
template <int SHIFT> GPU_FN uint32_t linear_nf4_look(uint32_t n, uint32_t high)
{
    using T = linear_nf4_table<SHIFT>;
    const uint32_t low = n & 0x7777u;
    return (__byte_perm(T::T0, T::T1, low) & ~high) | (__byte_perm(T::T2, T::T3, low) & high);
}

template <int BITS> struct linear_floats {
    enum {
        AT = BITS == 8 ? 1024 : 512,
        TILE = AT + 64,
        X = X_BYTES_SCALED,
        ROW_SCALE = 0,
    };
    static constexpr float UNIT = BITS == 8 ? 256.0f : 1.0f; /* of what decode makes */

    GPU_FN void load(uint8_t *to, const linear_args &a, int tile, int chunk)
    {
        linear_copy<TILE>(to, a, tile, chunk);
    }
    GPU_FN void piece(const linear_rows &x, const linear_spot &s)
    {
        linear_piece_scaled(x, s);
    }

    /* e4m3: four codes as panel.c lays them out, back in their own order, one a byte. */
    GPU_FN uint32_t codes(uint32_t w)
    {
        const uint32_t first = (w >> 8 & 0x00800080u) | (w >> 7 & 0x007f007fu);
        const uint32_t second = (w >> 7 & 0x00800080u) | (w & 0x007f007fu);
        return __byte_perm(first, second, 0x6420);
    }

    /* Four codes to two pairs of f16. */
    GPU_FN void decode(uint32_t w, uint32_t &first, uint32_t &second)
    {
        if (BITS == 8) {
            first = w & 0xbf80bf80u;
            second = (w << 7 & 0x3f803f80u) | (w << 1 & 0x80008000u);
            return;
        }
        const uint32_t high = __byte_perm(0x0000ff00u, 0, w >> 3 & 0x1111u);
        const uint32_t lo = linear_nf4_look<0>(w, high), hi = linear_nf4_look<8>(w, high);
        first = __byte_perm(lo, hi, 0x5140);
        second = __byte_perm(lo, hi, 0x7362);
    }

    /* The eight columns of a half, of rows g (0) and g + 8 (1). */
    GPU_FN void rows(const uint8_t *tile, int lane, int half, uint32_t (&v)[2][4])
    {
        const uint4 w = reinterpret_cast<const uint4 *>(tile)[(BITS == 8 ? half * 32 : 0) + lane];
        if (BITS == 8) {
            decode(w.x, v[0][0], v[0][1]);
            decode(w.y, v[0][2], v[0][3]);
            decode(w.z, v[1][0], v[1][1]);
            decode(w.w, v[1][2], v[1][3]);
            return;
        }
        const uint32_t top = half ? w.y : w.x, low = half ? w.w : w.z;
        decode(top & 0xffffu, v[0][0], v[0][1]);
        decode(top >> 16, v[0][2], v[0][3]);
        decode(low & 0xffffu, v[1][0], v[1][1]);
        decode(low >> 16, v[1][2], v[1][3]);
    }

    /* The number of row r, column c of a tile, as kernels/dtype.c decodes it. */
    GPU_FN float number(const uint8_t *tile, int r, int c)
    {
        static const float value[16] = {NF4_VALUES};
        const int lane = r % 8 * 4 + c / 16, pair = r / 8, half = c % 16 / 8;
        const uint32_t *words = reinterpret_cast<const uint32_t *>(tile);
        const float d = reinterpret_cast<const float *>(tile + AT)[r % 8 * 2 + pair];
        if (BITS == 4)
            return __fmul_rn(d, value[words[lane * 4 + pair * 2 + half] >> c % 8 * 4 & 15]);
        const uint32_t w = words[(half * 32 + lane) * 4 + pair * 2 + c % 8 / 4] >> c % 2 * 16;
        const uint32_t bits = c % 4 < 2 ? w & 0xbf80u : (w << 7 & 0x3f80u) | (w << 1 & 0x8000u);
        return __fmul_rn(d, __half2float(__ushort_as_half(static_cast<uint16_t>(bits))) * UNIT);
    }

    /* As linear_ints has it. */
    GPU_FN void numbers(const uint8_t *tile, int lane, int group, float (&v)[4][4])
    {
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            GPU_UNROLL
        for (int b = 0; b < 4; b++)
            v[i][b] = number(tile, (lane >> 2) + (i & 1) * 8,
                             group * 32 + (i >> 1) * 16 + 4 * (lane & 3) + b);
    }

    template <int NT>
    GPU_FN void multiply(const uint8_t *tile, const linear_pieces &x, int lane, float (&acc)[NT][4])
    {
        const int g = lane >> 2, t = lane & 3;
        float sum[NT][4] = {};
        GPU_UNROLL
        for (int half = 0; half < 2; half++) {
            uint32_t v[2][4];
            rows(tile, lane, half, v);
            GPU_UNROLL
            for (int j = 0; j < NT; j++) {
                const uint4 b =
                    reinterpret_cast<const uint4 *>(x.p + j * X)[half * x.lanes + x.lane];
                GPU_UNROLL
                for (int s = 0; s < 2; s++) {
                    const uint32_t a[4] = {v[0][2 * s], v[1][2 * s], v[0][2 * s + 1],
                                           v[1][2 * s + 1]};
                    const uint32_t bb[2] = {s ? b.z : b.x, s ? b.w : b.y};
                    gpu_mma_f16(sum[j], a, bb, sum[j]);
                }
            }
        }
        const float2 d = reinterpret_cast<const float2 *>(tile + AT)[g];
        GPU_UNROLL
        for (int j = 0; j < NT; j++) {
            const float2 xd = reinterpret_cast<const float2 *>(x.p + j * X + 32 * x.lanes)[t];
            GPU_UNROLL
            for (int i = 0; i < 4; i++)
                acc[j][i] =
                    fmaf(sum[j][i] * ((i & 1 ? xd.y : xd.x) * UNIT), i < 2 ? d.x : d.y, acc[j][i]);
        }
    }
};

#endif
