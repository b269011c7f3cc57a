/* test_attention.c - CUDA attention on the emulator against the naive op: head sizes, groups,
 * windows, softcap, sinks, spans, pages of bf16, fp8 and f32; and that a row's bits depend neither
 * on its company nor on the chunk it comes in. */
#include "kernels/cuda/cuda.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/naive.h"
#include "kernels/cpu/page.h"
#include "kernels/half.h"
#include "kernels/kv_type.h"
#include "tests/simt/mode.h"
#include "tests/simt/product.h"
#include "tests/support/test.h"

enum { SEQS = 5, TABLE = 520, PAGES = 24, PAGE = 16, ROWS_MAX = 64, MOST_DIM = 576 };

static struct cuda_queue q;
static uint32_t seed;

static float noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) * 0x1p-23f - 1;
}

static void *to_device(const void *from, size_t bytes)
{
    void *p;
    assert_int_equal(cudaMalloc(&p, bytes), cudaSuccess);
    assert_int_equal(cudaMemcpy(p, from, bytes, cudaMemcpyHostToDevice), cudaSuccess);
    return p;
}

/* Rows of each sequence in the step, and positions before it. */
struct plan {
    int past, rows;
};
static const struct plan mixed[SEQS] = {{0, 21}, {70, 18}, {300, 1}, {0, 1}, {131, 2}};

struct variant {
    int dim, hq, hkv, window;
    float softcap;
    bool sinks, span;
    enum dtype kv;
};

struct world {
    struct variant v;
    int rows, seqs, longest;
    int32_t pos[ROWS_MAX], row_seq[ROWS_MAX], seq_start[SEQS + 1], seq_slot[SEQS], span[ROWS_MAX];
    int32_t table[SEQS * TABLE], live[2];
    float *q, *sinks, *want, *got;
    void *pages, *panels; /* plain order; the CPU's */
    int64_t bytes;        /* of all pages */
};

static void rows_of(struct world *w, const struct plan *plan, int n)
{
    w->rows = 0;
    w->seqs = n;
    for (int s = 0; s < n; s++) {
        w->seq_start[s] = w->rows;
        w->seq_slot[s] = (s + 2) % SEQS;
        for (int i = 0; i < plan[s].rows; i++, w->rows++) {
            w->pos[w->rows] = plan[s].past + i;
            w->row_seq[w->rows] = s;
            w->span[w->rows] =
                i < plan[s].rows / 2 ? plan[s].past + plan[s].rows / 2 : w->pos[w->rows];
        }
    }
    w->seq_start[n] = w->rows;
}

/* K and V of a position in both, some of them large and some small. */
static void fill_fp8(const struct kv_view *kv, char *one, char *other, int t)
{
    int dim = kv->head_dim;
    float x[MOST_DIM];
    for (int i = 0; i < 2; i++, one += page_half(kv), other += page_half(kv)) {
        float by = i ? 2 : ldexpf(1, (int)(seed >> 20) % 3);
        for (int d = 0; d < dim; d++)
            x[d] = noise() * (d % 5 ? by : by / 256);
        naive_put_fp8(kv, one, t, x);
        naive_put_fp8(kv, other, t, x);
    }
}

/* A position's keys and values in both orders: `panel` is one head of a page. */
static void fill_floats(const struct kv_view *kv, char *panel, char *plain, int in)
{
    const int dim = kv->head_dim, size = kv->dtype == DT_F32 ? 4 : 2;
    for (int i = 0; i < 2 * dim; i++) {
        const int d = i % dim;
        const int64_t half = i < dim ? 0 : page_half(kv);
        const int at = i < dim ? page_k(kv, in, d) : page_v(kv, in, d);
        const float f = noise() * 2;
        const uint16_t b = half_to_bf16(f);
        const void *from = kv->dtype == DT_F32 ? (const void *)&f : &b;
        memcpy(panel + half + at * size, from, (size_t)size);
        memcpy(plain + half + (in * dim + d) * size, from, (size_t)size);
    }
}

