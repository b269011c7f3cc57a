/* bench_kernels.c - speed of the CPU kernels beside what this machine gives in the same second.
 *
 *   bench_kernels limits              read rate, instruction peaks, cost of a stage
 *   bench_kernels linear [TYPE [ISA [THREADS]]]
 *                                     y = x W^T over N x K x M, weights from memory for M <= 16
 *   bench_kernels attn [ISA]          decode and prefill over paged bf16 KV, packing
 *   bench_kernels sample [ISA]        choosing a token from a row of 152k logits, one thread
 *
 * DRAM of a shared machine drifts by a factor of two within minutes: `%` is the median ratio of the
 * kernel's rate to a read test run in alternation with it. G: 10^9 operations a second, 2 M N K. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/cpu/fast.h"

enum { FROM_DRAM = 160 << 20, RUNS_MAX = 200, FEW = 16 };
static const double SECONDS = 0.08;

static void fill_random(void *p, size_t bytes)
{
    uint64_t state = 88172645463325252u;

    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        uint64_t v = state & 0xbfffbfffbfffbfffu; /* no infinities or NaN among 16-bit scales */
        memcpy((char *)p + i, &v, 8);
    }
}

static void *must_alloc(size_t bytes)
{
    void *p;

    if (big_alloc(bytes, &p) != OK) {
        printf("%s\n", fail_text());
        exit(1);
    }
    return p;
}

/* --- limits. 14 independent accumulators: two ports x latency; in assembly, so nothing spills. */

