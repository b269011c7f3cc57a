/* test_lt.c - products of many rows by cuBLASLt, emulated (cublaslt.cc): every weight type against
 * the naive op, in pieces and whole, at the cross-over, in a graph, and with a library that is
 * missing, refuses or fails.
 *
 * Bounds, of sum |x w|: what is decoded is rounded to bf16, as x is (2^-8 each), and the naive op
 * rounds x to bf16 for bf16 weights, to 8-bit integers for block formats. On sm_75 both are f16,
 * 2^-11, or 2^-25 of x for tiny weights. */
#include "kernels/cuda/lt.h"

#include <math.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/cpu/naive.h"
#include "kernels/cuda/lt_abi.h"
#include "kernels/cuda/panel.h"
#include "kernels/quant/f8_e4m3.h"
#include "tests/simt/cublaslt.h"
#include "tests/simt/gpu.h"
#include "tests/simt/product.h"
#include "tests/support/test.h"

enum { HALF_ROWS = 5, BLOCK_ROWS = 9 };

static const struct lt_limits small = {0, 64 << 10, 64 << 10, 1 << 20};
static struct cuda_queue q;
static struct lt *lt;
static int warnings;

static void count_line(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)line;
    warnings += level == LOG_WARN;
}

static int open_queue(void **state)
{
    (void)state;
    simt_cublaslt = (struct simt_cublaslt){.workspace = small.workspace};
    q = (struct cuda_queue){
        .cc = 80, .sms = 4, .smem_max = 99 << 10, .limits = &small, .early = true};
    product_plan(&q, HALF_ROWS - 1, BLOCK_ROWS - 1);
    product_seed = 1;
    warnings = 0;
    product_find_types();
    log_set_sink(count_line, NULL, LOG_DEBUG);
    if (lt_open(NULL, &lt) != OK || !lt)
        return 1;
    q.lt = lt;
    lt_count(lt, &q.fallbacks);
    return product_queue_open(&q, small.scratch);
}

static int close_queue(void **state)
{
    (void)state;
    gpu_plan_clear(&q.plan);
    int failed = product_queue_close(&q);
    lt_close(lt);
    log_set_sink(NULL, NULL, LOG_INFO);
    return failed || simt_cublaslt.open != 0;
}

/* What the naive op may lose of sum |x w| when it rounds x to integers, block by block. */
static double integers_lose(const struct product *o, int r, const float *w)
{
    double sum = 0;
    for (int k = 0; k < o->s.k; k += 32) {
        double top = 0, size = 0;
        for (int i = k; i < k + 32; i++) {
            top = fmax(top, fabs((double)o->x[r * o->s.k + i]));
            size += fabs((double)w[i]);
        }
        sum += size * top / 254;
    }
    return sum * (o->s.m % 2 ? (double)o->naive.w.q->global : 1);
}

static void near(struct product *o, int cc)
{
    enum dtype t = (enum dtype)o->naive.w.dtype;
    bool ints = dtype_info(t)->ints != NULL;
    double one = cc < 80 ? 0x1.1p-11 : 0x1.1p-8; /* rounding */
    double eps = t == DT_F16                ? 0x1.1p-11
                 : dtype_info(t)->block > 1 ? 2 * one
                 : cc < 80                  ? 0x1p-8 + one
                                            : 0x1p-19;
    int live = o->s.live ? o->s.live : o->s.m;
    float *row = xmalloc((size_t)o->s.k * 4);
    naive_linear(&o->naive, 0, naive_linear_items(&o->naive));
    for (int r = 0; r < live; r++)
        for (int c = 0; c < o->s.n; c++) {
            double got = o->got[r * o->s.n + c], want = o->want[r * o->s.n + c];
            double may = eps * product_size(o, r, c, row);
            for (int k = 0; k < o->s.k && cc < 80; k++) /* weights below f16's normal ones */
                may += 0x1p-25 * fabs((double)o->x[r * o->s.k + k]);
            may += (ints ? integers_lose(o, r, row) : 0) + 0x1p-22 * fabs(want);
            if (!(fabs(got - want) <= may))
                fail_msg("%s %d x %d x %d: y[%d][%d] is %.9g, defined as %.9g, may differ by %.3g",
                         dtype_info(t)->name, o->s.m, o->s.n, o->s.k, r, c, got, want, may);
        }
    xfree(row);
}

