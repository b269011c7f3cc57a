/* conv1d.cu - short causal convolution: a thread walks one channel of one sequence, row by row, so
 * any split of a sequence into chunks gives the same bits; neighbours read neighbouring channels.
 * 8 bytes a number, the state twice a step. Long prefills are bound by latency: their rows are not
 * shared out yet. */
#include "kernels/cuda/common.cuh"

enum { THREADS = 128 };

static __global__ void conv1d_kernel(struct op_conv1d a)
{
    const int64_t n = a.x.shape[1], c = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
    const int k = static_cast<int>(a.w.shape[1]), s = static_cast<int>(blockIdx.y);
    gpu_let_next();
    gpu_wait_earlier();
    if (c >= n || (a.r.live && s >= a.r.live[1]))
        return;
    const int first = a.r.seq_start[s], end = a.r.seq_start[s + 1];
    if (first == end)
        return;
    float *state = a.state + (static_cast<int64_t>(a.r.seq_slot[s]) * (k - 1)) * n + c;
    const float *w = row_of<const float>(a.w, c);
    float past[CONV1D_MAX] = {}; /* the last k - 1 inputs, oldest first, and the row's own */
    if (a.r.pos[first] > 0)
        for (int j = 0; j < k - 1; j++)
            past[j] = state[j * n];
    for (int r = first; r < end; r++) {
        float sum = 0;
        past[k - 1] = row_of<const float>(a.x, r)[c];
        for (int j = 0; j < k; j++)
            sum = __fadd_rn(sum, __fmul_rn(w[j], past[j]));
        row_of<float>(a.y, r)[c] = sum;
        for (int j = 0; j < k - 1; j++)
            past[j] = past[j + 1];
    }
    for (int j = 0; j < k - 1; j++)
        state[j * n] = past[j];
}

enum status cuda_conv1d(struct cuda_queue *q, const struct op_conv1d *a)
{
    const dim3 grid(static_cast<unsigned>((a->x.shape[1] + THREADS - 1) / THREADS),
                    static_cast<unsigned>(a->r.seqs));
    if (a->r.rows == 0 || a->r.seqs == 0)
        return OK;
    return cuda_check(gpu_launch_early({q->stream, q->early}, conv1d_kernel, grid, THREADS, 0, *a),
                      "conv1d");
}
