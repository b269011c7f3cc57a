/* ceilings.c - what the GPU at hand reaches, for `inferd tune`: memory, L2, tensor cores, cuBLASLt,
 * the time from one kernel to the next.
 *
 * Each figure is the median of several blocks of a launch that was made long enough for a clock to
 * tell, by growing it: so the same code is quick on a machine that is slow. What the GPU, or the
 * machine's memory, does not allow stays 0. */
#include <math.h>
#include <string.h>

#include "kernels/base/median.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/lt.h"
#include "kernels/cuda/lt_abi.h"
#include "kernels/cuda/peak.h"
#include "kernels/cuda/ring.h"

enum {
    BLOCKS = 7,
    LAUNCHES = 512,
    LOOPS_MAX = 1 << 16,
    EDGE = 64,
    EDGE_MAX = 8192,
    ALGORITHMS = 8
};
enum {
    BUFFER_MIN = 1 << 16,
    BUFFER = 4 << 20,
    BUFFER_MAX = 1 << 30,
    PATTERN = 1 << 20,
    SINK = 4096
};
static const double LONG_US = 400; /* what a block takes at least */
static const double NEAR = 0.02;   /* of a row's mean: what another algorithm may be off by */

/* What cuBLASLt multiplies, on which capabilities, and the ceiling that this is. */
struct type {
    cudaDataType type;
    int bits, from, to;
    size_t at;
};
#define CEIL(member) offsetof(struct gpu_ceil, member)
static const struct type types[] = {
    {CUDA_R_16BF, 16, 80, 999, CEIL(bf16_tflops)},   {CUDA_R_16F, 16, 0, 79, CEIL(bf16_tflops)},
    {CUDA_R_8F_E4M3, 8, 89, 999, CEIL(fp8_tflops)},  {CUDA_R_8I, 8, 0, 999, CEIL(int8_tops)},
    {CUDA_R_4F_E2M1, 4, 100, 999, CEIL(fp4_tflops)},
};
#undef CEIL

struct bench {
    struct cuda_queue *q;
    struct peak p;
    char *a, *b; /* on the device */
    size_t room; /* of each */
    cudaEvent_t from, to;
    size_t bytes, n; /* of what is run now; n: turns, loops, launches, edge */
    enum peak_math math;
    const struct type *type;
    const struct gpu_lt *algo;
    cudaGraphExec_t graph;
    double ops;
};

typedef enum status run_fn(struct bench *);

static enum status once(struct bench *b, run_fn *run, double *us)
{
    float ms = 0;
    TRY(cuda_check(cudaEventRecord(b->from, b->p.stream), "event"));
    TRY(run(b));
    TRY(cuda_check(cudaEventRecord(b->to, b->p.stream), "event"));
    TRY(ring_await(b->q->ring, b->p.stream));
    TRY(cuda_check(cudaEventElapsedTime(&ms, b->from, b->to), "event"));
    *us = (double)ms * 1000;
    return OK;
}

/* The median, after one that does not count. */
static enum status middle(struct bench *b, run_fn *run, double *us)
{
    double v[BLOCKS];
    TRY(once(b, run, us));
    for (int i = 0; i < BLOCKS; i++)
        TRY(once(b, run, &v[i]));
    *us = fmax(median_of(v, BLOCKS), 1e-3);
    return OK;
}

/* The same with *grows as large as it must be, up to `most`. */
static enum status grown(struct bench *b, run_fn *run, size_t *grows, size_t most, double *us)
{
    for (;;) {
        TRY(once(b, run, us));
        TRY(once(b, run, us));
        if (*us >= LONG_US || *grows * 2 > most)
            return middle(b, run, us);
        *grows *= 2;
    }
}

/* ---- what is run ----------------------------------------------------------------------------- */

static enum status copy(struct bench *b)
{
    return cuda_check(peak_copy(&b->p, b->b, b->a, b->bytes), "copying");
}

static enum status read(struct bench *b)
{
    return cuda_check(peak_read(&b->p, b->a, b->bytes, (int)b->n), "reading");
}

static enum status multiply(struct bench *b)
{
    return cuda_check(peak_mma(&b->p, b->math, b->p.sms * 4, (int)b->n, &b->ops), "multiplying");
}

/* Operands lie in the first half of `a`; the scales of fp4, one for a few numbers, in the other. */
static enum status library(struct bench *b)
{
    int64_t n = (int64_t)b->n;
    size_t bytes = b->n * b->n * (size_t)b->type->bits / 8;
    const char *scales = b->a + b->room / 2;
    struct lt_product p = {.type = b->type->type,
                           .m = n,
                           .n = n,
                           .k = n,
                           .w = b->a,
                           .x = b->a + bytes,
                           .y = (float *)b->b,
                           .w_stride = n,
                           .x_stride = n,
                           .y_stride = n,
                           .factor = 1,
                           .algo = b->algo,
                           .strict = true};
    if (p.type == CUDA_R_4F_E2M1) {
        p.scale_mode = LT_SCALE_VEC16_UE4M3;
        p.w_scale = scales;
        p.x_scale = scales + b->room / 4;
    }
    return lt_multiply(b->q->lt, &p, b->q->scratch, b->q->limits->workspace, b->p.stream);
}

