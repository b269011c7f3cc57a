/* test_lt_algo.c - the algorithms of cuBLASLt that a configuration names, on the emulated one:
 * taken by attributes or by its bytes, not when the version is known to be wrong, and never
 * believed before their first result was compared; what tuning chooses from. */
#include "kernels/cuda/lt_algo.h"

#include <string.h>

#include "tests/simt/cublaslt.h"
#include "tests/simt/lt_queue.h"
#include "tests/support/logged.h"
#include "tests/support/test.h"

static struct gpu_exception named;
static struct gpu_config naming;
static struct gpu_deny deny = {{130000, 130200}, NULL, "wrong results"}; /* of no type yet */

/* Runs a product that the configuration names an algorithm for, and says which it got at last. */
static int algorithm(enum dtype t, int m)
{
    struct product o = {0};
    naming = *lt_queue.plan.config;
    naming.gemm = &named;
    naming.n_gemm = 1;
    naming.deny = &deny;
    naming.n_deny = deny.what != NULL;
    lt_queue.plan.config = &naming;
    lt_prefer(lt_queue.lt, &naming);
    gpu_plan_reset(&lt_queue.plan);
    product_open(&o, t, (struct shape){m, 64, 256, 0}); /* 11: with something to add */
    simt_cublaslt.algo = -1;
    for (int i = 0; i < 2; i++) {
        product_run(&lt_queue, &o);
        if (simt_cublaslt.products)
            lt_queue_near(&o, 80);
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
    lt_queue_close(NULL);
    if (lt_queue_open(NULL) != 0)
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
    } raw = {{0}, lt_queue_limits.workspace, 16, CUDA_R_16BF, SIMT_LT_ALGO, 5};
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
        assert_int_equal(log_heard_lines(), i == 1 || i == 2);
        assert_int_equal(lt_queue.fallbacks.algorithms, i == 1 || i == 2);
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
    assert_int_equal(log_heard_lines(), 0);
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
        assert_int_equal(log_heard_lines(), 1);
        assert_true(lt_queue.fallbacks.algorithms == 1 && lt_queue.fallbacks.products == 0);
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
        assert_int_equal(log_heard_lines(), !i);
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
    lt_queue.plan.config = &naming;
    gpu_plan_reset(&lt_queue.plan);
    product_open(&o, DT_BF16, (struct shape){12, 64, 256, 0});
    assert_int_equal(cudaStreamBeginCapture(lt_queue.stream, cudaStreamCaptureModeThreadLocal), 0);
    assert_int_equal(cuda_linear(&lt_queue, &o.cuda), OK);
    assert_int_equal(simt_cublaslt.algo, SIMT_LT_FIRST);
    assert_int_equal(cudaStreamEndCapture(lt_queue.stream, &g), 0);
    cudaGraphDestroy(g);
    product_run(&lt_queue, &o);
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
    lt_begin(lt_queue.lt);
    product_open(&o, DT_BF16, (struct shape){12, 64, 256, 0});
    assert_int_equal(lt_algorithms(lt_queue.lt, found, 64), 0); /* of no product yet */
    product_run(&lt_queue, &o);
    int n = lt_algorithms(lt_queue.lt, found, 64);
    assert_int_equal(n, 5 + 4 * 4);
    assert_int_equal(found[0].id, SIMT_LT_FIRST);
    for (int i = 0; i < n; i++) {
        assert_true(found[i].has_raw && found[i].ver == 130100);
        assert_true(found[i].splitk <= 6 &&
                    found[i].workspace == (int64_t)lt_queue_limits.workspace);
        for (int j = 0; j < i; j++)
            assert_false(gpu_lt_same(&found[i], &found[j]));
        if (found[i].id == SIMT_LT_ALGO && found[i].splitk == 3)
            best = i;
    }
    assert_true(best >= 0);
    assert_int_equal(found[best].reduction, 2);
    assert_int_equal(lt_algorithms(lt_queue.lt, found, 3), 3);
    product_close(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_named, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_spoilt_bytes, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_liar, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_denied, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_named_in_a_graph, lt_queue_open, lt_queue_close),
        cmocka_unit_test_setup_teardown(test_algorithms, lt_queue_open, lt_queue_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
