/* attention.cuh - what the attention kernels share: how positions are cut into parts, reading of
 * pages, one step of 16 rows against a block of positions, and the walk over all blocks of a view.
 *
 * K and V come through two stages of cp.async; rows in shared memory are 16 bytes longer than D, so
 * that ldmatrix meets no bank conflict. fp8 comes as it is, in half the room, and becomes bf16 in
 * shared memory before it is used; its scales multiply scores and p, exactly.
 *
 * Numbers as naive_attn.c: q scaled and rounded to bf16, p rounded for the product with V but not
 * for its sum. Positions are cut into parts whose limits are fixed (attn_part): within a part the
 * softmax is online over blocks of 64, the parts are folded in ascending order, in both kernels by
 * the same operations. So a row has the same bits whichever kernel takes it: they depend neither on
 * other sequences nor on how a text was cut into steps. */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/gpu.cuh"

#include "kernels/cuda/cuda.h"

extern "C" {
#include "kernels/kv_type.h"
}

enum {
    TILE_WARPS = 4,
    TILE_ROWS = 16 * TILE_WARPS /* (row, head) pairs of a tile */
};
static constexpr float LOG2E = 1.4426950408889634f, LOWEST = -1e30f;

/* --- parts: `first` of `chunk` positions each, then twice as long as far as four times the
 * positions, and so on: fixed limits, so that they depend on no row and no step. */

struct attn_cut {
    int chunk, first; /* the configuration's; chunk: a multiple of 64 */
};

struct attn_tier { /* positions [from, to) in `parts` of `each`, the first of number `before` */
    int64_t from, to, each;
    int before, parts, halves; /* halves: twice the parts of the next tier, rounded */
};

GPU_BOTH attn_tier attn_first_tier(const attn_cut &c)
{
    const attn_tier t = {0,          static_cast<int64_t>(c.chunk) * c.first, c.chunk, 0, c.first,
                         3 * c.first};
    return t;
}

GPU_BOTH void attn_next_tier(attn_tier &t)
{
    t.before += t.parts;
    t.from = t.to;
    t.to *= 4;
    t.each *= 2;
    t.parts = (t.halves + 1) / 2; /* (to - from) / each: of three times `from`, twice as long */
    t.halves *= 2;
}

/* The part that holds a position. */
GPU_BOTH int attn_part(const attn_cut &c, int pos)
{
    attn_tier t = attn_first_tier(c);
    while (pos >= t.to)
        attn_next_tier(t);
    return t.before + static_cast<int>(static_cast<uint32_t>(pos - t.from) /
                                       static_cast<uint32_t>(t.each)); /* 64 bits take longer */
}

/* Its first position. */
GPU_BOTH int attn_part_start(const attn_cut &c, int part)
{
    attn_tier t = attn_first_tier(c);
    while (part - t.before >= t.parts)
        attn_next_tier(t);
    const int64_t at = t.from + (part - t.before) * t.each;
    return at < INT32_MAX ? static_cast<int>(at) : INT32_MAX;
}

struct attn_args {
    const char *q;
    char *y;
    int64_t q_row, q_head, y_row, y_head; /* strides in bytes */
    ragged r;
    kv_view kv;
    const float *sinks;
    float *part;      /* [seqs][heads][splits][D + 2]: o, m, l */
    unsigned *ticket; /* [seqs][KV heads x tiles of 16 query heads] zeros */
    float scale, softcap;
    int heads, group, splits;
    attn_cut cut;
    int64_t head_bytes; /* of a page; V begins in the middle */
    int row_bytes;      /* of a position's K */
    int page_bits;      /* a page has so many positions: 1 << page_bits */
};

/* A sum x under the largest score of before, with a part y under its own: u and v bring both under
 * the larger. Spelled out, or compilers would contract it here and not there. */
GPU_FN float attn_fold(float x, float u, float y, float v)
{
    return fmaf(x, u, __fmul_rn(y, v));
}

/* Positions a row may see. */
struct attn_range {
    int lo, hi;
};

GPU_FN attn_range attn_row_range(const attn_args &a, int row)
{
    const int pos = a.r.pos[row], w = a.kv.window;
    const attn_range r = {w > 0 && pos >= w ? pos - w + 1 : 0, a.r.span ? a.r.span[row] : pos};
    return r;
}

