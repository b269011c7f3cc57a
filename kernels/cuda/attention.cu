/* attention.cu - attention of grouped query heads over paged keys and values.
 *
 * Shapes: q [R, Hq, D] f32, pages of bf16 K [tokens, D] then V [tokens, D] a head (page sizes and
 * tables as ops.h has them), y [R, Hq, D] f32. Query heads that share a KV head are rows of one
 * 16-row mma operand, so K and V are read once for all of them.
 * Bytes: 4 D bytes a position and KV head, read once by a sequence with one row, once for each 64
 * (row, head) pairs by a longer chunk.
 * Two kernels share one step (attn_step: scores, online softmax, product with V, all by mma.sync):
 *   split   sequences with one row in this step (decoding). A block has one KV head and a part of
 *           the row's positions, its warps take 16 positions of each block of 64; the parts are
 *           merged by attn_merge. Expected (not measured): 80-90 % of the memory's rate from 64 MB
 *           of keys and values on.
 *   tile    sequences with more rows: 64 (row, head) pairs a block, 16 a warp, positions 64 at a
 *           time. Expected: 35 % of Hopper's tensor peak, 60-70 % of Ampere's.
 * K and V come through two stages of cp.async; rows in shared memory are 16 bytes longer than D, so
 * that ldmatrix meets no bank conflict. Head sizes without an instance, f32 pages, and GPUs without
 * the shared memory take attn_plain, which is correct and slow.
 *
 * Numbers as naive_attn.c: q scaled and rounded to bf16, p rounded for the product with V but not
 * for its sum. How a row's positions are cut depends on its own range alone, and which kernel takes
 * it on its sequence's rows in the step: its bits do not depend on other sequences. */
#include "kernels/cuda/gpu.cuh"

#include "kernels/cuda/cuda.h"

enum {
    TILE_WARPS = 4,
    TILE_ROWS = 16 * TILE_WARPS, /* (row, head) pairs of a tile */
    PLAIN_THREADS = 128,
    PLAIN_TOKENS = 64
};
static constexpr float LOG2E = 1.4426950408889634f, LOWEST = -1e30f;

struct attn_args {
    const char *q;
    char *y;
    int64_t q_row, q_head, y_row, y_head; /* strides in bytes */
    ragged r;
    kv_view kv;
    const float *sinks;
    float *part; /* [seqs][heads][splits][D + 2]: o, m, l */
    float scale, softcap;
    int heads, group, splits;
    int chunk, most; /* a row's parts: least positions of one, most of them (the configuration's) */
};

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
    const int64_t row_bytes = head_bytes / 2 / a.kv.page_tokens;
    return static_cast<const char *>(a.kv.base) + page * a.kv.page_bytes + head * head_bytes +
           pos % a.kv.page_tokens * row_bytes;
}

GPU_FN float attn_cap(const attn_args &a, float s)
{
    return a.softcap != 0 ? a.softcap * tanhf(s / a.softcap) * LOG2E : s;
}

GPU_FN uint32_t attn_pair(float u, float v)
{
    __nv_bfloat162 b = __floats2bfloat162_rn(u, v);
    return *reinterpret_cast<uint32_t *>(&b);
}

/* --- one warp: 16 rows of q against TOKENS positions in shared memory */

template <int D> struct attn_state {
    float o[D / 8][4], m[2], l[2]; /* rows g and g + 8; l of this lane's columns */
};

template <int D> GPU_FN void attn_begin(attn_state<D> &s)
{
    GPU_UNROLL
    for (int i = 0; i < 2; i++) {
        s.m[i] = LOWEST;
        s.l[i] = 0;
    }
    GPU_UNROLL
    for (int i = 0; i < D / 8; i++)
        GPU_UNROLL
    for (int j = 0; j < 4; j++)
        s.o[i][j] = 0;
}

/* q: 16 rows; k: TOKENS rows, the first of position t0, V_AT numbers before those of V; all D + 8
 * long. */
