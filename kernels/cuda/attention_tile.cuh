/* attention_tile.cuh - attention of sequences with several rows in a step: chunks of a prompt.
 *
 * 64 (row, head) pairs a block, 16 a warp, positions 64 at a time. Expected, not measured: 35 % of
 * Hopper's tensor peak, 60-70 % of Ampere's. */
#ifndef KERNELS_CUDA_ATTENTION_TILE_CUH
#define KERNELS_CUDA_ATTENTION_TILE_CUH

#include "kernels/cuda/attention.cuh"

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

#endif