#define PEAK(name, op, reg)                                                                        \
    static void name(void *arg, int64_t chunk, int worker)                                         \
    {                                                                                              \
        long n = *(long *)arg + 0 * (chunk + worker);                                              \
        __asm__ volatile("vzeroall\n1:\n.irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13\n" op " %%" reg     \
                         "14, %%" reg "15, %%" reg "\\r\n.endr\ndec %0\njnz 1b\nvzeroupper"        \
                         : "+r"(n)                                                                 \
                         :                                                                         \
                         : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",       \
                           "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",    \
                           "xmm15");                                                               \
    }
PEAK(peak_int8, "vpdpbusd", "zmm")
PEAK(peak_bf16, "vdpbf16ps", "zmm")
PEAK(peak_f32, "vfmadd231ps", "zmm")
PEAK(peak_f32_ymm, "vfmadd231ps", "ymm")
PEAK(peak_int8_ymm, "vpmaddubsw", "ymm")

static void nothing(void *arg, int64_t chunk, int worker)
{
    (void)arg;
    (void)chunk;
    (void)worker;
}

static void limits(void)
{
    static const struct {
        const char *name, *isa;
        pool_fn *fn;
        int ops;
    } peak[] = {{"vpdpbusd zmm", "avx512", peak_int8, 128},
                {"vdpbf16ps zmm", "avx512bf16", peak_bf16, 64},
                {"fma f32 zmm", "avx512", peak_f32, 32},
                {"fma f32 ymm", "avx2", peak_f32_ymm, 16},
                {"vpmaddubsw ymm", "avx2", peak_int8_ymm, 64}};
    void *p = must_alloc(4u * FROM_DRAM);
    struct fast all, f;

    memset(p, 1, 4u * FROM_DRAM);
    if (fast_open(&all, 0, NULL) != OK)
        exit(1);
    for (int t = 1; t <= pool_threads(all.pool); t++) {
        if (fast_open(&f, t, NULL) != OK)
            exit(1);
        pool_begin(f.pool);
        double best = 0;
        for (int i = 0; i < 5; i++)
            best = fmax(best, fast_read_rate(&f, p, 4u * FROM_DRAM));
        printf("%d threads: read %.1f GB/s\n", t, best);
        for (size_t i = 0; i < sizeof peak / sizeof *peak; i++) {
            long n = 1000000;
            if (!isa_select(peak[i].isa))
                continue;
            double begin = clock_now();
            pool_run(f.pool, t, peak[i].fn, &n);
            double ops = (double)t * (double)n * 14 * peak[i].ops;
            printf("%d threads: %-15s %7.1f GOP/s\n", t, peak[i].name,
                   ops / (clock_now() - begin) * 1e-9);
        }
        double begin = clock_now();
        for (int i = 0; i < 20000; i++)
            pool_run(f.pool, t + 1, nothing, NULL);
        printf("%d threads: a stage of %d empty chunks %.2f us\n", t, t + 1,
               (clock_now() - begin) / 20000 * 1e6);
        pool_end(f.pool);
        fast_close(&f);
    }
    fast_close(&all);
    big_free(p, 4u * FROM_DRAM);
}

/* --- linear */

static int by_value(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;

    return (d > 0) - (d < 0);
}

/* Seconds of one product (best), and the median ratio to the read test. */
static double measure(struct fast *f, struct op_linear *a, const struct tensor *w, int copies,
                      size_t one, double *share)
{
    double best = 1e9, end = clock_now() + SECONDS, ratio[RUNS_MAX];
    int n = 0;

    for (; n < 3 || (clock_now() < end && n < RUNS_MAX); n++) {
        double rate = 1;
        if (a->x.shape[0] <= FEW)
            rate = fast_read_rate(f, w->data, one * (size_t)copies);
        double begin = clock_now();
        for (int i = 0; i < copies; i++) {
            a->w = *w;
            a->w.data = (char *)w->data + (size_t)i * one;
            fast_linear(f, a);
        }
        double took = clock_now() - begin;
        best = fmin(best, took / copies);
        ratio[n] = (double)one * copies / took * 1e-9 / rate;
    }
    qsort(ratio, (size_t)n, sizeof *ratio, by_value);
    *share = ratio[n / 2];
    return best;
}

static void line(struct fast *f, enum dtype t, int64_t n, int64_t k)
{
    static const int ms[] = {1, 2, 4, 8, 16, 64, 512};
    size_t one, row = dtype_row_bytes(t, k);

    fast_packs(f, t, n, k, &one);
    int copies = (int)(FROM_DRAM / one) + 1;
    char *rows = must_alloc(row * (size_t)n), *all = must_alloc(one * (size_t)copies);
    float *x = must_alloc((size_t)(512 * k) * 4), *y = must_alloc((size_t)(512 * n) * 4);
    struct tensor src = tensor_2d(rows, t, n, k), w = {.data = all};
    fill_random(rows, row * (size_t)n);
    double begin = clock_now();
    fast_pack(f, &(struct pack_item){&src, 1, NULL, &w}, 1);
    double packed = (double)one / (clock_now() - begin) * 1e-9;
    for (int i = 1; i < copies; i++)
        memcpy(all + (size_t)i * one, all, one);
    for (int64_t i = 0; i < 512 * k; i++)
        x[i] = sinf((float)i);
    printf("%-5s %6lldx%-5lld", dtype_info(t)->name, (long long)n, (long long)k);
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        struct op_linear a = {.x = tensor_2d(x, DT_F32, ms[i], k),
                              .y = tensor_2d(y, DT_F32, ms[i], n)};
        double share, took = measure(f, &a, &w, ms[i] <= FEW ? copies : 1, one, &share);
        printf(" | M%d", ms[i]);
        if (ms[i] <= FEW)
            printf(" %3.0f%%", 100 * share);
        printf(" %.0f G", 2.0 * (double)n * (double)k * ms[i] / took * 1e-9);
        fflush(stdout);
    }
    printf(" | pack %.1f GB/s\n", packed);
    big_free(rows, row * (size_t)n);
    big_free(all, one * (size_t)copies);
    big_free(x, (size_t)(512 * k) * 4);
    big_free(y, (size_t)(512 * n) * 4);
}

static void linear(const char *type, const char *isa, int threads)
{
    static const int64_t shapes[][2] = {
        {896, 896}, {9728, 896}, {896, 4864}, {16384, 2048}, {2048, 8192}};
    struct fast f;

    if (fast_open(&f, threads, isa) != OK) {
        printf("%s\n", fail_text());
        exit(1);
    }
    printf("%s, %d threads; N x K: M, %% of the read rate, G = 10^9 op/s\n", f.isa->name,
           pool_threads(f.pool));
    pool_begin(f.pool);
    for (int t = 0; t < N_DTYPE; t++)
        for (int i = 0; i < 5 && panel_format((enum dtype)t); i++)
            if ((!type || !strcmp(type, dtype_info((enum dtype)t)->name)) &&
                shapes[i][1] % dtype_info((enum dtype)t)->block == 0)
                line(&f, (enum dtype)t, shapes[i][0], shapes[i][1]);
    pool_end(f.pool);
    fast_close(&f);
}

/* --- attention: one sequence or several, all with `past` positions before */

static void attend(struct fast *f, int seqs, int rows, int past, int heads)
{
    enum { DIM = 64, KV_HEADS = 8 };
    int total = past + rows, pages = (total + 15) / 16, n = seqs * rows;
    struct kv_view kv = {.dtype = DT_BF16,
                         .page_tokens = 16,
                         .n_head = KV_HEADS,
                         .head_dim = DIM,
                         .table_stride = pages,
                         .page_bytes = KV_HEADS * 16 * 2 * DIM * 2};
    size_t bytes = (size_t)(seqs * pages) * (size_t)kv.page_bytes;
    int32_t *ints = xmalloc((size_t)(seqs * pages + 2 * n + seqs) * 4), *pos, *row_seq, *slot;
    float *q = xmalloc((size_t)(n * heads * DIM) * 4), *y = xmalloc((size_t)(n * heads * DIM) * 4);
    kv.base = must_alloc(bytes);
    fill_random(kv.base, bytes);
    for (int i = 0; i < seqs * pages; i++)
        ints[i] = i;
    kv.table = ints;
    pos = ints + seqs * pages, row_seq = pos + n, slot = row_seq + n;
    for (int i = 0; i < n; i++)
        pos[i] = past + i % rows, row_seq[i] = i / rows;
    for (int i = 0; i < seqs; i++)
        slot[i] = i;
    for (int i = 0; i < n * heads * DIM; i++)
        q[i] = sinf((float)i);
    struct op_attention a = {
        .q = tensor_3d(q, DT_F32, n, heads, DIM),
        .r = {.rows = n, .seqs = seqs, .pos = pos, .row_seq = row_seq, .seq_slot = slot},
        .kv = kv,
        .scale = 0.125f,
        .y = tensor_3d(y, DT_F32, n, heads, DIM)};
    double best = 1e9, read = 0;
    for (int i = 0; i < 6; i++) {
        read = fmax(read, fast_read_rate(f, kv.base, bytes));
        double begin = clock_now();
        fast_attention(f, &a);
        best = fmin(best, clock_now() - begin);
    }
    double flop = 4.0 * DIM * heads * seqs * rows * (past + rows / 2.0);
    printf(
        "attention, %d sequences x %d rows, past %5d, %d heads on %d: KV %5.1f GB/s (read %5.1f),"
        " %6.1f GFLOP/s, %7.1f us\n",
        seqs, rows, past, heads, KV_HEADS, (double)bytes / best * 1e-9, read, flop / best * 1e-9,
        best * 1e6);
    big_free(kv.base, bytes);
    xfree(ints), xfree(q), xfree(y);
}

static void attention(const char *isa)
{
    static const int c[][4] = {/* sequences, rows, past, query heads */
                               {1, 1, 512, 32},   {1, 1, 4096, 32}, {1, 1, 32768, 32},
                               {16, 1, 4096, 32}, {1, 512, 0, 32},  {1, 512, 3584, 32}};
    struct fast f;

    if (fast_open(&f, 0, isa) != OK) {
        printf("%s\n", fail_text());
        exit(1);
    }
    pool_begin(f.pool);
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        attend(&f, c[i][0], c[i][1], c[i][2], c[i][3]);
    pool_end(f.pool);
    fast_close(&f);
}

/* --- sampling: logits as a model's are spread, and the same made flat by the temperature */

static void sample(const char *isa)
{
    enum { N = 151936, TIMES = 60 };
    static const struct {
        const char *name;
        struct sample_row row;
    } c[] = {
        {"greedy", {.temperature = 0, .top_p = 1, .repetition = 1, .n_top = -1}},
        {"temperature 1", {.temperature = 1, .top_p = 1, .repetition = 1, .n_top = -1}},
        {"temperature 5", {.temperature = 5, .top_p = 1, .repetition = 1, .n_top = -1}},
        {"top_k 50", {.temperature = 1, .top_p = 1, .repetition = 1, .n_top = -1, .top_k = 50}},
        {"top_p 0.9", {.temperature = 1, .top_p = 0.9f, .repetition = 1, .n_top = -1}},
        {"top_p 0.9, penalties",
         {.temperature = 1, .top_p = 0.9f, .repetition = 1.1f, .presence = 1, .n_top = -1}},
        {"greedy, logprobs 20", {.temperature = 0, .top_p = 1, .repetition = 1, .n_top = 20}},
    };
    float *from = xmalloc(N * 4), *x = xmalloc(N * 4);
    uint16_t *counts = xcalloc(N, 2);
    struct fast f;
    uint32_t seed = 1;

    if (fast_open(&f, 1, isa) != OK) {
        printf("%s\n", fail_text());
        exit(1);
    }
    for (int i = 0; i < N; i++) { /* deviation 2.5, as a sum of 12; some candidates stand out */
        from[i] = -15;
        for (int k = 0; k < 12; k++)
            from[i] += 2.5f * (float)((seed = seed * 1664525u + 1013904223u) >> 8) * 0x1p-24f;
        from[i] = i % 5000 == 77 ? 14.0f - (float)i / 15000 : from[i];
        counts[i] = i % 300 == 5 ? 0x8001 : 0;
    }
    pool_begin(f.pool);
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        struct sample_row row = c[i].row;
        struct sample_out out;
        double best = 1e9, sum = 0;
        row.forced = -1;
        for (int k = 0; k < TIMES; k++) {
            struct op_sample a = {.logits = tensor_2d(x, DT_F32, 1, N), .row = &row, .out = &out};
            a.counts = row.presence != 0 ? counts : NULL;
            row.counter = (uint64_t)k;
            memcpy(x, from, N * 4);
            double begin = clock_now();
            fast_sample(&f, &a);
            double took = clock_now() - begin;
            best = fmin(best, took);
            sum += took;
        }
        printf("%s, a row of %d: %-22s best %.3f ms, mean %.3f ms\n", f.isa->name, N, c[i].name,
               best * 1e3, sum / TIMES * 1e3);
    }
    pool_end(f.pool);
    fast_close(&f);
    xfree(from), xfree(x), xfree(counts);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (!strcmp(what, "limits"))
        limits();
    else if (!strcmp(what, "linear"))
        linear(argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL,
               argc > 4 ? (int)strtol(argv[4], NULL, 10) : 0);
    else if (!strcmp(what, "attn"))
        attention(argc > 2 ? argv[2] : NULL);
    else if (!strcmp(what, "sample"))
        sample(argc > 2 ? argv[2] : NULL);
    else
        printf("bench_kernels limits | linear [TYPE [ISA]] | attn [ISA] | sample [ISA]\n");
    return 0;
}
