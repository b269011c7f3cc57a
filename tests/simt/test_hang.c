/* test_hang.c - a GPU that never ends a kernel, where others than the worker wait for it: the
 * self-check, loading, what `inferd tune` measures, the proof of cuBLASLt's algorithms. Each gives
 * up after the device's patience, and nothing waits for the GPU after that: the emulator ends the
 * program where something does, also in the driver's own copies. */
#include <cuda_runtime_api.h>

#include <string.h>

#include "kernels/base/mem.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/lt.h"
#include "kernels/cuda/ring.h"
#include "kernels/gpu/config.h"
#include "tests/simt/cublaslt.h"
#include "tests/simt/gpu.h"
#include "tests/support/jobs.h"
#include "tests/support/logged.h"
#include "tests/support/test.h"

static const char told[] = "the GPU has ended nothing for 0.05 s";
enum { EDGE = 64 };

static struct device *opened(const char *cublaslt)
{
    const struct device_options o = {.cublaslt = cublaslt, .patience = 0.05};
    struct device *dev;
    simt_faults(&(struct simt_faults){0});
    assert_int_equal(backend_cuda.open(&o, &dev), OK);
    return dev;
}

static void has_given_up(struct device *dev, enum status s)
{
    struct device_info info;
    assert_int_equal(s, ERR_DEVICE);
    if (!strstr(fail_text(), told))
        fail_msg("\"%s\" does not say \"%s\"", fail_text(), told);
    backend_cuda.info(dev, &info);
    assert_int_equal(info.fault, ERR_DEVICE);
    backend_cuda.close(dev);
}

static void while_it_is_measured(void **state)
{
    (void)state;
    for (int after = 1; after < 200; after = 10 * after + 3) {
        struct device *dev = opened("none");
        struct gpu_ceil c;
        simt_faults(&(struct simt_faults){.hang_after = after});
        has_given_up(dev, backend_cuda.ceilings(dev, &c));
    }
}

static void while_its_kernels_are_checked(void **state)
{
    (void)state;
    for (int after = 1; after < 20; after += 13) {
        struct device *dev = opened("none");
        const struct op_case linear = {OP_linear, DT_F32, DT_Q4_0, 0, 64, 512};
        assert_true(backend_cuda.can(dev, &linear, NULL));
        simt_faults(&(struct simt_faults){.hang_after = after});
        has_given_up(dev, backend_cuda.check(dev));
    }
}

/* With threads that read, and without: what is small is read by the device's own. */
static void while_weights_are_loaded(void **state)
{
    (void)state;
    for (int rows = 64; rows <= 1 << 14; rows <<= 8) {
        struct device *dev = opened("none");
        const struct op_case linear = {OP_linear, DT_F32, DT_Q4_0, 0, rows, 512};
        const size_t bytes = dtype_row_bytes(DT_Q4_0, 512) * (size_t)rows;
        struct choice how;
        struct tensor dst = {0}, src = tensor_2d(xcalloc(bytes, 1), DT_Q4_0, rows, 512);
        assert_true(backend_cuda.can(dev, &linear, &how));
        assert_int_equal(backend_cuda.region(dev, REGION_WEIGHTS, how.bytes, &dst.data), OK);
        simt_faults(&(struct simt_faults){.hang_after = 1});
        has_given_up(dev, backend_cuda.pack(dev, &src, 1, &how, &dst));
        xfree(src.data);
    }
}

/* The first product of a shape whose algorithm is named: what has hung is not the algorithm's. */
static void while_an_algorithm_is_proved(void **state)
{
    (void)state;
    for (int add = 0; add < 2; add++) {
        struct device *dev = opened(NULL);
        struct cuda_queue *q = (struct cuda_queue *)backend_cuda.queue(dev);
        const struct gpu_lt named = {.id = SIMT_LT_ALGO, .splitk = 1};
        struct fence f;
        char *room;
        if (!q->lt)
            fail_msg("cuBLASLt's stand-in is not found");
        assert_int_equal(cudaMalloc((void **)&room, EDGE * EDGE * 8), cudaSuccess);
        assert_int_equal(cudaMemset(room, 0, EDGE * EDGE * 8), cudaSuccess);
        const struct lt_product p = {.type = CUDA_R_16BF,
                                     .m = EDGE,
                                     .n = EDGE,
                                     .k = EDGE,
                                     .w = room,
                                     .x = room + EDGE * EDGE * 2,
                                     .y = (float *)(room + EDGE * EDGE * 4),
                                     .w_stride = EDGE,
                                     .x_stride = EDGE,
                                     .y_stride = EDGE,
                                     .factor = 1,
                                     .add = add,
                                     .algo = &named};
        const struct tensor y = tensor_2d(room, DT_F32, 1, EDGE);
        const struct op_add busy = {y, y, y, NULL};
        log_hear(LOG_WARN);
        simt_faults(&(struct simt_faults){.hang_after = 1});
        assert_int_equal(backend_cuda.ops.add(&q->queue, &busy), OK); /* this one never ends */
        lt_multiply(q->lt, &p, q->scratch, q->limits->workspace, q->stream);
        assert_true(q->ring->stuck);
        assert_int_equal(q->fallbacks.algorithms, 0);
        assert_int_equal(log_heard_lines(), 0);
        log_unhear();
        const enum status s = backend_cuda.record(&q->queue, &f);
        has_given_up(dev, s == OK ? backend_cuda.wait(&q->queue, &f) : s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(while_it_is_measured, gpu_well),
        cmocka_unit_test_teardown(while_its_kernels_are_checked, gpu_well),
        cmocka_unit_test_teardown(while_weights_are_loaded, gpu_well),
        cmocka_unit_test_teardown(while_an_algorithm_is_proved, gpu_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