static void check_formats(int cc)
{
    static const struct shape shapes[] = {{9, 33, 96, 0}, {17, 40, 224, 11}, {64, 16, 64, 0}};
    q.cc = cc;
    for (int i = 0; i < product_n_types; i++)
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            enum dtype t = product_types[i];
            struct product o = {0};
            struct shape s = shapes[j];
            s.k = product_k(t, s.k) - (dtype_info(t)->block > 1 ? 0 : (int)j);
            simt_cublaslt.products = 0;
            product_open(&o, t, s);
            product_run(&q, &o);
            const struct panel_format *f = cuda_panel_format(t);
            bool own =
                t == DT_F32 || (cc < 80 && f && (f->scales == PANEL_ANY || f->scales == PANEL_E8));
            assert_int_equal(simt_cublaslt.products > 0, !own);
            if (!own) {
                bool f16 = t == DT_F16 || cc < 80;
                assert_int_equal(simt_cublaslt.type, f16 ? CUDA_R_16F : CUDA_R_16BF);
                near(&o, cc);
            }
            product_close(&o);
        }
}

/* y = x W^T with x rounded to e4m3 by rows, in double. */
static void near_fp8(struct product *o)
{
    int n = o->s.n, k = o->s.k, live = o->s.live ? o->s.live : o->s.m;
    float *x = xmalloc((size_t)k * 4), *w = xmalloc((size_t)k * 4);
    for (int r = 0; r < live; r++) {
        float top = 0;
        for (int i = 0; i < k; i++)
            top = fmaxf(top, fabsf(o->x[r * k + i]));
        for (int i = 0; i < k; i++)
            x[i] = f8_e4m3_value(f8_e4m3_code(o->x[r * k + i] * (448 / top))) * (top / 448);
        for (int c = 0; c < n; c++) {
            double sum = 0, size = 0;
            dtype_decode(DT_F8_E4M3, tensor_row(&o->naive.w, c), w, k);
            for (int i = 0; i < k; i++) {
                sum += (double)x[i] * (double)w[i];
                size += fabs((double)x[i] * (double)w[i]);
            }
            double by = o->s.m % 2 ? (double)o->naive.w.q->global : 1;
            double more = o->naive.add.data ? (double)o->add[r * n + c] : 0;
            double want = sum * by + (double)o->bias[c] + more, got = (double)o->got[r * n + c];
            if (!(fabs(got - want) <= 1e-5 * (size * by + fabs(want))))
                fail_msg("fp8 %d x %d x %d: y[%d][%d] is %.9g, not %.9g", o->s.m, n, k, r, c, got,
                         want);
        }
    }
    xfree(x);
    xfree(w);
}

/* Weights and activations in fp8: where it is allowed, the weight has one scale a row, the GPU has
 * the unit, and it is the faster way; else as ever. */