/* The same numbers in both orders; positions that no row may see are NaN. */
static void fill_pages(struct world *w, const struct plan *plan)
{
    const int dim = w->v.dim;
    struct kv_view kv = {.dtype = (uint8_t)w->v.kv,
                         .page_tokens = PAGE,
                         .n_head = w->v.hkv,
                         .head_dim = dim,
                         .page_bytes = kv_page_bytes(w->v.kv, w->v.hkv, PAGE, dim),
                         .table = w->table,
                         .table_stride = TABLE};
    w->bytes = kv.page_bytes * SEQS * PAGES;
    w->pages = xmalloc((size_t)w->bytes);
    w->panels = xmalloc((size_t)w->bytes);
    memset(w->pages, 0xff, (size_t)w->bytes);
    memset(w->panels, 0xff, (size_t)w->bytes);
    kv.base = w->panels;
    for (int s = 0; s < w->seqs; s++)
        for (int t = 0; t < plan[s].past + plan[s].rows; t++)
            for (int h = 0; h < w->v.hkv; h++) {
                char *panel = page_head(&kv, w->seq_slot[s], t, h);
                char *plain = (char *)w->pages + (panel - (char *)w->panels);
                if (w->v.kv == DT_F8_E4M3) /* its order is the same everywhere */
                    fill_fp8(&kv, panel, plain, t % PAGE);
                else
                    fill_floats(&kv, panel, plain, t % PAGE);
            }
}

static void world_open(struct world *w, struct variant v, const struct plan *plan, int n)
{
    size_t all = (size_t)(ROWS_MAX * v.hq * v.dim);
    memset(w, 0, sizeof *w);
    w->v = v;
    rows_of(w, plan, n);
    /* 11 and 120 have no factor in common; a long text's pages come again and again */
    for (int i = 0; i < SEQS * TABLE; i++)
        w->table[i] = (i / TABLE * PAGES + i % TABLE % PAGES) * 11 % (SEQS * PAGES);
    fill_pages(w, plan);
    w->q = xmalloc(all * 4);
    w->want = xmalloc(all * 4);
    w->got = xmalloc(all * 4);
    w->sinks = xmalloc((size_t)v.hq * 4);
    for (size_t i = 0; i < all; i++)
        w->q[i] = noise() * 3;
    for (int h = 0; h < v.hq; h++)
        w->sinks[h] = noise() * 4;
    w->live[0] = w->rows;
    w->live[1] = w->seqs;
    w->longest = PAGES * PAGE;
}

static void world_close(struct world *w)
{
    xfree(w->q);
    xfree(w->want);
    xfree(w->got);
    xfree(w->sinks);
    xfree(w->pages);
    xfree(w->panels);
}

static struct op_attention op_of(struct world *w, float *qd, float *y)
{
    struct op_attention a = {.q = tensor_3d(qd, DT_F32, w->rows, w->v.hq, w->v.dim),
                             .r = {w->rows, w->seqs, w->live, w->pos, w->row_seq, w->seq_start,
                                   w->seq_slot, w->v.span ? w->span : NULL},
                             .kv = {w->panels, (uint8_t)w->v.kv, PAGE, w->v.hkv, w->v.dim,
                                    w->bytes / (SEQS * PAGES), w->table, TABLE, w->v.window},
                             .scale = 1 / sqrtf((float)w->v.dim),
                             .softcap = w->v.softcap,
                             .y = tensor_3d(y, DT_F32, w->rows, w->v.hq, w->v.dim)};
    if (w->v.sinks)
        a.sinks = tensor_1d(w->sinks, DT_F32, w->v.hq);
    return a;
}

/* Runs it as a bucket of `rows` and `seqs`, of which the live ones are real. */
static void run_cuda(struct world *w, int rows, int seqs)
{
    size_t row = (size_t)(w->v.hq * w->v.dim) * 4;
    struct op_attention a = op_of(w, w->q, w->got);
    void *mine[16];
    int n = 0;
    memset(w->got, 0xff, row * (size_t)rows);
#define UP(at, bytes) (at = mine[n++] = to_device(at, bytes))
    a.q.shape[0] = a.y.shape[0] = a.r.rows = rows;
    a.r.seqs = seqs;
    a.r.longest = w->longest;
    a.r.singles = rows == 1;
    UP(a.q.data, row * (size_t)rows);
    UP(a.y.data, row * (size_t)rows);
    UP(a.r.live, sizeof w->live);
    UP(a.r.pos, sizeof w->pos);
    UP(a.r.row_seq, sizeof w->row_seq);
    UP(a.r.seq_start, sizeof w->seq_start);
    UP(a.r.seq_slot, sizeof w->seq_slot);
    UP(a.kv.table, sizeof w->table);
    if (a.r.span)
        UP(a.r.span, sizeof w->span);
    if (a.sinks.data)
        UP(a.sinks.data, (size_t)w->v.hq * 4);
    a.kv.base = w->pages;
    UP(a.kv.base, (size_t)w->bytes);
#undef UP
    assert_int_equal(cuda_attention(&q, &a), OK);
    assert_int_equal(cudaStreamSynchronize(q.stream), cudaSuccess);
    cudaMemcpy(w->got, a.y.data, row * (size_t)rows, cudaMemcpyDeviceToHost);
    for (int i = 0; i < n; i++)
        cudaFree(mine[i]);
}

