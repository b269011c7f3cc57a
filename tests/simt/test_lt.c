/* test_lt.c - products of many rows by cuBLASLt, emulated (cublaslt.cc): every weight type against
 * the naive op, in pieces and whole, at the cross-over, in a graph, and with a library that is
 * missing, refuses or fails. test_lt_algo.c has its algorithms. */
#include "kernels/cuda/lt.h"

#include <math.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cpu/naive.h"
#include "kernels/cuda/lt_abi.h"
#include "kernels/cuda/panel.h"
#include "kernels/quant/f8_e4m3.h"
#include "tests/simt/cublaslt.h"
#include "tests/simt/gpu.h"
#include "tests/simt/lt_queue.h"
#include "tests/support/logged.h"
#include "tests/support/test.h"

static void check_formats(int cc)
{
    static const struct shape shapes[] = {{9, 33, 96, 0}, {17, 40, 224, 11}, {64, 16, 64, 0}};
    lt_queue.cc = cc;
    for (int i = 0; i < product_n_types; i++)
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            enum dtype t = product_types[i];
            struct product o = {0};
            struct shape s = shapes[j];
            s.k = product_k(t, s.k) - (dtype_info(t)->block > 1 ? 0 : (int)j);
            simt_cublaslt.products = 0;
            product_open(&o, t, s);
            product_run(&lt_queue, &o);
            const struct panel_format *f = cuda_panel_format(t);
            bool own =
                t == DT_F32 || (cc < 80 && f && (f->scales == PANEL_ANY || f->scales == PANEL_E8));
            assert_int_equal(simt_cublaslt.products > 0, !own);
            if (!own) {
                bool f16 = t == DT_F16 || cc < 80;
                assert_int_equal(simt_cublaslt.type, f16 ? CUDA_R_16F : CUDA_R_16BF);
                lt_queue_near(&o, cc);
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
    lt_queue.cc = 89;
    before = lt_queue.plan.config;
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
            lt_queue.scratch_bytes =
                lt_queue.limits->workspace + lt_queue.limits->tile + (96 << 10);
        const struct quant *flat = o.cuda.w.q, other = {.global = flat->global};
        for (int way = 0; way < 5; way++) {
            lt_queue.round_x = way == 1 ? X_EXACT : X_FP8;
            c.match.cc[0] = lt_queue.cc = way == 2 ? 86 : 89;
            o.cuda.w.q = way == 3 ? &other : flat;
            lt_queue.plan.config = way == 4 ? before : &c;
            gpu_plan_reset(&lt_queue.plan);
            simt_cublaslt.type = -1;
            product_run(&lt_queue, &o);
            assert_int_equal(simt_cublaslt.type == CUDA_R_8F_E4M3, way == 0);
            if (way == 0)
                near_fp8(&o);
        }
        product_close(&o);
        lt_queue.scratch_bytes = lt_queue_limits.scratch;
    }
    lt_queue.round_x = X_FP8;
    c.match.cc[0] = lt_queue.cc = 89;
    lt_queue.plan.config = &c;
    gpu_plan_reset(&lt_queue.plan);
    product_flat = true;
    simt_cublaslt.type = -1;
    product_norm(&lt_queue, DT_F8_E4M3, shapes[1]);
    assert_int_equal(simt_cublaslt.type, CUDA_R_8F_E4M3);
    product_flat = false;
    lt_queue.round_x = X_EXACT;
}

/* Where nothing is padded and the library scales by rows, it writes y; refused, it is as ever. */
static void test_fp8_by_rows(void **state)
{
    static const struct shape shapes[] = {{64, 16, 64, 0}, {48, 32, 128, 0}, {96, 48, 192, 0}};
    static const struct gpu_config *before;
    static struct gpu_config c;
    (void)state;
    before = lt_queue.plan.config;
    c = *before;
    c.match.cc[0] = lt_queue.cc = 90;
    c.ceil.fp8_tflops = c.ceil.read_gbs = 1e6;
    c.ceil.bf16_tflops = 1e-3;
    lt_queue.plan.config = &c;
    lt_queue.round_x = X_FP8;
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
        gpu_plan_reset(&lt_queue.plan);
        lt_close(lt_queue.lt);
        assert_int_equal(lt_open(NULL, &lt_queue.lt), OK);
        product_run(&lt_queue, &o);
        assert_int_equal(simt_cublaslt.type, CUDA_R_8F_E4M3);
        assert_int_equal(simt_cublaslt.scale_mode,
                         outer && !padded ? LT_SCALE_OUTER_VEC : LT_SCALE_SCALAR);
        assert_int_equal(log_heard_lines(), 0); /* that it declines is no fallback */
        near_fp8(&o);
        product_close(&o);
    }
    product_flat = false;
    lt_queue.round_x = X_EXACT;
    lt_queue.plan.config = before;
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
        int m = (i < 4 ? LT_QUEUE_HALF_ROWS : LT_QUEUE_BLOCK_ROWS) - i % 2;
        struct product o = {0};
        product_open(&o, t, (struct shape){m, 16, 256, 0});
        simt_cublaslt.products = 0;
        product_run(&lt_queue, &o);
        assert_int_equal(simt_cublaslt.products, i % 2 ? 0 : 1);
        if (i % 2 && t != DT_Q8_0 && t != DT_Q4_K)
            product_compare(&o, product_tolerance(t), dtype_info(t)->name);
        if (i % 2 == 0)
            lt_queue_near(&o, 80);
        lt_queue.deterministic = true;
        product_run(&lt_queue, &o);
        assert_int_equal(simt_cublaslt.products, i % 2 ? 0 : 1);
        lt_queue.deterministic = false;
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
    lt_queue.limits = &tight;
    lt_queue.scratch_bytes = tight.scratch;
    for (int i = 0; i < 3; i++) {
        struct product o = {0};
        simt_cublaslt.products = 0;
        product_open(&o, types[i], s);
        product_run(&lt_queue, &o);
        lt_queue_near(&o, 80);
        /* 64 rows of x at a time; of W 48 */
        assert_int_equal(simt_cublaslt.products, types[i] == DT_Q4_0 ? 6 : 3);
        /* not even 64 rows: nothing is left to cuBLASLt */
        lt_queue.scratch_bytes = (64 + 24 + 20) << 10;
        simt_cublaslt.products = 0;
        if (types[i] == DT_Q4_0) {
            product_run(&lt_queue, &o);
            assert_int_equal(simt_cublaslt.products, 0);
            product_compare(&o, 0, "own");
        }
        lt_queue.scratch_bytes = tight.scratch;
        product_close(&o);
    }
}

