/* linear_tile.cuh - what the matrix product of linear.cuh does with one tile of 16 rows x 64
 * columns of W, by its format: how it is copied to shared memory, unpacked, and multiplied by a
 * warp with NT pieces of x. A format F has TILE and X, the bytes of both; ROW_SCALE; load, piece
 * and multiply. */
#ifndef KERNELS_CUDA_LINEAR_TILE_CUH
#define KERNELS_CUDA_LINEAR_TILE_CUH

#include "kernels/cuda/linear_x.cuh"

extern "C" {
#include "kernels/cuda/panel.h"
#include "kernels/quant/mxfp4.h"
}

enum { LINEAR_WARPS = GPU_WARPS, LINEAR_NT_MAX = 8, LINEAR_OWN_ROWS = 4 };
static_assert(LINEAR_WARPS == int(NORM_SHARES), "each warp sums a share of a row's squares");

/* What a launch needs. Rows of x are padded to tiles of 8, their number is m_tiles. */
struct linear_args {
    const uint8_t *w, *x;   /* panels or rows; pieces of x: [chunks][m_tiles], or NULL: */
    const char *x_rows;     /* each block makes its own of [m, k] f32 */
    int64_t x_stride, x_up; /* as linear_rows has them */
    const float *x_norm;    /* with x_rows: [k] weights of their rmsnorm, or NULL */
    float eps;              /* of it */
    int64_t w_stride, k;    /* of rows: bytes from one to the next, columns */
    const float *x_scale;   /* [8 m_tiles], f16 only: what a row was divided by */
    const float *bias;      /* [n], or NULL */
    float factor;           /* of the sums, before the bias */
    const float *add;       /* [m, n], add_stride floats a row, or NULL; may be y */
    float *y;               /* [m, n], y_stride floats a row */
    float *sum;             /* where a block that folds splits keeps their sum, like y */
    float *part;      /* [splits][n_tiles][m_tiles] fragments of 128 sums, or NULL: no split */
    unsigned *ticket; /* with part: zeros, one a block of the grid's plane */
    const int32_t *live;
    int64_t n, y_stride, add_stride, sum_stride;
    int first, m;          /* rows [first, first + m) of the op */
    int m_tiles, n_tiles;  /* of 8 rows of x, of 16 of W */
    int chunks, per_split; /* of 64 columns */
    int stages;            /* of the ring: 4, or 2 on sm_75 */
};

/* Of m rows from `first` on, those that are live. */
GPU_FN int linear_live(const int32_t *live, int first, int m)
{
    return live && *live - first < m ? *live - first : m;
}

/* Pieces of x in shared memory: this lane takes what lane `lane` of `lanes` has. Of eight rows both
 * are its own; of fewer the lanes of others read those of some that are there, and what they make
 * of them is never stored. */
struct linear_pieces {
    const uint8_t *p;
    int lane, lanes;
};

/* Rows that a block keeps of `m` that it makes for itself, and the bytes of a piece of them. */
GPU_BOTH int linear_own_rows(int m)
{
    return m > 2 ? LINEAR_OWN_ROWS : m;
}
GPU_BOTH int linear_own_bytes(int piece, int rows)
{
    return piece - (8 - rows) * (piece == X_BYTES_INT ? 64 : 128);
}

/* --- a format: bytes, and how a warp multiplies a tile of it with NT pieces of x */

/* A tile of panels: one run of whole pieces. */
template <int TILE> GPU_FN void linear_copy(uint8_t *to, const linear_args &a, int tile, int chunk)
{
    const uint8_t *from = a.w + (static_cast<int64_t>(tile) * a.chunks + chunk) * TILE;
    for (int i = threadIdx.x & 31; i < TILE / 16; i += 32)
        gpu_cp_async16(to + i * 16, from + i * 16);
}

/* Rows: 16 of 128 bytes. Piece p of a row lies at p ^ (row & 1), so that two rows next to each
 * other, of which four lanes read every second piece, fill the banks. Zeros beyond N and K. */