GPU_FN int attn_live_rows(const attn_args &a)
{
    return a.r.live && a.r.live[0] < a.r.rows ? a.r.live[0] : a.r.rows;
}

/* K of a position and KV head; V lies half a head further. Shifts, not divisions: this is computed
 * for every 16 bytes of K. */
GPU_FN const char *attn_key(const attn_args &a, int slot, int pos, int head)
{
    const int64_t page =
        a.kv.table[static_cast<int64_t>(slot) * a.kv.table_stride + (pos >> a.page_bits)];
    const int in = pos & ((1 << a.page_bits) - 1);
    return static_cast<const char *>(a.kv.base) + page * a.kv.page_bytes + head * a.head_bytes +
           in * a.row_bytes;
}

/* fp8: from a position's key to the scale of it. */
GPU_FN const char *attn_scale_of(const attn_args &a, const char *key, int pos)
{
    const int t = pos & ((1 << a.page_bits) - 1);
    return key + (a.kv.page_tokens - t) * a.kv.head_dim + t;
}

GPU_FN float attn_cap(const attn_args &a, float s)
{
    return a.softcap != 0 ? __fmul_rn(a.softcap * tanhf(s / a.softcap), LOG2E) : s;
}

GPU_FN uint32_t attn_pair(float u, float v)
{
    __nv_bfloat162 b = __floats2bfloat162_rn(u, v);
    return *reinterpret_cast<uint32_t *>(&b);
}

/* --- one warp: 16 rows of q against TOKENS positions in shared memory */

/* 16-column chunks of V and o go round among SHARES warps. */
template <int D, int N> struct attn_state {
    enum { SHARES = N, CHUNKS = (D / 16 + SHARES - 1) / SHARES };
    float o[2 * CHUNKS][4], m[2], l[2]; /* rows g and g + 8; l of this lane's columns */
};

template <int D, int SHARES> GPU_FN void attn_begin(attn_state<D, SHARES> &s)
{
    GPU_UNROLL
    for (int i = 0; i < 2; i++) {
        s.m[i] = LOWEST;
        s.l[i] = 0;
    }
    GPU_UNROLL
    for (int i = 0; i < 2 * s.CHUNKS; i++)
        GPU_UNROLL
    for (int j = 0; j < 4; j++)
        s.o[i][j] = 0;
}

/* A lane's l becomes its row's. */
template <int D, int SHARES> GPU_FN void attn_end(attn_state<D, SHARES> &s)
{
    GPU_UNROLL
    for (int h = 0; h < 2; h++) {
        s.l[h] += __shfl_xor_sync(GPU_ALL, s.l[h], 1);
        s.l[h] += __shfl_xor_sync(GPU_ALL, s.l[h], 2);
    }
}

/* A block of positions in shared memory. */
struct attn_block {
    const __nv_bfloat16 *k; /* TOKENS rows, then as many of V; all D + 8 long */
    const float *by;        /* fp8: scales of K, then of V; else NULL */
    int t0;                 /* the first position */
};