static void test_fused(void **state)
{
    static const enum dtype types[] = {DT_BF16, DT_F16, DT_Q4_0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        simt_cublaslt.products = 0;
        product_glu(&lt_queue, types[i], (struct shape){20, 48, 256, 13});
        assert_int_equal(simt_cublaslt.products, 2);
        simt_cublaslt.products = 0;
        product_norm(&lt_queue, types[i], (struct shape){20, 48, 256, 13});
        assert_int_equal(simt_cublaslt.products, 3);
    }
}

/* Each shape is looked up once; the table has room for so many, and then they take turns. */
static void test_shapes_are_kept(void **state)
{
    struct lt_product p = {.type = CUDA_R_16BF, .n = 1, .k = 8, .w_stride = 8, .x_stride = 8};
    void *w = gpu_empty(16), *x = gpu_empty(16 * 2000), *y = gpu_empty(4 * 2000);
    void *space = gpu_empty(lt_queue_limits.workspace);
    (void)state;
    p.w = w;
    p.x = x;
    p.y = y;
    p.y_stride = 1;
    p.factor = 1;
    for (int round = 0; round < 2; round++)
        for (p.m = 1; p.m <= 300; p.m++)
            assert_int_equal(
                lt_multiply(lt_queue.lt, &p, space, lt_queue_limits.workspace, lt_queue.stream),
                OK);
    assert_int_equal(simt_cublaslt.searches, 300);
    assert_int_equal(simt_cublaslt.products, 600);
    for (p.m = 1; p.m <= 2000; p.m++)
        assert_int_equal(
            lt_multiply(lt_queue.lt, &p, space, lt_queue_limits.workspace, lt_queue.stream), OK);
    assert_true(simt_cublaslt.open < 4 * 1024 + 2);
    assert_int_equal(cudaStreamSynchronize(lt_queue.stream), cudaSuccess);
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
            product_run(&lt_queue, &o);
            product_compare(&o, i < 2 ? product_tolerance(types[i]) : 0, "refused");
        }
        product_close(&o);
    }
    assert_int_equal(simt_cublaslt.products, 0);
    assert_int_equal(simt_cublaslt.searches, 2);      /* q5_K, decoded, has the shape of bf16 */
    assert_int_equal(lt_queue.fallbacks.products, 2); /* each counted once */
    assert_int_equal(log_heard_lines(), 1);
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
    assert_int_equal(cuda_linear(&lt_queue, &o.cuda), ERR_DEVICE);
    assert_non_null(strstr(fail_text(), "cuBLASLt: status 13"));
    product_close(&o);
}

static void test_missing(void **state)
{
    struct lt *none = lt_queue.lt;
    (void)state;
    assert_int_equal(lt_open("none", &none), OK);
    assert_null(none);
    assert_int_equal(lt_open("/nowhere/libcublasLt.so.13", &none), ERR_NOT_FOUND);
    assert_non_null(strstr(fail_text(), "/nowhere/libcublasLt.so.13"));
    assert_int_equal(lt_open("tests", &none), ERR_NOT_FOUND); /* a folder without it */
    assert_non_null(strstr(fail_text(), "tests/libcublasLt.so.13"));
    assert_int_equal(lt_open("libm.so.6", &none), ERR_UNSUPPORTED);
    assert_non_null(strstr(fail_text(), "has no cublasLt"));
    assert_int_equal(log_heard_lines(), 0);
    simt_cublaslt.fail_start = true; /* nobody asked for it: we go on without */
    assert_int_equal(lt_open(NULL, &none), OK);
    assert_null(none);
    assert_int_equal(log_heard_lines(), 1);
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
        cmocka_unit_test_setup_teardown(test_formats, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_formats_75, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_fp8, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_fp8_by_rows, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_cross_over, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_pieces, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_fused, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_shapes_are_kept, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_refused, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_refused_late, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_failure, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_missing, lt_queue_open, lt_queue_close),
        cmocka_unit_test(test_limits),
        cmocka_unit_test_setup_teardown(test_graph, open_device, gpu_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
