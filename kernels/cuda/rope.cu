/* rope.cu - rope, kv_write and their fusion rope_kv, a block a row's head.
 *
 * The fused kernel norms, rotates and stores: q and k are read and written once, v is read once,
 * pages are written once. The angle is reduced in double and its sine and cosine taken in f32: at
 * position 100000 a float angle would already be off by 0.004, while double sines cost a GeForce
 * more than the rest of the kernel. */
#include "kernels/cuda/common.cuh"

enum { THREADS = 128 };

struct rotation {
    const float *inv_freq;
    int n_freq;
    bool neox;
    float factor;
};

/* Rotates one head in place; thread i takes pairs i, i + THREADS ... */
GPU_FN void rotate(const struct rotation &rot, int32_t pos, float *x)
{
    const int step = rot.neox ? rot.n_freq : 1, pair = rot.neox ? 1 : 2;
    for (int i = threadIdx.x; i < rot.n_freq; i += THREADS) {
        const double turn = static_cast<double>(pos) * static_cast<double>(rot.inv_freq[i]) *
                            0.15915494309189533577; /* 1 / 2 pi */
        const float angle = static_cast<float>((turn - rint(turn)) * 6.28318530717958647692);
        const float c = cosf(angle) * rot.factor, s = sinf(angle) * rot.factor;
        const float u = x[i * pair], v = x[i * pair + step];
        x[i * pair] = u * c - v * s;
        x[i * pair + step] = v * c + u * s;
    }
}

/* --- rope */

static __global__ void rope_kernel(struct op_rope a)
{
    const int64_t r = blockIdx.x, h = blockIdx.y;
    gpu_let_next();
    gpu_wait_earlier();
    if (!is_live(a.r.live, r))
        return;
    const struct rotation rot = {a.inv_freq, a.n_freq, a.neox, a.factor};
    rotate(rot, a.r.pos[r], head_of<float>(a.x, r, h));
}

enum status cuda_rope(struct cuda_queue *q, const struct op_rope *a)
{
    const dim3 grid(static_cast<unsigned>(a->r.rows), static_cast<unsigned>(a->x.shape[1]));
    if (a->r.rows == 0)
        return OK;
    return cuda_check(gpu_launch_early({q->stream, q->early}, rope_kernel, grid, THREADS, 0, *a),
                      "rope");
}

/* --- kv_write */

/* A head's K or V of a position, whose half of the page begins at `half`. */
GPU_FN void store(const struct kv_view &kv, char *half, int pos, const float *x)
{
    __shared__ float part[THREADS / 32];
    const int t = pos % kv.page_tokens;
    char *at = half + t * page_row(kv);
    if (kv.dtype != DT_F8_E4M3) {
        for (int d = threadIdx.x; d < kv.head_dim; d += THREADS)
            put_kv(kv, at, d, x[d]);
        return;
    }
    float top = 0;
    for (int d = threadIdx.x; d < kv.head_dim; d += THREADS)
        top = fmaxf(top, fabsf(x[d]));
    const int scale = kv_fp8_scale(block_reduce<Max>(top, part));
    const float by = kv_fp8_inverse(scale);
    for (int d = threadIdx.x; d < kv.head_dim; d += THREADS)
        at[d] = static_cast<char>(__nv_cvt_float_to_fp8(x[d] * by, __NV_SATFINITE, __NV_E4M3));
    if (threadIdx.x == 0)
        half[kv.page_tokens * kv.head_dim + t] = static_cast<char>(scale);
    __syncthreads(); /* part is free again */
}

static __global__ void kv_write_kernel(struct op_kv_write a)
{
    const int64_t r = blockIdx.x;
    const int h = static_cast<int>(blockIdx.y);
    gpu_let_next();
    gpu_wait_earlier();
    if (!is_live(a.r.live, r))
        return;
    const int pos = a.r.pos[r], slot = a.r.seq_slot[a.r.row_seq[r]];
    char *k = page_head(a.kv, slot, pos, h);
    store(a.kv, k, pos, head_of<const float>(a.k, r, h));
    store(a.kv, k + page_half(a.kv), pos, head_of<const float>(a.v, r, h));
}

enum status cuda_kv_write(struct cuda_queue *q, const struct op_kv_write *a)
{
    const dim3 grid(static_cast<unsigned>(a->r.rows), static_cast<unsigned>(a->kv.n_head));
    if (a->r.rows == 0)
        return OK;
    return cuda_check(
        gpu_launch_early({q->stream, q->early}, kv_write_kernel, grid, THREADS, 0, *a), "kv_write");
}

/* --- rope_kv: blocks of q heads, then of k heads, then of v heads */

GPU_FN void norm_head(float *x, const float *w, int dim, float eps)
{
    __shared__ float part[THREADS / 32];
    float sum = 0;
    for (int d = threadIdx.x; d < dim; d += THREADS)
        sum = fmaf(x[d], x[d], sum);
    sum = block_reduce<Sum>(sum, part);
    const float scale = 1 / sqrtf(sum / static_cast<float>(dim) + eps);
    for (int d = threadIdx.x; d < dim; d += THREADS)
        x[d] = x[d] * scale * w[d];
    __syncthreads(); /* rotate pairs numbers of two threads */
}

static __global__ void rope_kv_kernel(struct op_rope_kv a)
{
    const int64_t r = blockIdx.x;
    const int n_q = static_cast<int>(a.q.shape[1]), n_k = a.kv.n_head, dim = a.kv.head_dim;
    const int at = static_cast<int>(blockIdx.y);
    gpu_let_next();
    gpu_wait_earlier();
    if (!is_live(a.r.live, r))
        return;
    const bool is_q = at < n_q, is_k = !is_q && at < n_q + n_k;
    const int h = is_q ? at : is_k ? at - n_q : at - n_q - n_k;
    float *x = head_of<float>(is_q ? a.q : is_k ? a.k : a.v, r, h);
    const int pos = a.r.pos[r];
    if (is_q || is_k) {
        const float *w = static_cast<const float *>(is_q ? a.q_norm.data : a.k_norm.data);
        const struct rotation rot = {a.inv_freq, a.n_freq, a.neox, a.factor};
        if (w)
            norm_head(x, w, dim, a.eps);
        rotate(rot, pos, x);
    }
    if (is_q)
        return;
    __syncthreads();
    const int slot = a.r.seq_slot[a.r.row_seq[r]];
    char *page = page_head(a.kv, slot, pos, h);
    store(a.kv, is_k ? page : page + page_half(a.kv), pos, x);
}

enum status cuda_rope_kv(struct cuda_queue *q, const struct op_rope_kv *a)
{
    const dim3 grid(static_cast<unsigned>(a->r.rows),
                    static_cast<unsigned>(a->q.shape[1] + 2 * a->kv.n_head));
    if (a->r.rows == 0)
        return OK;
    return cuda_check(gpu_launch_early({q->stream, q->early}, rope_kv_kernel, grid, THREADS, 0, *a),
                      "rope_kv");
}