/* q: 16 rows, D + 8 long. This warp has chunks share, share + SHARES ... of V. */
template <int D, int TOKENS, bool FP8, class State>
GPU_FN void attn_step(const attn_args &a, const __nv_bfloat16 *q, const attn_block &kv,
                      const attn_range (&see)[2], State &st)
{
    const __nv_bfloat16 *k = kv.k;
    const int t0 = kv.t0;
    constexpr int ROW = D + 8, V_AT = TOKENS * ROW;
    const int share = st.SHARES > 1 ? threadIdx.x >> 5 : 0;
    const int lane = threadIdx.x & 31, t = lane & 3;
    float s[TOKENS / 8][4] = {};
    GPU_UNROLL
    for (int d = 0; d < D; d += 16) {
        uint32_t qa[4], kb[4];
        gpu_ldmatrix_x4(qa, q + (lane & 15) * ROW + d + (lane >> 4) * 8);
        GPU_UNROLL
        for (int j = 0; j < TOKENS / 16; j++) {
            gpu_ldmatrix_x4(kb, k + (j * 16 + (lane & 7) + (lane >> 4) * 8) * ROW + d +
                                    (lane >> 3 & 1) * 8);
            const uint32_t b0[2] = {kb[0], kb[1]}, b1[2] = {kb[2], kb[3]};
            gpu_mma_bf16(s[2 * j], qa, b0, s[2 * j]);
            gpu_mma_bf16(s[2 * j + 1], qa, b1, s[2 * j + 1]);
        }
    }
    float fix[2];
    GPU_UNROLL
    for (int h = 0; h < 2; h++) {
        float top = st.m[h];
        GPU_UNROLL
        for (int j = 0; j < TOKENS / 8; j++)
            GPU_UNROLL
        for (int e = 0; e < 2; e++) {
            const int pos = t0 + j * 8 + 2 * t + e;
            float &x = s[j][2 * h + e];
            if (FP8)
                x *= kv.by[pos - t0];
            x = pos >= see[h].lo && pos <= see[h].hi ? attn_cap(a, x) : -INFINITY;
            top = fmaxf(top, x);
        }
        top = fmaxf(top, __shfl_xor_sync(GPU_ALL, top, 1));
        top = fmaxf(top, __shfl_xor_sync(GPU_ALL, top, 2));
        fix[h] = exp2f(st.m[h] - top);
        st.m[h] = top;
        float sum = 0;
        GPU_UNROLL
        for (int j = 0; j < TOKENS / 8; j++)
            GPU_UNROLL
        for (int e = 0; e < 2; e++) {
            s[j][2 * h + e] = exp2f(s[j][2 * h + e] - top);
            sum += s[j][2 * h + e];
        }
        st.l[h] = st.l[h] * fix[h] + sum;
    }
    GPU_UNROLL
    for (int i = 0; i < 2 * st.CHUNKS; i++)
        GPU_UNROLL
    for (int j = 0; j < 4; j++)
        st.o[i][j] *= fix[j >> 1];
    GPU_UNROLL
    for (int j = 0; j < TOKENS / 16; j++) {
        if (FP8)
            GPU_UNROLL
        for (int i = 0; i < 8; i++)
            s[2 * j + i / 4][i % 4] *= kv.by[TOKENS + j * 16 + i / 4 * 8 + 2 * t + i % 2];
        const uint32_t p[4] = {attn_pair(s[2 * j][0], s[2 * j][1]),
                               attn_pair(s[2 * j][2], s[2 * j][3]),
                               attn_pair(s[2 * j + 1][0], s[2 * j + 1][1]),
                               attn_pair(s[2 * j + 1][2], s[2 * j + 1][3])};
        GPU_UNROLL
        for (int i = 0; i < st.CHUNKS; i++) {
            const int d = (share + i * st.SHARES) * 16;
            uint32_t vb[4];
            if (d >= D) /* D / 16 is no multiple of SHARES */
                continue;
            gpu_ldmatrix_x4_trans(vb,
                                  k + V_AT + (j * 16 + (lane & 15)) * ROW + d + (lane >> 4) * 8);
            const uint32_t b0[2] = {vb[0], vb[1]}, b1[2] = {vb[2], vb[3]};
            gpu_mma_bf16(st.o[2 * i], p, b0, st.o[2 * i]);
            gpu_mma_bf16(st.o[2 * i + 1], p, b1, st.o[2 * i + 1]);
        }
    }
}

/* --- a block: q and two stages of K and V in shared memory */

template <int D, bool SPLIT> struct attn_shape {
    enum {
        ROW = D + 8,
        TOKENS = D > 128 ? 32 : 64, /* positions at once */
        WARPS = TILE_WARPS,
        SHARES = SPLIT ? WARPS : 1, /* of V's columns */
        THREADS = WARPS * 32,
        Q_ROWS = SPLIT ? 16 : TILE_ROWS,
        BYTES = (Q_ROWS + 4 * TOKENS) * ROW * 2, /* q | stage 0: K, V | stage 1: K, V */
        /* fp8: q | K, V as bf16 | two stages of codes and scales of K, V | scales in f32 */
        CODES = TOKENS * D,
        STAGE = 2 * (CODES + TOKENS)
    };
    static_assert((Q_ROWS + 2 * TOKENS) * ROW * 2 + 2 * STAGE + 8 * TOKENS <= BYTES,
                  "room for fp8");
};