static void test_fp8(void **state)
{
    static const struct shape shapes[] = {
        {9, 33, 128, 0}, {17, 40, 192, 11}, {64, 16, 64, 0}, {150, 70, 320, 0}};
    static const struct gpu_config *before;
    static struct gpu_config c;
    (void)state;
    q.cc = 89;
    before = q.plan.config;
    c = *before;
    c.ceil.fp8_tflops = 1e6;
    c.ceil.read_gbs = 1e6;
    c.ceil.bf16_tflops = 1e-3;
    for (size_t j = 0; j < 2 * sizeof shapes / sizeof *shapes; j++) {
        struct product o = {0};
        product_flat = true;
        product_open(&o, DT_F8_E4M3, shapes[j / 2]);
        product_flat = false;
        if (j % 2)
            q.scratch_bytes = q.limits->workspace + q.limits->tile + (96 << 10);
        const struct quant *flat = o.cuda.w.q, other = {.global = flat->global};
        for (int way = 0; way < 5; way++) {
            q.round_x = way == 1 ? X_EXACT : X_FP8;
            c.match.cc[0] = q.cc = way == 2 ? 86 : 89;
            o.cuda.w.q = way == 3 ? &other : flat;
            q.plan.config = way == 4 ? before : &c;
            gpu_plan_reset(&q.plan);
            simt_cublaslt.type = -1;
            product_run(&q, &o);
            assert_int_equal(simt_cublaslt.type == CUDA_R_8F_E4M3, way == 0);
            if (way == 0)
                near_fp8(&o);
        }
        product_close(&o);
        q.scratch_bytes = small.scratch;
    }
    q.round_x = X_FP8;
    c.match.cc[0] = q.cc = 89;
    q.plan.config = &c;
    gpu_plan_reset(&q.plan);
    product_flat = true;
    simt_cublaslt.type = -1;
    product_norm(&q, DT_F8_E4M3, shapes[1]);
    assert_int_equal(simt_cublaslt.type, CUDA_R_8F_E4M3);
    product_flat = false;
    q.round_x = X_EXACT;
}

/* Where nothing is padded and the library scales by rows, it writes y; refused, it is as ever. */
static void test_fp8_by_rows(void **state)
{
    static const struct shape shapes[] = {{64, 16, 64, 0}, {48, 32, 128, 0}, {96, 48, 192, 0}};
    static const struct gpu_config *before;
    static struct gpu_config c;
    (void)state;
    before = q.plan.config;
    c = *before;
    c.match.cc[0] = q.cc = 90;
    c.ceil.fp8_tflops = c.ceil.read_gbs = 1e6;
    c.ceil.bf16_tflops = 1e-3;
    q.plan.config = &c;
    q.round_x = X_FP8;
    product_flat = true;
    for (int i = 0; i < 12; i++) {
        struct product o = {0};
        bool padded = i >= 6, outer = i % 2 == 0;
        struct shape s = shapes[i / 2 % 3];
        s.n += padded; /* a column more than the tiles hold */
        product_open(&o, DT_F8_E4M3, s);
        memset(o.bias, 0, (size_t)s.n * sizeof *o.bias);
        o.cuda.bias.data = NULL;
        simt_cublaslt.outer = outer;
        simt_cublaslt.type = -1;
        gpu_plan_reset(&q.plan);
        lt_close(lt);
        assert_int_equal(lt_open(NULL, &lt), OK);
        q.lt = lt;
        product_run(&q, &o);
        assert_int_equal(simt_cublaslt.type, CUDA_R_8F_E4M3);
        assert_int_equal(simt_cublaslt.scale_mode,
                         outer && !padded ? LT_SCALE_OUTER_VEC : LT_SCALE_SCALAR);
        assert_int_equal(warnings, 0); /* that it declines is no fallback */
        near_fp8(&o);
        product_close(&o);
    }
    product_flat = false;
    q.round_x = X_EXACT;
    q.plan.config = before;
}

static void test_formats(void **state)
{
    (void)state;
    check_formats(80);
}

/* sm_75 has no bf16. */
static void test_formats_75(void **state)
{
    (void)state;
    check_formats(75);
}

/* One row less, and the kernels of our own do it, with the bits that they have without cuBLASLt. */
static void test_cross_over(void **state)
{
    static const enum dtype types[] = {DT_BF16, DT_F16, DT_Q8_0, DT_Q4_K};
    (void)state;
    for (int i = 0; i < 8; i++) {
        enum dtype t = types[i / 2];
        int m = (i < 4 ? HALF_ROWS : BLOCK_ROWS) - i % 2;
        struct product o = {0};
        product_open(&o, t, (struct shape){m, 16, 256, 0});
        simt_cublaslt.products = 0;
        product_run(&q, &o);
        assert_int_equal(simt_cublaslt.products, i % 2 ? 0 : 1);
        if (i % 2 && t != DT_Q8_0 && t != DT_Q4_K)
            product_compare(&o, product_tolerance(t), dtype_info(t)->name);
        if (i % 2 == 0)
            near(&o, 80);
        q.deterministic = true;
        product_run(&q, &o);
        assert_int_equal(simt_cublaslt.products, i % 2 ? 0 : 1);
        q.deterministic = false;
        product_close(&o);
    }
}

