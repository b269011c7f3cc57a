/* measure.c - see measure.h. */
#include "tests/gpu/measure.h"

#include <stdio.h>
#include <stdlib.h>

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"

enum { BLOCKS = 7, BLOCKS_MAX = 32, WARMUP = 20, PIECE = 1 << 20 };

void must(cudaError_t e, const char *what)
{
    if (e == cudaSuccess)
        return;
    fprintf(stderr, "%s: %s (%s)\n", what, cudaGetErrorString(e), cudaGetErrorName(e));
    exit(1);
}

struct effort effort_of(double seconds, bool tiny)
{
    if (tiny)
        return (struct effort){.blocks = 1};
    return (struct effort){WARMUP, BLOCKS, seconds};
}

static double time_block(cudaStream_t stream, int n, void (*run)(void *), void *ctx)
{
    cudaEvent_t from, to;
    float ms = 0;
    must(cudaEventCreate(&from), "event");
    must(cudaEventCreate(&to), "event");
    must(cudaEventRecord(from, stream), "event");
    for (int i = 0; i < n; i++)
        run(ctx);
    must(cudaEventRecord(to, stream), "event");
    must(cudaEventSynchronize(to), "what was measured");
    must(cudaGetLastError(), "what was measured");
    must(cudaEventElapsedTime(&ms, from, to), "event");
    cudaEventDestroy(from);
    cudaEventDestroy(to);
    return 1000.0 * (double)ms / n;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct figure measure(cudaStream_t stream, const struct effort *e, void (*run)(void *), void *ctx)
{
    double us[BLOCKS_MAX];
    int blocks = e->blocks < BLOCKS_MAX ? e->blocks : BLOCKS_MAX, n = 1;
    if (e->warmup > 0) {
        /* The warm-up stops early where a repetition is long. */
        double once = time_block(stream, 1, run, ctx);
        int most = once > 0 ? (int)(0.1 * e->seconds * 1e6 / once) : e->warmup;
        once = time_block(stream, most < 1 ? 1 : most < e->warmup ? most : e->warmup, run, ctx);
        double want = e->seconds * 1e6 / blocks / (once > 0 ? once : 1);
        n = want < 1 ? 1 : want > 1e6 ? 1000000 : (int)want;
    }
    for (int i = 0; i < blocks; i++)
        us[i] = time_block(stream, n, run, ctx);
    qsort(us, (size_t)blocks, sizeof us[0], by_value);
    return (struct figure){us[blocks / 2], us[0], us[blocks - 1]};
}

void *random_bytes(size_t bytes, uint64_t seed)
{
    char *p, *host = xmalloc(PIECE);
    void *out;
    must(cudaMalloc(&out, bytes), "memory");
    for (size_t i = 0; i < PIECE; i += sizeof(struct rng_block)) {
        struct rng_block r = rng_philox(seed, i, 0);
        for (size_t k = 0; k < sizeof r; k++)
            host[i + k] = ((const char *)&r)[k];
    }
    p = out;
    size_t have = bytes < PIECE ? bytes : PIECE;
    must(cudaMemcpy(p, host, have, cudaMemcpyHostToDevice), "copy");
    for (size_t n; have < bytes; have += n) { /* doubles what is there */
        n = have < bytes - have ? have : bytes - have;
        must(cudaMemcpyAsync(p + have, p, n, cudaMemcpyDeviceToDevice, NULL), "copy");
    }
    must(cudaDeviceSynchronize(), "copy");
    xfree(host);
    return out;
}

static void print_line(const char *name, double value, double lo, double hi)
{
    printf("{\"kind\": \"ceil\", \"name\": \"%s\", \"value\": %.6g, \"lo\": %.6g, \"hi\": %.6g}\n",
           name, value, lo, hi);
    fflush(stdout);
}

void print_rate(const char *name, double amount, struct figure f)
{
    double k = amount * 1e-3; /* a microsecond -> 10^9 a second */
    print_line(name, k / f.us, k / f.hi, k / f.lo);
}

void print_time(const char *name, struct figure f)
{
    print_line(name, f.us, f.lo, f.hi);
}