template <bool BF16> struct linear_half {
    enum { TILE = 2048, X = X_BYTES_HALF, ROW_SCALE = !BF16 };

    GPU_FN void load(uint8_t *to, const linear_args &a, int tile, int chunk)
    {
        GPU_UNROLL
        for (int i = 0; i < TILE / 512; i++) {
            const int row = i * 4 + (threadIdx.x & 31) / 8, p = threadIdx.x & 7;
            const int64_t n = static_cast<int64_t>(tile) * 16 + row;
            const int64_t k = static_cast<int64_t>(chunk) * 64 + p * 8;
            const int64_t left = n < a.n && k < a.k ? (a.k - k) * 2 : 0;
            gpu_cp_async16(to + row * 128 + (p ^ (row & 1)) * 16,
                           left ? a.w + n * a.w_stride + k * 2 : a.w,
                           left < 16 ? static_cast<int>(left) : 16);
        }
    }

    GPU_FN void piece(const linear_rows &x, const linear_spot &s)
    {
        linear_piece_half<BF16>(x, s, 1.0f);
    }

    template <int NT>
    GPU_FN void multiply(const uint8_t *tile, const linear_pieces &x, int lane, float (&acc)[NT][4])
    {
        const int g = lane >> 2, t = lane & 3;
        GPU_UNROLL
        for (int half = 0; half < 2; half++) {
            const uint4 *row =
                reinterpret_cast<const uint4 *>(tile) + g * 8 + ((2 * t + half) ^ (g & 1));
            const uint4 top = row[0], low = row[64]; /* rows g and g + 8 */
            uint4 b[NT];
            GPU_UNROLL
            for (int j = 0; j < NT; j++)
                b[j] = reinterpret_cast<const uint4 *>(x.p + j * X)[half * x.lanes + x.lane];
            GPU_UNROLL
            for (int s = 0; s < 2; s++) {
                const uint32_t a[4] = {s ? top.z : top.x, s ? low.z : low.x, s ? top.w : top.y,
                                       s ? low.w : low.y};
                GPU_UNROLL
                for (int j = 0; j < NT; j++) {
                    const uint32_t bb[2] = {s ? b[j].z : b[j].x, s ? b[j].w : b[j].y};
                    if (BF16)
                        gpu_mma_bf16(acc[j], a, bb, acc[j]);
                    else
                        gpu_mma_f16(acc[j], a, bb, acc[j]);
                }
            }
        }
    }
};

GPU_FN float2 linear_f16x2(uint32_t u)
{
    return __half22float2(*reinterpret_cast<const __half2 *>(&u));
}

/* Eight codes of e2m1, the first lowest, to int8 of twice their value: four of the low half, four
 * of the high one. The table holds 0 1 2 3 4 6 8 12 and what makes their negatives of them. */
GPU_FN void linear_fp4(uint32_t w, uint32_t &low, uint32_t &high)
{
    const uint32_t n = w & 0x77777777u, sign = w >> 3 & 0x11111111u;
    GPU_UNROLL
    for (int i = 0; i < 2; i++) {
        const uint32_t at = i ? n >> 16 : n & 0xffffu, s = i ? sign >> 16 : sign & 0xffffu;
        (i ? high : low) = __byte_perm(0x03020100u, 0x0c080604u, at) ^
                           (__byte_perm(0xfefcfe00u, 0xf8f0fcf8u, at) & __byte_perm(0xff00u, 0, s));
    }
}

/* Scales of rows g and g + 8 in one group of 32 columns. */
struct linear_scale {
    float2 d, m;
    float2 high; /* PANEL_E8, PANEL_E4: d of the last 16 columns */
    int sc[4];   /* PANEL_6: sc0, sc1 of row g, then of g + 8 */
};