struct attn_at {
    int slot, head, t0; /* of a sequence, KV head, first position */
};

/* Positions [t0, t0 + TOKENS) of K and V; those outside of `see` are zero. */
template <int D, bool SPLIT>
GPU_FN void attn_load(const attn_args &a, __nv_bfloat16 *stage, const attn_at &at, attn_range see)
{
    using S = attn_shape<D, SPLIT>;
    const int64_t v = a.head_bytes / 2;
    for (int i = threadIdx.x; i < S::TOKENS * (D / 8); i += S::THREADS) {
        const int token = i / (D / 8), piece = i % (D / 8), pos = at.t0 + token;
        const bool ok = pos >= see.lo && pos <= see.hi;
        const char *from = ok ? attn_key(a, at.slot, pos, at.head) + piece * 16
                              : static_cast<const char *>(a.kv.base);
        __nv_bfloat16 *to = stage + token * S::ROW + piece * 8;
        gpu_cp_async16(to, from, ok ? 16 : 0);
        gpu_cp_async16(to + S::TOKENS * S::ROW, ok ? from + v : from, ok ? 16 : 0);
    }
}

/* The same as it lies in fp8 pages: codes and scales. */
template <int D, bool SPLIT>
GPU_FN void attn_load_fp8(const attn_args &a, uint8_t *stage, const attn_at &at, attn_range see)
{
    using S = attn_shape<D, SPLIT>;
    const int64_t v = a.head_bytes / 2;
    const char *base = static_cast<const char *>(a.kv.base);
    for (int i = threadIdx.x; i < S::TOKENS * (D / 16); i += S::THREADS) {
        const int token = i / (D / 16), piece = i % (D / 16), pos = at.t0 + token;
        const bool ok = pos >= see.lo && pos <= see.hi;
        const char *from = ok ? attn_key(a, at.slot, pos, at.head) + piece * 16 : base;
        uint8_t *to = stage + token * D + piece * 16;
        gpu_cp_async16(to, from, ok ? 16 : 0);
        gpu_cp_async16(to + S::CODES, ok ? from + v : from, ok ? 16 : 0);
    }
    for (int i = threadIdx.x; i < S::TOKENS / 4; i += S::THREADS) {
        const int pos = at.t0 + 4 * i;
        const bool ok = pos + 3 >= see.lo && pos <= see.hi;
        const char *from = ok ? attn_scale_of(a, attn_key(a, at.slot, pos, at.head), pos) : base;
        uint8_t *to = stage + 2 * S::CODES + 4 * i;
        gpu_cp_async4(to, from, ok ? 4 : 0);
        gpu_cp_async4(to + S::TOKENS, ok ? from + v : from, ok ? 4 : 0);
    }
}

/* Two e4m3 that lie in bytes 1 and 3 of w, as bf16: their bits at the end of a bf16's exponent and
 * the start of its fraction are that number times 2^-120. */
GPU_FN uint32_t attn_wide(uint32_t w)
{
    const uint32_t bits = (w & 0x80008000u) | (w >> 4 & 0x07f007f0u);
    const __nv_bfloat162 up = __halves2bfloat162(__ushort_as_bfloat16(0x7b80), /* 2^120 */
                                                 __ushort_as_bfloat16(0x7b80));
    const __nv_bfloat162 v = __hmul2(*reinterpret_cast<const __nv_bfloat162 *>(&bits), up);
    return *reinterpret_cast<const uint32_t *>(&v);
}

/* A stage to bf16, scales to f32: 0 where a position is not seen, what it has there is unknown. */
template <int D, bool SPLIT>
GPU_FN void attn_widen(const uint8_t *stage, __nv_bfloat16 *k, float *by, int t0, attn_range see)
{
    using S = attn_shape<D, SPLIT>;
    for (int i = threadIdx.x; i < 2 * S::TOKENS * (D / 16); i += S::THREADS) {
        const uint4 c = reinterpret_cast<const uint4 *>(stage)[i];
        const uint32_t w[4] = {c.x, c.y, c.z, c.w};
        uint32_t o[8];
        GPU_UNROLL
        for (int j = 0; j < 4; j++) {
            o[2 * j] = attn_wide(__byte_perm(w[j], 0, 0x1404));
            o[2 * j + 1] = attn_wide(__byte_perm(w[j], 0, 0x3424));
        }
        uint4 *to = reinterpret_cast<uint4 *>(k + i / (D / 16) * S::ROW + i % (D / 16) * 16);
        to[0] = make_uint4(o[0], o[1], o[2], o[3]);
        to[1] = make_uint4(o[4], o[5], o[6], o[7]);
    }
    for (int i = threadIdx.x; i < 2 * S::TOKENS; i += S::THREADS) {
        const int pos = t0 + i % S::TOKENS;
        const bool ok = pos >= see.lo && pos <= see.hi;
        by[i] = ok ? kv_fp8_power(stage[2 * S::CODES + i]) : 0.0f;
    }
}