/* Rows of x and of W in pieces; an algorithm that uses all of its workspace each time. */
static void test_pieces(void **state)
{
    static const struct lt_limits tight = {0, 64 << 10, 24 << 10, (64 + 24 + 41) << 10};
    static const enum dtype types[] = {DT_BF16, DT_F16, DT_Q4_0};
    static const struct shape s = {150, 70, 256, 0};
    (void)state;
    q.limits = &tight;
    q.scratch_bytes = tight.scratch;
    for (int i = 0; i < 3; i++) {
        struct product o = {0};
        simt_cublaslt.products = 0;
        product_open(&o, types[i], s);
        product_run(&q, &o);
        near(&o, 80);
        /* 64 rows of x at a time; of W 48 */
        assert_int_equal(simt_cublaslt.products, types[i] == DT_Q4_0 ? 6 : 3);
        q.scratch_bytes = (64 + 24 + 20) << 10; /* not even 64 rows: nothing is left to cuBLASLt */
        simt_cublaslt.products = 0;
        if (types[i] == DT_Q4_0) {
            product_run(&q, &o);
            assert_int_equal(simt_cublaslt.products, 0);
            product_compare(&o, 0, "own");
        }
        q.scratch_bytes = tight.scratch;
        product_close(&o);
    }
}

static void test_fused(void **state)
{
    static const enum dtype types[] = {DT_BF16, DT_F16, DT_Q4_0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        simt_cublaslt.products = 0;
        product_glu(&q, types[i], (struct shape){20, 48, 256, 13});
        assert_int_equal(simt_cublaslt.products, 2);
        simt_cublaslt.products = 0;
        product_norm(&q, types[i], (struct shape){20, 48, 256, 13});
        assert_int_equal(simt_cublaslt.products, 3);
    }
}

/* Each shape is looked up once; the table has room for so many, and then they take turns. */
static void test_shapes_are_kept(void **state)
{
    struct lt_product p = {.type = CUDA_R_16BF, .n = 1, .k = 8, .w_stride = 8, .x_stride = 8};
    void *w = gpu_empty(16), *x = gpu_empty(16 * 2000), *y = gpu_empty(4 * 2000);
    void *space = gpu_empty(small.workspace);
    (void)state;
    p.w = w;
    p.x = x;
    p.y = y;
    p.y_stride = 1;
    p.factor = 1;
    for (int round = 0; round < 2; round++)
        for (p.m = 1; p.m <= 300; p.m++)
            assert_int_equal(lt_multiply(lt, &p, space, small.workspace, q.stream), OK);
    assert_int_equal(simt_cublaslt.searches, 300);
    assert_int_equal(simt_cublaslt.products, 600);
    for (p.m = 1; p.m <= 2000; p.m++)
        assert_int_equal(lt_multiply(lt, &p, space, small.workspace, q.stream), OK);
    assert_true(simt_cublaslt.open < 4 * 1024 + 2);
    assert_int_equal(cudaStreamSynchronize(q.stream), cudaSuccess);
    gpu_free_all();
}

/* Our own kernels take over, with their bits; one line says so. */
static void check_refusal(bool *how)
{
    for (int i = 0; i < 3; i++) {
        static const enum dtype types[] = {DT_BF16, DT_F16, DT_Q5_K};
        struct product o = {0};
        product_open(&o, types[i], (struct shape){12, 16, 256, 0});
        *how = true;
        for (int twice = 0; twice < 2; twice++) {
            product_run(&q, &o);
            product_compare(&o, i < 2 ? product_tolerance(types[i]) : 0, "refused");
        }
        product_close(&o);
    }
    assert_int_equal(simt_cublaslt.products, 0);
    assert_int_equal(simt_cublaslt.searches, 2); /* q5_K, decoded, has the shape of bf16 */
    assert_int_equal(q.fallbacks.products, 2);   /* each counted once */
    assert_int_equal(warnings, 1);
}