template <int BITS, bool SIGN, panel_scales SCALES> struct linear_ints {
    enum {
        AT = BITS == 8 ? 1024 : 512 + (BITS == 5 ? 128 : 0) + (BITS == 6 ? 256 : 0),
        SCALE_BYTES = SCALES == PANEL_D    ? 64
                      : SCALES == PANEL_6  ? 96
                      : SCALES == PANEL_E8 ? 32
                      : SCALES == PANEL_E4 ? 64
                                           : 128,
        TILE = AT + SCALE_BYTES,
        X = X_BYTES_INT,
        ROW_SCALE = 0,
        HALVES = SCALES == PANEL_6 || SCALES == PANEL_E4, /* of a group have their own scales */
        LOW = SIGN ? 8 - BITS : 0,  /* where bit 0 of a number goes in its byte */
        TO_F16 = SCALES != PANEL_E8 /* whether f16 has room for what they scale */
    };

    GPU_FN void load(uint8_t *to, const linear_args &a, int tile, int chunk)
    {
        linear_copy<TILE>(to, a, tile, chunk);
    }
    GPU_FN void piece(const linear_rows &x, const linear_spot &s)
    {
        linear_piece_ints(x, s);
    }

    GPU_FN void unpack(const uint8_t *tile, int lane, int group, uint32_t (&a)[4])
    {
        if (BITS == 8) {
            const uint4 v = reinterpret_cast<const uint4 *>(tile)[group * 32 + lane];
            a[0] = v.x, a[1] = v.y, a[2] = v.z, a[3] = v.w;
            return;
        }
        constexpr uint32_t nibbles = (0x0f0f0f0fu << (LOW & 7)) & (0x01010101u * 0xff);
        const uint2 v = reinterpret_cast<const uint2 *>(tile)[group * 32 + lane];
        if (SCALES == PANEL_E8 || SCALES == PANEL_E4) {
            linear_fp4(v.x, a[0], a[2]);
            linear_fp4(v.y, a[1], a[3]);
            return;
        }
        a[0] = v.x << (LOW & 7) & nibbles;
        a[1] = v.x >> (4 - LOW) & nibbles;
        a[2] = v.y << (LOW & 7) & nibbles;
        a[3] = v.y >> (4 - LOW) & nibbles;
        if (BITS == 5) {
            const uint32_t h = reinterpret_cast<const uint32_t *>(tile + 512)[lane];
            GPU_UNROLL
            for (int i = 0; i < 4; i++) /* bit 4 group + i of each byte goes to bit LOW + 4 */
                a[i] |= h >> (group * 4 + i) << (LOW + 4) & 0x01010101u << (LOW + 4);
        }
        if (BITS == 6) {
            const uint32_t h = reinterpret_cast<const uint32_t *>(tile + 512)[group * 32 + lane];
            GPU_UNROLL
            for (int i = 0; i < 4; i++)
                a[i] |= h >> (2 * i) << 6 & 0xc0c0c0c0u;
        }
    }

    GPU_FN linear_scale scales(const uint8_t *tile, int group, int g)
    {
        const uint32_t *s = reinterpret_cast<const uint32_t *>(tile + AT);
        constexpr float unit = 1.0f / (1 << LOW); /* of the integers, exact */
        linear_scale o = {{0, 0}, {0, 0}, {0, 0}, {1, 1, 1, 1}};
        if (SCALES == PANEL_D) {
            o.d = linear_f16x2(s[group * 8 + g]);
        } else if (SCALES == PANEL_DM) {
            o.d = linear_f16x2(s[(group * 8 + g) * 2]);
            o.m = linear_f16x2(s[(group * 8 + g) * 2 + 1]);
        } else if (SCALES == PANEL_E8) {
            const uint32_t v = s[g] >> 8 * group;
            o.d = o.high = make_float2(mxfp4_scale(v & 255), mxfp4_scale(v >> 16 & 255));
        } else if (SCALES == PANEL_E4) { /* in the middle of an f16: times 2^-8 */
            const uint32_t v = s[2 * g] >> 16 * group, w = s[2 * g + 1] >> 16 * group;
            const float2 a = linear_f16x2((v & 0x7fu) << 7 | (v & 0x7f00u) << 15);
            const float2 b = linear_f16x2((w & 0x7fu) << 7 | (w & 0x7f00u) << 15);
            o.d = make_float2(a.x * 128, b.x * 128);
            o.high = make_float2(a.y * 128, b.y * 128);
        } else {
            const uint32_t v = s[group * 8 + g];
            if (SCALES == PANEL_K) {
                const float2 d = linear_f16x2(s[16 + 2 * g]), m = linear_f16x2(s[17 + 2 * g]);
                o.d = make_float2(d.x * static_cast<float>(v & 255),
                                  d.y * static_cast<float>(v >> 8 & 255));
                o.m = make_float2(-(m.x * static_cast<float>(v >> 16 & 255)),
                                  -(m.y * static_cast<float>(v >> 24)));
            } else {
                o.d = linear_f16x2(s[16 + g]);
                GPU_UNROLL
                for (int i = 0; i < 4; i++)
                    o.sc[i] = static_cast<int8_t>(v >> 8 * i);
            }
        }
        o.d.x *= unit;
        o.d.y *= unit;
        return o;
    }

    /* Numbers 4 t ... 4 t + 3 of row g (v[0]) and g + 8 (v[1]), the same 16 columns on, as
     * kernels/dtype.c decodes them. */
    GPU_FN void numbers(const uint8_t *tile, int lane, int group, float (&v)[4][4])
    {
        uint32_t a[4];
        unpack(tile, lane, group, a);
        const linear_scale s = scales(tile, group, lane >> 2);
        GPU_UNROLL
        for (int i = 0; i < 4; i++) {
            const float2 of = SCALES == PANEL_E4 && i >> 1 ? s.high : s.d;
            const float d =
                __fmul_rn(i & 1 ? of.y : of.x, static_cast<float>(s.sc[(i & 1) * 2 + (i >> 1)]));
            GPU_UNROLL
            for (int b = 0; b < 4; b++)
                v[i][b] =
                    __fadd_rn(__fmul_rn(d, static_cast<float>(static_cast<int8_t>(a[i] >> 8 * b))),
                              i & 1 ? s.m.y : s.m.x);
        }
    }

    template <int NT>
    GPU_FN void multiply(const uint8_t *tile, const linear_pieces &x, int lane, float (&acc)[NT][4])
    {
        const int g = lane >> 2, t = lane & 3;
        const int none[4] = {0, 0, 0, 0};
        GPU_UNROLL_BY((HALVES && NT == 8 ? 1 : 2)) /* registers: two would spill */
        for (int group = 0; group < 2; group++) {
            uint32_t a[4];
            unpack(tile, lane, group, a);
            const linear_scale s = scales(tile, group, g);
            GPU_UNROLL
            for (int j = 0; j < NT; j++) {
                const uint8_t *p = x.p + j * X, *xs = p + 16 * x.lanes;
                const uint2 v = reinterpret_cast<const uint2 *>(p)[group * x.lanes + x.lane];
                const uint32_t b[2] = {v.x, v.y};
                const float2 xd = reinterpret_cast<const float2 *>(xs)[group * 4 + t];
                int c[4], c2[4];
                if (SCALES == PANEL_6) { /* a scale for each 16 columns */
                    const uint32_t lo[4] = {a[0], a[1], 0, 0}, hi[4] = {0, 0, a[2], a[3]};
                    gpu_mma_s8(c, lo, b, none);
                    gpu_mma_s8(c2, hi, b, none);
                    GPU_UNROLL
                    for (int i = 0; i < 4; i++)
                        c[i] = s.sc[i / 2 * 2] * c[i] + s.sc[i / 2 * 2 + 1] * c2[i];
                } else if (SCALES == PANEL_E4) { /* likewise, too large for exact sums */
                    const uint32_t lo[2] = {a[0], a[1]}, hi[2] = {a[2], a[3]};
                    gpu_mma_s8_k16(c, lo, v.x, none);
                    gpu_mma_s8_k16(c2, hi, v.y, none);
                } else {
                    gpu_mma_s8(c, a, b, none);
                }
                GPU_UNROLL
                for (int i = 0; i < 4; i++)
                    acc[j][i] = fmaf(static_cast<float>(c[i]) * (i & 1 ? xd.y : xd.x),
                                     i < 2 ? s.d.x : s.d.y, acc[j][i]);
                if (SCALES == PANEL_E4) {
                    GPU_UNROLL
                    for (int i = 0; i < 4; i++)
                        acc[j][i] = fmaf(static_cast<float>(c2[i]) * (i & 1 ? xd.y : xd.x),
                                         i < 2 ? s.high.x : s.high.y, acc[j][i]);
                }
                if (SCALES == PANEL_DM || SCALES == PANEL_K) {
                    const float2 of = reinterpret_cast<const float2 *>(xs + 64)[group * 4 + t];
                    GPU_UNROLL
                    for (int i = 0; i < 4; i++)
                        acc[j][i] = fmaf(i < 2 ? s.m.x : s.m.y, i & 1 ? of.y : of.x, acc[j][i]);
                }
            }
        }
    }
};

