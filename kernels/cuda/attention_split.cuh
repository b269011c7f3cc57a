/* attention_split.cuh - attention of sequences with one row in a step (decoding), in parts of its
 * positions.
 *
 * A block has one KV head and one part; each warp has all scores and a share of V's columns; the
 * block that ends last merges the parts. Expected, not measured: 80-90 % of the memory's rate from
 * 64 MB of keys and values on. */
#ifndef KERNELS_CUDA_ATTENTION_SPLIT_CUH
#define KERNELS_CUDA_ATTENTION_SPLIT_CUH

#include "kernels/cuda/attention.cuh"

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

#endif