static void test_refused(void **state)
{
    (void)state;
    check_refusal(&simt_cublaslt.refuse);
}

static void test_refused_late(void **state)
{
    (void)state;
    check_refusal(&simt_cublaslt.refuse_late);
}

static void test_failure(void **state)
{
    struct product o = {0};
    (void)state;
    product_open(&o, DT_BF16, (struct shape){12, 16, 64, 0});
    simt_cublaslt.fail_run = true;
    assert_int_equal(cuda_linear(&q, &o.cuda), ERR_DEVICE);
    assert_non_null(strstr(fail_text(), "cuBLASLt: status 13"));
    product_close(&o);
}

static void test_missing(void **state)
{
    struct lt *none = lt;
    (void)state;
    assert_int_equal(lt_open("none", &none), OK);
    assert_null(none);
    assert_int_equal(lt_open("/nowhere/libcublasLt.so.13", &none), ERR_NOT_FOUND);
    assert_non_null(strstr(fail_text(), "/nowhere/libcublasLt.so.13"));
    assert_int_equal(lt_open("tests", &none), ERR_NOT_FOUND); /* a folder without it */
    assert_non_null(strstr(fail_text(), "tests/libcublasLt.so.13"));
    assert_int_equal(lt_open("libm.so.6", &none), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "has no cublasLt"));
    assert_int_equal(warnings, 0);
    simt_cublaslt.fail_start = true; /* nobody asked for it: we go on without */
    assert_int_equal(lt_open(NULL, &none), OK);
    assert_null(none);
    assert_int_equal(warnings, 1);
}

static struct gpu_exception named;
static struct gpu_config naming;
static struct gpu_deny deny = {{130000, 130200}, NULL, "wrong results"}; /* of no type yet */

/* Runs a product that the configuration names an algorithm for, and says which it got at last. */
static int algorithm(enum dtype t, int m)
{
    struct product o = {0};
    naming = *q.plan.config;
    naming.gemm = &named;
    naming.n_gemm = 1;
    naming.deny = &deny;
    naming.n_deny = deny.what != NULL;
    q.plan.config = &naming;
    lt_prefer(lt, &naming);
    gpu_plan_reset(&q.plan);
    product_open(&o, t, (struct shape){m, 64, 256, 0}); /* 11: with something to add */
    simt_cublaslt.algo = -1;
    for (int i = 0; i < 2; i++) {
        product_run(&q, &o);
        if (simt_cublaslt.products)
            near(&o, 80);
    }
    product_close(&o);
    return simt_cublaslt.algo;
}

static void name_algorithm(int id, int splitk, enum dtype t)
{
    named = (struct gpu_exception){t, 64, 256, 12, {.splits = 1}, 1, 2, 1, {.id = id}, X_EXACT};
    named.p.path = t == DT_Q4_0 ? GPU_PATH_DEQUANT_LT : GPU_PATH_LT;
    named.lt.ver = 130000;
    named.lt.splitk = splitk;
    named.lt.reduction = splitk > 1 ? 2 : 0;
}

static void open_again(void)
{
    close_queue(NULL);
    if (open_queue(NULL) != 0)
        fail_msg("cuBLASLt cannot be opened again");
}

/* By attributes, by the library's bytes where the version is the same; of a block format too, which
 * goes through in pieces. What is refused, or of another shape, is left to the library. */
static void test_named(void **state)
{
    const struct {
        uint64_t zero[3], workspace;
        uint32_t align;
        int type, id, splitk;
    } raw = {{0}, small.workspace, 16, CUDA_R_16BF, SIMT_LT_ALGO, 5};
    (void)state;
    for (int i = 0; i < 7; i++) {
        enum dtype t = i == 5 ? DT_Q4_0 : DT_BF16;
        open_again();
        name_algorithm(i == 1 ? 67 : SIMT_LT_ALGO, 3, t);
        named.lt.has_raw = true;
        memcpy(named.lt.raw, &raw, sizeof raw);
        named.lt.ver = i == 0 ? 130100 : 130000;
        simt_cublaslt.refuse_algo = i == 2;
        named.m = i == 4 ? 16 : 12;
        bool taken = i == 0 || i == 3 || i == 5;
        assert_int_equal(algorithm(i == 6 ? DT_F16 : t, i % 2 ? 11 : 12),
                         taken ? SIMT_LT_ALGO : SIMT_LT_FIRST);
        assert_int_equal(warnings, i == 1 || i == 2);
        assert_int_equal(q.fallbacks.algorithms, i == 1 || i == 2);
        if (taken)
            assert_int_equal(simt_cublaslt.splitk, i == 0 ? 5 : 3);
    }
}