/* Block formats whose own scales are kept: type, bits, sign, scales. */
/* clang-format off */
#define LINEAR_INTS(X)                                                                             \
    X(DT_Q8_0, 8, false, PANEL_D)                                                                  \
    X(DT_Q4_0, 4, true,  PANEL_D)                                                                  \
    X(DT_Q4_1, 4, false, PANEL_DM)                                                                 \
    X(DT_Q5_0, 5, true,  PANEL_D)                                                                  \
    X(DT_Q5_1, 5, false, PANEL_DM)                                                                 \
    X(DT_Q4_K, 4, false, PANEL_K)                                                                  \
    X(DT_Q5_K, 5, false, PANEL_K)                                                                  \
    X(DT_Q6_K, 6, true,  PANEL_6)                                                                  \
    X(DT_NVFP4, 4, false, PANEL_E4)                                                                \
    X(DT_MXFP4, 4, false, PANEL_E8)
/* clang-format on */

/* Every other block format: int8 with a struct panel_any for each group of a row. */
struct linear_any {
    enum { TILE = 1024 + 512, X = X_BYTES_INT, ROW_SCALE = 0 };

    GPU_FN void load(uint8_t *to, const linear_args &a, int tile, int chunk)
    {
        linear_copy<TILE>(to, a, tile, chunk);
    }
    GPU_FN void piece(const linear_rows &x, const linear_spot &s)
    {
        linear_piece_ints(x, s);
    }

