/* attention.cu - attention of grouped query heads over paged keys and values.
 *
 * Shapes: q [R, Hq, D] f32, pages of bf16 or fp8 K [tokens, D] then V [tokens, D] a head (page
 * sizes and tables as ops.h has them, fp8 as kv_type.h), y [R, Hq, D] f32. Query heads that share a
 * KV head are rows of one 16-row mma operand, so K and V are read once for all of them.
 * Bytes: 4 D (fp8: 2 D + 2) bytes a position and KV head, read once by a sequence with one row,
 * once for each 64 (row, head) pairs by a longer chunk.
 * Two kernels share one step (attn_step: scores, online softmax, product with V, all by mma.sync):
 *   split   sequences with one row in this step (decoding). A block has one KV head and one part of
 *           the row's positions; each warp has all scores and a share of V's columns; the block
 *           that ends last merges the parts. Expected (not measured): 80-90 % of the memory's
 *           rate from 64 MB of keys and values on.
 *   tile    sequences with more rows: 64 (row, head) pairs a block, 16 a warp, positions 64 at a
 *           time. Expected: 35 % of Hopper's tensor peak, 60-70 % of Ampere's.
 * K and V come through two stages of cp.async; rows in shared memory are 16 bytes longer than D, so
 * that ldmatrix meets no bank conflict. fp8 comes as it is, in half the room, and becomes bf16 in
 * shared memory before it is used; its scales multiply scores and p, exactly. Head sizes without
 * an instance, f32 pages, and GPUs without the shared memory take attn_plain, which is correct and
 * slow.
 *
 * Numbers as naive_attn.c: q scaled and rounded to bf16, p rounded for the product with V but not
 * for its sum. Positions are cut into parts whose limits are fixed (attn_part): within a part the
 * softmax is online over blocks of 64, the parts are folded in ascending order, in both kernels by
 * the same operations. So a row has the same bits whichever kernel takes it: they depend neither on
 * other sequences nor on how a text was cut into steps. */
#include "kernels/cuda/gpu.cuh"

#include "kernels/cuda/cuda.h"

extern "C" {
#include "kernels/kv_type.h"
}

enum {
    TILE_WARPS = 4,
    TILE_ROWS = 16 * TILE_WARPS, /* (row, head) pairs of a tile */
    PLAIN_THREADS = 128,
    PLAIN_TOKENS = 64
};
static constexpr float LOG2E = 1.4426950408889634f, LOWEST = -1e30f;

/* --- parts: `first` of `chunk` positions each, then twice as long as far as four times the
 * positions, and so on: fixed limits, so that they depend on no row and no step. */

struct attn_cut {
    int chunk, first; /* the configuration's; chunk: a multiple of 64 */
};

struct attn_tier { /* positions [from, to) in parts of `each`, the first of number `before` */
    int64_t from, to, each;
    int before;
};

GPU_BOTH attn_tier attn_first_tier(const attn_cut &c)
{
    const attn_tier t = {0, static_cast<int64_t>(c.chunk) * c.first, c.chunk, 0};
    return t;
}

GPU_BOTH int attn_tier_parts(const attn_tier &t)
{
    return static_cast<int>((t.to - t.from + t.each - 1) / t.each);
}

GPU_BOTH void attn_next_tier(attn_tier &t)
{
    t.before += attn_tier_parts(t);
    t.from = t.to;
    t.to *= 4;
    t.each *= 2;
}

/* The part that holds a position. */
GPU_BOTH int attn_part(const attn_cut &c, int pos)
{
    attn_tier t = attn_first_tier(c);
    while (pos >= t.to)
        attn_next_tier(t);
    return t.before + static_cast<int>((pos - t.from) / t.each);
}