template <int D, int TOKENS, int V_AT>
GPU_FN void attn_step(const attn_args &a, const __nv_bfloat16 *q, const __nv_bfloat16 *k, int t0,
                      const attn_range (&see)[2], attn_state<D> &st)
{
    constexpr int ROW = D + 8;
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
    for (int i = 0; i < D / 8; i++)
        GPU_UNROLL
    for (int j = 0; j < 4; j++)
        st.o[i][j] *= fix[j >> 1];
    GPU_UNROLL
    for (int j = 0; j < TOKENS / 16; j++) {
        const uint32_t p[4] = {attn_pair(s[2 * j][0], s[2 * j][1]),
                               attn_pair(s[2 * j][2], s[2 * j][3]),
                               attn_pair(s[2 * j + 1][0], s[2 * j + 1][1]),
                               attn_pair(s[2 * j + 1][2], s[2 * j + 1][3])};
        GPU_UNROLL
        for (int d = 0; d < D; d += 16) {
            uint32_t vb[4];
            gpu_ldmatrix_x4_trans(vb,
                                  k + V_AT + (j * 16 + (lane & 15)) * ROW + d + (lane >> 4) * 8);
            const uint32_t b0[2] = {vb[0], vb[1]}, b1[2] = {vb[2], vb[3]};
            gpu_mma_bf16(st.o[d / 8], p, b0, st.o[d / 8]);
            gpu_mma_bf16(st.o[d / 8 + 1], p, b1, st.o[d / 8 + 1]);
        }
    }
}

/* --- a block: q and two stages of K and V in shared memory */

template <int D, bool SPLIT> struct attn_shape {
    enum {
        ROW = D + 8,
        TOKENS = D > 128 ? 32 : 64, /* positions at once */
        WARPS = SPLIT ? TOKENS / 16 : TILE_WARPS,
        THREADS = WARPS * 32,
        Q_ROWS = SPLIT ? 16 : TILE_ROWS,
        BYTES = (Q_ROWS + 4 * TOKENS) * ROW * 2 /* q | stage 0: K, V | stage 1: K, V */
    };
    static_assert(!SPLIT || WARPS * 16 * (D + 2) * 4 <= 4 * TOKENS * ROW * 2, "room to merge");
};

