/* gpu.c - device memory and comparison for the tests of the CUDA backend. */
#include "tests/simt/gpu.h"

#include <cuda_runtime_api.h>
#include <math.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/cuda.h"
#include "tests/support/test.h"

enum { BUFFERS_MAX = 256 };

struct gpu gpu;
static void *buffers[BUFFERS_MAX];
static int n_buffers;
static uint32_t seed;

int gpu_open(void **state)
{
    (void)state;
    struct device_options o = {.index = 0};
    if (backend_cuda.open(&o, &gpu.dev) != OK)
        return 1;
    gpu.q = backend_cuda.queue(gpu.dev);
    gpu_early(gpu.q);
    backend_cuda.step(gpu.q, true);
    return 0;
}

void gpu_early(struct queue *q)
{
    if (!simt_real()) /* it is no sm_90, but knows what that does */
        ((struct cuda_queue *)q)->early = true;
}

int gpu_close(void **state)
{
    (void)state;
    backend_cuda.close(gpu.dev);
    return 0;
}

int gpu_well(void **state)
{
    (void)state;
    simt_faults(&(struct simt_faults){0});
    return 0;
}

void *gpu_empty(size_t bytes)
{
    void *p;
    assert_true(n_buffers < BUFFERS_MAX);
    assert_int_equal(cudaMalloc(&p, bytes), cudaSuccess);
    buffers[n_buffers++] = p;
    return p;
}

void *gpu_up(const void *host, size_t bytes)
{
    if (!host)
        return NULL;
    void *p = gpu_empty(bytes);
    assert_int_equal(backend_cuda.copy(gpu.q, p, host, bytes, COPY_TO_DEVICE), OK);
    return p;
}

void gpu_down(void *host, const void *dev, size_t bytes)
{
    struct fence f;
    assert_int_equal(backend_cuda.copy(gpu.q, host, dev, bytes, COPY_TO_HOST), OK);
    assert_int_equal(backend_cuda.record(gpu.q, &f), OK);
    assert_int_equal(backend_cuda.wait(gpu.q, &f), OK);
}

void gpu_free_all(void)
{
    while (n_buffers > 0)
        assert_int_equal(cudaFree(buffers[--n_buffers]), cudaSuccess);
}

int64_t gpu_unused(void)
{
    size_t unused, total;
    assert_int_equal(cudaMemGetInfo(&unused, &total), cudaSuccess);
    return (int64_t)unused;
}

struct tensor gpu_tensor(struct tensor t)
{
    size_t bytes = dtype_row_bytes((enum dtype)t.dtype, t.shape[t.ndim - 1]);
    for (int i = 0; i < t.ndim - 1; i++)
        bytes += (size_t)((t.shape[i] - 1) * t.stride[i]);
    t.data = gpu_up(t.data, bytes);
    return t;
}

struct ragged gpu_ragged(struct ragged r)
{
    r.live = gpu_up(r.live, 2 * sizeof *r.live);
    r.pos = gpu_up(r.pos, (size_t)r.rows * sizeof *r.pos);
    r.row_seq = gpu_up(r.row_seq, (size_t)r.rows * sizeof *r.row_seq);
    r.seq_start = gpu_up(r.seq_start, (size_t)(r.seqs + 1) * sizeof *r.seq_start);
    r.seq_slot = gpu_up(r.seq_slot, (size_t)r.seqs * sizeof *r.seq_slot);
    r.span = gpu_up(r.span, (size_t)r.rows * sizeof *r.span);
    return r;
}

void gpu_each_mode(void (*test)(void))
{
    static const struct simt_mode modes[] = {{0},
                                             {.backward = true},
                                             {.random = true, .lazy = true, .seed = 1},
                                             {.random = true, .lazy = true, .seed = 2},
                                             {.protect = true}};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if ((simt_checks_races() && i % 2) || (simt_real() && i > 0))
            continue;
        simt_mode(&modes[i]);
        seed = 11;
        test();
        gpu_free_all();
    }
    simt_mode(&(struct simt_mode){0});
}

float gpu_noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    float f = (float)(seed >> 8) * 0x1p-23f - 1;
    return seed % 97 < 2 ? 20 * f : f;
}

void gpu_fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = gpu_noise();
}

void gpu_near(const float *got, const float *want, size_t n, const char *what, float rel, float abs)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= rel * fabsf(want[i]) + abs) && got[i] != want[i])
            fail_msg("%s: element %zu is %.9g, defined as %.9g", what, i, (double)got[i],
                     (double)want[i]);
}