/* (Row, head) pair `v` of a block: pair v of [rows first ... first + rows) x `group` heads. */
struct attn_rows {
    int first, rows, head0, group; /* head0: of the first query head */
};

template <int D, bool SPLIT>
GPU_FN void attn_load_q(const attn_args &a, __nv_bfloat16 *q, const attn_rows &w)
{
    using S = attn_shape<D, SPLIT>;
    const float scale = a.softcap != 0 ? a.scale : a.scale * LOG2E;
    for (int i = threadIdx.x; i < S::Q_ROWS * D; i += S::THREADS) {
        const int v = i / D, d = i % D;
        float x = 0;
        if (v < w.rows * w.group)
            x = reinterpret_cast<const float *>(a.q + (w.first + v / w.group) * a.q_row +
                                                (w.head0 + v % w.group) * a.q_head)[d];
        q[v * S::ROW + d] = __float2bfloat16_rn(x * scale);
    }
}

/* What a block works on: positions of a KV head, and those that this thread's rows may see. */
struct attn_view {
    int slot, head;
    attn_range all, mine[2];
};

/* All positions of a view, each warp its rows (tile) or its columns (split); `part_done(block)`
 * after the last block of a part. */
template <int D, bool SPLIT, bool FP8, class State, class F>
GPU_FN void attn_run(const attn_args &a, __nv_bfloat16 *smem, const attn_view &w, State &st,
                     F part_done)
{
    using S = attn_shape<D, SPLIT>;
    const __nv_bfloat16 *q = smem + (SPLIT ? 0 : (threadIdx.x >> 5) * 16 * S::ROW);
    __nv_bfloat16 *kv = smem + S::Q_ROWS * S::ROW;
    const int first = w.all.lo / S::TOKENS, last = w.all.hi / S::TOKENS;
    int part = attn_part(a.cut, first * S::TOKENS), stop = attn_part_start(a.cut, part + 1);
    uint8_t *raw = reinterpret_cast<uint8_t *>(kv + 2 * S::TOKENS * S::ROW);
    float *by = reinterpret_cast<float *>(raw + 2 * S::STAGE);
    const auto load = [&](int b) {
        const attn_at at = {w.slot, w.head, b * S::TOKENS};
        if constexpr (FP8)
            attn_load_fp8<D, SPLIT>(a, raw + ((b - first) & 1) * S::STAGE, at, w.all);
        else
            attn_load<D, SPLIT>(a, kv + ((b - first) & 1) * 2 * S::TOKENS * S::ROW, at, w.all);
        gpu_cp_async_commit();
    };
    attn_begin(st);
    load(first);
    for (int b = first; b <= last; b++) {
        gpu_cp_async_wait<0>();
        __syncthreads(); /* block b is here, and everybody is done with block b - 1 */
        if (b < last)
            load(b + 1);
        attn_block block = {kv, by, b * S::TOKENS};
        if constexpr (FP8) {
            attn_widen<D, SPLIT>(raw + ((b - first) & 1) * S::STAGE, kv, by, block.t0, w.all);
            __syncthreads(); /* all of it is bf16 */
        } else {
            block.k += ((b - first) & 1) * 2 * S::TOKENS * S::ROW;
        }
        attn_step<D, S::TOKENS, FP8>(a, q, block, w.mine, st);
        if (b == last || (b + 1) * S::TOKENS == stop) {
            attn_end(st);
            part_done(b == last);
            stop = attn_part_start(a.cut, ++part + 1);
        }
    }
    __syncthreads(); /* shared memory is free again */
}

#endif
