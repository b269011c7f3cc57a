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

#include "kernels/cuda/linear_x.cuh"

#include "kernels/cuda/cuda.h"

extern "C" {
#include "kernels/gpu/registry.h"
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

/* --- the kernel */

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
    bool early; /* as cuda_queue has it */
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
    if (ring + own > 48 << 10) {
        cudaError_t e =
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, ring + own);
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

/* The op inside the backend. With `up`, its x is [R, F], and a number of h is silu of it times the
 * one `up` bytes on (op_glu_linear); with `norm`, x is normed before (op_norm_linear). */
struct linear_op : op_linear {
    int64_t up;
    const float *norm; /* [K], or NULL */
    float eps;
};
/* What each of rows [first, first + m) of x is divided by before it becomes f16. */
cudaError_t linear_row_scale(const cuda_queue *q, const linear_op *a, int64_t first, int m,
                             float *scale);
/* r.m rows of x from r.first on as r.kind, to where r says; `normed` [m, K]: room, where x is
 * normed first. */
enum status linear_round_x(cuda_queue *q, const linear_op *a, quant_rows r, float *normed);
static inline int64_t linear_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}
/* Up to where arrays in the scratch begin. */
static inline size_t linear_align(size_t n)
{
    return linear_up(n, 256);
}
/* What the weight's companion multiplies the sums by. */
float linear_factor(const struct tensor *w);

/* What becomes of the sums, from row `first` on. */
void linear_outputs(linear_args *o, const linear_op *a, int64_t first);

/* linear_w8a8.cu: x as e4m3, where linear_way_of says so. ERR_UNSUPPORTED: it declines. */
enum status linear_by_w8a8(struct cuda_queue *q, const linear_op *a);

/* linear_w4a4.cu: x as e2m1, as W is, likewise. */
enum status linear_by_w4a4(struct cuda_queue *q, const linear_op *a);

/* linear_lt.cu: many rows, by cuBLASLt. ERR_UNSUPPORTED: it declines; y may be anything then. */
bool linear_wants_lt(const cuda_queue *q, const linear_op *a);
/* The launch that the GPU's configuration has for it; lt: cuBLASLt may take it. */
gpu_params linear_launch_of(const cuda_queue *q, const linear_op *a, bool lt);
enum status linear_by_lt(cuda_queue *q, const linear_op *a);
/* Products of rows [first, first + m) and columns [at, at + n) become y: times the scale of their
 * row and what the weight is multiplied by, and what is to be added. */
struct linear_sums {
    const float *from; /* `stride` floats a row; may be where they go */
    int64_t stride;
    const float *scale; /* of rows */
    const float *by;    /* of columns, which `from` is multiplied by first, or NULL */
    int64_t first;
    int m;
    int64_t at, n;
};
enum status linear_lt_finish(const cuda_queue *q, const linear_op *a, const linear_sums &s);
/* linear_lt_fp4.cu: the same, with x and W in e2m1. */
enum status linear_by_lt_fp4(cuda_queue *q, const linear_op *a);
/* The same of a product that may also round its x, as its weight says; lt: if cuBLASLt is there. */
gpu_params linear_way_of(const cuda_queue *q, const linear_op *a, bool lt);
/* linear_fp8.cu: by cuBLASLt with x and W in fp8, as linear_by_w8a8. */
enum status linear_by_fp8(cuda_queue *q, const linear_op *a);

#endif