    GPU_FN void numbers(const uint8_t *tile, int lane, int group, float (&v)[4][4])
    {
        const uint4 q = reinterpret_cast<const uint4 *>(tile)[group * 32 + lane];
        const uint32_t a[4] = {q.x, q.y, q.z, q.w};
        const panel_any *s =
            reinterpret_cast<const panel_any *>(tile + 1024) + (group * 8 + (lane >> 2)) * 2;
        GPU_UNROLL
        for (int i = 0; i < 4; i++) {
            const panel_any r = s[i & 1];
            const bool high = i >> 1, apart = r.sc1 == 0 && r.d1 != 0;
            const float d = high && apart ? r.d1 : __fmul_rn(r.d0, high ? r.sc1 : r.sc0);
            const float m = __fmul_rn(r.m, high ? r.mn1 : r.mn0);
            GPU_UNROLL
            for (int b = 0; b < 4; b++)
                v[i][b] = __fadd_rn(
                    __fmul_rn(d, static_cast<float>(static_cast<int8_t>(a[i] >> 8 * b))), m);
        }
    }

    template <int NT>
    GPU_FN void multiply(const uint8_t *tile, const linear_pieces &x, int lane, float (&acc)[NT][4])
    {
        const int g = lane >> 2, t = lane & 3;
        const int none[4] = {0, 0, 0, 0};
        GPU_UNROLL_BY((NT == 8 ? 1 : 2)) /* registers: two would spill */
        for (int group = 0; group < 2; group++) {
            const uint4 v = reinterpret_cast<const uint4 *>(tile)[group * 32 + lane];
            const panel_any *s =
                reinterpret_cast<const panel_any *>(tile + 1024) + (group * 8 + g) * 2;
            const panel_any rows[2] = {s[0], s[1]};
            const uint32_t lo[4] = {v.x, v.y, 0, 0}, hi[4] = {0, 0, v.z, v.w};
            GPU_UNROLL
            for (int j = 0; j < NT; j++) {
                const uint8_t *p = x.p + j * X, *xs = p + 16 * x.lanes;
                const uint2 w = reinterpret_cast<const uint2 *>(p)[group * x.lanes + x.lane];
                const uint32_t b[2] = {w.x, w.y};
                const float2 xd = reinterpret_cast<const float2 *>(xs)[group * 4 + t];
                const short4 sums = reinterpret_cast<const short4 *>(xs + 128)[group * 4 + t];
                int low[4], high[4];
                gpu_mma_s8(low, lo, b, none);
                gpu_mma_s8(high, hi, b, none);
                GPU_UNROLL
                for (int i = 0; i < 4; i++) {
                    const panel_any &r = rows[i >> 1];
                    const float d = i & 1 ? xd.y : xd.x;
                    const int min =
                        r.mn0 * (i & 1 ? sums.z : sums.x) + r.mn1 * (i & 1 ? sums.w : sums.y);
                    float f = acc[j][i];
                    f = fmaf(static_cast<float>(r.sc0 * low[i] + r.sc1 * high[i]) * d, r.d0, f);
                    f = fmaf(static_cast<float>(high[i]) * d, r.d1, f);
                    acc[j][i] = fmaf(r.m, d * static_cast<float>(min), f);
                }
            }
        }
    }
};

#endif