/* V is below 2: one step of bf16 in p, and of q in the scores. f32 pages: order of sums only. */
static void check(struct world *w)
{
    struct op_attention a = op_of(w, w->q, w->want);
    float most = w->v.kv == DT_F32 ? 2e-5f : 1.2e-2f;
    naive_attention(&a, 0, naive_attention_items(&a));
    for (int i = 0; i < w->live[0] * w->v.hq * w->v.dim; i++)
        if (!(fabsf(w->got[i] - w->want[i]) <= most))
            fail_msg("dim %d heads %d/%d window %d cap %g: row %d element %d is %g, defined as %g",
                     w->v.dim, w->v.hq, w->v.hkv, w->v.window, (double)w->v.softcap,
                     i / (w->v.hq * w->v.dim), i % (w->v.hq * w->v.dim), (double)w->got[i],
                     (double)w->want[i]);
}

static void try_variant(struct variant v)
{
    struct world w;
    world_open(&w, v, mixed, SEQS);
    run_cuda(&w, w.rows + 3, SEQS);
    check(&w);
    for (int i = 0; i < 3 * v.hq * v.dim; i++) /* rows that are not live: not touched */
        assert_true(isnan(w.got[w.rows * v.hq * v.dim + i]));
    world_close(&w);
}

/* Tuned sizes, and sizes that are only correct. */
static void test_sizes(void **state)
{
    static const int dims[] = {64, 80, 96, 128, 256, 72, 192, 512, 576};
    static const enum dtype types[] = {DT_BF16, DT_F8_E4M3};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof dims / sizeof *dims; i++) {
        bool large = dims[i / 2] > 256;
        if (!simt_slow() || !large)
            try_variant((struct variant){dims[i / 2], large ? 2 : 4, large ? 1 : 2, 0, 0, false,
                                         false, types[i % 2]});
    }
}

static void test_groups(void **state)
{
    (void)state;
    try_variant((struct variant){64, 7, 1, 0, 0, false, false, DT_BF16});
    try_variant((struct variant){64, 3, 3, 0, 0, false, false, DT_BF16});
    try_variant((struct variant){64, 40, 2, 0, 0, true, false, DT_BF16}); /* two tiles of heads */
    try_variant((struct variant){64, 64, 1, 0, 0, false, false, DT_BF16});
    try_variant((struct variant){64, 66, 1, 0, 0, false, false, DT_BF16}); /* plain */
}

static void test_variants(void **state)
{
    (void)state;
    try_variant((struct variant){64, 4, 2, 40, 0, false, false, DT_BF16});
    try_variant((struct variant){64, 4, 2, 0, 5, false, false, DT_BF16});
    try_variant((struct variant){64, 4, 2, 0, 0, true, false, DT_BF16});
    try_variant((struct variant){128, 4, 2, 1, 0, true, false, DT_BF16});
    try_variant((struct variant){80, 4, 2, 70, 3, true, true, DT_BF16});
    try_variant((struct variant){64, 4, 1, 0, 0, false, true, DT_BF16});
    try_variant((struct variant){64, 40, 2, 40, 5, true, true, DT_F8_E4M3});
    try_variant((struct variant){128, 7, 1, 1, 0, true, false, DT_F8_E4M3});
}

static void test_plain(void **state)
{
    (void)state;
    try_variant((struct variant){64, 4, 2, 0, 0, false, false, DT_F32});
    try_variant((struct variant){72, 4, 2, 33, 5, true, false, DT_BF16});
    try_variant((struct variant){20, 2, 1, 0, 0, false, true, DT_F32});
    try_variant((struct variant){72, 4, 2, 33, 5, true, true, DT_F8_E4M3});
}

/* A sequence alone has the bits that it has among others. */
static void company(enum dtype kv)
{
    struct variant v = {64, 4, 2, 0, 0, true, false, kv};
    struct world all, one;
    world_open(&all, v, mixed, SEQS);
    run_cuda(&all, all.rows, SEQS);
    for (int s = 0; s < SEQS; s++) {
        int n = mixed[s].rows, first = all.seq_start[s], wide = v.hq * v.dim;
        world_open(&one, v, mixed, SEQS);
        memcpy(one.pages, all.pages, (size_t)all.bytes);
        memcpy(one.sinks, all.sinks, (size_t)v.hq * 4);
        memcpy(one.q, all.q + first * wide, (size_t)(n * wide) * 4);
        for (int i = 0; i < n; i++) {
            one.pos[i] = all.pos[first + i];
            one.row_seq[i] = 0;
        }
        one.seq_slot[0] = all.seq_slot[s];
        one.seq_start[1] = one.live[0] = n;
        one.live[1] = 1;
        run_cuda(&one, n, 1);
        assert_memory_equal(one.got, all.got + first * wide, (size_t)(n * wide) * 4);
        world_close(&one);
    }
    world_close(&all);
}