/* Bytes that this library does not take any more, though its version is the same: attributes. */
static void test_spoilt_bytes(void **state)
{
    (void)state;
    name_algorithm(SIMT_LT_ALGO, 3, DT_BF16);
    named.lt.ver = 130100;
    named.lt.has_raw = true;
    memset(named.lt.raw, 0x5a, sizeof named.lt.raw);
    assert_int_equal(algorithm(DT_BF16, 12), SIMT_LT_ALGO);
    assert_int_equal(simt_cublaslt.splitk, 3);
    assert_int_equal(warnings, 0);
}

/* Fast and wrong, or not supported when it runs: the first result is compared, so no wrong one is
 * ever given, and one line says what happened. */
static void test_liar(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        open_again();
        name_algorithm(i % 2 ? SIMT_LT_QUITS : SIMT_LT_LIAR, 1, DT_BF16);
        assert_int_equal(algorithm(DT_BF16, 12 - i / 2), SIMT_LT_FIRST);
        assert_int_equal(warnings, 1);
        assert_true(q.fallbacks.algorithms == 1 && q.fallbacks.products == 0);
        assert_int_equal(simt_cublaslt.products, i % 2 ? 3 : 4); /* two, a trial, once more */
    }
}

/* A version that is known to be wrong for the type is not asked at all. */
static void test_denied(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        open_again();
        name_algorithm(SIMT_LT_ALGO, 3, DT_BF16);
        deny.what = "bf16";
        deny.lt[1] = i ? 130050 : 130200;
        assert_int_equal(algorithm(DT_BF16, 12), i ? SIMT_LT_ALGO : -1);
        assert_int_equal(warnings, !i);
    }
    deny.what = NULL;
}

/* A graph that is captured first takes the library's suggestion: nothing can be compared there. */
static void test_named_in_a_graph(void **state)
{
    struct product o = {0};
    cudaGraph_t g;
    (void)state;
    name_algorithm(SIMT_LT_ALGO, 3, DT_BF16);
    assert_int_equal(algorithm(DT_BF16, 12), SIMT_LT_ALGO);
    open_again();
    q.plan.config = &naming;
    gpu_plan_reset(&q.plan);
    product_open(&o, DT_BF16, (struct shape){12, 64, 256, 0});
    assert_int_equal(cudaStreamBeginCapture(q.stream, cudaStreamCaptureModeThreadLocal), 0);
    assert_int_equal(cuda_linear(&q, &o.cuda), OK);
    assert_int_equal(simt_cublaslt.algo, SIMT_LT_FIRST);
    assert_int_equal(cudaStreamEndCapture(q.stream, &g), 0);
    cudaGraphDestroy(g);
    product_run(&q, &o);
    assert_int_equal(simt_cublaslt.algo, SIMT_LT_ALGO);
    product_close(&o);
}

/* What tuning chooses from: suggestions, and these with K split, each once. */
static void test_algorithms(void **state)
{
    struct gpu_lt found[64];
    struct product o = {0};
    int best = -1;
    (void)state;
    lt_begin(lt);
    product_open(&o, DT_BF16, (struct shape){12, 64, 256, 0});
    assert_int_equal(lt_algorithms(lt, found, 64), 0); /* of no product yet */
    product_run(&q, &o);
    int n = lt_algorithms(lt, found, 64);
    assert_int_equal(n, 5 + 4 * 4);
    assert_int_equal(found[0].id, SIMT_LT_FIRST);
    for (int i = 0; i < n; i++) {
        assert_true(found[i].has_raw && found[i].ver == 130100);
        assert_true(found[i].splitk <= 6 && found[i].workspace == (int64_t)small.workspace);
        for (int j = 0; j < i; j++)
            assert_false(gpu_lt_same(&found[i], &found[j]));
        if (found[i].id == SIMT_LT_ALGO && found[i].splitk == 3)
            best = i;
    }
    assert_true(best >= 0);
    assert_int_equal(found[best].reduction, 2);
    assert_int_equal(lt_algorithms(lt, found, 3), 3);
    product_close(&o);
}