/* Positions [t0, t0 + TOKENS) of K and V; those outside of `see` are zero. */
template <int D, bool SPLIT>
GPU_FN void attn_load(const attn_args &a, __nv_bfloat16 *stage, int slot, int head, int t0,
                      attn_range see)
{
    using S = attn_shape<D, SPLIT>;
    const int64_t v = a.kv.page_bytes / a.kv.n_head / 2;
    for (int i = threadIdx.x; i < S::TOKENS * (D / 8); i += S::THREADS) {
        const int token = i / (D / 8), piece = i % (D / 8), pos = t0 + token;
        const bool ok = pos >= see.lo && pos <= see.hi;
        const char *from =
            ok ? attn_key(a, slot, pos, head) + piece * 16 : static_cast<const char *>(a.kv.base);
        __nv_bfloat16 *to = stage + token * S::ROW + piece * 8;
        gpu_cp_async16(to, from, ok ? 16 : 0);
        gpu_cp_async16(to + S::TOKENS * S::ROW, ok ? from + v : from, ok ? 16 : 0);
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

/* All positions of a view, each warp its rows (tile) or its 16 of every TOKENS (split). */
template <int D, bool SPLIT>
GPU_FN void attn_run(const attn_args &a, __nv_bfloat16 *smem, const attn_view &w, attn_state<D> &st)
{
    using S = attn_shape<D, SPLIT>;
    const int warp = threadIdx.x >> 5;
    const __nv_bfloat16 *q = smem + (SPLIT ? 0 : warp * 16 * S::ROW);
    __nv_bfloat16 *kv = smem + S::Q_ROWS * S::ROW;
    const int first = w.all.lo / S::TOKENS, last = w.all.hi / S::TOKENS;
    attn_begin(st);
    attn_load<D, SPLIT>(a, kv, w.slot, w.head, first * S::TOKENS, w.all);
    gpu_cp_async_commit();
    for (int b = first; b <= last; b++) {
        gpu_cp_async_wait<0>();
        __syncthreads(); /* block b is here, and everybody is done with block b - 1 */
        if (b < last)
            attn_load<D, SPLIT>(a, kv + ((b - first + 1) & 1) * 2 * S::TOKENS * S::ROW, w.slot,
                                w.head, (b + 1) * S::TOKENS, w.all);
        gpu_cp_async_commit();
        const int skip = SPLIT ? warp * 16 : 0;
        const __nv_bfloat16 *k = kv + (((b - first) & 1) * 2 * S::TOKENS + skip) * S::ROW;
        attn_step<D, SPLIT ? 16 : S::TOKENS, S::TOKENS * S::ROW>(a, q, k, b * S::TOKENS + skip,
                                                                 w.mine, st);
    }
    __syncthreads(); /* shared memory is free again */
    GPU_UNROLL
    for (int h = 0; h < 2; h++) {
        st.l[h] += __shfl_xor_sync(GPU_ALL, st.l[h], 1);
        st.l[h] += __shfl_xor_sync(GPU_ALL, st.l[h], 2);
    }
}

/* --- tile: rows of one sequence, several of them */

template <int D>
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
    GPU_UNROLL
    for (int h = 0; h < 2; h++) {
        const int v = warp * 16 + g + 8 * h, row = v / w.group;
        view.mine[h] = attn_row_range(a, w.first + (row < w.rows ? row : 0));
    }
    attn_load_q<D, false>(a, smem, w);
    attn_state<D> st;
    attn_run<D, false>(a, smem, view, st);
    GPU_UNROLL
    for (int h = 0; h < 2; h++) {
        const int v = warp * 16 + g + 8 * h, row = v / w.group, hq = w.head0 + v % w.group;
        if (row >= w.rows)
            continue;
        float l = st.l[h], fix = 1;
        if (a.sinks) { /* a position without a value */
            const float sink = a.sinks[hq] * LOG2E, m = fmaxf(st.m[h], sink);
            fix = exp2f(st.m[h] - m);
            l = l * fix + exp2f(sink - m);
        }
        float *y = reinterpret_cast<float *>(a.y + (w.first + row) * a.y_row + hq * a.y_head);
        GPU_UNROLL
        for (int d = 0; d < D / 8; d++) {
            y[d * 8 + 2 * t] = st.o[d][2 * h] * fix / l;
            y[d * 8 + 2 * t + 1] = st.o[d][2 * h + 1] * fix / l;
        }
    }
}

/* Grid: x windows of rows, last first (they see most), y KV heads. A window may hold rows of
 * several sequences: they go one after another. */
template <int D> __global__ void __launch_bounds__(TILE_WARPS * 32, 2) attn_tile(attn_args a)
{
    GPU_DYN_SHARED(__nv_bfloat16, smem);
    const int rows = TILE_ROWS / a.group, first = (gridDim.x - 1 - blockIdx.x) * rows;
    const int live = attn_live_rows(a), end = first + rows < live ? first + rows : live;
    for (int r = first; r < end;) {
        const int seq = a.r.row_seq[r], next = a.r.seq_start[seq + 1];
        const int stop = next < end ? next : end;
        if (next - a.r.seq_start[seq] > 1) {
            const attn_rows w = {r, stop - r, static_cast<int>(blockIdx.y) * a.group, a.group};
            attn_segment<D>(a, smem, seq, w, blockIdx.y);
        }
        r = stop;
    }
}

/* --- split: one row of a sequence, in parts of its positions */

struct attn_part {
    int from, tokens, parts; /* first position (a multiple of 64), positions of a part, parts */
};

GPU_FN attn_part attn_parts(const attn_args &a, attn_range see)
{
    attn_part p = {see.lo / 64 * 64, a.chunk, 0};
    const int n = see.hi + 1 - p.from;
    while (n > p.tokens * a.most)
        p.tokens *= 2;
    p.parts = (n + p.tokens - 1) / p.tokens;
    return p;
}

/* The one row of a sequence, or -1 when it has none or more. */
GPU_FN int attn_single(const attn_args &a, int seq)
{
    const int live = a.r.live && a.r.live[1] < a.r.seqs ? a.r.live[1] : a.r.seqs;
    if (seq >= live)
        return -1;
    const int row = a.r.seq_start[seq];
    return a.r.seq_start[seq + 1] - row == 1 && row < attn_live_rows(a) ? row : -1;
}

/* Grid: x parts, y KV heads x tiles of 16 query heads, z sequences. */
template <int D>
__global__ void __launch_bounds__(attn_shape<D, true>::THREADS, 2) attn_split(attn_args a, int seq0)
{
    using S = attn_shape<D, true>;
    GPU_DYN_SHARED(__nv_bfloat16, smem);
    const int seq = seq0 + blockIdx.z, row = attn_single(a, seq);
    if (row < 0)
        return;
    attn_range see = attn_row_range(a, row);
    const attn_part p = attn_parts(a, see);
    const int part = blockIdx.x, from = p.from + part * p.tokens;
    if (part >= p.parts)
        return;
    see.lo = max(see.lo, from);
    see.hi = min(see.hi, from + p.tokens - 1);
    const int head_tiles = (a.group + 15) / 16, head = blockIdx.y / head_tiles;
    const int in = blockIdx.y % head_tiles * 16, heads = min(a.group - in, 16);
    const attn_rows w = {row, 1, head * a.group + in, heads};
    const attn_view view = {a.r.seq_slot[seq], head, see, {see, see}};
    attn_load_q<D, true>(a, smem, w);
    attn_state<D> st;
    attn_run<D, true>(a, smem, view, st);

    /* Merge the warps in ascending order: [warps][16 rows][D | m | l], where K and V were. */
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    float *sums = reinterpret_cast<float *>(smem + S::Q_ROWS * S::ROW);
    GPU_UNROLL
    for (int h = 0; h < 2; h++) {
        float *to = sums + (warp * 16 + g + 8 * h) * (D + 2);
        GPU_UNROLL
        for (int d = 0; d < D / 8; d++) {
            to[d * 8 + 2 * t] = st.o[d][2 * h];
            to[d * 8 + 2 * t + 1] = st.o[d][2 * h + 1];
        }
        if (t == 0) {
            to[D] = st.m[h];
            to[D + 1] = st.l[h];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < heads * (D + 2); i += S::THREADS) {
        const int v = i / (D + 2), d = i % (D + 2);
        float m = LOWEST, sum = 0;
        for (int k = 0; k < S::WARPS; k++)
            m = fmaxf(m, sums[(k * 16 + v) * (D + 2) + D]);
        for (int k = 0; k < S::WARPS; k++) {
            const float *s = sums + (k * 16 + v) * (D + 2);
            sum += s[d] * exp2f(s[D] - m);
        }
        const int64_t at = static_cast<int64_t>(blockIdx.z) * a.heads + w.head0 + v;
        a.part[(at * a.splits + part) * (D + 2) + d] = d == D ? m : sum;
    }
}

/* The parts of a row in ascending order. Grid: x query heads, y sequences; a thread for each of D.
 */
__global__ void attn_merge(attn_args a, int dim, int seq0)
{
    const int seq = seq0 + blockIdx.y, row = attn_single(a, seq), head = blockIdx.x;
    if (row < 0 || static_cast<int>(threadIdx.x) >= dim)
        return;
    const attn_part p = attn_parts(a, attn_row_range(a, row));
    const int64_t at = static_cast<int64_t>(blockIdx.y) * a.heads + head;
    const float *from = a.part + at * a.splits * (dim + 2);
    float m = a.sinks ? a.sinks[head] * LOG2E : LOWEST, l = a.sinks ? 1 : 0, o = 0;
    for (int i = 0; i < p.parts; i++, from += dim + 2) {
        const float top = fmaxf(m, from[dim]);
        const float u = exp2f(m - top), v = exp2f(from[dim] - top);
        m = top;
        l = l * u + from[dim + 1] * v;
        o = o * u + from[threadIdx.x] * v;
    }
    reinterpret_cast<float *>(a.y + row * a.y_row + head * a.y_head)[threadIdx.x] = o / l;
}

/* --- plain: any head size, f32 pages too. Grid: x query heads, y rows. */

GPU_FN float attn_number(const char *p, int i, bool f32)
{
    return f32 ? reinterpret_cast<const float *>(p)[i]
               : __bfloat162float(reinterpret_cast<const __nv_bfloat16 *>(p)[i]);
}

__global__ void __launch_bounds__(PLAIN_THREADS) attn_plain(attn_args a)
{
    const int row = blockIdx.y, head = blockIdx.x, dim = a.kv.head_dim;
    GPU_DYN_SHARED(float, q); /* [D] q | [D] o | [PLAIN_TOKENS] scores */
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
                    s = fmaf(q[d], attn_number(k, d, f32), s);
                s = attn_cap(a, s);
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
                x = fmaf(f32 ? w : __bfloat162float(__float2bfloat16_rn(w)), attn_number(v, d, f32),
                         x);
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

/* Sequences go in groups whose parts fit into the scratch. */
template <int D> static cudaError_t run_split(const cuda_queue *q, attn_args a)
{
    using S = attn_shape<D, true>;
    const int64_t tokens = static_cast<int64_t>(a.kv.table_stride) * a.kv.page_tokens;
    const int64_t parts = (tokens + a.chunk - 1) / a.chunk + 1;
    a.splits = static_cast<int>(parts < a.most ? parts : a.most);
    a.part = static_cast<float *>(q->scratch);
    const size_t each = sizeof(float) * a.heads * a.splits * (D + 2);
    const int64_t fit = static_cast<int64_t>(q->scratch_bytes / each);
    const int seqs = static_cast<int>(fit < a.r.seqs ? fit : a.r.seqs);
    if (seqs == 0)
        return cudaErrorMemoryAllocation;
    cudaError_t e = room(attn_split<D>, S::BYTES);
    for (int first = 0; first < a.r.seqs && e == cudaSuccess; first += seqs) {
        const int n = a.r.seqs - first < seqs ? a.r.seqs - first : seqs;
        const dim3 grid(a.splits, a.kv.n_head * ((a.group + 15) / 16), n);
        e = gpu_launch(attn_split<D>, grid, S::THREADS, S::BYTES, q->stream, a, first);
        if (e == cudaSuccess)
            e = gpu_launch(attn_merge, dim3(a.heads, n), (D + 31) / 32 * 32, 0, q->stream, a, D,
                           first);
    }
    return e;
}

template <int D> static cudaError_t run(const cuda_queue *q, const attn_args &a)
{
    using S = attn_shape<D, false>;
    cudaError_t e = run_split<D>(q, a);
    if (e != cudaSuccess || a.r.rows == 1)
        return e;
    const int rows = TILE_ROWS / a.group;
    e = room(attn_tile<D>, S::BYTES);
    if (e == cudaSuccess)
        e = gpu_launch(attn_tile<D>, dim3((a.r.rows + rows - 1) / rows, a.kv.n_head), S::THREADS,
                       S::BYTES, q->stream, a);
    return e;
}

/* clang-format off */
static const struct {
    int dim, bytes;
    cudaError_t (*run)(const cuda_queue *, const attn_args &);
} table[] = {
    {64,  attn_shape<64,  false>::BYTES, run<64>},
    {80,  attn_shape<80,  false>::BYTES, run<80>},
    {96,  attn_shape<96,  false>::BYTES, run<96>},
    {128, attn_shape<128, false>::BYTES, run<128>},
    {256, attn_shape<256, false>::BYTES, run<256>},
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
    a.chunk = q->plan.config->attn_chunk;
    a.most = q->plan.config->attn_parts;
    for (auto &row : table)
        if (row.dim == o->kv.head_dim && o->kv.dtype == DT_BF16 && a.group <= TILE_ROWS &&
            row.bytes <= q->smem_max)
            return cuda_check(row.run(q, a), "attention");
    return cuda_check(gpu_launch(attn_plain, dim3(a.heads, a.r.rows), PLAIN_THREADS,
                                 (2 * o->kv.head_dim + PLAIN_TOKENS) * sizeof(float), q->stream, a),
                      "attention");
}
