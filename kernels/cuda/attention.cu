/* attention.cu - attention of grouped query heads over paged keys and values.
 *
 * Shapes: q [R, Hq, D] f32, pages of bf16 or fp8 K [tokens, D] then V [tokens, D] a head (page
 * sizes and tables as ops.h has them, fp8 as kv_type.h), y [R, Hq, D] f32. Query heads that share a
 * KV head are rows of one 16-row mma operand, so K and V are read once for all of them.
 * Bytes: 4 D (fp8: 2 D + 2) bytes a position and KV head, read once by a sequence with one row,
 * once for each 64 (row, head) pairs by a longer chunk.
 * Two kernels share one step (attention.cuh): attn_split takes sequences with one row in this step,
 * attn_tile those with more. Head sizes without an instance, f32 pages, and GPUs without the shared
 * memory take attn_plain, which is correct and slow. */
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"

enum { PLAIN_THREADS = 128, PLAIN_TOKENS = 64 };

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
    const int64_t v_at = a.head_bytes / 2;
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
    while (1 << a.page_bits < o->kv.page_tokens)
        a.page_bits++;
    if (1 << a.page_bits != o->kv.page_tokens)
        return fail(ERR_UNSUPPORTED, "cuda: op attention over pages of %d positions",
                    o->kv.page_tokens);
    a.head_bytes = o->kv.page_bytes / o->kv.n_head;
    a.row_bytes = static_cast<int>(
        o->kv.dtype == DT_F8_E4M3 ? o->kv.head_dim : a.head_bytes / 2 / o->kv.page_tokens);
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