static enum status starts(struct bench *b)
{
    for (size_t i = 0; i < b->n; i++)
        TRY(cuda_check(peak_start(&b->p, b->math != PEAK_F16), "starting"));
    return OK;
}

static enum status replay(struct bench *b)
{
    return cuda_check(cudaGraphLaunch(b->graph, b->p.stream), "graph");
}

/* ---- ceilings -------------------------------------------------------------------------------- */

static enum status memory(struct bench *b, int64_t l2, struct gpu_ceil *c)
{
    double us;
    b->bytes = BUFFER_MIN;
    TRY(grown(b, copy, &b->bytes, b->room, &us));
    c->copy_gbs = 2e-3 * (double)b->bytes / us;
    b->bytes = BUFFER_MIN;
    b->n = 1;
    TRY(grown(b, read, &b->bytes, b->room, &us));
    c->read_gbs = 1e-3 * (double)b->bytes / us;
    /* A quarter of the L2, so that it stays there whatever the hash of addresses. */
    if (l2 <= 0)
        return OK;
    size_t quarter = (size_t)l2 / 4 / 256 * 256;
    b->bytes = quarter < b->bytes ? quarter : b->bytes;
    TRY(grown(b, read, &b->n, LOOPS_MAX, &us));
    c->l2_gbs = 1e-3 * (double)b->bytes * (double)b->n / us;
    return OK;
}

static enum status tensor_cores(struct bench *b, struct gpu_ceil *c)
{
    const struct {
        enum peak_math math;
        double *to;
    } of[] = {{b->p.cc < 80 ? PEAK_F16 : PEAK_BF16, &c->mma_bf16_tflops},
              {PEAK_INT8, &c->mma_int8_tops}};
    for (int i = 0; i < 2; i++) {
        double us;
        b->math = of[i].math;
        b->n = 1;
        TRY(grown(b, multiply, &b->n, LOOPS_MAX, &us));
        *of[i].to = b->ops * 1e-6 / us;
    }
    return OK;
}

/* A row of what the library gives now, and whether all of it was written. */
static enum status row_of(struct bench *b, double *out)
{
    size_t bytes = b->n * sizeof(float);
    char *y = b->b + b->n / 2 * bytes;
    float *got = xmalloc(bytes);
    enum status s = cuda_check(cudaMemsetAsync(y, 0xff, bytes, b->p.stream), "memory");
    s = s == OK ? library(b) : s;
    if (s == OK) /* before the driver waits, for memory that is not pinned */
        s = ring_await(b->q->ring, b->p.stream);
    if (s == OK)
        s = cuda_check(cudaMemcpyAsync(got, y, bytes, cudaMemcpyDeviceToHost, b->p.stream), "copy");
    if (s == OK)
        s = ring_await(b->q->ring, b->p.stream);
    for (size_t i = 0; s == OK && i < b->n; i++) {
        int32_t whole;
        memcpy(&whole, &got[i], sizeof whole);
        out[i] = b->type->type == CUDA_R_8I ? whole : (double)got[i];
    }
    xfree(got);
    return s;
}

/* What is fast because it leaves something out is no ceiling. */
static bool agree(const double *a, const double *b, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += a[i] * a[i];
    for (size_t i = 0; i < n; i++)
        if (!(fabs(a[i] - b[i]) <= NEAR * sqrt(squares / (double)n)))
            return false;
    return true;
}

/* b->algo, if it gives what the suggestion gave: *best when it is faster. */
static enum status try_algorithm(struct bench *b, const double *want, double *best)
{
    double us, *got = xmalloc(b->n * sizeof *got);
    enum status s = row_of(b, got);
    bool right = s == OK && agree(want, got, b->n);
    xfree(got);
    if (right)
        s = middle(b, library, &us);
    if (right && s == OK && us < *best)
        *best = us;
    return s == ERR_UNSUPPORTED ? OK : s;
}

/* By the best of the library's first suggestions, in a large square. Of a type that it does not
 * multiply on this GPU nothing is known. */
static enum status by_library(struct bench *b, const struct type *t, struct gpu_ceil *c)
{
    struct gpu_lt algo[ALGORITHMS];
    double best;
    size_t most = EDGE;
    while (most < EDGE_MAX && 8 * (2 * most) * (2 * most) <= b->room)
        most *= 2;
    b->type = t;
    b->algo = NULL;
    b->n = EDGE;
    lt_begin(b->q->lt);
    enum status s = grown(b, library, &b->n, most, &best);
    if (s == ERR_UNSUPPORTED)
        return OK;
    TRY(s);
    double *want = xmalloc(b->n * sizeof *want);
    lt_begin(b->q->lt);
    s = row_of(b, want);
    int n = s == OK ? lt_algorithms(b->q->lt, algo, ALGORITHMS) : 0;
    for (int i = 0; i < n && s == OK; i++) {
        b->algo = &algo[i];
        s = try_algorithm(b, want, &best);
    }
    xfree(want);
    *(double *)((char *)c + t->at) = 2e-6 * (double)b->n * (double)b->n * (double)b->n / best;
    return s;
}