static void test_company(void **state)
{
    (void)state;
    company(DT_BF16);
    company(DT_F8_E4M3);
}

/* A row alone has the bits that it has in a chunk, whichever kernel takes it: ranges that begin or
 * end beside the limits of parts, within windows, with sinks. */
static void a_chunk_and_its_rows(struct variant v, struct plan plan)
{
    struct world all, one;
    const int wide = v.hq * v.dim;
    world_open(&all, v, &plan, 1);
    all.longest = 0;
    run_cuda(&all, all.rows, 1);
    for (int r = 0; r < all.rows; r++) {
        world_open(&one, v, &plan, 1);
        memcpy(one.pages, all.pages, (size_t)all.bytes);
        memcpy(one.sinks, all.sinks, (size_t)v.hq * 4);
        memcpy(one.q, all.q + r * wide, (size_t)wide * 4);
        one.pos[0] = all.pos[r];
        one.seq_start[1] = one.live[0] = 1;
        one.longest = all.pos[r] + 1;
        run_cuda(&one, 1, 1);
        assert_memory_equal(one.got, all.got + r * wide, (size_t)wide * 4);
        world_close(&one);
    }
    world_close(&all);
}

static void test_chunks(void **state)
{
    static const int dims[] = {64, 80, 96, 128, 256};
    (void)state;
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        a_chunk_and_its_rows((struct variant){dims[i], 4, 2, 0, 0, i % 2, false, DT_BF16},
                             (struct plan){122, 9});
    for (size_t i = 0; i < sizeof dims / sizeof *dims && !simt_slow(); i += 4)
        a_chunk_and_its_rows((struct variant){dims[i], 4, 2, 70, 0, true, false, DT_F8_E4M3},
                             (struct plan){124, 5});
    a_chunk_and_its_rows((struct variant){64, 1, 1, 0, 0, false, false, DT_BF16},
                         (struct plan){0, 5});
    a_chunk_and_its_rows((struct variant){64, 2, 1, 70, 0, true, false, DT_BF16},
                         (struct plan){190, 9});
    a_chunk_and_its_rows((struct variant){128, 20, 1, 130, 3, false, false, DT_BF16},
                         (struct plan){254, 5});
    a_chunk_and_its_rows((struct variant){64, 1, 1, 0, 0, false, false, DT_BF16},
                         (struct plan){2046, 4});
    a_chunk_and_its_rows((struct variant){64, 1, 1, 200, 0, false, false, DT_BF16},
                         (struct plan){8190, 4});
}

/* Little scratch: sequences go in groups; none: an error. */
static void test_scratch(void **state)
{
    struct cuda_queue whole = q;
    struct world w;
    (void)state;
    world_open(&w, (struct variant){64, 4, 2, 0, 0, false, false, DT_BF16}, mixed, SEQS);
    q.scratch_bytes = 2 * 4 * 4 * 4 * 66 + 100;
    run_cuda(&w, w.rows, SEQS);
    check(&w);
    q = whole;
    world_close(&w);
}

/* sm_75: no cp.async, products of bf16 by shuffles, and less shared memory. */
static void test_75(void **state)
{
    (void)state;
    q.cc = 75;
    q.smem_max = 64 << 10;
    simt_faults(&(struct simt_faults){.cc = 75});
    try_variant((struct variant){64, 4, 2, 40, 0, true, false, DT_BF16});
    try_variant((struct variant){80, 3, 1, 0, 5, false, true, DT_F8_E4M3});
    if (!simt_slow())
        try_variant((struct variant){256, 2, 1, 0, 0, false, false, DT_BF16}); /* plain */
    simt_faults(&(struct simt_faults){0});
}

static int open_queue(void **state)
{
    (void)state;
    q = (struct cuda_queue){.cc = 80, .sms = 4, .smem_max = 101376, .early = !simt_real()};
    seed = 1;
    product_plan(&q, 64, 64);
    return product_queue_open(&q, 4 << 20);
}

static int close_queue(void **state)
{
    (void)state;
    gpu_plan_clear(&q.plan);
    return product_queue_close(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sizes, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_groups, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_variants, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_plain, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_75, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_company, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_chunks, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_scratch, open_queue, close_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