/* Its first position. */
GPU_BOTH int attn_part_start(const attn_cut &c, int part)
{
    attn_tier t = attn_first_tier(c);
    while (part - t.before >= attn_tier_parts(t))
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

/* K of a position and KV head; V lies half a head further. */
GPU_FN const char *attn_key(const attn_args &a, int slot, int pos, int head)
{
    const int64_t page =
        a.kv.table[static_cast<int64_t>(slot) * a.kv.table_stride + pos / a.kv.page_tokens];
    const int64_t head_bytes = a.kv.page_bytes / a.kv.n_head;
    const int64_t row_bytes =
        a.kv.dtype == DT_F8_E4M3 ? a.kv.head_dim : head_bytes / 2 / a.kv.page_tokens;
    return static_cast<const char *>(a.kv.base) + page * a.kv.page_bytes + head * head_bytes +
           pos % a.kv.page_tokens * row_bytes;
}

/* fp8: from a position's key to the scale of it. */
GPU_FN const char *attn_scale_of(const attn_args &a, const char *key, int pos)
{
    const int t = pos % a.kv.page_tokens;
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
    const int64_t v = a.kv.page_bytes / a.kv.n_head / 2;
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
    const int64_t v = a.kv.page_bytes / a.kv.n_head / 2;
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

/* --- tile: rows of one sequence, several of them */

/* Parts folded so far. What does not fit into registers lies in y. */
template <int D> struct attn_total {
    static constexpr bool KEPT = D <= 128;
    float o[KEPT ? D / 8 : 1][4], m[2], l[2];
};

/* Folds the part in `st`; the last time the quotients go to y, of rows whose y is not NULL. */
template <int D>
GPU_FN void attn_add_part(attn_total<D> &sum, attn_state<D, 1> &st, float *const (&y)[2], bool last)
{
    const int t = threadIdx.x & 3;
    GPU_UNROLL
    for (int h = 0; h < 2; h++) {
        const float top = fmaxf(sum.m[h], st.m[h]);
        const float u = exp2f(sum.m[h] - top), v = exp2f(st.m[h] - top);
        sum.m[h] = top;
        sum.l[h] = attn_fold(sum.l[h], u, st.l[h], v);
        const float scale = last ? 1 / sum.l[h] : 1;
        float *to = y[h] + 2 * t;
        const bool stored = y[h] && (last || !sum.KEPT);
        GPU_UNROLL
        for (int i = 0; i < D / 8; i++) {
            if (!sum.KEPT && i % 4 == 0)
                __syncwarp(); /* lets the compiler hold no more of y at once than registers take */
            GPU_UNROLL
            for (int e = 0; e < 2; e++) {
                float own = 0, &o = sum.KEPT ? sum.o[i][2 * h + e] : own;
                if (!sum.KEPT && stored)
                    o = to[i * 8 + e];
                o = attn_fold(o, u, st.o[i][2 * h + e], v);
                if (stored)
                    to[i * 8 + e] = o * scale;
            }
        }
    }
    attn_begin(st);
}

template <int D, bool FP8>
GPU_FN void attn_segment(const attn_args &a, __nv_bfloat16 *smem, int seq, attn_rows w, int head)
{
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    attn_view view = {a.r.seq_slot[seq], head, attn_row_range(a, w.first), {}};
    attn_range &see = view.all;
    for (int i = 1; i < w.rows; i++) {
        const attn_range r = attn_row_range(a, w.first + i);
        see.lo = min(see.lo, r.lo);
        see.hi = max(see.hi, r.hi);
    }
    attn_total<D> sum = {};
    float *y[2];
    GPU_UNROLL
    for (int h = 0; h < 2; h++) {
        const int v = warp * 16 + g + 8 * h, row = v / w.group, hq = w.head0 + v % w.group;
        view.mine[h] = attn_row_range(a, w.first + (row < w.rows ? row : 0));
        y[h] = nullptr;
        if (row < w.rows)
            y[h] = reinterpret_cast<float *>(a.y + (w.first + row) * a.y_row + hq * a.y_head);
        /* A sink is a position without a value. */
        sum.m[h] = a.sinks && row < w.rows ? a.sinks[hq] * LOG2E : LOWEST;
        sum.l[h] = a.sinks ? 1 : 0;
        for (int i = 0; !sum.KEPT && y[h] && i < D / 8; i++)
            y[h][i * 8 + 2 * t] = y[h][i * 8 + 2 * t + 1] = 0;
    }
    attn_load_q<D, false>(a, smem, w);
    attn_state<D, 1> st;
    attn_run<D, false, FP8>(a, smem, view, st, [&](bool last) { attn_add_part(sum, st, y, last); });
}

/* Grid: x windows of rows, last first (they see most), y KV heads. A window may hold rows of
 * several sequences: they go one after another. */
template <int D, bool FP8>
__global__ void __launch_bounds__(TILE_WARPS * 32, 2) attn_tile(attn_args a)
{
    GPU_DYN_SHARED(__nv_bfloat16, smem);
    gpu_let_next();
    gpu_wait_earlier();
    const int rows = TILE_ROWS / a.group, first = (gridDim.x - 1 - blockIdx.x) * rows;
    const int live = attn_live_rows(a), end = first + rows < live ? first + rows : live;
    for (int r = first; r < end;) {
        const int seq = a.r.row_seq[r], next = a.r.seq_start[seq + 1];
        const int stop = next < end ? next : end;
        if (next - a.r.seq_start[seq] > 1) {
            const attn_rows w = {r, stop - r, static_cast<int>(blockIdx.y) * a.group, a.group};
            attn_segment<D, FP8>(a, smem, seq, w, blockIdx.y);
        }
        r = stop;
    }
}

/* --- split: one row of a sequence, in parts of its positions */

/* The one row of a sequence, or -1 when it has none or more. */
GPU_FN int attn_single(const attn_args &a, int seq)
{
    const int live = a.r.live && a.r.live[1] < a.r.seqs ? a.r.live[1] : a.r.seqs;
    if (seq >= live)
        return -1;
    const int row = a.r.seq_start[seq];
    return a.r.seq_start[seq + 1] - row == 1 && row < attn_live_rows(a) ? row : -1;
}

/* Where a query head keeps its parts: o, m, l of each. */
GPU_FN float *attn_parts_of(const attn_args &a, int64_t seq, int head, int dim)
{
    return a.part + (seq * a.heads + head) * a.splits * (dim + 2);
}

/* Parts first ... last of a row's query head in ascending order, by a warp: 2 numbers a lane. */
template <int D>
GPU_FN void attn_merge(const attn_args &a, const float *from, int head, int row, int2 parts)
{
    constexpr int PAIRS = (D + 63) / 64;
    const int lane = threadIdx.x & 31;
    float m = a.sinks ? a.sinks[head] * LOG2E : LOWEST, l = a.sinks ? 1 : 0, o[PAIRS][2] = {};
    from += static_cast<int64_t>(parts.x) * (D + 2);
    GPU_UNROLL_BY(4)
    for (int i = parts.x; i <= parts.y; i++, from += D + 2) {
        const float2 own = __ldcg(reinterpret_cast<const float2 *>(from + D)); /* m, l */
        const float top = fmaxf(m, own.x);
        const float u = exp2f(m - top), v = exp2f(own.x - top);
        m = top;
        l = attn_fold(l, u, own.y, v);
        GPU_UNROLL
        for (int j = 0; j < PAIRS; j++) {
            const int d = j * 64 + lane * 2;
            if (d >= D)
                continue;
            const float2 x = __ldcg(reinterpret_cast<const float2 *>(from + d));
            o[j][0] = attn_fold(o[j][0], u, x.x, v);
            o[j][1] = attn_fold(o[j][1], u, x.y, v);
        }
    }
    float *y = reinterpret_cast<float *>(a.y + row * a.y_row + head * a.y_head);
    GPU_UNROLL
    for (int j = 0; j < PAIRS; j++) {
        const int d = j * 64 + lane * 2;
        if (d >= D)
            continue;
        y[d] = o[j][0] * (1 / l);
        y[d + 1] = o[j][1] * (1 / l);
    }
}

/* Grid: x parts, y KV heads x tiles of 16 query heads, z sequences. */
template <int D, bool FP8>
__global__ void __launch_bounds__(attn_shape<D, true>::THREADS, 2) attn_split(attn_args a, int seq0)
{
    using S = attn_shape<D, true>;
    GPU_DYN_SHARED(__nv_bfloat16, smem);
    gpu_let_next();
    gpu_wait_earlier();
    const int seq = seq0 + blockIdx.z, row = attn_single(a, seq), part = blockIdx.x;
    if (row < 0)
        return;
    attn_range see = attn_row_range(a, row);
    const int2 parts = make_int2(attn_part(a.cut, see.lo), attn_part(a.cut, see.hi));
    see.lo = max(see.lo, attn_part_start(a.cut, part));
    see.hi = min(see.hi, attn_part_start(a.cut, part + 1) - 1);
    if (see.lo > see.hi)
        return;
    const int head_tiles = (a.group + 15) / 16, head = blockIdx.y / head_tiles;
    const int in = blockIdx.y % head_tiles * 16, heads = min(a.group - in, 16);
    const attn_rows w = {row, 1, head * a.group + in, heads};
    const attn_view view = {a.r.seq_slot[seq], head, see, {see, see}};
    attn_load_q<D, true>(a, smem, w);
    attn_state<D, S::SHARES> st;
    attn_run<D, true, FP8>(a, smem, view, st, [](bool) {});

    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    GPU_UNROLL
    for (int h = 0; h < 2; h++) {
        const int v = g + 8 * h;
        if (v >= heads)
            continue;
        float *to = attn_parts_of(a, blockIdx.z, w.head0 + v, D) + part * (D + 2);
        GPU_UNROLL
        for (int i = 0; i < 2 * st.CHUNKS; i++) {
            const int d = (warp + i / 2 * S::SHARES) * 16 + i % 2 * 8 + 2 * t;
            if (d >= D)
                continue;
            to[d] = st.o[i][2 * h];
            to[d + 1] = st.o[i][2 * h + 1];
        }
        if (warp == 0 && t == 0) {
            to[D] = st.m[h];
            to[D + 1] = st.l[h];
        }
    }
    if (!gpu_last_block(a.ticket + blockIdx.z * gridDim.y + blockIdx.y, parts.y - parts.x + 1))
        return;
    for (int v = warp; v < heads; v += S::WARPS)
        attn_merge<D>(a, attn_parts_of(a, blockIdx.z, w.head0 + v, D), w.head0 + v, row, parts);
}

/* --- plain: any head size, any pages. Grid: x query heads, y rows. */

GPU_FN float attn_number(const char *p, int i, uint8_t type)
{
    if (type == DT_F8_E4M3) {
        const uint32_t two = attn_wide(static_cast<uint32_t>(static_cast<uint8_t>(p[i])) << 24);
        return __uint_as_float(two & 0xffff0000u);
    }
    return type == DT_F32 ? reinterpret_cast<const float *>(p)[i]
                          : __bfloat162float(reinterpret_cast<const __nv_bfloat16 *>(p)[i]);
}

/* What multiplies the numbers of a position. */
GPU_FN float attn_by(const attn_args &a, const char *row, int pos)
{
    return a.kv.dtype == DT_F8_E4M3
               ? kv_fp8_power(static_cast<uint8_t>(*attn_scale_of(a, row, pos)))
               : 1.0f;
}

__global__ void __launch_bounds__(PLAIN_THREADS) attn_plain(attn_args a)
{
    const int row = blockIdx.y, head = blockIdx.x, dim = a.kv.head_dim;
    GPU_DYN_SHARED(float, q); /* [D] q | [D] o | [PLAIN_TOKENS] scores */
    gpu_let_next();
    gpu_wait_earlier();
    if (row >= attn_live_rows(a))
        return;
    float *o = q + dim, *p = o + dim, m = LOWEST, l = 0;
    const bool f32 = a.kv.dtype == DT_F32;
    const int slot = a.r.seq_slot[a.r.row_seq[row]], kv_head = head / a.group;
    const int64_t v_at = a.kv.page_bytes / a.kv.n_head / 2;
    const attn_range see = attn_row_range(a, row);
    const float scale = a.softcap != 0 ? a.scale : a.scale * LOG2E;
    for (int d = threadIdx.x; d < dim; d += PLAIN_THREADS) {
        const float x =
            reinterpret_cast<const float *>(a.q + row * a.q_row + head * a.q_head)[d] * scale;
        q[d] = f32 ? x : __bfloat162float(__float2bfloat16_rn(x));
        o[d] = 0;
    }
    for (int t0 = see.lo / PLAIN_TOKENS * PLAIN_TOKENS; t0 <= see.hi; t0 += PLAIN_TOKENS) {
        __syncthreads(); /* q is there, and the last block's scores are used */
        for (int t = threadIdx.x; t < PLAIN_TOKENS; t += PLAIN_THREADS) {
            float s = -INFINITY;
            if (t0 + t >= see.lo && t0 + t <= see.hi) {
                const char *k = attn_key(a, slot, t0 + t, kv_head);
                s = 0;
                for (int d = 0; d < dim; d++)
                    s = fmaf(q[d], attn_number(k, d, a.kv.dtype), s);
                s = attn_cap(a, s * attn_by(a, k, t0 + t));
            }
            p[t] = s;
        }
        __syncthreads();
        float top = m, sum = 0;
        for (int t = 0; t < PLAIN_TOKENS; t++)
            top = fmaxf(top, p[t]);
        for (int t = 0; t < PLAIN_TOKENS; t++)
            sum += exp2f(p[t] - top);
        const float fix = exp2f(m - top);
        l = l * fix + sum;
        m = top;
        for (int d = threadIdx.x; d < dim; d += PLAIN_THREADS) {
            float x = o[d] * fix;
            for (int t = 0; t < PLAIN_TOKENS; t++) {
                if (t0 + t < see.lo || t0 + t > see.hi)
                    continue;
                const float w = exp2f(p[t] - top);
                const char *v = attn_key(a, slot, t0 + t, kv_head) + v_at;
                x = fmaf(f32 ? w : __bfloat162float(__float2bfloat16_rn(w)),
                         attn_number(v, d, a.kv.dtype) * attn_by(a, v, t0 + t), x);
            }
            o[d] = x;
        }
    }
    float fix = 1;
    if (a.sinks) {
        const float sink = a.sinks[head] * LOG2E, top = fmaxf(m, sink);
        fix = exp2f(m - top);
        l = l * fix + exp2f(sink - top);
    }
    for (int d = threadIdx.x; d < dim; d += PLAIN_THREADS)
        reinterpret_cast<float *>(a.y + row * a.y_row + head * a.y_head)[d] = o[d] * fix / l;
}

/* --- host */

template <class... P> static cudaError_t room(void (*kernel)(P...), int bytes)
{
    return bytes <= 48 << 10
               ? cudaSuccess
               : cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

/* Sequences go in groups whose parts fit into the scratch, and which have a ticket each. */
template <int D, bool FP8> static cudaError_t run_split(const cuda_queue *q, attn_args a)
{
    using S = attn_shape<D, true>;
    const int tokens = a.kv.table_stride * a.kv.page_tokens;
    const int see = a.r.longest > 0 && a.r.longest < tokens ? a.r.longest : tokens;
    a.splits = attn_part(a.cut, see - 1) + 1;
    a.part = static_cast<float *>(q->scratch);
    a.ticket = q->tickets;
    const size_t each = sizeof(float) * a.heads * a.splits * (D + 2);
    const int tiles = a.kv.n_head * ((a.group + 15) / 16);
    int64_t fit = static_cast<int64_t>(q->scratch_bytes / each);
    fit = fit < CUDA_TICKETS / tiles ? fit : CUDA_TICKETS / tiles;
    const int seqs = static_cast<int>(fit < a.r.seqs ? fit : a.r.seqs);
    if (seqs == 0)
        return cudaErrorMemoryAllocation;
    cudaError_t e = room(attn_split<D, FP8>, S::BYTES);
    for (int first = 0; first < a.r.seqs && e == cudaSuccess; first += seqs) {
        const int n = a.r.seqs - first < seqs ? a.r.seqs - first : seqs;
        e = gpu_launch_early({q->stream, q->early}, attn_split<D, FP8>, dim3(a.splits, tiles, n),
                             S::THREADS, S::BYTES, a, first);
    }
    return e;
}

template <int D, bool FP8> static cudaError_t run(const cuda_queue *q, const attn_args &a)
{
    using S = attn_shape<D, false>;
    cudaError_t e = run_split<D, FP8>(q, a);
    if (e != cudaSuccess || a.r.rows == 1 || a.r.singles)
        return e;
    const int rows = TILE_ROWS / a.group;
    e = room(attn_tile<D, FP8>, S::BYTES);
    if (e == cudaSuccess)
        e = gpu_launch_early({q->stream, q->early}, attn_tile<D, FP8>,
                             dim3((a.r.rows + rows - 1) / rows, a.kv.n_head), S::THREADS, S::BYTES,
                             a);
    return e;
}

/* clang-format off */
static const struct {
    int dim, bytes;
    cudaError_t (*bf16)(const cuda_queue *, const attn_args &);
    cudaError_t (*fp8)(const cuda_queue *, const attn_args &);
} table[] = {
    {64,  attn_shape<64,  false>::BYTES, run<64, false>,  run<64, true>},
    {80,  attn_shape<80,  false>::BYTES, run<80, false>,  run<80, true>},
    {96,  attn_shape<96,  false>::BYTES, run<96, false>,  run<96, true>},
    {128, attn_shape<128, false>::BYTES, run<128, false>, run<128, true>},
    {256, attn_shape<256, false>::BYTES, run<256, false>, run<256, true>},
};
/* clang-format on */

enum status cuda_attention(struct cuda_queue *q, const struct op_attention *o)
{
    attn_args a = {};
    if (o->r.rows == 0 || o->r.seqs == 0)
        return OK;
    a.q = static_cast<const char *>(o->q.data);
    a.y = static_cast<char *>(o->y.data);
    a.q_row = o->q.stride[0];
    a.q_head = o->q.stride[1];
    a.y_row = o->y.stride[0];
    a.y_head = o->y.stride[1];
    a.r = o->r;
    a.kv = o->kv;
    a.sinks = static_cast<const float *>(o->sinks.data);
    a.scale = o->scale;
    a.softcap = o->softcap;
    a.heads = static_cast<int>(o->q.shape[1]);
    a.group = a.heads / o->kv.n_head;
    const gpu_cut cut =
        q->plan.cut ? *q->plan.cut : gpu_cut_of(q->plan.config, o->kv.head_dim, a.group);
    a.cut.chunk = cut.chunk;
    a.cut.first = cut.parts > 1 ? cut.parts / 2 : 1;
    const bool fp8 = o->kv.dtype == DT_F8_E4M3; /* whose halves are to be whole 16-byte pieces */
    const bool fits = fp8 ? o->kv.page_tokens % 16 == 0 : o->kv.dtype == DT_BF16;
    for (auto &row : table)
        if (!(q->refused & CUDA_NO_TUNED_ATTENTION) && row.dim == o->kv.head_dim && fits &&
            a.group <= TILE_ROWS && row.bytes <= q->smem_max)
            return cuda_check((fp8 ? row.fp8 : row.bf16)(q, a), "attention");
    return cuda_check(gpu_launch_early({q->stream, q->early}, attn_plain, dim3(a.heads, a.r.rows),
                                       PLAIN_THREADS,
                                       (2 * o->kv.head_dim + PLAIN_TOKENS) * sizeof(float), a),
                      "attention");
}