static enum status by_libraries(struct bench *b, struct gpu_ceil *c)
{
    /* scales of 1 */
    TRY(cuda_check(cudaMemsetAsync(b->a + b->room / 2, 0x38, b->room / 2, b->p.stream), "memory"));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (b->p.cc >= types[i].from && b->p.cc <= types[i].to)
            TRY(by_library(b, &types[i], c));
    return OK;
}

/* In a graph: microseconds a kernel. */
static enum status in_graph(struct bench *b, bool early, double *out)
{
    cudaGraph_t g;
    double us = 0;
    b->math = early ? PEAK_BF16 : PEAK_F16;
    TRY(cuda_check(cudaStreamBeginCapture(b->p.stream, cudaStreamCaptureModeThreadLocal),
                   "capture"));
    enum status s = starts(b);
    TRY(cuda_check(cudaStreamEndCapture(b->p.stream, &g), "capture"));
    cudaError_t e = cudaGraphInstantiate(&b->graph, g, 0);
    cudaGraphDestroy(g);
    TRY(cuda_check(e, "graph"));
    if (s == OK)
        s = middle(b, replay, &us);
    cudaGraphExecDestroy(b->graph);
    *out = us / (double)b->n;
    return s;
}

static enum status gaps(struct bench *b, struct gpu_ceil *c)
{
    double us;
    b->math = PEAK_F16;
    b->n = 4;
    TRY(grown(b, starts, &b->n, LAUNCHES, &us));
    c->launch_gap_us = us / (double)b->n;
    TRY(in_graph(b, false, &c->graph_gap_us));
    return b->p.cc >= 90 ? in_graph(b, true, &c->pdl_gap_us) : OK;
}

/* ---- all ------------------------------------------------------------------------------------- */

static void drop(struct bench *b)
{
    void *const taken[] = {b->a, b->b, b->p.sink};
    for (int i = 0; i < 3 && !b->q->ring->stuck; i++) /* it waits for all that runs */
        cudaFree(taken[i]);
    b->a = b->b = NULL;
    b->p.sink = NULL;
}

/* Two buffers of at most `most`, as half of what is free allows, of bits that are numbers around 1
 * in every format: a GPU is faster on zeros. */
static enum status open(struct bench *b, size_t most)
{
    size_t free_bytes = 0, total = 0;
    uint16_t *host = xmalloc(PATTERN);
    for (size_t i = 0; i < PATTERN / 2; i++)
        host[i] = (uint16_t)((rng_philox(3, i, 0).v[0] & 0x8077) | 0x3f00);
    enum status s = cuda_check(cudaMemGetInfo(&free_bytes, &total), "memory");
    for (b->room = most; b->room > BUFFER_MIN && b->room > free_bytes / 4;)
        b->room /= 2;
    if (s == OK)
        s = cuda_check(cudaMalloc((void **)&b->a, b->room), "memory");
    if (s == OK)
        s = cuda_check(cudaMalloc((void **)&b->b, b->room), "memory");
    if (s == OK)
        s = cuda_check(cudaMalloc((void **)&b->p.sink, SINK), "memory");
    for (size_t at = 0; at < b->room && s == OK; at += PATTERN) {
        size_t n = b->room - at < PATTERN ? b->room - at : PATTERN;
        s = cuda_check(
            cudaMemcpyAsync(b->a + at, at ? b->a : (char *)host, n, cudaMemcpyDefault, b->p.stream),
            "memory");
    }
    if (s == OK)
        s = cuda_check(cudaMemsetAsync(b->b, 0x3f, b->room, b->p.stream), "memory");
    if (s == OK)
        s = ring_await(b->q->ring, b->p.stream);
    xfree(host);
    return s;
}

static enum status measure(struct bench *b, int64_t l2, struct gpu_ceil *c)
{
    double us;
    TRY(cuda_check(cudaEventCreate(&b->from), "event"));
    TRY(cuda_check(cudaEventCreate(&b->to), "event"));
    TRY(open(b, BUFFER));
    b->bytes = b->room;
    b->n = 1;
    TRY(once(b, read, &us));
    TRY(once(b, read, &us));
    if (us < LONG_US) { /* a GPU: larger than any cache */
        drop(b);
        TRY(open(b, BUFFER_MAX));
    }
    TRY(memory(b, l2, c));
    TRY(tensor_cores(b, c));
    if (b->q->lt)
        TRY(by_libraries(b, c));
    return gaps(b, c);
}

enum status cuda_ceilings(struct cuda_queue *q, int64_t l2_bytes, struct gpu_ceil *out)
{
    struct bench b = {.q = q, .p = {q->stream, q->cc, q->sms, NULL}};
    *out = (struct gpu_ceil){0};
    enum status s = measure(&b, l2_bytes, out);
    drop(&b);
    if (b.from)
        cudaEventDestroy(b.from);
    if (b.to)
        cudaEventDestroy(b.to);
    return s;
}