static void test_limits(void **state)
{
    static const int cc[][2] = {{75, 75}, {80, 80},  {87, 86},  {89, 86},
                                {90, 90}, {110, 90}, {121, 120}};
    (void)state;
    for (size_t i = 0; i < sizeof cc / sizeof *cc; i++) {
        const struct lt_limits *l = lt_limits(cc[i][0]);
        assert_int_equal(l->cc, cc[i][1]);
        assert_true(l->workspace + l->tile < l->scratch && l->workspace % 256 == 0 &&
                    l->tile % 256 == 0);
        assert_int_equal(l->workspace, cc[i][0] >= 90 ? 32 << 20 : 4 << 20);
    }
}

/* Through the backend: captured, and run as often as the graph is. */
static void test_graph(void **state)
{
    enum { M = 600, N = 48, K = 64 }; /* above every cross-over of bf16 */
    float *x = xmalloc(M * K * 4), *y = xcalloc(M * N, 4), *want = xmalloc(M * N * 4);
    uint16_t *w = xmalloc(N * K * 2);
    struct graph *g;
    struct op_case c = {OP_linear, DT_F32, DT_BF16, 0, N, K};
    struct choice how;
    (void)state;
    gpu_fill(x, M * K);
    for (int i = 0; i < N * K; i++)
        w[i] = (uint16_t)(0x3c00 + i * 37 % 1000);
    struct tensor src = tensor_2d(w, DT_BF16, N, K);
    struct op_linear ref = {tensor_2d(x, DT_F32, M, K),    src, {0}, {0},
                            tensor_2d(want, DT_F32, M, N), NULL};
    struct op_linear a = ref;
    assert_true(backend_cuda.can(gpu.dev, &c, &how));
    a.w.data = gpu_empty(how.bytes);
    assert_int_equal(backend_cuda.pack(gpu.dev, &src, 1, &how, &a.w), OK);
    a.x = gpu_tensor(a.x);
    a.y = tensor_2d(gpu_empty(M * N * 4), DT_F32, M, N);
    assert_int_equal(backend_cuda.capture(gpu.q, true, NULL), OK);
    assert_int_equal(op_linear(gpu.q, &a), OK);
    assert_int_equal(backend_cuda.capture(gpu.q, false, &g), OK);
    assert_int_equal(simt_cublaslt.products, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(backend_cuda.copy(gpu.q, a.y.data, y, M * N * 4, COPY_TO_DEVICE), OK);
        assert_int_equal(backend_cuda.replay(gpu.q, g), OK);
    }
    gpu_down(y, a.y.data, M * N * 4);
    naive_linear(&ref, 0, naive_linear_items(&ref));
    gpu_near(y, want, M * N, "graph", 0x1p-17f, 1e-3f);
    gpu_free_all();
    xfree(x);
    xfree(y);
    xfree(w);
    xfree(want);
}

static int open_device(void **state)
{
    simt_cublaslt = (struct simt_cublaslt){.workspace = 4 << 20};
    return gpu_open(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_formats, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_formats_75, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_fp8, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_fp8_by_rows, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_cross_over, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_pieces, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_fused, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_shapes_are_kept, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_refused, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_refused_late, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_failure, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_missing, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_named, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_spoilt_bytes, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_liar, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_denied, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_named_in_a_graph, open_queue, close_queue),
        cmocka_unit_test_setup_teardown(test_algorithms, open_queue, close_queue),
        cmocka_unit_test(test_limits),
        cmocka_unit_test_setup_teardown(test_graph, open_device, gpu_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
